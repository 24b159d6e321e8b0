"""Alerts arrive: signed, in order, at least once, each receiver by itself, whatever a receiver or a dying process does."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from weighbridge.core.alert import Sink
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError
from weighbridge.gate.alerting import deliver
from weighbridge.registry import alert_queue
from weighbridge.registry.alerts import KINDS, MAX_SUMMARY, alert, kept
from world import World
from world_receiver import SECRET, Receiver, verified

ENVIRON = {"HOOK": SECRET}


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def other():
    made = Receiver()
    yield made
    made.close()


def listens(world, *sinks):
    object.__setattr__(world.registry.config, "alerts", tuple(sinks))


def hook(receiver, name="ops", **more):
    return Sink(name, "webhook", url=receiver.url, secret_env="HOOK", **{"seconds": 1, **more})


def note(world, summary="something happened", kind="waiver", severity="warning", **more):
    with world.registry.records.write() as connection:
        alert(connection, world.registry, kind, severity, summary, **more)


def send(world, **options):
    return deliver(world.registry, environ=ENVIRON, **options)


# ---------------------------------------------------------------- what arrives


def test_a_receiver_can_tell_that_it_is_ours_and_now(world, receiver):
    listens(world, hook(receiver))
    digest = Digest.of(b"model")
    note(world, "a model was waived", about=[digest], facts={"until": "2026-12-01"})
    [result] = send(world)
    assert (result.told, result.waiting, result.problem) == (1, 0, "")
    [(path, headers, body)] = receiver.requests
    assert path == "/hook"
    now = world.hand.now().timestamp()
    assert verified(headers, body, SECRET, now)
    assert not verified(headers, body.replace(b"waived", b"WAIVED"), SECRET, now)
    assert not verified(headers, body, "another-secret-as-long", now)
    assert not verified(headers, body, SECRET, now + 301)
    assert not verified({**headers, "Weighbridge-Timestamp": str(int(now) + 1)}, body, SECRET, now)
    [told] = receiver.told
    assert told["registry"] == world.registry.id
    assert (told["kind"], told["about"], told["facts"]) == ("waiver", [str(digest)], {"until": "2026-12-01"})
    assert headers["Idempotency-Key"] == told["key"]
    assert send(world) == []


def test_what_a_rolled_back_transaction_told_of_is_not_told(world, receiver):
    listens(world, hook(receiver))
    with pytest.raises(RuntimeError), world.registry.records.write() as connection:
        alert(connection, world.registry, "waiver", "info", "never happened")
        raise RuntimeError
    assert send(world) == []
    assert receiver.requests == []


def test_they_arrive_in_order_and_those_nobody_asked_for_do_not(world, receiver):
    listens(world, hook(receiver, severity="warning", kinds=("waiver", "outage")))
    note(world, "one")
    note(world, "too little", severity="info")
    note(world, "another kind", kind="revocation", severity="critical")
    note(world, "two", kind="outage", severity="critical")
    note(world, "three")
    note(world, "left out at the end", severity="info")
    assert send(world)[0].told == 3
    assert receiver.summaries == ["one", "two", "three"]
    assert send(world) == []  # what nobody asked for was passed over for good


def test_a_repeat_is_counted_and_moves_to_the_end(world, receiver):
    listens(world, hook(receiver))
    for _ in range(3):
        note(world, "again", facts={"at": 1})
    note(world, "between")
    note(world, "again", facts={"at": 2})
    assert send(world)[0].told == 2
    assert [(row["summary"], row["count"]) for row in receiver.told] == [("between", 1), ("again", 4)]
    world.hand.pass_(hours=1)
    note(world, "again")
    send(world)
    last = receiver.told[-1]
    assert (last["count"], last["first"] < last["last"]) == (5, True)
    assert len({row["key"] for row in receiver.told}) == 3


def test_what_differs_in_anything_but_facts_stays_apart(world):
    one = Digest.of(b"1")
    for more in ({}, {"about": [one]}, {"severity": "info"}, {"kind": "outage"}, {"summary": "other"}):
        note(world, **more)
    note(world, about=[one, one])
    assert [row.count for row in kept(world.registry)] == [1, 1, 1, 1, 2]


def test_a_thousand_different_things_arrive_each_once(world, receiver):
    listens(world, hook(receiver))
    with world.registry.records.write() as connection:
        for number in range(1000):
            alert(connection, world.registry, "decision-blocked", "warning", f"number {number}")
    while send(world, seconds=20):
        pass
    assert receiver.summaries == [f"number {number}" for number in range(1000)]


def test_a_thousand_repeats_are_one_row(world):
    with world.registry.records.write() as connection:
        for _ in range(1000):
            alert(connection, world.registry, "outage", "critical", "the engine is gone")
    [row] = kept(world.registry)
    assert row.count == 1000


# ---------------------------------------------------------------- receivers that do not listen, or worse

BAD = [500, 404, 301, (302, {"Location": "http://127.0.0.1:1/"}), (307, {"Location": "https://example.org/"}),
       "cut", "silent", "drip", "drip-body", "huge"]  # fmt: skip


@pytest.mark.parametrize("behaviour", BAD, ids=str)
def test_a_bad_receiver_holds_up_neither_the_gate_nor_another(world, receiver, other, behaviour):
    receiver.behaviour = behaviour
    listens(world, hook(receiver, "bad"), hook(other, "good"))
    note(world, "one")
    note(world, "two")
    begun = time.monotonic()
    bad, good = send(world, seconds=2)
    assert time.monotonic() - begun < 4
    assert (good.told, good.problem, other.summaries) == (2, "", ["one", "two"])
    assert bad.told == 0
    assert bad.waiting == 2
    assert bad.problem
    assert len(receiver.requests) == 1  # not a second one after the first failed
    assert [result.sink for result in send(world)] == []  # it waits before it tries again
    standing = alert_queue.standing(world.registry, hook(receiver, "bad"))
    assert (standing.tries, standing.waiting, bool(standing.failing_since)) == (1, 2, True)
    receiver.behaviour = 200
    world.hand.pass_(seconds=6)
    [after] = send(world)
    assert (after.told, after.waiting, after.problem) == (2, 0, "")
    assert receiver.summaries[-2:] == ["one", "two"]


def test_no_redirect_is_followed(world, receiver, other):
    receiver.behaviour = (307, {"Location": other.url})
    listens(world, hook(receiver))
    note(world)
    assert "elsewhere" in send(world)[0].problem
    assert other.requests == []


def test_waiting_grows_to_an_hour_and_no_further(world, receiver):
    receiver.behaviour = 503
    listens(world, hook(receiver))
    note(world)
    waits = []
    for _ in range(12):
        send(world, force=True)
        until = alert_queue.standing(world.registry, hook(receiver)).next_at
        waits.append((alert_queue.parse_rfc3339(until) - world.hand.now()).total_seconds())
    assert waits[:3] == [5, 10, 20]
    assert waits[-1] == 3600
    world.hand.pass_(minutes=59)
    assert send(world) == []
    world.hand.pass_(minutes=2)
    receiver.behaviour = 200
    assert send(world)[0].told == 1


def test_one_that_is_deaf_for_a_month_is_told_each_thing_once(world, receiver, other):
    receiver.behaviour = 500
    listens(world, hook(receiver, "deaf"), hook(other, "good"))
    for day in range(30):
        note(world, "the engine is gone", kind="outage", severity="critical", facts={"day": day})
        note(world, f"day {day}")
        send(world, force=True)
        world.hand.pass_(days=1)
    assert alert_queue.standing(world.registry, hook(receiver, "deaf")).long(world.hand.now())
    receiver.behaviour, receiver.requests = 200, []
    send(world, force=True, seconds=10)
    assert sorted(receiver.summaries) == sorted(["the engine is gone", *(f"day {day}" for day in range(30))])
    [outage] = [row for row in receiver.told if row["kind"] == "outage"]
    assert (outage["count"], outage["facts"]["day"]) == (30, 29)
    assert len([row for row in other.told if row["kind"] == "outage"]) == 30


def test_a_clock_that_is_put_back_holds_nothing_up(world, receiver):
    receiver.behaviour = 500
    listens(world, hook(receiver))
    note(world)
    send(world)
    held = alert_queue.claim(world.registry, hook(receiver), force=True)
    assert held is not None  # a process that now dies, before the clock is put back
    world.hand.pass_(days=-400)
    receiver.behaviour = 200
    note(world, "two")
    [result] = send(world)
    assert (result.told, receiver.summaries[-2:]) == (2, ["something happened", "two"])


def test_a_secret_that_is_missing_or_short_is_a_problem_that_is_said(world, receiver):
    listens(world, hook(receiver))
    note(world)
    for environ, said in (
        ({}, "not set"),
        ({"HOOK": "short"}, "fewer"),
        ({"HOOK": "x" * 20 + "\n"}, "header"),
    ):
        [result] = deliver(world.registry, environ=environ, force=True)
        assert said in result.problem
        assert "short" not in result.problem
    assert receiver.requests == []


def test_offline_opens_no_connection_and_counts_as_no_failure(world, receiver):
    listens(world, hook(receiver))
    note(world)
    object.__setattr__(world.registry.config, "values", {**world.registry.config.values})
    world.registry.config.values["offline"] = type(world.registry.config.values["offline"])(True, "test")
    assert send(world)[0].problem == "working offline"
    assert receiver.requests == []
    assert alert_queue.standing(world.registry, hook(receiver)).tries == 0


# ---------------------------------------------------------------- what is in them


def test_nothing_secret_and_nothing_that_a_terminal_obeys_gets_out(world, receiver, monkeypatch):
    monkeypatch.setenv("REGISTRY_TOKEN", "tok-1234567890")
    listens(world, hook(receiver))
    facts = {
        "url": "https://me:hunter22@example.org/",
        "deep": [{"header": "Bearer abcdefghijkl"}],
        "mine": "before tok-1234567890 after",
        "esc\x1b[2J": "\x1b]0;owned\x07 \u202e\n",
        "far": 2**70,
        "not": float("nan"),
    }
    note(world, "refused\nalertname=\x1b[31mX\u202e tok-1234567890 " + "long " * 500, facts=facts)
    send(world)
    [(_, _, body)] = receiver.requests
    text = body.decode()
    for secret in ("hunter22", "abcdefghijkl", "tok-1234567890"):
        assert secret not in text
    [told] = receiver.told
    assert told["summary"].isprintable()
    assert len(told["summary"]) <= MAX_SUMMARY
    assert all(value.isprintable() for value in told["facts"].values() if isinstance(value, str))
    assert all(key.isprintable() for key in told["facts"])
    assert told["facts"]["far"] == str(2**70)


def test_an_alert_stays_small_and_says_what_it_left_out(world):
    about = [Digest.of(bytes([number])) for number in range(200)]
    note(world, about=about, facts={f"fact {number}": ["x" * 900] * 20 for number in range(50)})
    [row] = kept(world.registry)
    assert len(row.about) == 50
    assert row.facts.get("more") == 150 or "left_out" in row.facts
    assert len(canonical(row.to_json("r"))) < 100_000
    deep = {}
    for _ in range(500):
        deep = {"deeper": deep}
    note(world, "deep", facts=deep)


def test_kinds_are_closed(world):
    for kind, severity in (("gossip", "info"), ("waiver", "fatal"), ("heartbeat", "info")):
        with pytest.raises(InternalError), world.registry.records.write() as connection:
            alert(connection, world.registry, kind, severity, "x")
    assert len(KINDS) == 14


def test_an_alertmanager_is_told_what_its_interface_takes(world, receiver):
    sink = Sink("am", "alertmanager", url=receiver.url, token_env="HOOK", link="https://gate.example/alerts")
    listens(world, sink)
    note(world, 'broken"} evil="1\nlabel', kind="break-glass", severity="critical", facts={"who": "me"})
    note(world, "two")
    assert send(world)[0].told == 2
    [(path, headers, body)] = receiver.requests
    assert path == "/hook/api/v2/alerts"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    first, second = json.loads(body)
    assert first["labels"] == {
        "alertname": "WeighbridgeBreakGlass",
        "kind": "break-glass",
        "severity": "critical",
        "registry": world.registry.id,
        "project": "default",
        "alert": first["labels"]["alert"],
    }
    assert first["labels"]["alert"] != second["labels"]["alert"]
    assert "\n" not in first["annotations"]["summary"]
    assert first["startsAt"] < first["endsAt"] == "2026-11-22T13:00:00Z"
    assert first["generatorURL"] == "https://gate.example/alerts"


def test_lines_are_whole_even_after_a_disk_was_full(world, tmp_path, capsys):
    path = tmp_path / "logs" / "alerts.jsonl"
    listens(world, Sink("file", "file", path=path), Sink("here", "stderr"))
    note(world, "one")
    send(world)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(capsys.readouterr().err)["summary"] == "one"
    with path.open("ab") as file:
        file.write(b'{"about": "weighbr')  # where a disk ended
    note(world, "two")
    send(world)
    first, cut, last = path.read_text().splitlines()
    assert [json.loads(line)["summary"] for line in (first, last)] == ["one", "two"]
    assert cut.startswith("{")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_file_that_is_none_takes_nothing(world, tmp_path, kind):
    import os

    path, target = tmp_path / "alerts.jsonl", tmp_path / "precious"
    target.write_bytes(b"precious")
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    listens(world, Sink("file", "file", path=path))
    note(world)
    [result] = send(world)
    assert result.problem
    assert result.waiting == 1
    assert target.read_bytes() == b"precious"


def test_another_address_is_another_receiver_and_a_new_one_hears_of_the_last_day(world, receiver, other):
    listens(world, hook(receiver))
    note(world, "old")
    send(world)
    world.hand.pass_(days=2)
    note(world, "new")
    send(world)
    listens(world, hook(other))
    send(world)
    assert receiver.summaries == ["old", "new"]
    assert other.summaries == ["new"]


# ---------------------------------------------------------------- processes that die, processes at once

SCRIPT = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from weighbridge.config import read_config
    from weighbridge.gate import alerting
    from weighbridge.registry import alert_queue
    from weighbridge.registry.alerts import alert
    from weighbridge.registry.wiring import SystemClock, open_registry
    from world_house import Hand

    environ = {{"WEIGHBRIDGE_CONFIG_HOME": {home!r}, "HOME": {home!r}, "USER": "tester"}}
    config = read_config(environ, {{"registry": {root!r}, "lock_seconds": 60}})

    class Clock(Hand):
        def now(self):
            return SystemClock().now()

    registry = open_registry(config, clock=Hand(drawn=os.getpid() * 1000), entropy=Hand(drawn=os.getpid() * 1000))
    kill = {kill!r}
    if kill == "before-commit":
        with registry.records.write() as connection:
            alert(connection, registry, "waiver", "info", "never")
            os.kill(os.getpid(), 9)
    if kill:
        room, name = kill.split(".")
        module = {{"alerting": alerting, "alert_queue": alert_queue}}[room]
        real = getattr(module, name)
        seen = []
        def dies(*arguments, **options):
            seen.append(1)
            if len(seen) > {late}:
                os.kill(os.getpid(), 9)
            return real(*arguments, **options)
        setattr(module, name, dies)
    results = alerting.deliver(registry, seconds=20, environ={{"HOOK": {secret!r}}})
    print(sum(result.told for result in results), flush=True)
"""


def process(world, kill="", late=0):
    script = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).resolve().parents[1]),
        home=str(world.home),
        root=str(world.registry.layout.root),
        kill=kill,
        late=late,
        secret=SECRET,
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def configured(world, receiver):
    (world.home / "weighbridge.toml").write_text(
        f'[[alert]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK"\n'
    )
    world.config = type(world.config)(world.config.home, world.config.values, alerts=(hook(receiver),))


@pytest.mark.parametrize(
    ("kill", "late"),
    [
        ("before-commit", 0),
        ("alert_queue.claim", 0),
        ("alert_queue.pending", 0),
        ("alert_queue.pending", 3),
        ("alerting.receiver", 0),
        ("alert_queue.told", 0),
        ("alert_queue.told", 4),
        ("alert_queue.release", 0),
    ],
)
def test_nothing_is_lost_when_the_process_is_killed(world, receiver, kill, late):
    configured(world, receiver)
    for number in range(8):
        note(world, f"number {number}")
    done = process(world, kill, late)
    _, errors = done.communicate(timeout=60)
    assert done.returncode == -signal.SIGKILL, errors
    before = len(receiver.requests)
    world.hand.pass_(minutes=2)  # a dead process's lease has ended
    listens(world, hook(receiver))
    while send(world, seconds=10):
        pass
    wanted = [f"number {number}" for number in range(8)]
    assert set(receiver.summaries) == set(wanted)
    assert "never" not in receiver.summaries
    firsts = list(dict.fromkeys(receiver.summaries))
    assert firsts == wanted
    keys = {}
    for row in receiver.told:
        assert keys.setdefault(row["summary"], row["key"]) == row["key"]
    assert len(receiver.requests) - len(wanted) <= 1  # of what was told, at most one once more
    assert before <= 8


def test_a_living_lease_is_respected(world, receiver):
    listens(world, hook(receiver))
    note(world)
    held = alert_queue.claim(world.registry, hook(receiver))
    assert send(world) == []
    assert send(world, force=True)[0].told == 0
    assert receiver.requests == []
    world.hand.pass_(seconds=17)
    assert send(world)[0].told == 1
    assert alert_queue.told(world.registry, held, 99) is None  # the first comes back too late to say anything
    alert_queue.failed(world.registry, held, "late")
    assert alert_queue.standing(world.registry, hook(receiver)).problem == ""


def test_two_processes_at_once_tell_each_thing_once(world, receiver):
    configured(world, receiver)
    for number in range(40):
        note(world, f"number {number}")
    running = [process(world) for _ in range(3)]
    outputs = [done.communicate(timeout=100) for done in running]
    assert [done.returncode for done in running] == [0, 0, 0], outputs
    assert sum(int(output) for output, _ in outputs) == 40
    assert receiver.summaries == [f"number {number}" for number in range(40)]


def test_long_is_an_hour(world, receiver):
    receiver.behaviour = 500
    listens(world, hook(receiver))
    note(world)
    send(world)
    standing = alert_queue.standing(world.registry, hook(receiver))
    assert not standing.long(world.hand.now() + timedelta(minutes=59))
    assert standing.long(world.hand.now() + timedelta(minutes=60))
