"""For tests of the recorder: a house with a team, a signed dataset, and a way to record in it."""

import pytest

from world_recorder import recording_world, signed_shards, starter


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = recording_world(tmp_path, monkeypatch)
    yield made
    made.registry.close()


@pytest.fixture
def signed_data(world):
    return signed_shards(world)


@pytest.fixture
def start(world):
    return starter(world)
