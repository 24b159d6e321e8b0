"""Changes that wait for a second identity: nobody gets one through alone, twice, late, for another, or by the database."""

import pytest
import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, Refused, VerificationFailed
from weighbridge.core.tier import Role
from weighbridge.gate.judging import setting
from weighbridge.gate.policies import approve, history, kept_policy, use_policy
from weighbridge.keys.files import generate
from weighbridge.policy.settings import starter
from weighbridge.registry import approvals, outbox, policy_files
from weighbridge.registry.outbox import Draft
from weighbridge.store import schema
from weighbridge.trust.seal import sign_statement
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def by_two(world):
    for name in ("ann", "bob", "cleo"):
        world.person(name, "policy")
    for kind in ("policy", "mode"):
        world.publish(world.registry.authority.with_approvals(kind, 2))
    world.hand.pass_(minutes=5)


@pytest.fixture
def two(world):
    """A registry in which policies and looser modes take two, and three people who may change them."""
    world.furnish("by two", by_two)
    return world


def folder(world, name="lax", old="evaluation_required = true", new="evaluation_required = false"):
    made = world.folder / name
    made.mkdir(exist_ok=True)
    for file, data in starter().items():
        (made / file).write_text(data.decode().replace(old, new))
    return made


def sql(world, *statements):
    with world.registry.records.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def push(world, statement, key):
    """Hand in a statement as somebody does who writes the outbox, not through our verbs."""
    with world.registry.writing():
        outbox.submit(world.registry, Draft(sign_statement(statement, key), key.public_pem))


def approval(world, proposal, *, kind="policy", project="*"):
    body = {"bundle": str(proposal), "kind": kind}
    return event("approval", (), body, project=project, actor="x", at=world.hand.now())


def active(world):
    return setting(world.registry, "policy")


def placed(world):
    return str(policy_files.digest_of(policy_files.read_folder(world.registry.layout.policy)))


# The road


def test_one_is_enough_where_nothing_is_asked_for(world):
    world.hand.pass_(minutes=1)
    change = use_policy(world.registry, folder(world), world.secret("owner"))
    assert change.waiting is None
    assert active(world) == placed(world) == str(change.digest)


def test_a_policy_waits_for_a_second_person_and_then_takes_effect(two):
    before = active(two)
    change = use_policy(two.registry, folder(two), two.people["ann"])
    assert (change.waiting.state, change.waiting.needed) == ("waiting", 2)
    assert [one.name for one in change.waiting.identities] == ["ann"]
    assert active(two) == placed(two) == before
    assert [row.bundle for row in approvals.pending(two.registry)] == [change.bundle]
    two.hand.pass_(days=6)
    after = approve(two.registry, change.bundle.hex[:12], two.people["bob"])
    assert after.state == "done"
    assert [one.name for one in after.identities] == ["ann", "bob"]
    assert active(two) == placed(two) == str(change.digest)
    assert approvals.pending(two.registry) == []
    newest = history(two.registry)[-1]
    assert (newest.digest, newest.signers) == (change.digest, ("ann", "bob"))


def test_three_are_needed_where_three_are_asked_for(two):
    two.publish(two.registry.authority.with_approvals("policy", 3))
    change = use_policy(two.registry, folder(two), two.people["ann"])
    assert approve(two.registry, change.bundle, two.people["bob"]).state == "waiting"
    assert active(two) != str(change.digest)
    assert approve(two.registry, change.bundle, two.people["cleo"]).state == "done"
    assert active(two) == str(change.digest)


def test_the_gate_judges_by_the_old_policy_while_the_new_one_waits(two):
    two.team()
    model = two.ready()
    use_policy(two.registry, folder(two), two.people["ann"])
    result = two.promote(model)
    assert result.decision.allow, outcomes(result.decision)
    assert result.decision.digests["policy"] == active(two)


# One person


def test_the_proposer_cannot_approve(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    with pytest.raises(Refused) as caught:
        approve(two.registry, change.bundle, two.people["ann"])
    assert caught.value.check == "approval.distinct"
    for _ in range(3):
        two.hand.pass_(minutes=1)
        push(two, approval(two, change.bundle), two.people["ann"])
    assert active(two) != str(change.digest)


def test_one_person_who_approves_again_and_again_counts_once(two):
    two.publish(two.registry.authority.with_approvals("policy", 3))
    change = use_policy(two.registry, folder(two), two.people["ann"])
    for _ in range(4):
        two.hand.pass_(minutes=1)
        push(two, approval(two, change.bundle), two.people["bob"])
    waiting = approvals.find(two.registry, str(change.bundle))
    assert [one.name for one in waiting.identities] == ["ann", "bob"]
    assert active(two) != str(change.digest)


def test_a_key_that_gets_another_name_is_still_the_same_person(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    authority = two.registry.authority
    renamed = [
        identity if identity.name != "ann" else type(identity)("zoe", identity.pem, identity.valid_from)
        for identity in authority.identities
    ]
    from dataclasses import replace

    roles = {
        role: tuple("zoe" if name == "ann" else name for name in names)
        for role, names in authority.projects["*"].roles.items()
    }
    projects = {"*": replace(authority.projects["*"], roles=roles)}
    two.publish(
        replace(authority, version=authority.version + 1, identities=tuple(renamed), projects=projects)
    )
    push(two, approval(two, change.bundle), two.people["ann"])
    assert [one.name for one in approvals.find(two.registry, str(change.bundle)).identities] == ["zoe"]
    assert active(two) != str(change.digest)


def test_a_second_key_under_a_name_that_moved_on_leaves_the_first_without_a_word(two):
    """Ann proposes, is given another key under her name, and approves with that: the proposal has lost its signer."""
    from dataclasses import replace

    change = use_policy(two.registry, folder(two), two.people["ann"])
    other = generate()
    authority = two.registry.authority
    identities = tuple(
        identity
        if identity.name != "ann"
        else type(identity)("ann", other.public_pem, identity.valid_from, None, identity.evidence)
        for identity in authority.identities
    )
    two.publish(replace(authority, version=authority.version + 1, identities=identities))
    push(two, approval(two, change.bundle), other)
    assert active(two) != str(change.digest)
    found = approvals.find(two.registry, str(change.bundle))
    assert found.state == "dead"
    assert "no longer holds the role" in found.reason


def test_strangers_and_other_roles_do_not_count(two):
    two.person("waiver", "waive", "revoke")
    change = use_policy(two.registry, folder(two), two.people["ann"])
    for key in (generate(), two.people["waiver"]):
        with pytest.raises(Refused) as caught:
            approve(two.registry, change.bundle, key)
        assert caught.value.check == "identity.role"
        push(two, approval(two, change.bundle), key)
    assert active(two) != str(change.digest)


# Another proposal, another time


def test_an_approval_counts_for_its_own_proposal_only(two):
    lax = use_policy(two.registry, folder(two), two.people["ann"])
    other = use_policy(
        two.registry, folder(two, "other", "max_age_days = 30", "max_age_days = 31"), two.people["ann"]
    )
    assert lax.bundle != other.bundle
    approve(two.registry, other.bundle, two.people["bob"])
    assert active(two) == str(other.digest)
    signed = [row.envelope for row in _kept(two, "approval")]
    for envelope in signed:  # the same approval handed in again, as it is
        with two.registry.writing():
            outbox.submit(two.registry, Draft(envelope, two.people["bob"].public_pem))
    assert active(two) == str(other.digest)


def _kept(world, stage):
    from weighbridge.trust.bundle import Bundle

    with world.registry.records.read() as connection:
        query = sa.select(schema.bundle.c.content).where(schema.bundle.c.stage == stage)
        texts = connection.execute(query).scalars().all()
    return [Bundle.from_json(text.encode()) for text in texts]


@pytest.mark.parametrize(
    ("kind", "project"), [("mode", "*"), ("waiver", "*"), ("policy", "default"), ("lift", "*")]
)
def test_an_approval_of_another_kind_or_project_does_nothing(two, kind, project):
    two.person("all", "policy", "waive", "revoke")
    change = use_policy(two.registry, folder(two), two.people["ann"])
    push(two, approval(two, change.bundle, kind=kind, project=project), two.people["all"])
    assert active(two) != str(change.digest)


def test_a_proposal_that_was_overtaken_is_dead_and_says_so(two):
    first = use_policy(two.registry, folder(two), two.people["ann"])
    second = use_policy(
        two.registry, folder(two, "other", "max_age_days = 30", "max_age_days = 31"), two.people["cleo"]
    )
    approve(two.registry, second.bundle, two.people["bob"])
    with pytest.raises(Refused) as caught:
        approve(two.registry, first.bundle, two.people["bob"])
    assert caught.value.check == "approval.open"
    assert "overtaken" in caught.value.cause
    push(two, approval(two, first.bundle), two.people["bob"])
    assert active(two) == str(second.digest)
    assert approvals.find(two.registry, str(first.bundle)).state == "dead"


def test_a_proposal_ends_after_seven_days(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    two.hand.pass_(days=7, seconds=1)
    assert "expired" in approvals.find(two.registry, str(change.bundle)).reason
    with pytest.raises(Refused) as caught:
        approve(two.registry, change.bundle, two.people["bob"])
    assert "expired" in caught.value.cause
    push(two, approval(two, change.bundle), two.people["bob"])
    two.hand.pass_(days=-7)  # a clock that is put back does not bring it back either: nothing is said by it
    with pytest.raises(CannotTell) as told:
        push(two, approval(two, change.bundle), two.people["cleo"])
    assert told.value.check == "log.clock"
    two.hand.pass_(days=7)
    push(two, approval(two, change.bundle), two.people["cleo"])
    assert active(two) != str(change.digest)


def test_the_last_second_of_the_seventh_day_still_counts(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    two.hand.at = change.waiting.until
    assert approve(two.registry, change.bundle, two.people["bob"]).state == "done"


@pytest.mark.parametrize("how", ["ended", "role taken", "forgotten"])
@pytest.mark.parametrize("whose", ["ann", "bob"])
def test_whoever_left_meanwhile_does_not_count(two, how, whose):
    two.publish(two.registry.authority.with_approvals("policy", 3))
    change = use_policy(two.registry, folder(two), two.people["ann"])
    approve(two.registry, change.bundle, two.people["bob"])
    two.hand.pass_(hours=1)
    authority = two.registry.authority
    if how == "ended":
        two.publish(authority.revoked(whose, two.hand.now()))
    elif how == "role taken":
        two.publish(authority.without_roles(whose, [Role.POLICY]))
    else:
        from dataclasses import replace

        left = tuple(identity for identity in authority.identities if identity.name != whose)
        two.publish(replace(authority.without_roles(whose, list(Role)), identities=left))
    two.hand.pass_(hours=1)
    two.person("dora", "policy")
    for name in ("cleo", "dora"):
        push(two, approval(two, change.bundle), two.people[name])
    taken = active(two) == str(change.digest)
    assert taken is (whose == "bob")  # cleo and dora are enough beside ann; without ann it is dead


def test_what_is_no_proposal_is_not_found(two):
    for text in ("", "ab", "sha256:" + "0" * 64, "x" * 300):
        with pytest.raises(NotFound):
            approvals.find(two.registry, text)


def test_an_approval_that_came_before_its_proposal_does_nothing(two):
    statement = event(
        "policy",
        (),
        {"digest": f"sha256:{'1' * 64}", "previous": active(two), "blob": "", "commit": ""},
        project="*",
        actor="x",
        at=two.hand.now(),
    )
    envelope = sign_statement(statement, two.people["ann"])
    push(two, approval(two, envelope.digest), two.people["bob"])
    with two.registry.writing():
        outbox.submit(two.registry, Draft(envelope, two.people["ann"].public_pem))
    assert active(two) != f"sha256:{'1' * 64}"


def test_lowering_the_number_takes_the_root_key_and_one_more_word(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    two.publish(two.registry.authority.with_approvals("policy", 1))
    assert active(two) != str(change.digest)
    assert approve(two.registry, change.bundle, two.people["ann"]).state == "done"
    assert active(two) == placed(two) == str(change.digest)


# The database


CHANGES = {
    "the state set to done": "UPDATE proposal SET state = 'done'",
    "an approval written in": "UPDATE proposal SET approvals = replace(approvals, '[]', '[[\"sha256:00\",\"2026-11-22T12:00:00Z\"]]')",
    "time given back": "UPDATE proposal SET logged_at = '2026-12-01T00:00:00Z'",
    "the kind changed": "UPDATE proposal SET kind = 'mode'",
    "the project changed": "UPDATE proposal SET project = 'other'",
    "a proposal deleted": "DELETE FROM proposal",
    "another blob under a policy": "UPDATE policy SET blob = ''",
    "a policy forgotten": "DELETE FROM policy",
    "who asked for a number": "UPDATE proposal SET reason = 'x'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_is_seen(two, change):
    waiting = use_policy(two.registry, folder(two), two.people["ann"])
    sql(two, CHANGES[change])
    for act in (
        lambda: approve(two.registry, waiting.bundle, two.people["bob"]),
        lambda: use_policy(two.registry, folder(two), two.people["bob"]),
        lambda: history(two.registry),
    ):
        with pytest.raises(VerificationFailed) as caught:
            act()
        assert caught.value.check == "records.tally"


# Killed on the way


def test_killed_after_the_log_and_before_the_files_is_finished_by_the_next_writer(two, monkeypatch):
    change = use_policy(two.registry, folder(two), two.people["ann"])

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(policy_files, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            approve(two.registry, change.bundle, two.people["bob"])
    assert active(two) == str(change.digest) != placed(two)
    two.reopen()
    with two.registry.writing():
        pass
    assert placed(two) == active(two)


@pytest.mark.parametrize("step", ["_log", "_finish"])
def test_killed_between_record_and_effect_is_finished_by_the_next_writer(two, monkeypatch, step):
    change = use_policy(two.registry, folder(two), two.people["ann"])

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, step, killed)
        with pytest.raises(KeyboardInterrupt):
            approve(two.registry, change.bundle, two.people["bob"])
    assert active(two) != str(change.digest)
    two.reopen()
    with two.registry.writing():
        pass
    assert active(two) == placed(two) == str(change.digest)
    assert approvals.find(two.registry, str(change.bundle)).state == "done"


def test_files_that_somebody_put_there_are_not_put_back_silently(two):
    change = use_policy(two.registry, folder(two), two.people["ann"])
    approve(two.registry, change.bundle, two.people["bob"])
    for name, data in starter().items():  # an older, once valid policy
        (two.registry.layout.policy / name).write_bytes(data)
    two.team()
    result = two.promote(two.ready())
    assert outcomes(result.decision)["policy.engine"] == "cannot-tell"
    assert placed(two) != active(two)
    again = use_policy(two.registry, folder(two), two.people["cleo"])  # the pinned files: nothing to approve
    assert again.bundle is None
    assert placed(two) == active(two)


# Two at once


def test_two_writers_bring_one_change_about_once(two):
    from weighbridge.registry.wiring import open_registry

    change = use_policy(two.registry, folder(two), two.people["ann"])
    other = open_registry(two.config, clock=two.hand, entropy=two.hand)
    try:
        assert approve(other, change.bundle, two.people["bob"]).state == "done"
        with pytest.raises(Refused) as caught:
            approve(two.registry, change.bundle, two.people["cleo"])
        assert caught.value.check == "approval.open"
        push(two, approval(two, change.bundle), two.people["cleo"])
    finally:
        other.close()
    assert [row.digest for row in history(two.registry)][1:] == [change.digest]


# What is kept


def test_every_policy_that_was_active_can_be_read_for_ever(two):
    first = Digest.parse(active(two))
    change = use_policy(two.registry, folder(two), two.people["ann"])
    with pytest.raises(NotFound):
        kept_policy(two.registry, change.digest)  # it was never active
    approve(two.registry, change.bundle, two.people["bob"])
    assert kept_policy(two.registry, first).digest == first
    assert kept_policy(two.registry, change.digest).settings["own"]["evaluation_required"] is False
    with pytest.raises(NotFound):
        kept_policy(two.registry, Digest("sha256", "0" * 64))


def test_a_kept_policy_that_was_changed_is_seen(two):
    from weighbridge.registry import fsck

    first = Digest.parse(active(two))
    blob = policy_files.keep(two.registry.blobs, starter())
    assert fsck.blobs(two.registry) == []
    path = two.registry.blobs.local(blob)
    data = path.read_bytes().replace(b"notes_allowed = true", b"notes_allowed = True", 1)
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(VerificationFailed) as caught:
        policy_files.kept_files(two.registry, first)
    assert caught.value.check == "policy.kept"
    assert fsck.blobs(two.registry) == [f"{blob.short} has changed"]
    for text in (b"", b"[]", b"{", b'{"a": 1}', b"\xff"):
        path.write_bytes(text)
        with pytest.raises(VerificationFailed):
            policy_files.kept_files(two.registry, first)


def test_an_insider_who_hands_in_a_lost_blob_changes_nothing(two):
    """The pinned files cannot be put in place without their blob: the gate blocks, and says so."""
    change = use_policy(two.registry, folder(two), two.people["ann"])
    blob = policy_files.keep(two.registry.blobs, policy_files.read_folder(folder(two)))
    two.registry.blobs.local(blob).unlink()
    approve(two.registry, change.bundle, two.people["bob"])
    assert active(two) == str(change.digest) != placed(two)
    two.team()
    result = two.promote(two.ready())
    assert outcomes(result.decision)["policy.engine"] == "cannot-tell"
    use_policy(two.registry, folder(two), two.people["cleo"])
    assert placed(two) == active(two)
    assert kept_policy(two.registry, change.digest).digest == change.digest
