"""Copies of a log: complete, checked, readable by anybody, brought up to date, and never a second log."""

import shutil
from datetime import UTC, datetime

import pytest

from weighbridge.core.errors import NotFound, Refused, RegistryUnusable, Unreadable
from weighbridge.keys.files import generate
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import verify_checkpoint
from weighbridge.ledger.sequencer import Log
from weighbridge.ledger.tiles import tile_name

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
KEY = generate("ed25519")
GENESIS = [b"genesis one", b"genesis two"]
ORIGINS = {"v1": "weighbridge.test - 7", "v2": "log.example"}


def create(folder, form="v1", genesis=GENESIS):
    return Log.create(folder, ORIGINS[form], KEY, now=NOW, genesis=genesis, form=form)


def grow(log, size):
    log.append([b"entry %d" % number for number in range(log.size, size)], signer=KEY, now=NOW)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["v1", "v2"])
def log(request, tmp_path):
    log = create(tmp_path / "log", request.param)
    grow(log, 700)
    return log


def test_a_copy_is_the_log(log, tmp_path):
    log.cosigned(log.checkpoint_text + "— witness AAAAAAAA\n")
    assert log.export(tmp_path / "copy") == 700
    copy = Log.open(tmp_path / "copy", KEY.public_pem)
    assert (copy.checkpoint_text, copy.cosigned_text) == (log.checkpoint_text, log.cosigned_text)
    assert copy.verify_all() == 700
    assert list(copy.entries()) == list(log.entries())
    assert copy.proof(300) == log.proof(300)
    ours, theirs = files(tmp_path / "log"), files(tmp_path / "copy")
    assert set(theirs) - set(ours) == {"mirror", "log.pub.pem"}
    assert set(ours) == set(theirs) - {"mirror", "log.pub.pem"}
    assert all(ours[name] == theirs[name] for name in ours)


def test_a_stranger_reads_the_copy_with_the_specification_alone(log, tmp_path):
    """Tile names, widths, entry bundles and the root, from the checkpoint's size on."""
    log.export(tmp_path / "copy")
    note = (tmp_path / "copy/checkpoint").read_text()
    size, hashes = int(note.split("\n")[1]), []
    for number in range(-(-size // 256)):
        width = min(256, size - 256 * number)
        suffix = "" if width == 256 else f".p/{width}"
        data = (tmp_path / f"copy/tile/entries/{number:03d}{suffix}").read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            hashes.append(merkle.leaf_hash(data[2 : 2 + length]))
            data = data[2 + length :]
        tile = (tmp_path / f"copy/tile/0/{number:03d}{suffix}").read_bytes()
        assert tile == b"".join(hashes[256 * number :])
    head = verify_checkpoint(note, origin=log.origin, public_pem=KEY.public_pem)
    assert head.root == merkle.root(size, merkle.nodes_of(hashes))


@pytest.mark.parametrize("sizes", [(700, 701), (700, 768), (768, 769), (767, 1100), (700, 700)])
def test_a_copy_is_brought_up_to_date(log, tmp_path, sizes):
    grow(log, sizes[0])
    log.export(tmp_path / "copy")
    grow(log, sizes[1])
    assert log.export(tmp_path / "copy") == sizes[1]
    copy = Log.open(tmp_path / "copy", KEY.public_pem)
    assert (copy.checkpoint_text, copy.verify_all()) == (log.checkpoint_text, sizes[1])
    log.export(tmp_path / "fresh")
    assert files(tmp_path / "copy") == files(tmp_path / "fresh")


def test_nothing_is_appended_to_a_copy(log, tmp_path):
    log.export(tmp_path / "copy")
    copy = Log.open(tmp_path / "copy", KEY.public_pem)
    for change in (
        lambda: copy.append([b"fork"], signer=KEY, now=NOW),
        lambda: copy.freeze(signer=KEY, now=NOW),
    ):
        with pytest.raises(Refused) as caught:
            change()
        assert caught.value.check == "log.mirror"
        assert "mirror" in caught.value.remedy
    assert Log.open(tmp_path / "copy", KEY.public_pem).size == 700


def test_a_copy_takes_the_place_of_a_lost_log_only_on_purpose(log, tmp_path):
    log.export(tmp_path / "copy")
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "copy/mirror").unlink()
    copy = Log.open(tmp_path / "copy", KEY.public_pem)
    grow(copy, 1000)
    assert copy.verify_all() == 1000


def test_what_lies_in_the_way_stays(log, tmp_path):
    other = create(tmp_path / "other")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers/thesis").write_text("years of work")
    (tmp_path / "file").write_text("")
    before = files(tmp_path / "other")
    for name in ("other", "papers"):
        with pytest.raises(Refused) as caught:
            log.export(tmp_path / name)
        assert caught.value.check == "log.exists"
    with pytest.raises(Unreadable):
        log.export(tmp_path / "file")
    assert {name: data for name, data in files(tmp_path / "other").items() if name != "lock"} == {
        name: data for name, data in before.items() if name != "lock"
    }
    assert Log.open(tmp_path / "other", KEY.public_pem).size == other.size


def test_a_copy_of_another_past_is_kept_as_the_proof_it_is(log, tmp_path):
    fork = create(tmp_path / "fork", log.form, [b"another", b"past"])
    grow(fork, 300)
    fork.export(tmp_path / "copy")
    before = files(tmp_path / "copy")
    with pytest.raises(Refused) as caught:
        log.export(tmp_path / "copy")
    assert caught.value.check == "log.consistency"
    assert files(tmp_path / "copy") == before


def test_a_rolled_back_log_does_not_roll_back_its_copy(log, tmp_path):
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    grow(log, 800)
    log.export(tmp_path / "copy")
    old = Log.open(tmp_path / "old", KEY.public_pem)
    with pytest.raises(Refused) as caught:
        old.export(tmp_path / "copy")
    assert caught.value.check == "log.consistency"
    assert Log.open(tmp_path / "copy", KEY.public_pem).size == 800


@pytest.mark.parametrize(
    "name", ["tile/entries/000", "tile/0/001", "tile/1/000.p/2", "tile/entries/002.p/188"]
)
def test_a_damaged_log_gives_no_copy(log, tmp_path, name):
    path = tmp_path / "log" / name
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(RegistryUnusable):
        log.export(tmp_path / "copy")
    assert not (tmp_path / "copy/checkpoint").exists()


def test_a_frozen_log_is_copied_frozen(log, tmp_path):
    log.export(tmp_path / "copy")
    log.freeze(signer=KEY, now=NOW)
    log.export(tmp_path / "copy")
    assert Log.open(tmp_path / "copy", KEY.public_pem).head.frozen


# What a server answers


def test_every_width_that_ever_was_is_served(log):
    entries = log.resource(tile_name("tile/entries", 2, 188))
    hashes = log.resource("tile/0/002.p/188")
    for width in (1, 100, 188):
        assert log.resource(f"tile/0/002.p/{width}") == hashes[: 32 * width]
        assert entries.startswith(log.resource(f"tile/entries/002.p/{width}"))
    assert len(log.resource("tile/0/000")) == 8192
    assert log.resource("tile/0/000.p/5") == log.resource("tile/0/000")[:160]
    assert len(log.resource("tile/1/000.p/2")) == 64
    assert log.resource("checkpoint").decode() == log.checkpoint_text


@pytest.mark.parametrize(
    "path",
    [
        "",
        "lock",
        "promise/000",
        "index/000",
        "../key",
        "tile/0/../../lock",
        "tile/0/002",
        "tile/0/003",
        "tile/0/002.p/189",
        "tile/0/002.p/0",
        "tile/0/002.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/2",
        "tile/0/x000/000",
        "tile/00/000",
        "tile/2/000",
        "tile/64/000",
        "tile/63/000",
        "tile/-1/000",
        "tile/0/\u0661\u0661\u0661",
        "tile/entries/x999/x999/x999/x999/x999/999",
        "tile/0/000\n",
        "/tile/0/000",
    ],
)
def test_paths_without_a_tile(log, path):
    with pytest.raises(NotFound):
        log.resource(path)
