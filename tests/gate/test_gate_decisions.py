"""Decisions are a chain that is read back against what was signed; whatever is taken out, exchanged or added shows."""

import json

import pytest
import sqlalchemy as sa

from weighbridge.claims.records import event, read_event
from weighbridge.claims.results import decided, properties_of, unwrapped
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Tier
from weighbridge.gate import promote as promoting
from weighbridge.gate.decision_log import opa_event
from weighbridge.gate.decisions import kept
from weighbridge.gate.enforced import enforced_on
from weighbridge.registry import decisions, fsck, models
from weighbridge.registry.outbox import sign, submit
from weighbridge.store import schema
from world import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.registry.close()


def decide_twice(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert not world.admit(world.ready("other", seed=5.0)).decision.allow
    assert world.admit(folder).decision.allow


@pytest.fixture
def decided_twice(world):
    world.furnish("decided twice", decide_twice)
    world.folder_of_model = world.folder / "encoder"
    return world


def change(world, text, *values):
    with world.registry.records.write() as connection:
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        connection.exec_driver_sql(text.replace("?", mark), values)


def problems(world):
    return [one.problem for one in kept(world.registry)]


def test_each_decision_names_the_one_before(decided_twice):
    found = list(kept(decided_twice.registry))
    assert [one.sequence for one in found] == [1, 2, 3]
    assert [one.body["previous"] for one in found] == ["", str(found[0].id), str(found[1].id)]
    assert [one.problem for one in found] == ["", "", ""]
    assert [one.allow for one in found] == [True, False, True]
    for one in found:
        assert Digest.of(canonical(one.body)) == one.id
        assert one.basis().digest == Digest.parse(one.evidence)
    assert fsck.decisions(decided_twice.registry) == []


def test_evidence_is_kept_once(decided_twice):
    world = decided_twice
    with world.registry.records.read() as connection:
        held = connection.execute(sa.select(schema.decision.c.evidence)).scalars().all()
        number = connection.execute(sa.select(sa.func.count()).select_from(schema.evidence)).scalar()
    assert all(text.startswith("sha256:") for text in held)
    assert number == len(set(held))


def test_a_decision_taken_out_shows_before_anything_is_listed(decided_twice):
    change(decided_twice, "DELETE FROM decision WHERE sequence = 2")
    with pytest.raises(VerificationFailed):
        list(kept(decided_twice.registry))
    with decided_twice.registry.records.read() as connection, pytest.raises(VerificationFailed) as caught:
        decisions.check(connection)
    assert caught.value.check == "decisions.chain"
    assert any("does not follow" in row for row in fsck.decisions(decided_twice.registry))


def test_two_decisions_with_one_number_show(decided_twice):
    change(decided_twice, "UPDATE decision SET sequence = 1 WHERE sequence = 2")
    with decided_twice.registry.records.read() as connection:
        decisions.check(connection)  # their number is the same: what tells is reading them
    assert fsck.decisions(decided_twice.registry)


def test_the_end_of_the_chain_is_signed_with_the_rest(decided_twice):
    change(decided_twice, "UPDATE setting SET value = ? WHERE key = 'decisions'", '{"id":"x","sequence":2}')
    with pytest.raises(VerificationFailed, match="records"):
        list(kept(decided_twice.registry))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "UPDATE decision SET content = replace(content, 'enforce', 'observe') WHERE sequence = 2",
            "digest of",
        ),
        ("UPDATE evidence SET content = replace(content, 'clean', 'notes')", "exchanged"),
        ("DELETE FROM evidence", "gone"),
        ("UPDATE decision SET manifest = replace(manifest, 'a', 'b') WHERE sequence = 2", "another model"),
        (
            "UPDATE decision SET bundle = (SELECT bundle FROM decision WHERE sequence = 1)",
            "not what was signed",
        ),
        ("UPDATE decision SET evidence = 'sha256:00'", "gone"),
        ('UPDATE decision SET receipt = \'{"log_index":1,"proof":{},"assurance":"public"}\'', "receipt"),
        ("UPDATE decision SET receipt = 'no json'", "read"),
        ("UPDATE decision SET id = 'sha256:' || sequence", "digest of"),
    ],
)
def test_what_was_changed_is_named_and_never_passed_on_as_sound(decided_twice, text, says):
    change(decided_twice, text)
    said = " ".join(problems(decided_twice))
    assert says in said


def test_the_signed_statement_exchanged(decided_twice):
    with decided_twice.registry.records.read() as connection:
        first, other = connection.exec_driver_sql(
            "SELECT bundle FROM decision WHERE sequence IN (1, 2) ORDER BY sequence"
        ).scalars()
    exchange = "UPDATE bundle SET content = (SELECT content FROM bundle WHERE digest = ?) WHERE digest = ?"
    change(decided_twice, exchange, first, other)
    assert "exchanged" in " ".join(problems(decided_twice))


def draft(world, body, about=None):
    about = about or world.manifest(world.folder_of_model).digest
    statement = event("decision", (about,), body, **world.registry.event_facts())
    return sign(decided(statement, world.registry.id), world.registry.gate_key)


@pytest.mark.parametrize("place", [(3, None), (5, None), (4, "sha256:" + "0" * 64), (None, None)])
def test_a_decision_out_of_order_takes_no_effect(decided_twice, place):
    world = decided_twice
    last = list(kept(world.registry))[-1]
    sequence, previous = place
    body = {**last.body, "time": "2030-01-01T00:00:00Z", "sequence": sequence}
    body["previous"] = previous if previous is not None else str(last.id)
    if sequence is None:
        del body["sequence"], body["previous"]
    with world.registry.writing():
        submit(world.registry, draft(world, body))
    assert [one.sequence for one in kept(world.registry)] == [1, 2, 3]
    right = {**body, "sequence": 4, "previous": str(last.id)}
    with world.registry.writing():
        submit(world.registry, draft(world, right))
    assert [one.sequence for one in kept(world.registry)] == [1, 2, 3, 4]


def test_an_admission_without_a_decision_admits_nothing(world):
    folder = world.ready()
    model = models.get(world.registry, world.manifest(folder).digest)
    decision = promoting._judged(world.registry, model.digest, "promote")[1].decision
    assert decision.allow
    with world.registry.writing():
        summary = promoting._summary(world.registry, model, decision, Digest.of(b"no decision"))
        submit(world.registry, summary)
    assert models.get(world.registry, model.digest).tier is Tier.INTAKE


def test_a_row_deleted_between_record_and_log_comes_back_from_what_was_signed(world, monkeypatch):
    folder = world.ready()
    from weighbridge.gate import settling

    monkeypatch.setattr(settling, "drain", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(CannotTell, match="could not be logged") as caught:
        world.promote(folder)
    assert caught.value.exit_code == 3
    monkeypatch.undo()
    change(world, "DELETE FROM decision")
    world.reopen()
    with world.registry.writing():
        pass
    [found] = kept(world.registry)
    assert found.allow
    assert not found.problem
    assert models.get(world.registry, world.manifest(folder).digest).tier is Tier.TRUSTED


def test_what_cannot_be_recorded_is_said(world, monkeypatch):
    folder = world.ready()
    from weighbridge.gate import settling

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(settling.decisions, "keep_evidence", full)
    with pytest.raises(CannotTell, match="no decision could be recorded"):
        world.promote(folder)
    assert list(kept(world.registry)) == []


def test_an_error_while_gathering_is_a_decision(world, monkeypatch):
    folder = world.ready()

    def broken(*_, **__):
        raise CannotTell("the store of blobs did not answer", cause="it is away")

    monkeypatch.setattr(promoting, "gather", broken)
    result = world.promote(folder)
    assert not result.decision.allow
    assert result.decision.exit_code == 3
    [check] = [row for row in result.decision.checks if row.id == "evidence.gathered"]
    assert check.found == "the store of blobs did not answer: it is away"
    [found] = kept(world.registry)
    assert (found.problem, found.evidence, found.text) == ("", "", "")


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), MemoryError(), OSError(5, "I/O error"), RecursionError()]
)
def test_our_own_mistakes_block_and_are_recorded(world, monkeypatch, error):
    folder = world.ready()
    monkeypatch.setattr(promoting, "gather", lambda *_, **__: (_ for _ in ()).throw(error))
    result = world.promote(folder)
    assert result.decision.exit_code == 3
    assert [one.allow for one in kept(world.registry)] == [False]


def test_a_model_that_is_not_here_is_no_decision(world):
    world.ready()
    with pytest.raises(NotFound):
        promoting.promote(world.registry, Digest("wb1", "0" * 64))
    assert list(kept(world.registry)) == []


def test_first_decisions_are_still_read(decided_twice):
    """Those that an older version wrote: a bare record, no number, the evidence in the row."""
    world = decided_twice
    other = World(world.folder / "old", anew=True)
    folder = other.ready()
    judged = promoting._judged(other.registry, other.manifest(folder).digest, "promote")[1]
    body, about = judged.decision.to_json(), other.manifest(folder).digest
    statement = event("decision", (about,), body, **other.registry.event_facts())
    row = {
        **other.registry.record(), "id": str(Digest.of(canonical(body))), "manifest": str(about), "action": "promote",
        "answer": "allow", "content": canonical(body).decode(), "evidence": judged.basis.text,
    }  # fmt: skip
    with other.registry.writing():
        with other.registry.records.write() as connection:
            connection.execute(sa.insert(schema.decision).values(row))
        submit(other.registry, sign(statement, other.registry.gate_key))
    other.admit(folder)
    old, new = kept(other.registry)
    assert (old.sequence, old.problem, new.sequence) == (None, "", 1)
    assert old.basis().digest == Digest.parse(old.evidence)
    assert fsck.decisions(other.registry) == []
    other.registry.close()


# ---------------------------------------------------------------- as a verification result


def test_a_decision_is_a_simple_verification_result(decided_twice):
    allowed, blocked, _ = kept(decided_twice.registry)
    for one in (allowed, blocked):
        statement = Statement.decode(one.bundle.envelope.payload)
        assert statement.predicate_type == "https://in-toto.io/attestation/svr/v0.2"
        assert statement.predicate["properties"] == properties_of(one.body)
        assert read_event(statement).kind == "decision"
    assert properties_of(allowed.body)[0] == "WEIGHBRIDGE_ALLOWED_PROMOTE"
    assert not any("ALLOWED" in name for name in properties_of(blocked.body))
    assert not any("POLICY" in name for name in properties_of(allowed.body))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.update(timeCreated="2020-01-01T00:00:00Z"),
        lambda row: row["properties"].append("WEIGHBRIDGE_ALLOWED_ADMIT"),
        lambda row: row["verifier"].update(id="https://somebody.example"),
        lambda row: row.update(more=1),
        lambda row: row["verifier"].pop("policies"),
        lambda row: row.pop("verifier"),
    ],
)
def test_a_result_that_says_something_else_than_its_decision_is_refused(decided_twice, spoil):
    one = next(iter(kept(decided_twice.registry)))
    value = json.loads(one.bundle.envelope.payload)
    spoil(value["predicate"])
    statement = Statement.decode(canonical(value))
    with pytest.raises(VerificationFailed):
        unwrapped(statement)


# ---------------------------------------------------------------- exported, and on a date


def test_opas_shape(decided_twice):
    allowed, blocked, _ = kept(decided_twice.registry)
    short = opa_event(blocked, "r")
    assert short["decision_id"] == str(blocked.id)
    assert short["path"] == "weighbridge/own"
    assert short["input"]["evidence"] == {"digest": blocked.evidence, "manifest": blocked.manifest}
    assert short["result"]["allow"] is False
    assert short["result"]["deny"][0]["rule"] == "tier.trusted"
    assert short["bundles"]["policy"] == {"revision": blocked.body["digests"]["policy"]}
    whole = opa_event(allowed, "r", whole=True)
    assert whole["input"]["evidence"] == json.loads(allowed.text)
    assert whole["result"] == {"allow": True, "deny": [], "warn": whole["result"]["warn"]}


def test_what_was_enforced_on_a_date(world):
    folder = world.ready()
    manifest = world.manifest(folder).digest
    before = world.hand.now()
    world.hand.pass_(hours=1)
    world.promote(folder)
    world.hand.pass_(hours=30)
    world.admit(folder)
    now = world.hand.now()
    assert enforced_on(world.registry, manifest, before)["decision"] is None
    world.hand.pass_(hours=-2)
    first = enforced_on(world.registry, manifest, world.hand.now())
    assert (first["decision"]["sequence"], first["admission"]["good"]) == (1, False)
    world.hand.pass_(hours=4)
    second = enforced_on(world.registry, manifest, world.hand.now())
    assert (second["decision"]["sequence"], second["admission"]["good"]) == (2, True)
    assert second["authority"]["version"] == world.registry.authority.version
    assert second["proof"]["bundle"]["dsseEnvelope"]
    assert second["unknown"]
    assert now


def test_a_clock_that_goes_backwards_changes_no_order(world):
    folder = world.ready()
    world.hand.pass_(hours=3)
    world.promote(folder)
    world.hand.pass_(minutes=-4)  # no more than clocks differ: beyond that nothing is decided
    world.admit(folder)
    assert [one.sequence for one in kept(world.registry)] == [1, 2]
    assert problems(world) == ["", ""]


def test_a_decision_that_waits_for_the_log_comes_before_the_next(world, monkeypatch):
    folder = world.ready()
    from weighbridge.gate import settling

    real = settling.drain
    with world.registry.writing():
        monkeypatch.setattr(settling, "drain", lambda *_: (_ for _ in ()).throw(OSError("no log")))
        with pytest.raises(CannotTell):
            world.promote(folder)
        monkeypatch.setattr(settling, "drain", real)
        assert world.promote(folder).decision.allow
    assert [(one.sequence, one.problem) for one in kept(world.registry)] == [(1, ""), (2, "")]


def test_numbers_are_asked_about_as_they_are_kept(world):
    from weighbridge.gate.judging import Basis

    folder = world.ready()
    world.say_evaluate(folder, world.people["evaluate-team"], accuracy=1.0, loss=0.5)
    evidence = promoting.gather(world.registry, models.get(world.registry, world.manifest(folder).digest))
    basis = Basis.of(evidence)
    assert basis.document == Basis.read(basis.text).document
    assert json.dumps(basis.document) == json.dumps(Basis.read(basis.text).document)
