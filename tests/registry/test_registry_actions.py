"""Who asked for what is noted, refusals as well; it ends, can be forgotten, and holds no secret."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import Refused, Unreachable, UsageError
from weighbridge.registry import access, actions, jobs, project_settings
from weighbridge.registry.access import Right
from weighbridge.store import schema
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def noted(world):
    moment = world.hand.now() - timedelta(days=3650)
    return [(row.actor, row.kind, row.outcome) for row in actions.since(world.registry, moment)]


def test_what_came_of_it_is_noted_with_it(world):
    with actions.noted(world.registry, "try", "this"):
        pass
    for error in (Refused("no", check="x.y"), UsageError("how"), Unreachable("gone"), ValueError("odd")):
        with pytest.raises(type(error)), actions.noted(world.registry, "try", "this"):
            raise error
    assert [row[2] for row in reversed(noted(world))] == ["done", "refused", "refused", "failed", "failed"]
    assert [row.detail for row in actions.since(world.registry, world.hand.now())][-2] == "x.y: no"


def test_who_is_refused_is_noted_once_a_minute(world):
    for _ in range(5):
        with pytest.raises(Refused):
            access.identify(world.registry, "Bearer nothing")
        with pytest.raises(Refused):
            access.require(world.registry, access.Principal("ana"), Right.ADMIN, "default")
    assert sorted(noted(world)) == [("ana", "admin", "refused"), ("anonymous", "come in", "refused")]
    world.hand.pass_(minutes=2)
    with pytest.raises(Refused):
        access.identify(world.registry, "Bearer nothing")
    assert len(noted(world)) == 3


def test_a_secret_is_struck_out(world):
    actions.note(world.registry, "pull", "https://me:secret@hub/x", actions.FAILED, "hf_abcdefghijklmnop")
    (row,) = actions.since(world.registry, world.hand.now())
    assert "secret" not in row.subject
    assert "hf_abc" not in row.detail


def test_what_is_too_old_goes(world):
    actions.note(world.registry, "old", "", actions.DONE)
    world.hand.pass_(days=366)
    actions.note(world.registry, "new", "", actions.DONE)
    assert actions.prune(world.registry) == 1
    assert noted(world) == [(world.registry.actor, "new", "done")]


def test_how_long_it_stays_is_a_setting(world):
    actions.note(world.registry, "old", "", actions.DONE)
    world.hand.pass_(days=8)
    assert actions.prune(world.registry) == 0
    project_settings.change(
        world.registry, "action-days", "7", reason="decided", signer=world.secret("owner")
    )
    assert actions.prune(world.registry) == 1


def test_it_goes_by_itself_as_well(world, monkeypatch):
    monkeypatch.setattr(actions, "PRUNE_EVERY", 2)
    for _ in range(3):
        actions.note(world.registry, "each", "", actions.DONE)
        world.hand.pass_(days=400)
    assert len(noted(world)) < 3


def test_one_person_can_be_forgotten(world):
    for name in ("ana", "ben", "ana"):
        actions.note(access.acting(world.registry, name), "look", "", actions.DONE)
    actions.note(access.acting(world.registry, "ana", "other"), "look", "", actions.DONE)
    assert actions.forget(world.registry, "ana") == 2
    assert noted(world) == [("ben", "look", "done")]


def test_work_that_ended_goes_too_and_what_waits_stays(world):
    def ended(name, day):
        job = jobs.submit(
            access.acting(world.registry, name), "intake", {"reference": f"hf://a/{day}"}, key=day
        )
        with world.registry.records.write() as connection:
            row = sa.update(schema.job).where(schema.job.c.id == job.id)
            connection.execute(row.values(state="done", ended_at=rfc3339(world.hand.now())))
        return job

    ended("ana", "first")
    waits = jobs.submit(
        access.acting(world.registry, "ana"), "intake", {"reference": "hf://a/b"}, key="waits"
    )
    assert actions.forget(world.registry, "ana") == 1
    ended("ben", "second")
    assert actions.prune(world.registry) == 0
    world.hand.pass_(days=366)
    assert actions.prune(world.registry) == 1
    assert [job.id for job in jobs.every(world.registry)] == [waits.id]


def test_a_note_that_cannot_be_written_keeps_nobody_from_anything(world):
    world.registry.records.close()
    world.registry.layout.database.unlink()
    world.registry.layout.database.mkdir()
    actions.note(world.registry, "look", "", actions.DONE)
    world.registry.layout.database.rmdir()


def test_a_token_of_ours_is_struck_out_as_any_other_secret(world):
    actions.note(world.registry, "pull", f"with wb_{'0f' * 8}_{'A' * 52} in it", actions.DONE)
    (row,) = actions.since(world.registry, world.hand.now())
    assert row.subject == "with [struck out] in it"
