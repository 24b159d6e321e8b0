"""The verb `alert`, and what every other verb does about alerts: two seconds, a line, and never another exit code."""

import json
import sqlite3

import pytest

from weighbridge.registry.alerts import alert
from world_receiver import SECRET, Receiver


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setenv("HOOK", SECRET)
    made = Receiver()
    yield made
    made.close()


def configure(world, receiver, more=""):
    (world.home / "weighbridge.toml").write_text(
        f'[[alert]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK"\nseconds = 1\n{more}'
    )


def note(world, summary="it happened\x1b[2J", **facts):
    with world.registry.records.write() as connection:
        alert(connection, world.registry, "waiver", "warning", summary, facts=facts)


def test_without_anybody_to_tell_it_is_said(world, call):
    code, out, err = call("alert", "list")
    assert (code, out.strip()) == (0, "nothing was told yet")
    assert "nobody is told" in err
    assert call("alert", "send")[0] == 2
    assert call("alert", "test")[0] == 2


def test_list_and_show(world, call):
    note(world, until="2026-12-01\x1b]0;x")
    note(world)
    note(world, "another")
    code, out, _ = call("alert", "list")
    assert code == 0
    assert [line.split()[1:4] for line in out.splitlines()[1:]] == [
        ["warning", "waiver", "2"],
        ["warning", "waiver", "1"],
    ]
    assert "\x1b" not in out
    items = json.loads(call("alert", "list", "--format", "json")[1])["alerts"]
    assert [item["count"] for item in items] == [2, 1]
    code, out, _ = call("alert", "show", items[0]["id"][7:15])
    assert code == 0
    assert "2 times" in out
    assert "\x1b" not in out
    assert call("alert", "show", "ffff")[0] == 2
    assert call("alert", "show", "sha256:")[0] == 2
    assert call("alert", "list", "--kind", "outage")[1].strip() == "nothing was told yet"
    assert len(call("alert", "list", "--most", "1")[1].splitlines()) == 2


def test_any_verb_tells_what_waits_and_its_exit_code_stays(world, call, receiver):
    folder = world.ready()
    configure(world, receiver)
    receiver.behaviour = 500
    code, _, err = call("admit", world.manifest(folder).digest)
    assert code == 1
    assert "alerts: ops was not told" in err
    assert "1 waiting" in err
    code, out, _ = call("alert", "list", "--sinks")
    assert (code, "500" in out) == (0, True)
    assert call("alert", "send")[0] == 3
    receiver.behaviour = 200
    code, out, _ = call("alert", "send")
    assert (code, out.splitlines()[1].split()[:3]) == (0, ["ops", "1", "0"])
    assert receiver.told[-1]["kind"] == "decision-blocked"
    code, _, err = call("promote", world.manifest(folder).digest)
    assert (code, err) == (0, "")


def test_a_registry_that_is_not_believed_is_told_and_then_refused_as_ever(world, call, receiver):
    folder = world.ready()
    configure(world, receiver)
    with sqlite3.connect(world.registry.layout.database) as database:
        database.execute("UPDATE setting SET value = 'x' WHERE key = 'policy'")
    code, _, err = call("promote", world.manifest(folder).digest)
    assert code == 1
    assert "records.tally" in err
    assert [row["kind"] for row in receiver.told] == ["tampering"]


def test_a_database_that_is_gone_is_told_past_it(world, call, receiver):
    folder = world.ready()
    configure(world, receiver)
    world.registry.close()
    hidden = world.registry.layout.database.rename(world.folder / "hidden.db")
    for _ in range(3):
        code, _, err = call("promote", world.manifest(folder).digest)
        assert code == 3
        assert "no registry database" in err
    assert [row["kind"] for row in receiver.told] == ["outage"]
    hidden.rename(world.registry.layout.database)
    code, out, _ = call("alert", "list")
    assert code == 0
    assert "outage" in out
    assert (world.home / "alerts" / "spool.json").exists() is False


def test_a_folder_that_is_no_registry_alarms_nobody(world, call, receiver, monkeypatch):
    configure(world, receiver)
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.folder / "nowhere"))
    assert call("list")[0] == 3
    assert receiver.requests == []


def test_a_test_reaches_one_or_all(world, call, receiver):
    configure(world, receiver)
    assert call("alert", "test")[0] == 0
    assert call("alert", "test", "ops")[0] == 0
    assert [row["kind"] for row in receiver.told] == ["test", "test"]
    code, _, err = call("alert", "test", "nobody")
    assert code == 2
    assert "there are ops" in err
    receiver.behaviour = 404
    code, out, _ = call("alert", "test")
    assert (code, "404" in out) == (3, True)


def test_beat_and_watch(world, call, receiver):
    configure(world, receiver)
    code, out, _ = call("alert", "watch", "--after", "3600")
    assert code == 1
    assert "never" in out
    assert [row["kind"] for row in receiver.told] == ["heartbeat-missed"]
    assert call("alert", "beat", "--every", "30")[0] == 0
    assert receiver.told[-1]["kind"] == "heartbeat"
    code, out, _ = call("alert", "watch", "--after", "3600", "--format", "json")
    assert code == 0
    assert json.loads(out)["signs"][0]["alive"] is True


def test_doctor_names_the_deaf(world, call, receiver):
    configure(world, receiver)
    receiver.behaviour = 500
    note(world)
    call("alert", "send")
    assert "alerts.told" in call("doctor")[1]
    with sqlite3.connect(world.registry.layout.database) as database:
        database.execute("UPDATE alert_sink SET failing_since = '2026-11-01T00:00:00Z'")
    code, out, _ = call("doctor")
    assert code == 1
    assert "ops has not been told since 2026-11-01" in out


def test_a_mistake_in_the_settings_is_refused(world, call):
    (world.home / "weighbridge.toml").write_text('[[alert]]\nname = "x"\ntype = "webhok"\n')
    code, _, err = call("list")
    assert code == 2
    assert "did you mean 'webhook'" in err


def test_quiet_says_nothing_of_alerts(world, call, receiver):
    configure(world, receiver)
    receiver.behaviour = 500
    note(world)
    assert call("list", "--quiet")[2] == ""
