"""Two re-evaluations at once, and others who write meanwhile: no stale answer counts, nothing is done or told twice."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.gate import distrusting, reevaluate
from weighbridge.gate.due import due
from weighbridge.gate.reevaluate import Came, Wish
from weighbridge.gate.revoke import revoke
from weighbridge.registry import alerts, fsck, standings, tally
from weighbridge.registry.wiring import open_registry
from world import Hand, World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def other(world):
    """The same registry, opened by somebody else."""
    opened = []

    def make():
        hand = Hand(world.hand.at, 1_000_000)
        opened.append(open_registry(world.config, clock=hand, entropy=hand))
        return opened[-1]

    yield make
    for registry in opened:
        registry.close()


def running(world, *names):
    folders = [world.ready(name, seed=float(number + 1)) for number, name in enumerate(names)]
    for name, folder in zip(names, folders, strict=True):
        assert world.promote(folder).decision.allow
        assert world.admit(folder, target=f"prod/{name}").decision.allow
    return folders


def digest(world, folder):
    return world.manifest(folder).digest


def status(world, folder):
    return world.kept(folder).status.value


def lose(world, folder):
    world.registry.blobs.local(world.manifest(folder).entry("model.safetensors").sha256).unlink()


def interposed(monkeypatch, act):
    """Do something while the first model is being judged, before what was judged is settled."""
    real, done = reevaluate._judge, []

    def judge(registry, model):
        judgement = real(registry, model)
        if not done:
            done.append(None)
            act()
        return judgement

    monkeypatch.setattr(reevaluate, "_judge", judge)
    return done


def told(world):
    return [(row.count, row.about) for row in alerts.kept(world.registry, kinds=["quarantine"])]


def whole(world):
    """Hold that the records are what the log says, each decision in its place, and nothing waits."""
    tally.check(world.registry)
    assert fsck.decisions(world.registry) == []
    assert fsck.log(world.registry) == []
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar() == 0
        assert connection.exec_driver_sql("SELECT count(*) FROM decision WHERE receipt IS NULL").scalar() == 0


def decided(world):
    with world.registry.records.read() as connection:
        return connection.exec_driver_sql(
            "SELECT count(*) FROM decision WHERE action = 'reevaluate'"
        ).scalar()


def test_what_another_round_has_settled_is_left_alone(world, other, monkeypatch):
    (folder,) = running(world, "lost")
    lose(world, folder)
    world.person("somebody", "train")  # so that it is due
    second, rounds = other(), []
    done = interposed(monkeypatch, lambda: rounds.append(reevaluate.reevaluate(second)))
    first = reevaluate.reevaluate(world.registry)
    assert (len(done), [row.outcome for row in first.seen]) == (1, [Came.SKIPPED])
    assert [row.outcome for row in rounds[0].seen] == [Came.QUARANTINED]
    assert (status(world, folder), decided(world), len(told(world))) == ("quarantined", 1, 1)
    whole(world)


def test_two_rounds_over_everything_do_nothing_twice(world, other, monkeypatch):
    lost, kept = running(world, "lost", "kept")
    lose(world, lost)
    second, rounds = other(), []
    interposed(monkeypatch, lambda: rounds.append(reevaluate.reevaluate(second, Wish(every=True))))
    first = reevaluate.reevaluate(world.registry, Wish(every=True))
    assert {row.digest: row.outcome for row in rounds[0].seen} == {
        digest(world, lost): Came.QUARANTINED,
        digest(world, kept): Came.PASSES,
    }
    assert {row.digest: row.outcome for row in first.seen} == {
        digest(world, lost): Came.HELD,
        digest(world, kept): Came.PASSES,
    }
    assert (status(world, lost), status(world, kept)) == ("quarantined", "active")
    assert [count for count, _ in told(world)] == [1]
    with world.registry.records.read() as connection:
        assert set(standings.held(connection, "default")) == {digest(world, lost)}
    whole(world)


def test_what_was_revoked_while_it_was_judged_stays_revoked(world, other, monkeypatch):
    (folder,) = running(world, "base")
    second = other()
    interposed(
        monkeypatch,
        lambda: revoke(second, digest(world, folder), reason="poisoned", signer=world.secret("owner")),
    )
    done = reevaluate.reevaluate(world.registry, Wish(every=True))
    assert [row.outcome for row in done.seen] == [Came.SKIPPED]
    assert status(world, folder) == "revoked"
    whole(world)


def test_what_was_revoked_before_its_turn_came_is_left_alone(world, monkeypatch):
    folders = running(world, "one", "other")
    left = {digest(world, folder) for folder in folders}

    def withdraw(seen):
        left.discard(seen.digest)
        for one in left:
            revoke(world.registry, one, reason="poisoned", signer=world.secret("owner"))
        left.clear()

    done = reevaluate.reevaluate(world.registry, Wish(every=True), told=withdraw)
    assert [row.outcome for row in done.seen] == [Came.PASSES, Came.SKIPPED]
    assert decided(world) == 1
    whole(world)


@pytest.mark.parametrize("lifted", [True, False], ids=["lifted", "distrusted"])
def test_an_answer_that_was_overtaken_does_not_count(world, other, monkeypatch, lifted):
    (folder,) = running(world, "one")
    second, owner = other(), world.secret("owner")

    def distrust(registry):
        said = distrusting.distrust_signer(
            registry, "train-team", world.hand.now(), reason="stolen", signer=owner
        )
        return said.distrust.id

    if lifted:
        said = distrust(world.registry)
        interposed(monkeypatch, lambda: distrusting.lift(second, said, reason="no", signer=owner))
    else:
        interposed(monkeypatch, lambda: distrust(second))
    done = reevaluate.reevaluate(world.registry, Wish(every=True))
    assert [row.outcome for row in done.seen] == [Came.PASSES if lifted else Came.QUARANTINED]
    assert status(world, folder) == ("active" if lifted else "quarantined")
    assert due(world.registry) == []
    whole(world)


ROUND = """
    import json, sys
    sys.path.insert(0, {tests!r})
    from world_house import Hand
    from datetime import datetime
    from weighbridge.config import read_config
    from weighbridge.gate.reevaluate import Wish, reevaluate
    from weighbridge.registry.wiring import open_registry

    hand = Hand(datetime.fromisoformat({at!r}), {drawn!r})
    environ = {{"WEIGHBRIDGE_CONFIG_HOME": {home!r}, "HOME": {home!r}, "USER": "tester"}}
    registry = open_registry(
        read_config(environ, {{"registry": {root!r}, "lock_seconds": 60}}), clock=hand, entropy=hand
    )
    print("ready", flush=True)
    sys.stdin.readline()
    done = reevaluate(registry, Wish(every=True), told=lambda seen: print(seen.decision, flush=True))
    print(json.dumps([row.outcome.value for row in done.seen]), flush=True)
"""


def test_two_processes_at_once_come_to_one_answer(world):
    lost, kept, gone = running(world, "lost", "kept", "gone")
    lose(world, lost)
    lose(world, gone)
    world.registry.close()
    processes = []
    for number in range(2):
        script = textwrap.dedent(ROUND).format(
            tests=str(Path(__file__).resolve().parents[1]), at=world.hand.at.isoformat(),
            drawn=10**6 * (number + 1), home=str(world.home), root=str(world.registry.layout.root),
        )  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    world.reopen()
    assert [status(world, folder) for folder in (lost, kept, gone)] == [
        "quarantined",
        "active",
        "quarantined",
    ]
    acknowledged, outcomes = [], []
    for output, _ in outputs:
        *decisions, last = output.splitlines()
        acknowledged += [Digest.parse(text) for text in decisions if text]
        outcomes += json.loads(last)
    assert outcomes.count("quarantined") == 2
    assert len(set(acknowledged)) == len(acknowledged) == 6
    with world.registry.records.read() as connection:
        kept_rows = set(
            connection.exec_driver_sql("SELECT id FROM decision WHERE action = 'reevaluate'").scalars()
        )
    assert kept_rows == {str(identity) for identity in acknowledged}
    assert [count for count, _ in told(world)] == [1, 1]
    whole(world)
