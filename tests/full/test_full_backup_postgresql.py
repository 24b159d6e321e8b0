"""Backup of a registry whose records lie in PostgreSQL: restored into an empty database, and into SQLite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weighbridge.config import Value
from weighbridge.core.errors import UsageError
from weighbridge.registry.backup import make_backup
from weighbridge.registry.gc import collect
from weighbridge.registry.restore import READ_AGAIN, restore
from weighbridge.registry.wiring import open_registry
from weighbridge.store import schema
from world_house import World
from world_postgresql import fresh, server

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def url():
    with server() as found:
        yield found


@pytest.fixture
def world(url, tmp_path):
    made = World(tmp_path, settings={"records": fresh(url)})
    made.folder_of = made.ready("encoder")
    made.promote(made.folder_of)
    yield made
    made.registry.close()


def rows(registry):
    with registry.records.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in schema.metadata.sorted_tables
        }


@pytest.mark.parametrize("into", ["postgresql", "sqlite"])
def test_restored_whole_and_goes_on(world, url, into):
    make_backup(world.registry, world.folder / "backups", keys=True)
    values = {
        **world.config.values,
        "registry": Value(str(world.folder / "again"), "test"),
        "records": Value(fresh(url) if into == "postgresql" else "", "test"),
    }
    config = replace(world.config, values=values)
    found = restore(config, world.folder / "backups", clock=world.hand, entropy=world.hand)
    assert found.entries == world.registry.log.size
    registry = open_registry(config, clock=world.hand, entropy=world.hand)
    try:
        assert rows(registry) == rows(world.registry)
        assert [read(registry) for _, read in READ_AGAIN] == [[]] * len(READ_AGAIN)
        with pytest.raises(UsageError):
            restore(
                replace(config, values={**values, "registry": Value(str(world.folder / "more"), "test")}),
                world.folder / "backups", clock=world.hand, entropy=world.hand,
            ) if into == "postgresql" else restore(config, world.folder / "backups", clock=world.hand, entropy=world.hand)  # fmt: skip
    finally:
        registry.close()
    world.registry.close()
    world.registry = open_registry(config, clock=world.hand, entropy=world.hand)
    assert world.admit(world.folder_of).decision.allow
    assert world.promote(world.ready("another", seed=5.0)).decision.allow
    assert collect(world.registry, grace_hours=0).removed == []


def test_garbage_is_collected_there_as_well(world):
    left = world.registry.blobs.put([b"left"])
    assert collect(world.registry, grace_hours=0).removed == [left]
