"""Waivers of rules and break-glass, made, approved, used and over, in a registry; and told to somebody each time."""

import json
import zipfile
from datetime import timedelta

import pytest

from weighbridge.claims.records import event
from weighbridge.claims.summary import read_vsa
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, Refused, UsageError
from weighbridge.core.exceptions import ExceptionState
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.gate import policies
from weighbridge.gate.break_glass import break_glass
from weighbridge.gate.evidence import gather
from weighbridge.gate.pack import Wanted, make_pack
from weighbridge.gate.waivers import kept, waive
from weighbridge.keys.files import generate
from weighbridge.registry import alerts, bundles
from weighbridge.registry.outbox import sign, submit
from world import World, outcomes

USED, STANDING, EXPIRED, REFUSED = ExceptionState


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def policy_with(world, old, new):
    """Make another policy the active one: the starter's with one line changed."""
    folder = world.folder / "policy"
    folder.mkdir(exist_ok=True)
    for path in world.registry.layout.policy.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    settings = folder / "policy.toml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new))
    policies.use_policy(world.registry, folder, world.secret("owner"))


@pytest.fixture
def denied(world):
    """A model that everybody signed for and that the policy denies for its format."""
    folder = world.ready()
    deny_formats(world)
    assert set(outcomes(world.promote(folder).decision)) == {"policy.engine", "policy.scan.formats"}
    return folder


def deny_formats(world):
    line = next(
        line
        for line in (world.registry.layout.policy / "policy.toml").read_text().splitlines()
        if line.startswith("formats")
    )
    policy_with(world, line, 'formats = ["gguf"]')


def waived(world, folder, rule="policy.scan.formats", **changes):
    digest, owner = world.manifest(folder).digest, world.secret("owner")
    parts = {"reason": "an old one", "expires": world.hand.now() + timedelta(days=2), "signer": owner}
    return waive(world.registry, digest, rule, **(parts | changes))


def glass(world, folder, *, hours=4, reason="the search is down", by="owner"):
    return break_glass(
        world.registry, world.manifest(folder).digest, reason=reason, hours=hours, signer=world.secret(by)
    )


def agreed(world, asked, by=None):
    return policies.approve(world.registry, asked.proposal.bundle, by or world.person("night", "waive"))


def told(world, kind):
    return [(row.severity, row.summary) for row in alerts.kept(world.registry, kinds=[kind])]


def states(decision):
    return [(row.kind.value, row.rule, row.state) for row in decision.exceptions]


# ------------------------------------------------------------ a waiver for a rule of the policy


def test_a_waived_rule_lets_the_model_pass_until_the_waiver_ends(world, denied):
    body = waived(world, denied)
    assert body["rule"] == "policy.scan.formats"
    result = world.promote(denied)
    assert result.decision.allow, outcomes(result.decision)
    assert states(result.decision) == [("waiver", "policy.scan.formats", USED)]
    [check] = [check for check in result.decision.checks if check.id == "policy.scan.formats"]
    assert check.found.startswith("waived until 2026-11-24T12:00:00Z by owner: an old one; the policy says: ")
    world.hand.pass_(days=2)
    ended = world.admit(denied)
    assert outcomes(ended.decision) == {"policy.engine": "fail", "policy.scan.formats": "fail"}
    assert "the waiver by owner ended 2026-11-24T12:00:00Z" in ended.decision.refusals[1].found
    assert states(ended.decision) == [("waiver", "policy.scan.formats", EXPIRED)]


def test_an_admission_ends_with_the_exception_it_rests_on(world, denied):
    waived(world, denied, expires=world.hand.now() + timedelta(hours=2))
    result = world.promote(denied)
    found = bundles.about(world.registry, [world.manifest(denied).digest])
    statements = [Statement.decode(bundle.envelope.payload) for bundle in found]
    [said] = [read_vsa(row) for row in statements if "verification_summary" in row.predicate_type]
    assert said.expires == world.hand.now() + timedelta(hours=2)
    assert said.exceptions == tuple(row.bundle for row in result.decision.exceptions)


def test_a_model_that_needs_no_exception_is_admitted_for_a_day(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    found = bundles.about(world.registry, [world.manifest(folder).digest])
    statements = [Statement.decode(bundle.envelope.payload) for bundle in found]
    [said] = [read_vsa(row) for row in statements if "verification_summary" in row.predicate_type]
    assert (said.expires, said.exceptions) == (world.hand.now() + timedelta(days=1), ())


def test_making_and_using_a_waiver_is_told(world, denied):
    waived(world, denied)
    short = world.manifest(denied).digest.short
    made = ("warning", f"policy.scan.formats of {short} is waived in 'default'")
    assert told(world, "waiver") == [made]
    world.promote(denied)
    used = ("info", f"policy.scan.formats was waived when promote was asked for {short} in 'default'")
    assert told(world, "waiver") == [made, used]
    world.promote(denied, dry_run=True)
    assert [row.count for row in alerts.kept(world.registry, kinds=["waiver"])] == [1, 1]


def test_a_waiver_for_a_rule_that_does_not_deny_is_refused_and_says_which_do(world, denied):
    size = world.registry.log.size
    with pytest.raises(NotFound, match="does not deny") as caught:
        waived(world, denied, "policy.scan.format")
    assert caught.value.cause == "it denies by policy.scan.formats"
    policy_with(world, 'formats = ["gguf"]', 'formats = ["safetensors"]')
    with pytest.raises(NotFound) as caught:
        waived(world, denied)
    assert caught.value.cause == "it denies nothing about it"
    assert world.registry.log.size == size + 1  # the change of policy


def test_a_waiver_can_be_renewed_while_it_stands(world, denied):
    waived(world, denied)
    longer = waived(world, denied, expires=world.hand.now() + timedelta(days=9))
    assert longer["expires"] == rfc3339(world.hand.now() + timedelta(days=9))
    assert [state for *_, state in states(world.promote(denied).decision)] == [STANDING, USED]


@pytest.mark.parametrize("rule", ["policy.engine", "policy.waiver", "policy.*"])
def test_what_cannot_be_waived_is_refused_when_it_is_asked_for(world, denied, rule):
    with pytest.raises(UsageError, match="no waiver answers for"):
        waived(world, denied, rule)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_an_exception_has_a_reason(world, denied, reason):
    with pytest.raises(UsageError, match="reason"):
        waived(world, denied, reason=reason)
    with pytest.raises(UsageError, match="reason"):
        glass(world, denied, reason=reason)


def test_a_waiver_without_an_answer_of_the_policy_points_to_break_glass(world, denied):
    settings = world.registry.layout.policy / "policy.toml"
    settings.write_text(settings.read_text() + "\n# changed\n")
    with pytest.raises(CannotTell) as caught:
        waived(world, denied)
    assert "break-glass" in caught.value.remedy


def test_a_policy_that_forbids_waivers_forbids_them_and_no_break_glass(world, denied):
    waived(world, denied)
    assert world.promote(denied).decision.allow
    policy_with(world, "allowed = true", "allowed = false")
    refused = world.admit(denied).decision
    assert {"policy.engine", "policy.scan.formats"} <= set(outcomes(refused))
    assert states(refused) == [("waiver", "policy.scan.formats", REFUSED)]
    with pytest.raises(Refused, match="allows no waivers"):
        waived(world, denied)
    agreed(world, glass(world, denied))
    assert world.admit(denied).decision.allow


def test_a_waiver_reaches_no_further_than_the_policy_lets_it(world, denied):
    with pytest.raises(UsageError, match="may reach until"):
        waived(world, denied, expires=world.hand.now() + timedelta(days=91))
    waived(world, denied, expires=world.hand.now() + timedelta(days=90))
    assert world.promote(denied).decision.allow


def test_a_waiver_signed_elsewhere_that_the_policy_does_not_let_count(world, denied):
    """Handed in without asking this program first; it is logged, and excuses nothing."""
    owner, digest = world.secret("owner"), world.manifest(denied).digest
    body = {"rule": "policy.scan.formats", "fingerprint": "0" * 32, "reason": "so"}
    far = {**body, "expires": rfc3339(world.hand.now() + timedelta(days=999))}
    world.say(event("waiver", (digest,), far, **world.registry.event_facts()), owner)
    refused = world.promote(denied).decision
    assert not refused.allow
    assert states(refused) == [("waiver", "policy.scan.formats", REFUSED)]


def test_a_strangers_waiver_is_kept_and_is_none(world, denied):
    digest = world.manifest(denied).digest
    body = {"rule": "policy.scan.formats", "fingerprint": "0" * 32, "reason": "so"}
    body["expires"] = rfc3339(world.hand.now() + timedelta(days=1))
    world.say(event("waiver", (digest,), body, **world.registry.event_facts()), generate())
    refused = world.promote(denied).decision
    assert (refused.allow, refused.exceptions) == (False, ())
    assert told(world, "waiver") == []
    assert [(row.state, row.signers) for row in kept(world.registry)] == [("refused", ())]


@pytest.mark.parametrize("project", ["another", "*"])
def test_an_exception_of_another_project_is_none_here(world, denied, project):
    owner, digest = world.secret("owner"), world.manifest(denied).digest
    body = {"rule": "policy.scan.formats", "fingerprint": "0" * 32, "reason": "so"}
    body["expires"] = rfc3339(world.hand.now() + timedelta(days=1))
    facts = {**world.registry.event_facts(), "project": project}
    for kind in ("waiver", "break-glass"):
        world.say(event(kind, (digest,), body, **facts), owner)
    assert world.promote(denied).decision.exceptions == ()
    assert kept(world.registry) == []


def test_a_waiver_that_needs_two_waits_for_the_second(world, denied):
    world.publish(world.registry.authority.with_approvals("waiver", 2))
    waived(world, denied)
    assert not world.promote(denied).decision.allow
    [waiting] = kept(world.registry)
    assert waiting.state == "waiting"
    policies.approve(world.registry, waiting.bundle, world.person("night", "waive"))
    assert world.promote(denied).decision.allow
    [standing] = kept(world.registry)
    assert (standing.state, standing.signers) == ("standing", ("owner", "night"))


# ------------------------------------------------------------ break-glass


def test_break_glass_waits_for_a_second_person_then_counts_then_ends(world, denied):
    asked = glass(world, denied)
    assert (asked.missing, asked.to_json()["state"]) == (1, "waiting")
    waiting = world.promote(denied).decision
    assert (waiting.allow, waiting.exceptions) == (False, ())
    agreed(world, asked)
    result = world.promote(denied)
    assert result.decision.allow, outcomes(result.decision)
    assert states(result.decision) == [("break-glass", "policy.*", USED)]
    assert result.decision.exceptions[0].signers == ("owner", "night")
    world.hand.pass_(hours=4)
    ended = world.admit(denied).decision
    assert "the break-glass by owner and night ended 2026-11-22T16:00:00Z" in ended.refusals[0].found
    assert not ended.allow


def test_nobody_breaks_glass_alone(world, denied):
    asked = glass(world, denied)
    with pytest.raises(Refused):
        policies.approve(world.registry, asked.proposal.bundle, world.secret("owner"))
    with pytest.raises(Refused):
        policies.approve(world.registry, asked.proposal.bundle, world.person("reader", "evaluate"))
    with pytest.raises(Refused):
        policies.approve(world.registry, asked.proposal.bundle, generate())
    assert not world.promote(denied).decision.allow
    assert [row.state for row in kept(world.registry)] == ["waiting"]


def test_break_glass_answers_for_a_policy_that_gives_no_answer(world):
    folder = world.ready()
    settings = world.registry.layout.policy / "policy.toml"
    settings.write_text(settings.read_text() + "\n# changed\n")
    assert outcomes(world.promote(folder).decision) == {"policy.engine": "cannot-tell"}
    agreed(world, glass(world, folder))
    decision = world.promote(folder).decision
    assert decision.allow
    assert "the policy files were changed" in next(
        check.found for check in decision.checks if check.id == "policy.engine"
    )


def test_break_glass_moves_nothing_of_the_floor(world, denied):
    agreed(world, glass(world, denied))
    assert world.promote(denied).decision.allow
    entry = world.manifest(denied).entry("model.safetensors")
    blob = world.registry.blobs.local(entry.sha256)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    before = told(world, "break-glass")
    decision = world.admit(denied).decision
    assert not decision.allow
    assert "bytes.match" in outcomes(decision)
    assert not {name for name in outcomes(decision) if name.startswith("policy.")}
    assert told(world, "break-glass") == before  # nothing was let pass by it


def test_asking_approving_and_using_break_glass_is_told(world, denied):
    asked = glass(world, denied)
    [(severity, _)] = told(world, "break-glass")
    assert severity == "warning"
    agreed(world, asked)
    short = world.manifest(denied).digest.short
    made = ("critical", f"break-glass: the policy is passed over for {short} in 'default'")
    assert told(world, "break-glass")[1:] == [made]
    world.promote(denied)
    used = f"the policy was passed over (break-glass) when promote was asked for {short} in 'default'"
    assert told(world, "break-glass")[2:] == [("critical", used)]
    world.promote(denied)
    assert alerts.kept(world.registry, kinds=["break-glass"])[-1].count == 2


@pytest.mark.parametrize("hours", [0, -1, 73, 10**9])
def test_break_glass_is_for_hours(world, denied, hours):
    with pytest.raises(UsageError, match="lasts from 1 to 72 hours"):
        glass(world, denied, hours=hours)


def test_break_glass_by_who_may_not_and_for_what_is_not_here(world, denied):
    world.person("reader", "evaluate")
    with pytest.raises(Refused):
        break_glass(
            world.registry,
            world.manifest(denied).digest,
            reason="so",
            hours=1,
            signer=world.people["reader"],
        )
    with pytest.raises(NotFound):
        break_glass(
            world.registry, Digest("wb1", "0" * 64), reason="so", hours=1, signer=world.secret("owner")
        )


def forged(world, folder, expires, at=None):
    """Break-glass that was signed elsewhere and approved; returns the decision under it."""
    digest, facts = world.manifest(folder).digest, world.registry.event_facts()
    facts["at"] = at or facts["at"]
    draft = sign(
        event("break-glass", (digest,), {"reason": "so", "expires": rfc3339(expires)}, **facts),
        world.secret("owner"),
    )
    with world.registry.writing():
        submit(world.registry, draft)
    policies.approve(world.registry, draft.envelope.digest, world.person("night", "waive"))
    return world.promote(folder).decision


def test_break_glass_signed_elsewhere_for_longer_does_not_count(world, denied):
    decision = forged(world, denied, world.hand.now() + timedelta(hours=72, seconds=1))
    assert not decision.allow
    assert [(row.state, row.problem) for row in decision.exceptions] == [
        (REFUSED, "it reaches further than 72 hours")
    ]


def test_break_glass_that_says_it_begins_later_reaches_no_further(world, denied):
    """The hours count from when the log took it in, whatever the statement says of its own time."""
    later = world.hand.now() + timedelta(days=6)
    decision = forged(world, denied, later + timedelta(hours=1), at=later)
    assert not decision.allow


def test_break_glass_may_be_approved_late_and_ends_no_later_for_it(world, denied):
    asked = glass(world, denied, hours=4)
    world.hand.pass_(hours=5)
    agreed(world, asked)
    decision = world.promote(denied).decision
    assert (decision.allow, [row.state for row in decision.exceptions]) == (False, [EXPIRED])


def test_who_loses_the_role_takes_the_break_glass_along(world, denied):
    key = world.person("night", "waive")
    agreed(world, glass(world, denied), by=key)
    assert world.promote(denied).decision.allow
    world.publish(world.registry.authority.without_roles("night", [Role.WAIVE]))
    decision = world.admit(denied).decision
    assert not decision.allow
    assert [(row.state, row.problem) for row in decision.exceptions] == [(REFUSED, "it needs 2 identities")]
    assert [row.state for row in kept(world.registry)] == ["refused"]


def test_break_glass_for_one_model_is_for_no_other(world, denied):
    agreed(world, glass(world, denied))
    other = world.ready("other", seed=7.0)
    decision = world.promote(other).decision
    assert (decision.allow, decision.exceptions) == (False, ())


def test_evidence_tells_who_broke_the_glass(world, denied):
    agreed(world, glass(world, denied))
    [row] = gather(world.registry, world.kept(denied), keep_scan=False).break_glass
    assert [signer.name for signer in row.signers] == ["owner", "night"]
    assert (row.since, row.expires) == (world.hand.now(), world.hand.now() + timedelta(hours=4))
    assert (row.reason, row.needed, row.problem) == ("the search is down", 2, "")


def test_what_is_kept_is_listed_with_how_it_stands(world, denied):
    waived(world, denied)
    asked = glass(world, denied)
    assert [(row.kind, row.rule, row.state) for row in kept(world.registry)] == [
        ("waiver", "policy.scan.formats", "standing"),
        ("break-glass", "policy.*", "waiting"),
    ]
    agreed(world, asked)
    assert [row.state for row in kept(world.registry)] == ["standing", "standing"]
    world.hand.pass_(days=2)
    assert [row.state for row in kept(world.registry)] == ["expired", "expired"]
    assert all(row.to_json()["reason"] for row in kept(world.registry))


def test_an_auditor_finds_what_was_excused_and_who_stood_behind_it(world, denied, tmp_path):
    agreed(world, glass(world, denied))
    assert world.promote(denied).decision.allow
    waived(world, denied)
    made = make_pack(world.registry, tmp_path / "pack.zip", Wanted())
    assert made.wrong == ()
    with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
        rows = [json.loads(line) for line in archive.read("lists/waivers.jsonl").splitlines()]
    found = {row["kind"]: (row["rule"], row["used"], row["approved_by"]) for row in rows}
    assert found == {
        "break-glass": ("policy.*", 1, ["owner", "night"]),
        "waiver": ("policy.scan.formats", 0, []),
    }
