"""Garbage collection from Azure's store, whose server here checks itself what was signed and until when."""

import time

import pytest

from store_conformance import DATA, MIB
from weighbridge.core.digest import Digest
from weighbridge.registry import fsck
from weighbridge.registry.gc import collect
from weighbridge.store import removal
from world_azure import PROGRAM, azurite, container, environment
from world_house import World

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="Azurite is not installed: make setup FULL=1"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite")) as found:
        yield found


@pytest.fixture
def world(address, tmp_path, monkeypatch, request):
    for name, value in environment(address).items():
        monkeypatch.setenv(name, value)
    name = request.node.name.replace("_", "-")[:60].rstrip("-")
    container(address, name)
    made = World(tmp_path, settings={"blobs": f"az://{name}/blobs"})
    yield made
    made.registry.close()


def test_azure_keeps_what_is_referred_to_and_loses_the_rest(world):
    folder = world.ready("encoder")
    world.promote(folder)
    blobs = world.registry.blobs
    left = {blobs.put([DATA]), blobs.put([bytes(9 * MIB)])}
    before = set(blobs.digests())
    assert collect(world.registry, grace_hours=1).young == 2
    found = collect(world.registry, grace_hours=0)
    assert (set(found.removed), found.left) == (left, {})
    assert set(blobs.digests()) == before - left
    assert fsck.blobs(world.registry) == []
    assert world.admit(folder).decision.allow


def test_azure_refuses_a_request_that_comes_after_its_time(world, monkeypatch):
    monkeypatch.setattr(removal, "SECONDS", 2)
    blobs = world.registry.blobs
    kept = blobs.put([DATA])
    late = blobs.removal.prepare(kept)
    while blobs.removal.now() <= late.until:
        time.sleep(0.1)
    assert blobs.removal.send(late) == "the store answered 403"
    assert blobs.verify(kept)
    monkeypatch.setattr(removal, "SECONDS", 60)
    assert blobs.removal.send(blobs.removal.prepare(kept)) == ""
    assert not blobs.has(kept)
    assert blobs.removal.send(blobs.removal.prepare(kept)) == "", "what is gone is gone"


def test_azures_clock_and_notes_are_believed(world):
    blobs = world.registry.blobs
    kept, absent = blobs.put([DATA]), Digest.of(b"absent")
    began = blobs.removal.now()
    assert blobs.removal.notes() == {}
    assert (blobs.hold(kept), blobs.hold(absent)) == (True, False)
    notes = blobs.removal.notes()
    assert set(notes) == {kept, absent}
    (listed,) = [row for row in blobs.removal.blobs() if row.digest == kept]
    assert listed.size == len(DATA)
    assert all(listed.put <= began <= told for told in notes.values())
    blobs.removal.forget(notes)
    assert blobs.removal.notes() == {}
    blobs.removal.forget(notes)
