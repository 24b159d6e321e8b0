"""Who a change waits for, each condition on its own: real signatures and proofs, and the few tables that are asked, in memory."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.errors import NotFound, UsageError, VerificationFailed
from weighbridge.core.identity import Identity
from weighbridge.core.statement import PAYLOAD_TYPE
from weighbridge.core.tier import Role
from weighbridge.keys.files import generate
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.ledger.entry import signed_entry_timestamp
from weighbridge.registry import approvals
from weighbridge.store import schema
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle, LogProof, log_body
from weighbridge.trust.dsse import sign

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LOG = "weighbridge.test - 9"
MODEL = Digest("wb1", "a" * 64)
OLD, NEW = str(Digest.of(b"old")), str(Digest.of(b"new"))
TABLES = (schema.proposal, schema.bundle, schema.setting, schema.distrust)
PEOPLE = ("ann", "bob", "cleo")


@cache
def key(name):
    return generate()


@cache
def authority(needed=2):
    """Name three people who may change policies, waive and withdraw; each kind of change takes `needed` of them."""
    made = Authority("test", 1, NOW - 9 * DAY, NOW + 90 * DAY, (key("root").public_pem,))
    made = made.with_log(LOG, key("log").public_pem)
    roles = [Role.POLICY, Role.WAIVE, Role.REVOKE]
    for name in PEOPLE:
        made = made.with_identity(name, key(name).public_pem, roles, valid_from=NOW - DAY)
    for kind in ("policy", "mode", "waiver", "lift"):
        made = made.with_approvals(kind, needed)
    return made


def logged(statement, by, at):
    """Sign a statement and log it; the bundle carries a real proof."""
    envelope = sign(PAYLOAD_TYPE, statement.encode(), key(by))
    body = log_body(envelope, key(by).public_pem)
    leaves = [merkle.leaf_hash(b"genesis"), merkle.leaf_hash(body)]
    node, seconds, log = merkle.nodes_of(leaves), int(at.timestamp()), key("log")
    root = merkle.root(2, node)
    entry = LogProof(
        log_id=log.key_id, index=1, integrated_time=seconds, body=body,
        promise=signed_entry_timestamp(log, body, seconds, log.key_id, 1), size=2, root=root,
        hashes=merkle.inclusion_proof(1, 2, node), checkpoint=sign_checkpoint(Checkpoint(LOG, 2, root), log),
    )  # fmt: skip
    return Bundle(envelope, key(by).key_id, entries=(entry,))


class House:
    """A registry's tables, its authority and its clock; `told` are the alerts."""

    def __init__(self):
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        for table in TABLES:
            table.create(self.engine)
        self.connection = self.engine.connect()
        self.authority, self.at, self.told = authority(), NOW, []
        self.set("policy", OLD)

    def set(self, name, value, project="*"):
        where = (schema.setting.c.project == project, schema.setting.c.key == name)
        self.connection.execute(sa.delete(schema.setting).where(*where))
        self.insert(schema.setting, key=name, value=value, project=project)

    def insert(self, table, **values):
        row = {"schema_version": 1, "project": "*", "actor": "x", "created_at": rfc3339(NOW - DAY)}
        self.connection.execute(sa.insert(table).values(row | values))

    def cause(self, statement, by):
        """Keep what somebody signed, as the outbox does before its effect."""
        bundle = logged(statement, by, self.at)
        self.insert(
            schema.bundle, digest=str(bundle.digest), stage="record", signer="x", log_index=1,
            content=bundle.to_json().decode(),
        )  # fmt: skip
        row = {"schema_version": 1, "project": "*", "actor": by, "created_at": rfc3339(self.at)}
        return SimpleNamespace(bundle=bundle, logged_at=self.at, record=row, registry=self)

    def said(self, what, by, *, project="*", about=(), **body):
        statement = event(what, about, body, project=project, actor=by, at=self.at)
        return approvals.read_event(statement), self.cause(statement, by)

    def policy(self, by="ann", digest=NEW, previous=OLD):
        return self.said("policy", by, digest=digest, previous=previous, blob="", commit="")

    def proposed(self, by="ann", **options):
        """Propose another policy; returns the proposal's bundle."""
        record, cause = self.policy(by, **options)
        assert not approvals.due(self.connection, self.authority, record, cause)
        return cause.bundle.digest

    def approved(self, bundle, by="bob", *, kind="policy", project="*"):
        """Approve; returns whether the change takes effect by it."""
        record, cause = self.said("approval", by, project=project, bundle=str(bundle), kind=kind)
        found = approvals.approve(self.connection, self.authority, record, cause)
        assert found is None or (found[0].kind, found[1]["digest"]) == (kind, str(bundle))
        return found is not None

    def find(self, bundle):
        return approvals.find(self, str(bundle))

    def change(self, bundle, **values):
        table = schema.proposal
        self.connection.execute(sa.update(table).where(table.c.bundle == str(bundle)).values(**values))

    # What `approvals` asks of a registry.

    @property
    def clock(self):
        return SimpleNamespace(now=lambda: self.at)

    @property
    def records(self):
        return self

    @contextmanager
    def read(self):
        yield self.connection


@pytest.fixture
def house(monkeypatch):
    made = House()
    monkeypatch.setattr(approvals.tally, "check", lambda registry: None)
    monkeypatch.setattr(
        approvals, "alert", lambda connection, registry, *words, **facts: made.told.append((*words, facts))
    )
    return made


def names(proposal):
    return [one.name for one in proposal.identities]


# Which changes wait.


def test_a_change_that_one_may_make_takes_effect_and_waits_nowhere(house):
    house.authority = authority(1)
    record, cause = house.policy()
    assert approvals.due(house.connection, house.authority, record, cause)
    assert (approvals.every(house), house.told) == ([], [])


def test_a_change_that_two_must_make_waits_and_somebody_is_told_once(house):
    record, cause = house.policy()
    for _ in range(3):  # whoever finishes what a killed process began asks again
        assert not approvals.due(house.connection, house.authority, record, cause)
    [found] = approvals.every(house)
    assert (found.state, found.needed, names(found), found.until) == ("waiting", 2, ["ann"], NOW + 7 * DAY)
    [(kind, severity, summary, facts)] = house.told
    assert (kind, severity) == ("policy-change", "warning")
    assert summary == "a change of kind policy is proposed in '*' and waits for 1 more"
    assert facts["facts"]["until"] == "2026-11-29T12:00:00Z"


def test_a_change_that_waited_takes_effect_when_it_is_asked_again(house):
    record, cause = house.policy()
    assert not approvals.due(house.connection, house.authority, record, cause)
    assert house.approved(cause.bundle.digest)
    assert approvals.due(house.connection, house.authority, record, cause)


def mode(house, word, previous):
    house.set("mode", previous)
    return house.said("mode", "ann", namespace="", mode=word, previous=previous, reason="so")[0]


def test_only_what_loosens_the_gate_waits(house):
    """Somebody who sees an attack need not find a second person before the gate closes."""
    takes = approvals.takes
    assert takes(house.connection, house.authority, mode(house, "observe", "enforce")) == 2
    assert takes(house.connection, house.authority, mode(house, "enforce", "observe")) == 1
    assert takes(house.connection, house.authority, house.policy()[0]) == 2


def test_what_is_no_change_of_the_gate_never_waits(house):
    record, cause = house.said("revocation", "ann", about=(MODEL,), reason="poisoned", since=rfc3339(NOW))
    assert approvals.takes(house.connection, house.authority, record) == 1
    assert approvals.due(house.connection, house.authority, record, cause)


# Who counts.


def test_the_second_person_brings_it_about_and_nobody_does_so_twice(house):
    bundle = house.proposed()
    house.at += 7 * DAY
    assert house.approved(bundle)
    found = house.find(bundle)
    assert (found.state, names(found), found.ended_at) == ("done", ["ann", "bob"], house.at)
    assert not house.approved(bundle, "cleo")
    assert names(house.find(bundle)) == ["ann", "bob"]


def test_whoever_says_it_again_adds_nobody_and_is_not_kept(house):
    house.authority = authority(3)
    bundle = house.proposed()
    for by in ("ann", "bob", "bob", "ann"):
        house.at += timedelta(minutes=1)
        assert not house.approved(bundle, by)
    [row] = house.connection.execute(sa.select(schema.proposal)).mappings()
    assert len(json.loads(row["approvals"])) == 1
    assert names(house.find(bundle)) == ["ann", "bob"]
    assert house.approved(bundle, "cleo")


def test_an_approval_of_nothing_is_no_approval(house):
    assert not house.approved(Digest.of(b"no proposal"))


@pytest.mark.parametrize(("kind", "project"), [("mode", "*"), ("policy", "default")])
def test_an_approval_says_of_what_kind_and_in_which_project(house, kind, project):
    """The role of an approval follows from the kind it names; it must be that of what it approves."""
    bundle = house.proposed()
    assert not house.approved(bundle, kind=kind, project=project)
    assert names(house.find(bundle)) == ["ann"]
    assert house.approved(bundle)


def test_a_person_is_who_the_certificate_says_or_else_a_key():
    one, two = Digest.of(b"one"), Digest.of(b"two")
    person = approvals.person
    assert person(Identity(one, "a", "issuer", "ann")) == person(Identity(two, "b", "issuer", "ann"))
    assert person(Identity(one, "a", "issuer", "ann")) != person(Identity(one, "a", "other", "ann"))
    assert person(Identity(one, "a")) == person(Identity(one, "b", "", "somebody"))
    assert person(Identity(one, "a")) != person(Identity(two, "a"))


def distrust(house, name, start):
    said = Distrust(
        Distrusted.SIGNER, "stolen", rfc3339(NOW), "*", key=str(key(name).key_id), name=name, start=rfc3339(start)
    )  # fmt: skip
    house.insert(
        schema.distrust, id=said.id, content=canonical(said.body()).decode(), lifted_at=None, lift_reason="",
        bundle=NEW,
    )  # fmt: skip


@pytest.mark.parametrize(("start", "counts"), [(NOW, []), (NOW + DAY, ["ann"])])
def test_a_distrusted_signer_stands_behind_nothing_from_that_moment_on(house, start, counts):
    bundle = house.proposed()
    distrust(house, "ann", start)
    assert names(house.find(bundle)) == counts


def test_a_distrusted_approval_is_left_out_and_the_others_count(house):
    house.authority = authority(3)
    bundle = house.proposed()
    assert not house.approved(bundle, "bob")
    distrust(house, "bob", NOW)
    assert names(house.find(bundle)) == ["ann"]
    assert not house.approved(bundle, "cleo")
    assert names(house.find(bundle)) == ["ann", "cleo"]


def test_strangers_stand_behind_nothing(house):
    bundle = house.proposed()
    assert not house.approved(bundle, "stranger")
    other = house.proposed("another stranger", digest=str(Digest.of(b"theirs")))
    found = house.find(other)
    assert (found.state, found.reason) == ("dead", "who proposed it no longer holds the role")


def test_nobody_counts_beside_a_proposer_who_does_not(house):
    house.authority = authority(3)
    bundle = house.proposed()
    assert not house.approved(bundle, "bob")
    house.authority = house.authority.without_roles("ann", [Role.POLICY])
    assert names(house.find(bundle)) == []
    assert not house.approved(bundle, "cleo")
    assert house.find(bundle).state == "dead"


@pytest.mark.parametrize(("span", "counts"), [(timedelta(0), ["ann"]), (timedelta(seconds=1), [])])
def test_an_identity_counts_to_its_last_moment(house, span, counts):
    bundle = house.proposed()
    house.authority = house.authority.revoked("ann", NOW + timedelta(hours=1))
    house.at = NOW + timedelta(hours=1) + span
    assert names(house.find(bundle)) == counts


# When it is over.


@pytest.mark.parametrize(("span", "state"), [(timedelta(0), "waiting"), (timedelta(seconds=1), "dead")])
def test_a_proposal_lives_for_seven_days(house, span, state):
    bundle = house.proposed()
    house.at = NOW + 7 * DAY + span
    found = house.find(bundle)
    assert found.state == state
    assert found.reason == (
        "" if state == "waiting" else "expired: not enough approvals came until 2026-11-29T12:00:00Z"
    )
    assert [row.bundle for row in approvals.pending(house)] == [bundle], "what died says why"
    assert house.approved(bundle) is (state == "waiting")


def test_what_died_by_an_approval_that_came_too_late_stays_dead(house):
    bundle = house.proposed()
    house.at = NOW + 8 * DAY
    assert not house.approved(bundle)
    house.at = NOW + DAY
    found = house.find(bundle)
    assert (found.state, found.ended_at) == ("dead", NOW + 8 * DAY)
    assert found.reason.startswith("expired")
    assert not house.approved(bundle, "cleo")


def test_a_proposal_that_was_overtaken_says_so(house):
    bundle = house.proposed()
    house.set("policy", str(Digest.of(b"third")))
    assert house.find(bundle).reason.startswith(f"overtaken: it was to follow {OLD}")
    assert not house.approved(bundle)


def test_what_is_done_waits_no_more_and_stays_as_it_was(house):
    """Who stood behind a change is history: a later authority takes nobody out of it and asks for nobody more."""
    bundle, other = house.proposed(), house.proposed(digest=str(Digest.of(b"third")))
    assert house.approved(bundle)
    assert [row.bundle for row in approvals.pending(house)] == [other]
    house.authority = authority(3).revoked("bob", NOW + timedelta(hours=1))
    house.at = NOW + 8 * DAY
    found = house.find(bundle)
    assert (found.state, found.reason, found.needed, names(found)) == ("done", "", 2, ["ann", "bob"])
    assert house.find(other).needed == 3


# Waivers, read where they count.


def waiver(house):
    return house.said(
        "waiver", "ann", about=(MODEL,), rule="r", fingerprint="f" * 32, reason="seen", expires=rfc3339(NOW + DAY)
    )  # fmt: skip


def stands(house, record, cause):
    return approvals.stands(house.connection, house.authority, record, cause.bundle)


def test_a_waiver_by_one_stands_where_one_is_enough(house):
    house.authority = authority(1)
    assert stands(house, *waiver(house))


def test_a_waiver_stands_when_it_was_done_by_enough_and_not_before(house):
    record, cause = waiver(house)
    assert not stands(house, record, cause), "nobody proposed it"
    assert not approvals.due(house.connection, house.authority, record, cause)
    assert not stands(house, record, cause), "it waits"
    house.change(cause.bundle.digest, state="done", ended_at=rfc3339(NOW))
    assert not stands(house, record, cause), "one who changed the row is not a second person"
    house.change(cause.bundle.digest, state="waiting", ended_at=None)
    assert house.approved(cause.bundle.digest, kind="waiver")
    assert stands(house, record, cause)
    house.change(cause.bundle.digest, state="dead")
    assert not stands(house, record, cause)


def test_a_waiver_no_longer_stands_where_more_are_asked_for_since(house):
    record, cause = waiver(house)
    approvals.due(house.connection, house.authority, record, cause)
    assert house.approved(cause.bundle.digest, kind="waiver")
    house.authority = authority(3)
    assert not stands(house, record, cause)


# Finding them.


def test_a_proposal_is_found_by_its_beginning_if_there_is_one_such(house):
    one, two = house.proposed(), house.proposed(digest=str(Digest.of(b"third")))
    assert approvals.find(house, one.hex[:20]).bundle == one
    assert approvals.find(house, str(two)).bundle == two
    for text in ("", "sha256:", "no such"):
        with pytest.raises(NotFound) as caught:
            approvals.find(house, text)
        assert caught.value.problem == f"there is no proposal {text!r}"


def test_a_beginning_that_means_two_is_said_to(house):
    bundles = [house.proposed(digest=str(Digest.of(b"%d" % n))) for n in range(17)]
    first = next(b.hex[0] for b in bundles if sum(c.hex[0] == b.hex[0] for c in bundles) > 1)
    with pytest.raises(NotFound) as caught:
        approvals.find(house, first)
    assert caught.value.problem == f"{first!r} means more than one proposal"


def lift(house, identity, at):
    house.at = at
    record, cause = house.said(
        "lift", "ann", about=(MODEL,), id=identity, reason="a false alarm", since=rfc3339(NOW)
    )
    assert not approvals.due(house.connection, house.authority, record, cause)
    return cause.bundle.digest


def test_what_waits_to_be_lifted_is_not_asked_for_twice(house):
    advisory = f"adv-{'1' * 16}"
    house.proposed()
    approvals.check_lift(house, advisory)
    first, second = lift(house, advisory, NOW), lift(house, advisory, NOW + timedelta(hours=1))
    assert {text: row.bundle for text, row in approvals.lifts_waiting(house).items()} == {advisory: first}
    with pytest.raises(UsageError) as caught:
        approvals.check_lift(house, advisory)
    assert caught.value.problem == f"{advisory} waits to be lifted already"
    assert first.hex[:12] in caught.value.remedy
    approvals.check_lift(house, f"adv-{'2' * 16}")
    for bundle in (first, second):
        assert house.approved(bundle, kind="lift")
    approvals.check_lift(house, advisory)


def test_who_may_still_agree_is_named(house):
    bundle = house.proposed()
    assert approvals.may_join(house, house.find(bundle)) == ["bob", "cleo"]
    made = house.authority.without_roles("bob", [Role.POLICY])
    made = made.with_identity("dora", key("dora").public_pem, [Role.POLICY], valid_from=NOW)
    made = made.with_identity("emil", key("emil").public_pem, [Role.POLICY], valid_from=NOW + DAY)
    house.authority = made.revoked("cleo", NOW)
    assert approvals.may_join(house, house.find(bundle)) == ["cleo", "dora"]
    house.at += timedelta(seconds=1)
    assert approvals.may_join(house, house.find(bundle)) == ["dora"]


# Who signed, for people.


def test_who_stood_behind_a_change_is_told_by_name(house, monkeypatch):
    bundle = house.proposed()
    house.approved(bundle)
    assert approvals.signers(house.connection, house.authority, str(bundle)) == ["ann", "bob"]
    _, alone = house.policy("stranger")
    told = approvals.signers(house.connection, house.authority, str(alone.bundle.digest))
    assert told == [key("stranger").key_id.short], "what never waited was signed by one"
    for one, called in ((Identity(MODEL, "ci", "issuer", "ann@x"), "ann@x"), (Identity(MODEL, "ci"), "ci")):
        monkeypatch.setattr(approvals, "who_signed", lambda bundle, authority, one=one: one)
        assert approvals.signers(house.connection, house.authority, str(alone.bundle.digest)) == [called]


# The database.


def exchanged(house, bundle, other):
    table = schema.bundle
    content = house.connection.execute(sa.select(table.c.content).where(table.c.digest == other)).scalar()
    house.connection.execute(sa.update(table).where(table.c.digest == bundle).values(content=content))


def removed(house, bundle, other):
    house.connection.execute(sa.delete(schema.bundle).where(schema.bundle.c.digest == bundle))


@pytest.mark.parametrize("how", [exchanged, removed])
def test_a_proposal_whose_words_were_exchanged_or_removed_is_seen(house, how):
    """Whoever writes the database could otherwise have people approve something else."""
    bundle, other = house.proposed(), house.proposed(digest=str(Digest.of(b"theirs")))
    how(house, str(bundle), str(other))
    for act in (lambda: house.approved(bundle), lambda: approvals.every(house)):
        with pytest.raises(VerificationFailed) as caught:
            act()
        assert caught.value.check == "records.bundle"


def test_rows_that_the_tally_refuses_are_not_shown(house, monkeypatch):
    """People would otherwise agree to what somebody wrote into the database."""
    bundle = house.proposed()

    def refuse(registry):
        raise VerificationFailed("a row was changed", check="records.tally")

    monkeypatch.setattr(approvals.tally, "check", refuse)
    for act in (lambda: approvals.pending(house), lambda: house.find(bundle)):
        with pytest.raises(VerificationFailed) as caught:
            act()
        assert caught.value.check == "records.tally"


@pytest.mark.parametrize("how", [exchanged, removed])
def test_an_approval_that_was_exchanged_or_removed_counts_for_nobody(house, how):
    house.authority = authority(3)
    bundle = house.proposed()
    house.approved(bundle, "bob")
    other = house.proposed("cleo", digest=str(Digest.of(b"another")))
    [row] = house.connection.execute(
        sa.select(schema.proposal).where(schema.proposal.c.bundle == str(bundle))
    ).mappings()
    [(approval, _)] = json.loads(row["approvals"])
    how(house, approval, str(other))
    found = house.find(bundle)
    assert (found.state, names(found)) == ("waiting", ["ann"])
