"""Revocation of every kind: by name, below what is revoked, a signer from a moment on, rules; replayed, backdated, by strangers."""

import pytest

from weighbridge.core.advisory import parse_target
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.gate import distrusting, reevaluate
from weighbridge.gate.due import Reason, trusted
from weighbridge.gate.reevaluate import Came, Wish
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from weighbridge.registry import alerts, bundles
from weighbridge.registry.outbox import submit
from weighbridge.scanner.ruleset import ruleset
from weighbridge.trust.bundle import Bundle
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def digest(world, folder):
    return world.manifest(folder).digest


def status(world, folder):
    return world.kept(folder).status.value


def distrust(world, who, start=None, **options):
    options = {"reason": "stolen", "signer": world.secret("owner")} | options
    return distrusting.distrust_signer(world.registry, who, start or world.hand.now(), **options)


def again(world, **wish):
    return [row.outcome for row in reevaluate.reevaluate(world.registry, Wish(**wish)).seen]


def contents(world, stage):
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql(
            f"SELECT content FROM bundle WHERE stage = '{stage}' ORDER BY rowid"
        ).all()
    return [Bundle.from_json(row[0].encode()) for row in rows]


def hand_in(world, bundle, key):
    with world.registry.writing():
        submit(world.registry, bundles.take(bundle.envelope, key.public_pem))


# ---------------------------------------------------------------- a signer


def test_what_a_signer_said_from_then_on_counts_no_longer_and_what_is_older_stays(world):
    old = world.ready("old", seed=1.0)
    assert world.promote(old).decision.allow
    world.hand.pass_(hours=1)
    stolen = world.hand.now()
    new = world.ready("new", seed=2.0)
    assert world.promote(new).decision.allow
    assert world.admit(new, target="prod/new").decision.allow
    world.hand.pass_(hours=1)
    found = distrust(world, "train-team", stolen)
    assert found.distrust.start == rfc3339(stolen)
    assert digest(world, new) in found.models
    assert world.admit(old).decision.allow
    refused = {check.id: check.found for check in world.admit(new).decision.refusals}
    assert "train-team is distrusted" in refused["claims.train"]
    assert found.distrust.id in refused["claims.train"]
    assert again(world).count(Came.QUARANTINED) == 1
    assert [status(world, folder) for folder in (old, new)] == ["active", "quarantined"]
    distrusting.lift(world.registry, found.distrust.id, reason="it was not", signer=world.secret("owner"))
    assert Came.RESTORED in again(world)
    assert status(world, new) == "active"


def test_a_distrusted_signer_is_told_to_whom_it_may_concern(world):
    world.team()
    distrust(world, "train-team")
    (row,) = alerts.kept(world.registry, kinds=["revocation"])
    assert "stolen" in row.summary


def test_a_signer_is_found_by_name_key_and_subject_and_nobody_else_is(world):
    world.team()
    key = world.people["train-team"].key_id
    assert distrust(world, "train-team").distrust.key == str(key)
    assert distrust(world, str(key), reason="again").distrust.key == str(key)
    said = distrust(world, "ci@example.org", issuer="https://issuer.example").distrust
    assert (said.subject, said.issuer, said.key) == ("ci@example.org", "https://issuer.example", "")
    with pytest.raises(NotFound):
        distrust(world, "nobody")
    with pytest.raises(UsageError, match="has come"):
        distrust(world, "train-team", world.hand.now().replace(year=2030))


def test_who_withdraws_is_never_silenced_and_who_lifts_is(world):
    base = world.ready("base")
    said = distrust(world, "owner").distrust
    revoke(world.registry, digest(world, base), reason="poisoned", signer=world.secret("owner"))
    assert status(world, base) == "revoked"
    with pytest.raises(Refused):  # it cannot take back what was said about itself
        distrusting.lift(world.registry, said.id, reason="me again", signer=world.secret("owner"))
    assert distrusting.every(world.registry, standing=True)


def test_a_stranger_may_neither_distrust_nor_lift(world):
    from weighbridge.claims.records import event

    world.team()
    stranger = generate()
    with pytest.raises(Refused, match="does not hold the role"):
        distrust(world, "train-team", signer=stranger)
    said = distrust(world, "train-team").distrust
    with pytest.raises(Refused, match="does not hold the role"):
        distrusting.lift(world.registry, said.id, reason="spite", signer=stranger)
    body = {"id": said.id, "reason": "spite", "since": rfc3339(world.hand.now())}
    facts = {**world.registry.event_facts(), "project": said.project}
    with world.registry.writing():
        from weighbridge.registry.outbox import sign

        submit(world.registry, sign(event("lift", (said.digest,), body, **facts), stranger))
    assert [row.id for row in distrusting.every(world.registry, standing=True)] == [said.id]


def test_a_lift_handed_in_again_lifts_nothing_new(world):
    world.team()
    first = distrust(world, "train-team").distrust
    distrusting.lift(world.registry, first.id, reason="it was not", signer=world.secret("owner"))
    world.hand.pass_(minutes=1)
    second = distrust(world, "train-team").distrust
    assert second.id != first.id
    (lift,) = contents(world, "lift")
    with world.registry.writing():
        from weighbridge.registry.outbox import Draft

        submit(world.registry, Draft(lift.envelope, world.secret("owner").public_pem))
    assert [row.id for row in distrusting.every(world.registry, standing=True)] == [second.id]


def test_a_deleted_distrust_shows(world):
    world.team()
    distrust(world, "train-team")
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("DELETE FROM distrust")
    with pytest.raises(VerificationFailed) as caught:
        distrusting.every(world.registry)
    assert caught.value.check == "records.tally"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "dis-0000000000000000"},
        {"from": "2030-01-01T00:00:00Z"},
        {"key": ""},
        {"subject": "somebody"},
        {"reason": " "},
        {"what": "everybody"},
        {"more": "x"},
    ],
)
def test_an_ill_formed_distrust_is_none(world, change):
    from weighbridge.claims.records import event
    from weighbridge.core.distrust import Distrust, Distrusted

    now = rfc3339(world.hand.now())
    key = str(generate().key_id)
    said = Distrust(Distrusted.SIGNER, "stolen", now, "default", key=key, start=now)
    body = {"id": said.id, **said.body()} | change
    with pytest.raises(VerificationFailed, match="well-formed"):
        event("distrust", (said.digest,), body, project="default", actor="me", at=world.hand.now())


# ---------------------------------------------------------------- rules


def test_scans_under_distrusted_rules_do_not_count_and_nobody_falls_for_it(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    found = distrusting.distrust_ruleset(
        world.registry, ruleset().digest, reason="it misses something", signer=world.secret("owner")
    )
    assert found.models == (digest(world, folder),)
    refused = world.admit(folder).decision
    assert outcomes(refused)["scan.present"] == "cannot-tell"
    assert refused.exit_code == 3
    assert again(world) == [Came.CANNOT_TELL]
    assert status(world, folder) == "active"
    distrusting.lift(world.registry, found.distrust.id, reason="it does not", signer=world.secret("owner"))
    assert again(world) == [Came.PASSES]


def test_scans_made_before_a_moment_are_made_again(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    world.hand.pass_(days=1)
    found = distrusting.distrust_scans(
        world.registry, world.hand.now(), reason="the disk lied", signer=world.secret("owner")
    )
    assert found.models == (digest(world, folder),)
    assert {row.digest: row.reasons for row in trusted(world.registry)} == {
        digest(world, folder): (Reason.DISTRUST,)
    }
    assert again(world) == [Came.PASSES]
    assert again(world) == []


# ---------------------------------------------------------------- revocation


def test_what_comes_in_below_what_is_revoked_is_quarantined_when_it_comes(world):
    base = world.ready("base", seed=1.0)
    revoke(world.registry, digest(world, base), reason="poisoned", signer=world.secret("owner"))
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    assert [status(world, folder) for folder in (tuned, other)] == ["quarantined", "active"]
    assert "ancestry.unrevoked" in outcomes(world.promote(tuned).decision)


def test_what_is_revoked_before_it_comes_is_revoked_when_it_comes(world):
    folder = world.model("base", 1.0)
    hit = revoke(world.registry, digest(world, folder), reason="poisoned", signer=world.secret("owner"))
    assert hit.targets == (digest(world, folder),)
    folder = world.ready("base", seed=1.0)
    assert status(world, folder) == "revoked"
    assert "model.unrevoked" in outcomes(world.promote(folder).decision)


def test_what_is_revoked_by_another_name_is_found_here_and_when_it_comes(world):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    weights = world.manifest(base).entry("model.safetensors").sha256
    hit = revoke(
        world.registry,
        parse_target(f"file-sha256:{weights.hex}"),
        reason="poisoned",
        signer=world.secret("owner"),
    )
    assert digest(world, base) in hit.revoked
    assert hit.descendants == (digest(world, tuned),)
    assert [status(world, folder) for folder in (base, tuned)] == ["revoked", "quarantined"]
    assert "model.unrevoked" in outcomes(world.promote(base).decision)
    later = world.model("later", 7.0)
    wanted = world.manifest(later).entry("model.safetensors").sha256
    hit = revoke(
        world.registry,
        parse_target(f"file-sha256:{wanted.hex}"),
        reason="poisoned",
        signer=world.secret("owner"),
    )
    assert hit.waiting
    later = world.ready("later", seed=7.0)
    assert status(world, later) == "revoked"


def test_a_base_takes_its_descendants_along_and_whoever_runs_them_is_told(world):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    for name, folder in (("base", base), ("tuned", tuned)):
        assert world.promote(folder).decision.allow
        assert world.admit(folder, target=f"prod/{name}").decision.allow
    hit = revoke(world.registry, digest(world, base), reason="poisoned", signer=world.secret("owner"))
    assert hit.descendants == (digest(world, tuned),)
    (row,) = alerts.kept(world.registry, kinds=["revocation"])
    assert (row.severity, row.facts["deployed"]) == ("critical", 2)
    assert {deployment["target"] for deployment in row.facts["deployments"]} == {"prod/base", "prod/tuned"}


def test_a_revocation_stands_for_good(world):
    folder = world.ready()
    revoke(world.registry, digest(world, folder), reason="poisoned", signer=world.secret("owner"))
    with pytest.raises(NotFound):
        distrusting.lift(world.registry, "dis-", reason="please", signer=world.secret("owner"))
    assert status(world, folder) == "revoked"
