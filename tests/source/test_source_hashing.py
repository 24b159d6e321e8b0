"""Digests of many files at once are those that one reading of each file gives, whatever the cores do."""

import hashlib
import io
import os
import random

import pytest
from blake3 import blake3

from weighbridge.core.errors import BadManifest, Unreadable, UsageError
from weighbridge.core.manifest import CHUNK_SIZE
from weighbridge.source import hashing
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.source.tree import TreeFile

SIZES = (0, 1, 65, hashing.BLOCK, hashing.BLOCK + 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 7)
ONES = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b, "blake3": blake3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("model")
    (made / "sub").mkdir()
    block = random.Random(4).randbytes(1 << 20)
    for number, size in enumerate(SIZES):
        (made / "sub" / f"{number}.bin").write_bytes((block * (size // len(block) + 1))[:size])
    return made


@pytest.fixture(params=["threads", "alone"])
def cores(request, monkeypatch):
    monkeypatch.setattr(hashing, "cores", lambda: 4 if request.param == "threads" else 1)


@pytest.mark.parametrize("algorithm", ONES)
def test_whole_files(folder, cores, algorithm):
    with open_folder(folder) as tree:
        files = tree.files()
        found = hashing.hash_pieces(files, algorithm)
    assert found == {
        hashing.whole(file): ONES[algorithm]((folder / file.path).read_bytes()).digest() for file in files
    }


@pytest.mark.parametrize("size", [1_000_003, CHUNK_SIZE, 1 << 40])
def test_shards(folder, cores, size):
    with open_folder(folder) as tree:
        files = tree.files()
        found = hashing.hash_pieces(files, "sha256", lambda file: hashing.shards(file, size))
    for file in files:
        data = (folder / file.path).read_bytes()
        pieces = sorted((piece for piece in found if piece.path == file.path), key=lambda piece: piece.start)
        assert [piece.start for piece in pieces] == list(range(0, len(data), size))
        assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
        assert sum(piece.end - piece.start for piece in pieces) == len(data)
        for piece in pieces:
            assert found[piece] == hashlib.sha256(data[piece.start : piece.end]).digest()


def test_two_digests_of_one_reading_are_those_of_the_plain_reader(folder, cores):
    with open_folder(folder) as tree:
        manifest, table = hashing.describe(tree.files())
        plain = read_tree(tree)
    assert manifest == plain.manifest
    assert [(row.path, row.chunks) for row in table.files] == [
        (row.path, row.chunks) for row in plain.chunks.files
    ]
    for row, whole in zip(table.files, plain.chunks.files, strict=True):
        assert row.blake3 == (whole.blake3 if len(row.chunks) < 2 else "")


def test_chunks_alone_are_those_of_the_table(folder, cores):
    with open_folder(folder) as tree:
        assert hashing.hash_chunks(tree.files()) == {
            row.path: row.chunks for row in read_tree(tree).chunks.files
        }


def test_progress_counts_every_byte_once(folder, cores):
    counted = []
    with open_folder(folder) as tree:
        hashing.describe(tree.files(), progress=counted.append)
    assert sum(counted) == sum(SIZES)


def test_an_algorithm_nobody_knows(folder):
    with open_folder(folder) as tree, pytest.raises(UsageError, match="md5"):
        hashing.hash_pieces(tree.files(), "md5")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_length_than_listed(cores, change):
    """Also where the source cannot tell by itself."""
    size = 9 * 1024 * 1024
    files = [TreeFile(name, size, lambda: io.BytesIO(bytes(size + change))) for name in ("a", "b", "c")]
    for work in (
        lambda: hashing.describe(files),
        lambda: hashing.hash_chunks(files),
        lambda: hashing.hash_pieces(files, "sha256"),
    ):
        with pytest.raises(Unreadable) as caught:
            work()
        assert caught.value.check == "source.changed"


def test_a_file_that_changes_between_listing_and_reading(tmp_path, cores):
    (tmp_path / "a").write_bytes(bytes(100))
    with open_folder(tmp_path) as tree:
        files = tree.files()
        (tmp_path / "a").write_bytes(bytes(99) + b"\1")
        os.utime(tmp_path / "a", ns=(1, 1))
        with pytest.raises(Unreadable) as caught:
            hashing.hash_chunks(files)
    assert caught.value.check == "source.changed"


def test_the_first_files_error_is_the_one_told_and_work_ends(monkeypatch):
    monkeypatch.setattr(hashing, "cores", lambda: 4)
    opened = []

    def broken(name):
        opened.append(name)
        raise Unreadable(f"no {name}")

    files = [TreeFile(f"{number:02}", 1 << 20, lambda n=number: broken(n)) for number in range(64)]
    with pytest.raises(Unreadable):
        hashing.describe(files)
    assert len(opened) <= 4


def test_a_disk_that_fails(cores):
    class Bad(io.BytesIO):
        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    with pytest.raises(Unreadable, match="could not be read to its end"):
        hashing.hash_pieces([TreeFile("a", 5, lambda: Bad(bytes(5)))], "sha256")


def test_everything_lists_what_is_never_part_of_a_model(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_bytes(b"x")
    (tmp_path / "a").write_bytes(b"x")
    with open_folder(tmp_path) as tree:
        assert [file.path for file in tree.files()] == ["a"]
    with open_folder(tmp_path, everything=True) as tree:
        assert [file.path for file in tree.files()] == [".git/config", "a"]


def test_what_is_never_part_of_a_model_may_be_anything_and_may_change(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "link").symlink_to("/etc/passwd")
    (tmp_path / ".git" / "back\\slash").write_bytes(b"")
    os.mkfifo(tmp_path / ".git" / "pipe")
    (tmp_path / "a").write_bytes(b"x")
    with open_folder(tmp_path, everything=True) as tree:
        names = [file.path for file in tree.files()]
        assert names == [".git/back\\slash", ".git/link", ".git/pipe", "a"]
        (tmp_path / ".git" / "new").write_bytes(b"")
        tree.settle()
        for file in tree.files()[1:3]:
            with pytest.raises((Unreadable, BadManifest)):
                hashing.hash_pieces([file], "sha256")
        (tmp_path / "b").write_bytes(b"")
        with pytest.raises(Unreadable):
            tree.settle()
