"""Pieces are read ahead as far as somebody asked and there is room in plenty, and no further."""

import asyncio

import pytest

from weighbridge.server import leaves
from weighbridge.server.leaves import AHEAD, Leaves
from weighbridge.store.files import FileBlobs

PIECE, COUNT = 4096, 20


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(leaves, "LEAF", PIECE)
    blobs = FileBlobs(tmp_path)
    data = b"".join(bytes([number]) * PIECE for number in range(COUNT))
    return blobs, blobs.put([data])


def play(kept, *, pieces, scene):
    """Return which pieces were read while `scene` ran."""
    blobs, digest = kept
    read = []

    class Noted(Leaves):
        def _part(self, digest, start, memory, expected):
            read.append(start // PIECE)
            super()._part(digest, start, memory, expected)

    async def run():
        held = Noted(blobs, pieces=pieces)
        held.open()
        try:
            await scene(held, digest)
            while waiting := [piece.task for piece in held._pieces.values() if piece.data is None]:
                await asyncio.gather(*waiting)
        finally:
            held.close()

    asyncio.run(run())
    return read


def test_some_pieces_are_read_before_they_are_asked_for(kept):
    async def scene(held, digest):
        first = await held.take(digest, COUNT * PIECE, 0)
        held.read_ahead(digest, COUNT * PIECE, range(1, COUNT))
        held.give_back(first)

    assert sorted(play(kept, pieces=64, scene=scene)) == [0, *range(1, 1 + AHEAD)]


def test_nothing_is_read_that_nobody_asked_for(kept):
    async def scene(held, digest):
        held.give_back(await held.take(digest, COUNT * PIECE, 0))
        held.read_ahead(digest, COUNT * PIECE, range(1, 2))
        held.read_ahead(digest, COUNT * PIECE, range(COUNT, COUNT))

    assert sorted(play(kept, pieces=64, scene=scene)) == [0, 1]


def test_with_many_readers_nothing_is_read_ahead(kept):
    async def scene(held, digest):
        taken = [await held.take(digest, COUNT * PIECE, number) for number in range(5)]
        held.read_ahead(digest, COUNT * PIECE, range(5, COUNT))
        for piece in taken:
            held.give_back(piece)

    assert sorted(play(kept, pieces=10, scene=scene)) == [0, 1, 2, 3, 4]
