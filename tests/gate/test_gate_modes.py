"""Modes: what happens with a truthful answer. Loosening can take two, tightening never waits, damage is enforce."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from weighbridge.claims.records import event
from weighbridge.claims.summary import read_vsa
from weighbridge.core.errors import Refused, UsageError, VerificationFailed
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Mode, Role
from weighbridge.gate.modes import mode_of, modes, namespace_of, set_mode
from weighbridge.gate.policies import approve
from weighbridge.keys.files import generate
from weighbridge.registry import changes, deployments, outbox
from weighbridge.registry.outbox import Draft
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.seal import sign_statement
from world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.hand.pass_(minutes=1)
    yield made
    made.registry.close()


def change(world, mode, *, by="owner", **options):
    key = world.people.get(by) or world.secret(by)
    return set_mode(world.registry, Mode(mode), reason="a trial", signer=key, **options)


def sql(world, *statements):
    with closing(sqlite3.connect(world.registry.layout.database)) as connection:
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
        connection.commit()


def kept(world, stage):
    with closing(sqlite3.connect(world.registry.layout.database)) as connection:
        texts = connection.execute("SELECT content FROM bundle WHERE stage = ?", (stage,)).fetchall()
    return [Bundle.from_json(text.encode()) for (text,) in texts]


def push(world, draft):
    with world.registry.writing():
        outbox.submit(world.registry, draft)


def test_the_nearest_setting_holds(world):
    assert mode_of(world.registry) is Mode.ENFORCE
    change(world, "warn")
    change(world, "observe", namespace="lab")
    assert (mode_of(world.registry), mode_of(world.registry, "lab")) == (Mode.WARN, Mode.OBSERVE)
    change(world, "enforce", project="default")
    assert mode_of(world.registry) is Mode.ENFORCE
    assert mode_of(world.registry, "lab") is Mode.OBSERVE
    change(world, "off", project="default", namespace="lab")
    assert mode_of(world.registry, "lab") is Mode.OFF
    assert mode_of(world.registry, "lab2") is Mode.ENFORCE
    rows = [(row.project, row.namespace, row.mode.value) for row in modes(world.registry)]
    assert rows == [
        ("*", "", "warn"),
        ("*", "lab", "observe"),
        ("default", "", "enforce"),
        ("default", "lab", "off"),
    ]


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_observe_and_off_promote_nothing(world, mode):
    folder = world.ready()
    change(world, mode)
    result = world.promote(folder, name="encoder")
    assert result.decision.allow
    assert not result.decision.enforced
    assert result.path is None
    assert world.kept(folder).tier.value == "intake"
    assert kept(world, "admit") == []
    change(world, "enforce")
    assert world.promote(folder).decision.enforced
    assert world.kept(folder).tier.value == "trusted"


def test_warn_promotes_what_is_allowed_and_nothing_else(world):
    good, bad = world.ready(), world.model("bad", 7.0)
    world.take(bad)
    change(world, "warn")
    assert world.promote(good).path is not None
    result = world.promote(bad)
    assert (result.decision.allow, result.decision.enforced, result.path) == (False, False, None)
    assert world.kept(bad).tier.value == "intake"
    assert {read_vsa(Statement.decode(b.envelope.payload)).manifest for b in kept(world, "admit")} == {
        world.manifest(good).digest
    }


@pytest.mark.parametrize("mode", ["warn", "observe", "off"])
def test_a_blocked_admission_is_recorded_as_running_and_never_summed_up(world, mode):
    folder = world.ready()  # never promoted: blocked
    change(world, mode, namespace="lab")
    result = world.admit(folder, target="lab/chat")
    assert not result.decision.allow
    assert not result.decision.enforced
    assert result.decision.mode is Mode(mode)
    assert kept(world, "admit") == []
    assert [row.target for row in deployments.running(world.registry)] == ["lab/chat"]
    strict = world.admit(folder, target="prod/chat")
    assert (strict.decision.mode, strict.decision.enforced) == (Mode.ENFORCE, True)
    assert [row.target for row in deployments.running(world.registry)] == ["lab/chat"]


def test_a_laxer_namespace_cannot_be_borrowed(world):
    assert namespace_of("prod/chat", None) == "prod"
    assert namespace_of("chat", None) == ""
    assert namespace_of(None, "lab") == "lab"
    assert namespace_of("lab/chat", "lab") == "lab"
    for target, namespace in (("prod/chat", "lab"), ("chat", "lab"), ("prod/chat", "")):
        with pytest.raises(UsageError):
            namespace_of(target, namespace)


ODD = ("a/b", "../x", "lab ", "läb", "", "*", "-x", "x" * 64, "a\n", "mode/lab", "%", "lab\x00", "Lab")


def test_odd_namespaces_are_refused_and_looked_up_as_nobodys(world):
    change(world, "observe", namespace="lab")
    for namespace in ODD:
        assert mode_of(world.registry, namespace) is Mode.ENFORCE
    for namespace in set(ODD) - {"", "Lab"}:
        with pytest.raises(UsageError):
            change(world, "observe", namespace=namespace)
        body = {"namespace": namespace, "mode": "off", "previous": "", "reason": "x"}
        with pytest.raises(VerificationFailed):
            event("mode", (), body, project="*", actor="x", at=world.hand.now())


def test_what_is_no_mode_is_enforce(world):
    change(world, "observe")
    for value in ("", "OBSERVE", "observe ", "none", "0", "null", "x" * 5000):
        sql(world, ("UPDATE setting SET value = ? WHERE key = 'mode'", (value,)))
        assert mode_of(world.registry) is Mode.ENFORCE
        assert changes.read_mode(value) is Mode.ENFORCE


def test_a_mode_written_into_the_database_is_seen(world):
    folder = world.ready()
    change(world, "observe", namespace="lab")
    sql(world, "UPDATE setting SET key = 'mode' WHERE key = 'mode/lab'")
    for act in (lambda: world.admit(folder), lambda: modes(world.registry)):
        with pytest.raises(VerificationFailed) as caught:
            act()
        assert caught.value.check == "records.tally"


def test_strangers_and_empty_reasons_change_nothing(world):
    with pytest.raises(Refused):
        set_mode(world.registry, Mode.OFF, reason="x", signer=generate())
    with pytest.raises(UsageError):
        set_mode(world.registry, Mode.OFF, reason="  ", signer=world.secret("owner"))
    key = generate()
    body = {"namespace": "", "mode": "off", "previous": "", "reason": "x"}
    statement = event("mode", (), body, project="*", actor="x", at=world.hand.now())
    push(world, Draft(sign_statement(statement, key), key.public_pem))
    assert mode_of(world.registry) is Mode.ENFORCE


def test_an_older_mode_signed_again_does_not_come_back(world):
    owner = world.secret("owner")
    change(world, "observe")
    change(world, "enforce")
    change(world, "observe")
    change(world, "enforce")
    for bundle in kept(world, "mode"):
        statement = Statement.decode(bundle.envelope.payload)
        push(world, Draft(bundle.envelope, owner.public_pem))
        push(world, Draft(sign_statement(statement, owner), owner.public_pem))
    assert mode_of(world.registry) is Mode.ENFORCE


def test_loosening_takes_two_where_asked_and_tightening_never_waits(world):
    world.person("ann", "policy")
    world.person("bob", "policy")
    world.publish(world.registry.authority.with_approvals("mode", 2))
    waiting = change(world, "observe", by="ann", namespace="lab").waiting
    assert mode_of(world.registry, "lab") is Mode.ENFORCE
    assert approve(world.registry, waiting.bundle, world.people["bob"]).state == "done"
    assert mode_of(world.registry, "lab") is Mode.OBSERVE
    tighter = change(world, "warn", by="ann", namespace="lab")
    assert (tighter.waiting, tighter.now) == (None, Mode.WARN)
    assert change(world, "enforce", by="bob", namespace="lab").now is Mode.ENFORCE
    again = change(world, "warn", by="bob", namespace="lab")
    assert (again.now, again.waiting.needed) == (Mode.ENFORCE, 2)


def test_a_looser_mode_that_waits_is_overtaken_by_a_tighter_one(world):
    world.person("ann", "policy")
    world.person("bob", "policy")
    change(world, "warn")
    world.publish(world.registry.authority.with_approvals("mode", 2))
    waiting = change(world, "off", by="ann").waiting
    change(world, "enforce", by="bob")
    with pytest.raises(Refused) as caught:
        approve(world.registry, waiting.bundle, world.people["bob"])
    assert "overtaken" in caught.value.cause
    assert mode_of(world.registry) is Mode.ENFORCE


def test_a_clock_that_was_put_back_stops_no_change(world):
    change(world, "observe")
    world.hand.pass_(seconds=-30)
    assert change(world, "enforce").now is Mode.ENFORCE
    assert change(world, "warn").now is Mode.WARN


def test_a_change_that_does_not_count_is_no_success(world):
    key = world.people["later"] = generate()
    start = world.hand.now() + timedelta(days=2)  # named, and not in force yet
    world.publish(
        world.registry.authority.with_identity("later", key.public_pem, [Role.POLICY], valid_from=start)
    )
    with pytest.raises(Refused) as caught:
        change(world, "observe", by="later")
    assert caught.value.check == "record.effect"
    assert mode_of(world.registry) is Mode.ENFORCE


def test_every_change_of_mode_is_told(world):
    from weighbridge.registry.alerts import kept as alerts

    change(world, "observe", namespace="lab")
    change(world, "enforce", namespace="lab")
    told = [(row.severity, row.summary) for row in alerts(world.registry, kinds=["mode-change"])]
    assert [severity for severity, _ in told] == ["critical", "warning"]
    assert all("'lab'" in summary for _, summary in told)


def test_an_audit_names_the_namespaces_in_which_nothing_is_enforced(world):
    from weighbridge.gate.audit import audit

    def measure():
        found = [
            one for risk in audit(world.registry).risks for one in risk.measures if one.id == "gate.mode"
        ]
        return found[0].have, found[0].found

    assert measure() == (1, "mode enforce")
    change(world, "observe", namespace="lab")
    assert measure() == (0, "mode enforce; lab: observe")
    change(world, "enforce", namespace="lab")
    assert measure()[0] == 1
