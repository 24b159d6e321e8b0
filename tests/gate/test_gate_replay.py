"""Decisions computed again: to the byte by their own policy, with reasons by another, and never from what was changed."""

from contextlib import closing

import pytest

from weighbridge.core.decision import EngineAnswer, Outcome
from weighbridge.core.errors import CannotTell
from weighbridge.gate import judging, replay
from weighbridge.gate import promote as promoting
from weighbridge.gate.engines import make_engine
from weighbridge.gate.replay import Came, Summary, replay_parallel
from weighbridge.policy.settings import load_bundle
from world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Decisions of every kind: allowed, blocked, without an answer of the policy, and without evidence."""
    world = World(tmp_path_factory.mktemp("world"))
    folder, other = world.ready(), world.ready("other", seed=5.0)
    assert world.promote(folder).decision.allow
    world.hand.pass_(days=3)
    assert world.admit(folder).decision.allow
    assert not world.admit(other).decision.allow
    with pytest.MonkeyPatch.context() as patch:
        said = EngineAnswer(Outcome.CANNOT_TELL, problem="it is away", engine="regorus/0.13.0", policy="")
        patch.setattr(judging, "engine_of", lambda _: type("Away", (), {"answer": lambda *_: said})())
        assert world.promote(other).decision.exit_code == 3
        patch.setattr(promoting, "gather", lambda *_, **__: (_ for _ in ()).throw(CannotTell("no disk")))
        assert world.promote(other).decision.exit_code == 3
    yield world
    world.registry.close()


@pytest.fixture
def alone(monkeypatch):
    """Have no other threads: those that other tests left do nothing here, and with any of them nothing is forked."""
    monkeypatch.setattr(replay.threading, "active_count", lambda: 1)


def again(world, policy=None, jobs=1):
    return list(replay_parallel(world.registry, jobs=jobs, policy=policy))


def stricter(world):
    files = {path.name: path.read_bytes() for path in world.registry.layout.policy.iterdir()}
    text = files["policy.toml"].decode().replace("max_age_days = 30", "max_age_days = 1", 1)
    assert text != files["policy.toml"].decode()
    denied = b'\ndeny contains {"rule": "never", "msg": "never"} if input.action == "admit"\n'
    own = files["own.rego"] + denied
    return load_bundle({**files, "policy.toml": text.encode(), "own.rego": own})


def test_by_its_own_policy_each_comes_out_to_the_byte(world):
    rows = again(world)
    assert [row.came for row in rows] == [Came.IDENTICAL] * 5
    assert [row.before for row in rows] == ["allow", "allow", "block", "block", "block"]
    assert [row.outage for row in rows] == [False, False, False, True, False]


def test_another_policy_says_which_would_change_and_why(world):
    rows = again(world, stricter(world))
    assert [row.came for row in rows] == [Came.SAME, Came.CHANGED, Came.SAME, Came.CHANGED, Came.IDENTICAL]
    changed = rows[1]
    assert (changed.before, changed.now) == ("allow", "block")
    why = {one.check: one for one in changed.differences}
    assert why["policy.never"].found == "never"
    assert (why["policy.engine"].before, why["policy.engine"].now) == ("pass", "fail")
    assert (rows[3].before, rows[3].now) == ("block", "allow")  # there the policy was away: now it is asked


def test_the_summary_counts_and_gives_the_exit_code(world):
    summary = Summary("x")
    for row in again(world, stricter(world)):
        summary.add(row)
    counts = summary.to_json()
    assert (counts["changed"], counts["to_block"], counts["to_allow"], counts["decisions"]) == (2, 1, 1, 5)
    assert summary.exit_code == 1
    own = Summary("own")
    for row in again(world):
        own.add(row)
    assert own.exit_code == 0


@pytest.mark.usefixtures("alone")
def test_several_processes_give_the_same_rows_in_the_same_order(world):
    assert again(world, jobs=3) == again(world)
    assert again(world, stricter(world), jobs=2) == again(world, stricter(world))


@pytest.mark.usefixtures("alone")
def test_a_worker_that_is_ended_is_told(world, monkeypatch):
    monkeypatch.setattr(replay, "_serve", lambda *_, **__: replay.os._exit(9))
    with pytest.raises(CannotTell, match="ended"):
        again(world, jobs=2)


def test_another_floor_or_engine_is_said_and_the_answer_is_the_same(world, monkeypatch):
    from weighbridge.core.digest import Digest

    monkeypatch.setattr(judging, "floor_digest", lambda: Digest.of(b"another"))
    rows = again(world)
    assert {row.came for row in rows[:4]} == {Came.SAME}
    assert rows[0].note == "the floor is another version now"


def test_a_policy_that_is_gone_cannot_be_replayed(world, monkeypatch):
    monkeypatch.setattr(replay, "kept_policy", lambda *_: (_ for _ in ()).throw(CannotTell("gone")))
    rows = again(world)
    assert rows[0].came is Came.CANNOT_TELL or rows[0].came == "cannot-tell"
    summary = Summary("x")
    summary.add(rows[0])
    assert summary.exit_code == 3


def test_what_was_changed_is_not_replayed(tmp_path):
    world = World(tmp_path)
    folder = world.ready()
    world.promote(folder)
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE evidence SET content = replace(content, '0.9', '0.8')")
    with closing(make_engine(world.registry.config)) as engine:
        [row] = replay.replay(world.registry, engine)
    assert (row.came, row.now) == (Came.TAMPERED, "")
    assert "exchanged" in row.note
    world.registry.close()
