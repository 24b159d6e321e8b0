"""Garbage collection of a whole registry: what refers to blobs, and what happens to an intake that comes too late."""

import fcntl
import os
import re
from pathlib import Path

import pytest

import weighbridge
from weighbridge.core.errors import NotFound, Refused, Unreadable, VerificationFailed
from weighbridge.registry import fsck, gc, intake
from weighbridge.registry.gc import collect
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from world_house import World

PUTS = {
    "gate/policies.py", "registry/policy_files.py", "registry/setup.py",  # policies: table `policy`, bundles that ask for one
    "registry/intake.py", "registry/rebuilding.py", "source/read.py",  # manifests: table `description`
    "cli/scan_run.py", "source/tree.py",  # a store of its own, for one scan; words about reading
}  # fmt: skip
"""Who puts blobs; what each puts is among the references."""


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def test_what_puts_blobs_is_known_to_the_collector():
    root = Path(weighbridge.__file__).parent
    puts = re.compile(r"blobs\.put\(|policy_files\.keep\(|read_tree\([^)]*blobs|read_file\([^)]*blobs")
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if puts.search(path.read_text("utf-8")) and not path.relative_to(root).as_posix().startswith("store/")
    }
    assert found == PUTS, "say in registry.gc.References by what the blobs are referred to that are put there"


def test_all_that_is_referred_to_stays_and_the_rest_goes(world):
    folder = world.ready("encoder")
    world.promote(folder)
    abandoned = world.registry.blobs.put([b"left by an intake that was killed"])
    policy = world.registry.blobs.put([b"young"])
    before = set(world.registry.blobs.digests())
    dry = collect(world.registry, grace_hours=0, dry=True)
    assert set(dry.removed) == {abandoned, policy}
    assert set(world.registry.blobs.digests()) == before
    found = collect(world.registry, grace_hours=1)
    assert (found.removed, found.young) == ([], 2)
    found = collect(world.registry, grace_hours=0)
    assert set(found.removed) == {abandoned, policy}
    assert found.freed == len(b"left by an intake that was killed") + len(b"young")
    assert set(world.registry.blobs.digests()) == before - {abandoned, policy}
    assert fsck.blobs(world.registry) == []
    assert world.admit(folder).decision.allow
    assert collect(world.registry, grace_hours=0).removed == []


def test_models_of_other_projects_and_revoked_ones_are_kept(world):
    world.take(world.model("here"))
    world.reopen(project="elsewhere")
    world.take(world.model("there", seed=9.0))
    world.reopen(project="default")
    assert collect(world.registry, grace_hours=0).removed == []


def test_an_intake_that_comes_too_late_is_refused_and_succeeds_when_repeated(world):
    folder = world.model()
    with open_folder(folder) as tree:
        snapshot = read_tree(tree, world.registry.blobs)
    collect(world.registry, grace_hours=0)
    with pytest.raises(NotFound, match="not kept"):
        intake.record(world.registry, snapshot, label="late", origin=intake.Origin.OWN, source={})
    with pytest.raises(Refused) as caught, world.registry.records.write() as connection:
        gc.hold_all(world.registry, connection, [entry.sha256 for entry in snapshot.manifest.files])
    assert caught.value.check == "blob.kept"
    world.take(folder)
    assert fsck.blobs(world.registry) == []


def test_a_blob_set_aside_by_a_killed_collector_comes_back_when_it_is_needed(world):
    folder = world.model()
    with open_folder(folder) as tree:
        snapshot = read_tree(tree, world.registry.blobs)
    for entry in snapshot.manifest.files:
        world.registry.blobs.aside.set_aside(entry.sha256)
        assert not world.registry.blobs.has(entry.sha256)
        with world.registry.blobs.open(entry.sha256) as stream:
            assert len(stream.read()) == entry.size
    with world.registry.records.write() as connection:
        gc.hold_all(world.registry, connection, [entry.sha256 for entry in snapshot.manifest.files])
    assert all(world.registry.blobs.has(entry.sha256) for entry in snapshot.manifest.files)


def test_a_model_whose_manifest_was_removed_stops_the_collection(world):
    world.take(world.model())
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("DELETE FROM description")
    before = set(world.registry.blobs.digests())
    for dry in (True, False):
        with pytest.raises(VerificationFailed) as caught:
            collect(world.registry, grace_hours=0, dry=dry)
        assert caught.value.check == "records.manifest"
    assert set(world.registry.blobs.digests()) == before


def test_a_policy_that_waits_for_approval_keeps_its_blob(world, tmp_path):
    from weighbridge.gate.policies import use_policy

    folder = tmp_path / "other"
    folder.mkdir()
    for path in world.registry.layout.policy.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with (folder / "policy.toml").open("a") as file:
        file.write("# another\n")
    use_policy(world.registry, folder, world.secret("owner"))
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("UPDATE policy SET blob = '' WHERE blob <> ''")
    with world.registry.records.read() as connection:
        asked = gc.References().read(connection)
    assert len(asked) == 1


def test_one_set_aside_twice_and_links_or_strange_files_are_left_alone(world):
    top = world.registry.layout.blobs / "sha256"
    (top / "ab").mkdir(exist_ok=True)
    strange = top / "ab" / "notes.txt"
    strange.write_text("mine")
    link = top / "ab" / ("ab" + "0" * 62)
    link.symlink_to(strange)
    collect(world.registry, grace_hours=0)
    assert strange.read_text() == "mine"
    digest = world.registry.blobs.put([b"twice"])
    assert world.registry.blobs.aside.set_aside(digest)
    assert not world.registry.blobs.aside.set_aside(digest)
    assert world.registry.blobs.put([b"twice"]) == digest
    assert digest in collect(world.registry, grace_hours=0).removed
    assert not world.registry.blobs.has(digest)
    assert not link.is_symlink()
    assert strange.exists()


def test_a_blob_taken_between_the_look_and_the_note_is_found_out(world, monkeypatch):
    aside = world.registry.blobs.aside
    digest = world.registry.blobs.put([b"contended"])
    note, taken = aside._note, []

    def late(wanted):
        if not taken:
            taken.append(aside.set_aside(wanted))
        note(wanted)

    monkeypatch.setattr(aside, "_note", late)
    assert aside.hold(digest)
    assert taken == [True]
    assert world.registry.blobs.has(digest)


def test_halves_of_files_that_nobody_goes_on_with_go_as_well(world):
    folder = world.registry.layout.scratch / "partial"
    folder.mkdir()
    old, young, used = (folder / f"{name * 64}.part" for name in "abc")
    for path in (old, young, used):
        path.write_bytes(b"half")
    for path in (old, used):
        os.utime(path, (0, 0))
    with used.open("rb") as at:
        fcntl.flock(at, fcntl.LOCK_EX)
        assert collect(world.registry, grace_hours=1, dry=True).halves == 1
        assert old.exists()
        found = collect(world.registry, grace_hours=1)
        assert (found.halves, found.freed) == (1, 4)
    assert sorted(folder.iterdir()) == [young, used]
    assert collect(world.registry, grace_hours=1).halves == 1
    young.unlink()
    young.symlink_to(world.folder / "nothing")
    with pytest.raises(Unreadable):
        collect(world.registry, grace_hours=1)
