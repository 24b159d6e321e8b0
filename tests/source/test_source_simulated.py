"""Models of 140 GB and 1.3 TB, read whole in simulation: memory bounded, each byte once, progress right.

What is simulated: the bytes (one block that is handed out again and again), the digests (they count instead of hashing)
and the store (it counts). What is real: the listing and its limits, the reading in blocks, the threads beside it, the
chunk table, the manifest, progress. A sparse file of the same size is read for real at its two ends only.
"""

import io
import os
import tracemalloc
from collections import Counter

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget
from weighbridge.source import read
from weighbridge.source.local import open_folder
from weighbridge.source.tree import TreeFile, listed

GB, MIB = 10**9, 1024 * 1024
BLOCK = bytes(16 * MIB)
MODELS = {"140 GB in 30 files": (140 * GB, 30, MIB), "1.3 TB in 260 files": (1300 * GB, 260, 16 * MIB)}
"""Bytes, files, bytes of a block: as in earnest for the one, sixteen times as many for the other, to save time."""
ASKED, OPENED = Counter(), Counter()


class Counting:
    """Takes the place of a hash: every update counts."""

    def __init__(self):
        self.size = 0

    def update(self, block):
        self.size += len(block)

    def hexdigest(self):
        return f"{self.size:064x}"


class Bytes(io.RawIOBase):
    """A file of a size that nobody has written; what was read of it is counted by name."""

    def __init__(self, name, size):
        self.name, self.left = name, size
        OPENED[name] += 1

    def read(self, size=-1):
        count = min(size, self.left)
        self.left -= count
        ASKED[self.name] += count
        return memoryview(BLOCK)[:count]


class Store:
    """Takes everything and keeps only how much it was."""

    def __init__(self):
        self.kept = 0

    def free(self):
        return None

    def put(self, chunks, *, expected=None):
        size = 0
        for chunk in chunks:
            size += len(chunk)
        self.kept += size
        return Digest("sha256", f"{size + self.kept:064x}")


class Tree:
    model_hint, origin = "simulated", {}

    def __init__(self, total, count):
        sizes = [total // count] * count
        sizes[-1] += total - sum(sizes)
        self._files = [
            TreeFile(f"model-{n:05d}-of-{count:05d}.safetensors", size, lambda n=n, size=size: Bytes(n, size))
            for n, size in enumerate(sizes)
        ]

    def files(self):
        return self._files

    def settle(self):
        pass

    def close(self):
        pass


@pytest.fixture(autouse=True)
def _counted(monkeypatch):
    monkeypatch.setattr(read, "blake3", Counting)
    ASKED.clear()
    OPENED.clear()


@pytest.mark.parametrize("model", MODELS)
def test_memory_is_bounded_each_byte_is_read_once_and_progress_is_right(model, monkeypatch):
    total, count, block = MODELS[model]
    monkeypatch.setattr(read, "READ_SIZE", block)
    tree, store, told = Tree(total, count), Store(), []
    steps = Counter()

    def progress(size):
        steps["bytes"] += size
        steps["calls"] += 1
        if steps["calls"] % 10_000 == 1:
            told.append((steps["bytes"], tracemalloc.get_traced_memory()[0]))

    tracemalloc.start()
    try:
        snapshot = read.read_tree(tree, store, progress=progress)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert snapshot.manifest.size == total == steps["bytes"] == store.kept == sum(ASKED.values())
    assert dict.fromkeys(range(count), 1) == OPENED
    assert {n: ASKED[n] for n in range(count)} == {n: f.size for n, f in enumerate(tree.files())}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    parts = sum(len(file.chunks) for file in snapshot.chunks.files)
    assert parts == sum(-(-file.size // read.CHUNK_SIZE) for file in tree.files())
    assert peak < 16 * MIB + 400 * parts, f"{peak} bytes at most, {parts} chunks in the table"


def test_more_than_the_limit_costs_no_reading():
    with pytest.raises(OutOfBudget) as caught:
        read.read_tree(Tree(3000 * GB, 600), Store())
    assert caught.value.check == "source.size"
    assert not OPENED


def test_a_sparse_file_of_the_largest_size_is_listed_without_being_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 1300 * GB)
    with open_folder(tmp_path) as tree:
        (found,) = listed(tree).files
        assert found.size == 1300 * GB
        with found.open() as stream:
            assert stream.read(8) == bytes(8)
            stream.seek(-8, 2)
            assert stream.read() == bytes(8)
    assert path.stat().st_blocks * 512 < MIB
