"""A process may die at any instruction of a promotion: nothing is half promoted, no decision goes unlogged."""

import json
import signal
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import pytest

from weighbridge.claims.records import event, read_event
from weighbridge.claims.summary import build_vsa
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Tier
from weighbridge.registry import decisions as decisions_
from weighbridge.registry import effects, outbox, tally
from world import World


class Died(BaseException):
    """Stands for a killed process: nothing between here and the top may catch it."""


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def die(*_arguments, **_options):
    raise Died


def decisions(world):
    with world.registry.records.read() as connection:
        return connection.exec_driver_sql("SELECT id, receipt, answer FROM decision").all()


def log_kinds(world):
    """Return how often each statement stands in the log, by the hash of what was signed."""
    bodies = [entry.body for entry in world.registry.log.entries()]
    return len(bodies), len(set(bodies))


def tier(world, folder):
    return world.kept(folder).tier.value


def settled(world, folder):
    """Every decision has its receipt, the log holds everything once, and trusted means laid out or layable."""
    rows = decisions(world)
    assert all(receipt is not None for _, receipt, _ in rows)
    total, distinct = log_kinds(world)
    assert total == distinct
    with world.registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar() == 0
    world.registry.log.verify_all()


@pytest.mark.parametrize("nth", range(1, 6))
@pytest.mark.parametrize(
    ("where", "what"),
    [
        (outbox, "enqueue"),
        (outbox, "_log"),
        (outbox, "seal"),
        (effects, "apply"),
        (effects, "_admission"),
        (decisions_, "take_effect"),
        (tally, "close"),
    ],
)
def test_a_death_between_decision_and_effect_is_finished_by_the_next_writer(
    world, monkeypatch, where, what, nth
):
    folder = world.ready()
    real = getattr(where, what)
    calls = []

    def sometimes(*arguments, **options):
        calls.append(None)
        if len(calls) == nth:
            raise Died
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(where, what, sometimes)
        if kind := {"_admission": "admission", "take_effect": "decision"}.get(what):
            role, _ = effects.EFFECTS[kind]
            patch.setattr(effects, "EFFECTS", {**effects.EFFECTS, kind: (role, sometimes)})
        try:
            world.promote(folder, name="encoder")
            died = False
        except Died:
            died = True
    before = tier(world, folder)
    world.reopen()
    with world.registry.writing():
        pass
    settled(world, folder)
    allowed = [row for row in decisions(world) if row[2] == "allow"]
    assert tier(world, folder) == ("trusted" if allowed else "intake")
    if not died:
        assert before == "trusted"
    # And the line goes on as if nothing had happened.
    assert world.promote(folder, name="encoder").decision.allow
    assert world.admit(folder).decision.allow
    settled(world, folder)


def test_a_death_after_the_log_but_before_its_receipt_appends_nothing_twice(world, monkeypatch):
    folder = world.ready()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_finish", die)
        with pytest.raises(Died):
            world.promote(folder)
    size = world.registry.log.size
    assert tier(world, folder) == "intake"
    world.reopen()
    with world.registry.writing():
        pass
    assert world.registry.log.size == size
    settled(world, folder)


def test_a_model_revoked_before_the_gates_word_takes_effect_is_not_promoted(world):
    folder = world.ready()
    model = world.kept(folder)
    facts = world.registry.event_facts()
    body = {"reason": "poisoned", "since": rfc3339(world.hand.now())}
    withdrawal = outbox.sign(event("revocation", (model.digest,), body, **facts), world.secret("owner"))
    digest = model.digest
    summary = build_vsa(
        world.registry.id,
        Tier.TRUSTED,
        model.manifest,
        project="default",
        policy_digest=Digest("sha256", digest.hex),
        decision_digest=Digest("sha256", digest.hex),
        now=world.hand.now(),
        expires=world.hand.now() + timedelta(days=1),
    )
    with world.registry.writing():
        outbox.submit(world.registry, withdrawal, outbox.sign(summary, world.registry.gate_key))
    assert tier(world, folder) == "intake"


SCRIPT = """
    import os, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from world_house import Hand
    from weighbridge.config import read_config
    from weighbridge.core.digest import Digest
    from weighbridge.gate.promote import promote
    from weighbridge.registry import outbox
    from weighbridge.registry.wiring import open_registry

    hand = Hand(drawn=1000)
    environ = {{"WEIGHBRIDGE_CONFIG_HOME": {home!r}, "HOME": {home!r}, "USER": "tester"}}
    config = read_config(environ, {{"registry": {root!r}, "lock_seconds": 60, "records": {records!r}}})
    registry = open_registry(config, clock=hand, entropy=hand)
    if {kill!r}:
        setattr(outbox, {kill!r}, lambda *a, **k: os.kill(os.getpid(), 9))
    result = promote(registry, Digest.parse({digest!r}), name="encoder")
    print(result.decision.allow, flush=True)
"""


def process(world, folder, kill=""):
    script = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).resolve().parents[1]),
        home=str(world.home),
        root=str(world.registry.layout.root),
        records=str(world.config["records"]),
        digest=str(world.manifest(folder).digest),
        kill=kill,
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("kill", ["_log", "seal", "_finish"])
def test_a_killed_process_leaves_nothing_that_the_next_one_cannot_finish(world, kill):
    folder = world.ready()
    done = process(world, folder, kill)
    done.communicate(timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert tier(world, folder) == "intake"
    world.reopen()
    with world.registry.writing():
        pass
    settled(world, folder)
    decided = [row for row in decisions(world) if row[2] == "allow"]
    assert tier(world, folder) == ("trusted" if decided else "intake")
    assert world.promote(folder).decision.allow


def test_two_promotes_at_once_take_turns(world):
    folder = world.ready()
    first, second = process(world, folder), process(world, folder)
    outputs = [done.communicate(timeout=100) for done in (first, second)]
    assert [done.returncode for done in (first, second)] == [0, 0], outputs
    assert [output.strip() for output, _ in outputs] == ["True", "True"]
    world.reopen()
    settled(world, folder)
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql("SELECT sequence FROM name").scalars().all()
    assert rows == [1]


def test_the_decision_in_the_log_is_the_one_in_the_records(world):
    folder = world.ready()
    result = world.promote(folder)
    with world.registry.records.read() as connection:
        rows = (
            connection.exec_driver_sql("SELECT content FROM bundle WHERE stage = 'decision'").scalars().all()
        )
    from weighbridge.trust.bundle import Bundle

    [text] = rows
    said = read_event(Statement.decode(Bundle.from_json(text.encode()).envelope.payload)).body
    assert json.loads(json.dumps(result.body)) == said
    assert said.items() >= json.loads(json.dumps(result.decision.to_json())).items()
