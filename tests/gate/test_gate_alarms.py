"""When deciding itself fails, somebody is told: by a row, or past a registry that takes none."""

import errno
import json
import os
import sqlite3

import pytest

from weighbridge.core.alert import Sink
from weighbridge.core.errors import (
    CannotTell,
    Locked,
    NotFound,
    RegistryUnusable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.gate import alarms
from weighbridge.gate.alerting import deliver
from weighbridge.gate.heartbeat import beat, life, missed
from weighbridge.registry import alert_spool
from weighbridge.registry.alerts import kept, made
from world import World
from world_receiver import SECRET, Receiver


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK", SECRET)
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def told(world, kind=None):
    return [row for row in kept(world.registry) if kind in (None, row.kind)]


def sink(receiver, **more):
    return Sink("ops", "webhook", url=receiver.url, secret_env="HOOK", seconds=1, **more)


def listens(world, *sinks):
    object.__setattr__(world.registry.config, "alerts", sinks)


# ---------------------------------------------------------------- decisions


def test_a_model_that_is_refused_when_it_is_to_run_is_told(world):
    folder = world.ready()
    assert not world.admit(folder).decision.allow
    [row] = told(world)
    assert (row.kind, row.severity) == ("decision-blocked", "warning")
    assert row.about == (str(world.manifest(folder).digest),)
    assert "tier.trusted" in row.summary
    assert row.facts["decision"].startswith("sha256:")
    world.admit(folder)
    assert [row.count for row in told(world)] == [2]


def test_what_is_allowed_and_what_is_refused_on_asking_are_not_told(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    assert world.admit(folder).decision.allow
    world.say_data(world.dataset("more", "x\n"), world.people["data-team"])
    assert told(world) == []


def test_a_policy_that_cannot_be_asked_is_an_outage_once_for_all_models(world):
    first, second = world.ready("one"), world.ready("two", seed=9.0)
    for file in world.registry.layout.policy.iterdir():
        file.unlink()
    for folder in (first, second):
        assert world.promote(folder).decision.exit_code == 3
    [row] = told(world)
    assert (row.kind, row.severity, row.count) == ("outage", "critical", 2)
    assert "policy engine" in row.summary


def test_an_expired_authority_is_an_outage(world):
    folder = world.ready()
    for days, words in (
        (4000, "the authority is not in force"),
        (-4001, "this machine's clock stands behind"),
    ):
        world.hand.pass_(days=days)
        with pytest.raises(CannotTell) as refused:
            world.promote(folder)
        alarms.noted(refused.value, world.config, world.hand, world.registry)
        assert any(row.summary.startswith(words) for row in told(world, "outage"))


def test_bytes_that_cannot_be_read_are_told(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    for entry in world.manifest(folder).files:
        blob = world.registry.blobs.local(entry.sha256)
        blob.parent.chmod(0o755)
        blob.unlink()
    assert not world.admit(folder).decision.allow
    assert told(world, "outage") or told(world, "decision-blocked")


# ---------------------------------------------------------------- errors that commands end with


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VerificationFailed("x", check="records.tally"), "tampering"),
        (VerificationFailed("x", check="decisions.chain"), "tampering"),
        (VerificationFailed("x", check="authority.rollback"), "tampering"),
        (VerificationFailed("x", check="log.consistency"), "log-alarm"),
        (VerificationFailed("x", check="log.witness-alarm"), "log-alarm"),
        (VerificationFailed("x", check="authority.expired"), "outage"),
        (RegistryUnusable("x"), "outage"),
        (CannotTell("x", check="decision.logged"), "outage"),
        (Unreadable("x", check="log.disk"), "outage"),
        (OSError(errno.ENOSPC, "full"), "outage"),
        (VerificationFailed("x", check="bundle.signature"), None),
        (VerificationFailed("x", check="source.announced"), None),
        (RegistryUnusable("x", check="registry.pinned"), None),
        (OSError(errno.EACCES, "no", "/somewhere/else"), None),
        (Locked("x"), None),
        (NotFound("x"), None),
        (ValueError("x"), None),
    ],
    ids=lambda value: getattr(value, "check", None) or str(value),
)
def test_which_errors_are_alarms(world, error, kind):
    found = alarms.alarm_of(error, world.config)
    assert (found.kind if found else None) == kind


def test_an_authority_that_somebody_was_given_is_no_alarm(world):
    error = VerificationFailed("x", check="authority.signature")
    assert alarms.alarm_of(error, world.config, opening=False) is None


def test_tampering_is_told_although_the_records_are_refused(world, receiver):
    listens(world, sink(receiver))
    folder = world.ready()
    with sqlite3.connect(world.registry.layout.database) as database:
        database.execute("UPDATE model SET tier = 'trusted'")
    with pytest.raises(VerificationFailed) as caught:
        world.promote(folder)
    assert alarms.noted(caught.value, world.registry.config, world.hand, world.registry) == []
    assert [one.told for one in deliver(world.registry)] == [1]
    assert [(row["kind"], row["severity"]) for row in receiver.told] == [("tampering", "critical")]
    assert receiver.told[0]["facts"]["check"] == "records.tally"


def test_a_registry_that_cannot_be_opened_is_told_from_the_spool_and_later_from_the_table(world, receiver):
    listens(world, sink(receiver))
    config, error = world.registry.config, RegistryUnusable("the database is gone")
    assert [one.told for one in alarms.noted(error, config, world.hand)] == [1]
    assert alarms.noted(error, config, world.hand) == []  # the same second: it was told
    world.hand.pass_(minutes=1)
    assert alarms.noted(error, config, world.hand) == []  # too soon after the first
    world.hand.pass_(minutes=6)
    assert [one.told for one in alarms.noted(error, config, world.hand)] == [1]
    assert [row["count"] for row in receiver.told] == [1, 4]
    [spooled] = alert_spool.waiting(world.home)
    assert alert_spool.path(world.home).stat().st_mode & 0o777 in (0o600, 0o644)
    assert spooled.alert.count == 4
    assert deliver(world.registry)[0].told == 1  # the registry opens again
    assert alert_spool.waiting(world.home) == []
    assert [(row.kind, row.count) for row in told(world)] == [("outage", 4)]
    assert receiver.told[-1]["key"] == receiver.told[-2]["key"]


def test_a_receiver_that_was_gone_is_told_from_the_spool_when_it_is_back(world, receiver):
    receiver.behaviour = 500
    listens(world, sink(receiver))
    config = world.registry.config
    assert alarms.noted(RegistryUnusable("gone"), config, world.hand)[0].problem
    assert alarms.retell(config, world.hand) == []  # too soon
    receiver.behaviour = 200
    world.hand.pass_(minutes=6)
    assert [one.told for one in alarms.retell(config, world.hand)] == [1]
    world.hand.pass_(minutes=6)
    assert alarms.retell(config, world.hand) == []


def test_a_full_disk_at_the_spool_holds_up_no_telling(world, receiver, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    listens(world, sink(receiver))
    monkeypatch.setattr(alert_spool, "write_durably", full)
    results = alarms.noted(RegistryUnusable("gone"), world.registry.config, world.hand)
    assert {one.sink for one in results if one.problem} == {"spool"}
    assert [row["summary"] for row in receiver.told] == ["gone"]


def test_a_home_where_nothing_can_be_written_changes_no_error(world):
    (world.home / "alerts").write_text("a file where a folder should be")
    results = alarms.noted(RegistryUnusable("gone"), world.registry.config, world.hand)
    assert [one.sink for one in results] == ["spool"]


@pytest.mark.parametrize("garbage", [b"", b"{", b"[1]", b'[{"root": 1}]', b"[[]]", b"\xff" * 10])
def test_a_spool_of_garbage_is_no_spool(world, garbage):
    place = alert_spool.path(world.home)
    place.parent.mkdir()
    place.write_bytes(garbage)
    assert alert_spool.waiting(world.home) == []
    alarms.noted(RegistryUnusable("gone"), world.registry.config, world.hand)
    assert [row.alert.summary for row in alert_spool.waiting(world.home)] == ["gone"]


def test_the_spool_is_bounded_and_drops_nothing(world):
    for number in range(alert_spool.MOST + 50):
        alert = made(
            "tampering",
            "critical",
            f"number {number}",
            facts={},
            project="p",
            actor="a",
            now=world.hand.now(),
        )
        alert_spool.spool(world.home, world.registry.layout.root, alert)
    rows = alert_spool.waiting(world.home)
    assert len(rows) <= alert_spool.MOST + 1
    assert sum(row.alert.count for row in rows) == alert_spool.MOST + 50


def test_another_registrys_spool_is_left_alone(world, tmp_path):
    alert = made("outage", "critical", "x", facts={}, project="p", actor="a", now=world.hand.now())
    alert_spool.spool(world.home, tmp_path / "elsewhere", alert)
    alert_spool.spool(world.home, world.registry.layout.root, alert)
    assert alert_spool.take(world.registry) == 1
    assert [row.root for row in alert_spool.waiting(world.home)] == [str(tmp_path / "elsewhere")]


# ---------------------------------------------------------------- the dead man


def test_a_sign_of_life_says_what_was_decided_and_reaches_those_who_want_it(world, receiver):
    folder = world.ready()
    world.promote(folder)
    listens(world, sink(receiver, heartbeat=True), Sink("quiet", "stderr"))
    assert [one.sink for one in beat(world.registry, 60)] == ["ops"]
    [row] = receiver.told
    assert (row["kind"], row["facts"]["every"]) == ("heartbeat", 60)
    assert row["facts"]["last_decision"] == "2026-11-22T12:00:00Z"
    assert row["facts"]["not_logged"] == 0
    assert told(world) == []


def test_an_alertmanagers_heartbeat_ends_by_itself(world, receiver):
    listens(world, Sink("am", "alertmanager", url=receiver.url, heartbeat=True))
    beat(world.registry, 60)
    world.hand.pass_(seconds=60)
    beat(world.registry, 60)
    (first,), (second,) = (json.loads(body) for _, _, body in receiver.requests)
    assert first["labels"] == second["labels"]  # one alert that goes on
    assert second["endsAt"] == "2026-11-22T12:04:00Z"
    assert second["labels"]["alertname"] == "WeighbridgeHeartbeat"


def test_a_gate_that_could_not_decide_gives_no_sign_of_life(world, receiver):
    listens(world, sink(receiver, heartbeat=True))
    with sqlite3.connect(world.registry.layout.database) as database:
        database.execute("UPDATE setting SET value = 'off' WHERE key = 'policy'")
    with pytest.raises(VerificationFailed):
        beat(world.registry, 60)
    assert receiver.requests == []
    assert life(world.registry).beat is None


def test_an_expired_authority_gives_no_sign_of_life(world):
    world.hand.pass_(days=4000)
    with pytest.raises(VerificationFailed) as caught:
        beat(world.registry, 60)
    assert alarms.alarm_of(caught.value, world.config).kind == "outage"


def test_silence_is_told(world):
    from datetime import timedelta

    hour = timedelta(hours=1)
    assert "never" in missed(world.registry, hour)
    beat(world.registry, 60)
    assert missed(world.registry, hour) == ""
    world.hand.pass_(minutes=61)
    assert "stopped" in missed(world.registry, hour)
    folder = world.ready()
    world.promote(folder)
    assert missed(world.registry, hour) == ""
    world.hand.pass_(hours=-3)  # the clock was put back: what lies in the future is no sign
    assert "future" in missed(world.registry, hour)
    assert {row.kind for row in told(world, "heartbeat-missed")} == {"heartbeat-missed"}
    assert len(told(world, "heartbeat-missed")) == 3
