"""Reading a tree once: digests against independent computations, budgets, and stores that fill up."""

import errno
import hashlib
import io
import os
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadManifest,
    OutOfBudget,
    RegistryUnusable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.core.manifest import CHUNK_SIZE
from weighbridge.source import read
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_file, read_tree
from weighbridge.source.tree import TreeFile
from weighbridge.store.files import FileBlobs


def given_file(data: bytes, *, path="weights.bin", size=None, announced=(), remote=False, opened=None):
    def opener():
        if opened is not None:
            opened.append(path)
        return io.BytesIO(data)

    return TreeFile(path, len(data) if size is None else size, opener, tuple(announced), remote=remote)


@dataclass
class Listed:
    listed: list[TreeFile]
    model_hint: str = "test"
    origin: dict = field(default_factory=dict)

    def files(self):
        return self.listed

    def settle(self):
        pass

    def close(self):
        pass


def git_id(data: bytes) -> Digest:
    return Digest("sha1", hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest())


def kept(blobs: FileBlobs) -> list[str]:
    return sorted(path.name for path in blobs.root.rglob("*") if path.is_file())


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "blobs")


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE + 12345])
@pytest.mark.parametrize("storing", [False, True])
def test_digests_equal_those_computed_over_the_whole(size, storing, blobs):
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    found = read_file(given_file(data, announced=[git_id(data), Digest.of(data)]), blobs if storing else None)
    assert found.entry.sha256 == Digest.of(data)
    assert found.entry.size == size
    assert found.chunks.blake3 == blake3(data).hexdigest()
    assert found.chunks.chunks == tuple(
        blake3(data[at : at + CHUNK_SIZE]).hexdigest() for at in range(0, size, CHUNK_SIZE)
    )
    assert kept(blobs) == ([found.entry.sha256.hex] if storing else [])


class Dribble(io.RawIOBase):
    """A stream that gives as few bytes as it is asked to, in an odd rhythm."""

    def __init__(self, data: bytes, steps: list[int]) -> None:
        self.inner = io.BytesIO(data)
        self.steps = steps or [1]
        self.turn = 0

    def read(self, size=-1):
        self.turn += 1
        return self.inner.read(max(1, min(size, self.steps[self.turn % len(self.steps)])))


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=5))
def test_how_the_bytes_arrive_changes_nothing(data, steps):
    file = TreeFile("f", len(data), lambda: Dribble(data, steps), (git_id(data),))
    monkey = read.CHUNK_SIZE
    read.CHUNK_SIZE = 64
    try:
        found = read_file(file)
    finally:
        read.CHUNK_SIZE = monkey
    assert found.entry.sha256 == Digest.of(data)
    assert found.chunks.blake3 == blake3(data).hexdigest()
    assert found.chunks.chunks == tuple(
        blake3(data[at : at + 64]).hexdigest() for at in range(0, len(data), 64)
    )


@pytest.mark.parametrize("storing", [False, True])
@pytest.mark.parametrize(
    "announced",
    [Digest.of(b"other"), git_id(b"other"), git_id(b"what was announced"[::-1])],
)
def test_other_bytes_than_announced_are_refused_and_not_kept(announced, storing, blobs):
    with pytest.raises(VerificationFailed) as caught:
        read_file(given_file(b"what was announced", announced=[announced]), blobs if storing else None)
    assert caught.value.check == "source.announced"
    assert announced.hex in caught.value.cause
    assert kept(blobs) == []


def test_each_of_several_announcements_counts(blobs):
    data = b"data"
    for announced in ([Digest.of(data), git_id(b"x")], [git_id(data), Digest.of(b"x")]):
        with pytest.raises(VerificationFailed):
            read_file(given_file(data, announced=announced), blobs)
        with pytest.raises(VerificationFailed):
            read_file(given_file(data, announced=announced[::-1]))
    assert kept(blobs) == []


@pytest.mark.parametrize("size", [0, 3, 5, 100])
def test_another_size_than_listed_is_refused_and_not_kept(size, blobs):
    with pytest.raises(VerificationFailed) as caught:
        read_file(given_file(b"four", size=size, announced=[Digest.of(b"four")]), blobs)
    assert caught.value.check == "source.announced"
    with pytest.raises(Unreadable) as caught:
        read_file(given_file(b"four", size=size), blobs)
    assert caught.value.check == "source.changed"
    assert kept(blobs) == []


def test_reading_stops_at_the_listed_size_and_not_at_the_end_of_an_endless_file():
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size=-1):
            Endless.given += size
            return b"\0" * size

    with pytest.raises(Unreadable):
        read_file(TreeFile("endless", 10, Endless))
    assert Endless.given <= 2 * read.READ_SIZE


def test_an_input_error_in_the_middle_is_unreadable_and_leaves_nothing(blobs):
    class Broken(io.RawIOBase):
        left = 2

        def read(self, size=-1):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "Input/output error")
            return b"x" * 10

    with pytest.raises(Unreadable) as caught:
        read_file(TreeFile("disk.bin", 1000, Broken), blobs)
    assert "disk.bin" in caught.value.problem
    assert "Input/output" in caught.value.cause
    assert kept(blobs) == []


def test_a_tree_gives_its_manifest_and_a_table_in_step(blobs):
    tree = Listed([given_file(b"b", path="b"), given_file(b"a", path="a"), given_file(b"", path="sub/c")])
    counted = []
    found = read_tree(tree, blobs, progress=counted.append)
    assert [entry.path for entry in found.manifest.files] == ["a", "b", "sub/c"]
    assert {row.path for row in found.chunks.files} == {"a", "b", "sub/c"}
    assert sum(counted) == 2
    for entry in found.manifest.files:
        assert blobs.verify(entry.sha256)


def test_a_tree_that_can_have_no_identity_is_refused_before_a_byte_is_read(blobs):
    opened = []
    for names in ([], ["a", "A"], ["../a"], ["/etc/passwd"], ["a", "a"], ["a", "a/b"], ["cafe\u0301"]):
        with pytest.raises(BadManifest):
            read_tree(Listed([given_file(b"x", path=name, opened=opened) for name in names]), blobs)
    assert opened == []
    assert kept(blobs) == []


def test_a_single_file_with_a_bad_name_is_refused():
    with pytest.raises(BadManifest):
        read_file(given_file(b"x", path="../x"))


def test_a_tree_larger_than_its_limit_is_not_begun():
    opened = []
    tree = Listed([given_file(b"x" * 10, path=name, opened=opened) for name in "ab"])
    with pytest.raises(OutOfBudget) as caught:
        read_tree(tree, max_bytes=19)
    assert caught.value.check == "source.size"
    assert opened == []
    assert read_tree(tree, max_bytes=20).manifest.size == 20


def sparse(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


def test_a_sparse_file_larger_than_the_disk_is_refused_before_anything_is_written(tmp_path, blobs):
    """A file of one tebibyte that takes no room where it lies would fill the store."""
    try:
        sparse(tmp_path / "model" / "huge.bin", 1 << 40)
    except OSError:
        pytest.skip("this file system holds no file of one tebibyte")
    if blobs.free() > 1 << 40:
        pytest.skip("this disk has room for it")
    with open_folder(tmp_path / "model") as tree, pytest.raises(OutOfBudget) as caught:
        read_tree(tree, blobs)
    assert caught.value.check == "source.space"
    assert caught.value.remedy
    assert kept(blobs) == []


def test_a_sparse_file_over_the_limit_is_not_read_even_when_nothing_is_stored(tmp_path):
    try:
        sparse(tmp_path / "model" / "huge.bin", (1 << 41) + 1)
    except OSError:
        pytest.skip("this file system holds no such file")
    with open_folder(tmp_path / "model") as tree, pytest.raises(OutOfBudget) as caught:
        read_tree(tree)
    assert "sparse" in caught.value.cause


def test_memory_does_not_grow_with_the_file(tmp_path):
    sparse(tmp_path / "model" / "holes.bin", 200 * 1024 * 1024)
    tracemalloc.start()
    try:
        with open_folder(tmp_path / "model") as tree:
            found = read_tree(tree)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.manifest.files[0].sha256.hex == hashlib.sha256(bytes(200 * 1024 * 1024)).hexdigest()
    assert peak < CHUNK_SIZE


def test_room_is_asked_for_before_reading_and_a_reserve_is_left(blobs, monkeypatch):
    data = b"x" * 1000
    tree = Listed([given_file(data)])
    monkeypatch.setattr(FileBlobs, "free", lambda _: read.RESERVE + 999)
    with pytest.raises(OutOfBudget):
        read_tree(tree, blobs)
    monkeypatch.setattr(FileBlobs, "free", lambda _: read.RESERVE + 1000)
    read_tree(tree, blobs)


def test_what_is_kept_already_needs_no_room(blobs, monkeypatch):
    data = b"x" * 1000
    tree = Listed([given_file(data, announced=[Digest.of(data)])])
    read_tree(tree, blobs)
    monkeypatch.setattr(FileBlobs, "free", lambda _: read.RESERVE)
    read_tree(tree, blobs)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up_meanwhile_is_said_and_nothing_half_written_stays(blobs, monkeypatch, number):
    real, calls = os.write, []

    def write(fd, data):
        calls.append(fd)
        if len(calls) > 2:
            raise OSError(number, os.strerror(number))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OutOfBudget) as caught:
        read_file(given_file(b"x" * 5 * read.READ_SIZE), blobs)
    assert "room" in caught.value.problem
    assert kept(blobs) == []


def test_a_remote_file_that_is_kept_is_not_fetched_again_but_hashed_again(blobs):
    data, opened = b"shared weights", []
    file = given_file(data, announced=[Digest.of(data)], remote=True, opened=opened)
    first = read_file(file, blobs)
    again = read_file(file, blobs)
    assert opened == ["weights.bin"]
    assert again == first
    read_file(file)
    assert len(opened) == 2


@pytest.mark.parametrize("damaged", [b"shared Weights", b"shared", b"shared weights and more", b""])
def test_a_damaged_blob_does_not_stand_for_a_remote_file(blobs, damaged):
    data = b"shared weights"
    file = given_file(data, announced=[Digest.of(data)], remote=True)
    path = blobs.local(read_file(file, blobs).entry.sha256)
    path.chmod(0o644)
    path.write_bytes(damaged)
    with pytest.raises(RegistryUnusable) as caught:
        read_file(file, blobs)
    assert caught.value.remedy


def test_a_local_file_is_read_itself_even_when_its_blob_is_kept(blobs):
    data = b"weights"
    blobs.put([data])
    with pytest.raises(VerificationFailed):
        read_file(given_file(b"WEIGHTS", announced=[Digest.of(data)]), blobs)
