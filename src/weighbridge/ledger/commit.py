"""What one commit writes before its checkpoint: the tiles at the right edge of the tree, flushed to disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from weighbridge.ledger.entry import LogEntry
from weighbridge.ledger.merkle import HASH_SIZE
from weighbridge.ledger.tiles import (
    ENTRIES,
    LEVEL_BITS,
    PROMISES,
    WIDTH,
    Tiles,
    encode_entries,
    encode_promises,
    flush_folders,
    hashes_at,
    level_of,
    perfect_root,
    tile_name,
    write_durably,
)

Written: TypeAlias = tuple[str, int, int]
"""A tile's kind, number and width."""


def write_tiles(
    directory: Path, tiles: Tiles, entries: Sequence[LogEntry], leaves: Sequence[bytes], *, promises: bool
) -> list[Written]:
    """Write every tile that the entries change and flush them; `tiles` is the log before them."""
    size = entries[0].index
    changed = [*_edge_bundles(tiles, size, entries, promises=promises), *_edge_hashes(tiles, size, leaves)]
    written = []
    for kind, number, width, data in changed:
        write_durably(directory / tile_name(kind, number, width), data)
        written.append((kind, number, width))
    _flush(directory, tiles, written)
    return written


def _edge_bundles(
    tiles: Tiles, size: int, entries: Sequence[LogEntry], *, promises: bool
) -> Iterator[tuple[str, int, int, bytes]]:
    """Yield (kind, number, width, bytes) of the bundles of entries and of promises, from the edge on."""
    edge = size // WIDTH
    bodies = tiles.entries(edge) + [entry.body for entry in entries]
    rows = tiles.promises(edge) if promises else []
    rows += [(entry.integrated_time, entry.promise) for entry in entries]
    for at in range(0, len(bodies), WIDTH):
        number, bundle = edge + at // WIDTH, bodies[at : at + WIDTH]
        yield ENTRIES, number, len(bundle), encode_entries(bundle)
        if promises:
            yield PROMISES, number, len(bundle), encode_promises(rows[at : at + WIDTH])


def _edge_hashes(tiles: Tiles, size: int, leaves: Sequence[bytes]) -> Iterator[tuple[str, int, int, bytes]]:
    """Yield (kind, number, width, bytes) of the hash tiles, level by level; a full tile is a hash in the next."""
    level, fresh = 0, list(leaves)
    while fresh:
        edge = (size >> LEVEL_BITS * level) // WIDTH
        data = tiles.hashes(level, edge) + b"".join(fresh)
        fresh = []
        for at in range(0, len(data), WIDTH * HASH_SIZE):
            hashes = data[at : at + WIDTH * HASH_SIZE]
            width = len(hashes) // HASH_SIZE
            yield hashes_at(level), edge + at // (WIDTH * HASH_SIZE), width, hashes
            if width == WIDTH:
                fresh.append(perfect_root(hashes, 0, WIDTH))
        level += 1


def _flush(directory: Path, tiles: Tiles, written: Sequence[Written]) -> None:
    """Flush the folders of the tiles written: up to the top for tiles that no earlier commit had."""
    known: list[Path] = []
    fresh: list[Path] = []
    for kind, number, width in written:
        before = tiles.width(level_of(kind), number)
        (known if before and width < WIDTH else fresh).append(directory / tile_name(kind, number, width))
    flush_folders(directory, fresh)
    flush_folders(directory, known, deep=False)
