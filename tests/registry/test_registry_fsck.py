import pytest

from weighbridge.ledger.sequencer import Log
from weighbridge.registry import fsck
from world import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    base = made.ready("base", seed=1.0)
    made.ready("tuned", seed=2.0, base=[base])
    made.promote(base)
    yield made
    made.registry.close()


def sql(world, *statements):
    with world.registry.records.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_sound_registry_has_no_problems(world):
    assert fsck.blobs(world.registry) == []
    assert fsck.lineage(world.registry) == []
    assert fsck.log(world.registry) == []


def test_an_exchanged_edge_shows(world):
    sql(
        world,
        "UPDATE edge SET parent = (SELECT id FROM artifact WHERE id <> edge.parent AND id <> edge.child LIMIT 1) "
        "WHERE relation = 'fine-tune'",
    )
    problems = fsck.lineage(world.registry)
    assert any(problem.startswith("lost:") for problem in problems)
    assert any(problem.startswith("made up:") for problem in problems)


def test_a_cut_weights_edge_shows(world):
    sql(world, "DELETE FROM edge WHERE relation = 'packaging'")
    assert len([p for p in fsck.lineage(world.registry) if "packaging" in p]) == 2


def test_a_forgotten_claim_shows(world):
    sql(
        world,
        "DELETE FROM bundle_subject",
        "DELETE FROM bundle WHERE stage = 'evaluate'",
    )
    assert len(fsck.log(world.registry)) == 2


def test_a_changed_and_a_lost_blob_show(world):
    blobs = sorted(path for path in world.registry.layout.blobs.glob("sha256/??/*") if path.is_file())
    blobs[0].chmod(0o600)
    blobs[0].write_bytes(b"x" * blobs[0].stat().st_size)
    blobs[1].unlink()
    assert len(fsck.blobs(world.registry)) == 2


def test_an_entry_dated_before_one_that_it_follows_is_told(world, monkeypatch):
    assert fsck.log(world.registry) == []
    world.hand.pass_(minutes=-4)
    world.ready("a little late")
    assert fsck.log(world.registry) == []
    monkeypatch.setattr(Log, "newest", 0)  # somebody else's program, which does not look
    world.hand.pass_(hours=-3)
    world.person("late")
    (told,) = [line for line in fsck.log(world.registry) if "is dated" in line]
    assert told.startswith(f"log entry {world.registry.log.size - 1} is dated 3:0")
