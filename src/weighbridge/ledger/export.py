"""Copying a log as static files: complete, checked on the way, and marked as a copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import Checkpoint, form_of, parse_checkpoint, verify_checkpoint
from weighbridge.ledger.cosigned import COSIGNED, KeptCosigned
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.merkle import Frontier, leaf_hash
from weighbridge.ledger.tiles import (
    CHECKPOINT,
    ENTRIES,
    LEVEL_BITS,
    PROMISES,
    WIDTH,
    Tiles,
    damaged,
    disk,
    drop_other_partials,
    encode_entries,
    encode_promises,
    flush_folders,
    hashes_at,
    perfect_root,
    tile_name,
    write_durably,
)
from weighbridge.store.plain import read_plain

MIRROR = "mirror"
MARK = b"This folder is a copy of a log. Appending here would fork it.\n"
KEY = "log.pub.pem"

_OURS = ("lock", MIRROR, KEY, "tile", PROMISES, CHECKPOINT)
"""What a copy that was cut short may have left."""


def copy_log(source: Path, target: Path, note: str, public_pem: str) -> int:
    """Bring `target` to the log that `note`, its verified checkpoint, stands for; see `Log.export`."""
    head = parse_checkpoint(note)[0]
    cosigned, witnessed = KeptCosigned(source, head.origin, public_pem).read()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with exclusive(target / "lock"):
            tiles = Tiles(source, head.size)
            old = _before(target, head, tiles, public_pem)
            write_durably(target / MIRROR, MARK)
            write_durably(target / KEY, public_pem.encode())
            flush_folders(target, [target / MIRROR])
            written = list(_copy_tiles(tiles, target, head, old))
            flush_folders(target, [target / tile_name(*tile) for tile in written])
            write_durably(target / CHECKPOINT, note.encode())
            if cosigned and witnessed.size <= head.size:
                write_durably(target / COSIGNED, cosigned.encode())
            flush_folders(target.parent, [target / CHECKPOINT])
            for tile in written:
                drop_other_partials(target, *tile)
    except FileNotFoundError:
        raise  # a tile that an append swept away: the caller takes up the new head and comes again
    except OSError as error:
        raise disk(error) from None
    return head.size


def _before(target: Path, head: Checkpoint, tiles: Tiles, public_pem: str) -> int:
    """Return how many entries the copy has; it must be of this log's past."""
    try:
        note = read_plain(target / CHECKPOINT).decode(errors="replace")
    except FileNotFoundError:
        if any(path.name.removesuffix(".tmp") not in _OURS for path in target.iterdir()):
            raise _occupied(target) from None
        return 0
    if not (target / MIRROR).exists():
        raise _occupied(target)
    try:
        old = verify_checkpoint(note, origin=head.origin, public_pem=public_pem)
    except VerificationFailed as error:
        raise _other(target, f"{error.problem}: {error.cause}") from error
    if old.size > head.size or merkle.root(old.size, tiles.node) != old.root:
        raise _other(
            target, f"the copy of {old.size} entries is not the beginning of this log of {head.size}"
        )
    return old.size


def _copy_tiles(tiles: Tiles, target: Path, head: Checkpoint, old: int) -> Iterator[tuple[str, int, int]]:
    """Write the tiles that the copy lacks, each held against the tree; yield what was written."""
    first = old // WIDTH
    frontier = Frontier.read(first * WIDTH, tiles.node)
    promises = form_of(head.origin) == "v1"
    for number in range(first, -(-head.size // WIDTH)):
        bodies = tiles.entries(number)
        leaves = [leaf_hash(body) for body in bodies]
        if b"".join(leaves) != tiles.hashes(0, number):
            raise damaged(f"entries from {number * WIDTH} on do not match their hashes")
        frontier = frontier.extend(leaves)
        yield _write(target, ENTRIES, number, len(bodies), encode_entries(bodies))
        if promises:
            yield _write(target, PROMISES, number, len(bodies), encode_promises(tiles.promises(number)))
        yield _write(target, hashes_at(0), number, len(bodies), b"".join(leaves))
        tiles.forget()
    if frontier.root != head.root:
        raise damaged("the entries do not add up to the root in the signed checkpoint")
    yield from _copy_levels(tiles, target, head.size, old)


def _copy_levels(tiles: Tiles, target: Path, size: int, old: int) -> Iterator[tuple[str, int, int]]:
    level = 1
    while count := size >> LEVEL_BITS * level:
        for number in range((old >> LEVEL_BITS * level) // WIDTH, -(-count // WIDTH)):
            width = tiles.width(level, number)
            below = [tiles.hashes(level - 1, number * WIDTH + at) for at in range(width)]
            hashes = b"".join(perfect_root(tile, 0, WIDTH) for tile in below)
            if hashes != tiles.hashes(level, number):
                raise damaged(
                    f"{tile_name(hashes_at(level), number, width)} does not follow from the hashes below it"
                )
            yield _write(target, hashes_at(level), number, width, hashes)
            tiles.forget()
        level += 1


def _write(target: Path, kind: str, number: int, width: int, data: bytes) -> tuple[str, int, int]:
    write_durably(target / tile_name(kind, number, width), data)
    return kind, number, width


def _occupied(target: Path) -> Refused:
    return Refused(
        f"{target} holds something that is not a copy of a log",
        cause="a copy would overwrite it",
        remedy="choose an empty folder",
        check="log.exists",
    )


def _other(target: Path, cause: str) -> Refused:
    return Refused(
        f"the copy in {target} is not of this log's past",
        cause=cause,
        remedy="keep that copy: one of the two was rolled back or forked. Then export to another folder",
        check="log.consistency",
    )
