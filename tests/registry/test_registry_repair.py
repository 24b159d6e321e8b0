"""Repair from another store: verified, put in place by one rename, what was damaged moved aside and what cannot be mended told."""

import shutil

import pytest

from weighbridge.cli.main import run
from weighbridge.core.errors import NotFound
from weighbridge.registry import fsck
from weighbridge.registry.backup import make_backup
from weighbridge.registry.repair import QUARANTINE, other_store, repair
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.folder_of = made.ready("encoder")
    made.promote(made.folder_of)
    make_backup(made.registry, made.folder / "backups")
    yield made
    made.registry.close()


def damage(world):
    """Change one blob, cut one, remove one, and put a folder and a link where two were."""
    places = sorted(world.registry.layout.blobs.glob("sha256/??/*"))
    for path in places:
        path.chmod(0o600)
    whole = places[0].read_bytes()
    places[0].write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    places[1].write_bytes(places[1].read_bytes()[:-1])
    places[2].unlink()
    places[3].unlink()
    places[3].mkdir()
    return places[:4]


def test_what_is_missing_or_damaged_is_mended_and_nothing_thrown_away(world):
    places = damage(world)
    changed = places[0].read_bytes()
    assert len(fsck.blobs(world.registry)) == 4
    found = repair(world.registry, other_store(str(world.folder / "backups"), world.registry))
    assert [row.problem for row in found] == [""] * 4
    assert {row.digest.hex for row in found} == {path.name for path in places}
    assert all(row.models for row in found)
    assert fsck.blobs(world.registry) == []
    moved = {path.name[:64]: path for path in (world.registry.layout.blobs / QUARANTINE).iterdir()}
    assert moved[places[0].name].read_bytes() == changed
    assert len(moved) == 3
    assert repair(world.registry, other_store(str(world.folder / "backups"), world.registry)) == []
    assert world.admit(world.folder_of).decision.allow


def test_a_store_that_lies_or_lacks_bytes_mends_nothing_and_the_models_are_named(world):
    places = damage(world)
    theirs = world.folder / "theirs"
    shutil.copytree(world.folder / "backups" / "blobs", theirs)
    lie = theirs / "sha256" / places[0].name[:2] / places[0].name
    lie.chmod(0o600)
    lie.write_bytes(b"something else")
    (theirs / "sha256" / places[1].name[:2] / places[1].name).unlink()
    before = places[0].read_bytes()
    found = {row.digest.hex: row for row in repair(world.registry, other_store(str(theirs), world.registry))}
    assert "damaged" in found[places[0].name].problem
    assert "not kept" in found[places[1].name].problem
    assert not found[places[2].name].problem
    assert places[0].read_bytes() == before, "what is there stays until there is something better"
    assert len(fsck.blobs(world.registry)) == 2
    assert any("encoder" in name or "policy" in name for row in found.values() for name in row.models)


def test_the_command_says_what_it_mended(world, monkeypatch, capsys):
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.registry.layout.root))
    damage(world)
    assert run(["doctor", "--repair-from", str(world.folder / "backups")]) == 2
    capsys.readouterr()
    code = run(["doctor", "--deep", "--repair-from", str(world.folder / "backups"), "--format", "text"])
    out = capsys.readouterr().out
    assert "blobs.repaired" in out
    assert "mended" in out
    assert fsck.blobs(world.registry) == []
    assert code in (0, 1, 3)
    with pytest.raises(NotFound):
        other_store(str(world.folder / "encoder"), world.registry)
