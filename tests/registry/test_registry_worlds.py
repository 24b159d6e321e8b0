"""The worlds that tests are given copies of are what a test would make itself, and nothing that it wrote is exchanged."""

import pytest

from weighbridge.registry import fsck, tally
from weighbridge.registry.wiring import open_registry
from world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "one")
    yield made
    made.registry.close()


def seen(world):
    tally.check(world.registry)
    assert fsck.log(world.registry) == fsck.lineage(world.registry) == []
    with world.registry.records.read() as connection:
        return (
            connection.exec_driver_sql("SELECT count(*) FROM bundle").scalar(),
            connection.exec_driver_sql("SELECT digest, tier, created_at, project FROM model").all(),
            connection.exec_driver_sql("SELECT version FROM authority ORDER BY version").all(),
            sorted(world.people),
            world.hand,
            len(list(world.registry.log.entries())),
        )


def test_a_copy_is_what_a_test_would_make(world, tmp_path):
    other = World(tmp_path / "two", anew=True)
    for one in (world, other):
        held = one.registry
        assert one.promote(one.ready()).decision.allow
        assert one.registry is held
    try:
        assert seen(world) == seen(other)
        assert world.secret("root").public_pem != other.secret("root").public_pem
    finally:
        other.registry.close()


def test_what_was_written_stays(world):
    key = world.person("somebody", "evaluate")
    world.team()
    world.ready()
    assert world.people["somebody"] is key
    assert "somebody" in {row.name for row in world.registry.authority.identities}


@pytest.mark.parametrize("change", ["row", "file", "clock", "actor"])
def test_a_world_in_which_anything_is_different_is_not_exchanged(world, change):
    if change == "row":
        with world.registry.records.write() as connection:
            connection.exec_driver_sql(
                "INSERT INTO setting (schema_version, project, actor, created_at, key, value) "
                "VALUES (1, 'x', 'x', '2026-11-22T12:00:00Z', 'a', 'b')"
            )
    elif change == "file":
        (world.registry.layout.policy / "more.rego").write_text("package more\n")
    elif change == "clock":
        world.hand.pass_(seconds=1)
    else:
        world.registry.actor = "somebody else"
    made = []
    world.furnish("told", made.append)
    assert made == [world]


def test_an_untouched_world_is_exchanged_once_for_all(world, tmp_path):
    made = []
    for one in (world, World(tmp_path / "two")):
        one.furnish("told again", made.append)
        open_registry(one.config, clock=one.hand, entropy=one.hand).close()
        one.registry.close()
    (template,) = made
    assert template.folder not in (world.folder, tmp_path / "two")
