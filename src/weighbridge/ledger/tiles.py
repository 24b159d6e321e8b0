"""The log on disk: C2SP tlog-tiles (hashes and entries in files of 256), written so that a crash cannot tear them.

::

    tile/<level>/<N>[.p/<W>]      256 (or W) hashes of 32 bytes; level L holds roots over 256**L leaves
    tile/entries/<N>[.p/<W>]      256 (or W) entries, each with its length as a big-endian u16 before it
    promise/<N>[.p/<W>]           for each entry: time (u64, seconds), length (u16) and signed entry timestamp

N is written in groups of three digits, all but the last with an `x` before it: 1234067 is x001/x234/067.
`promise/` is ours; the other two are as any C2SP client expects them.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from weighbridge.core.errors import NotFound, RegistryUnusable, Unreadable
from weighbridge.ledger.merkle import HASH_SIZE, NodeReader
from weighbridge.store.plain import flush_folder, read_plain

WIDTH = 256
LEVEL_BITS = 8
MAX_ENTRY = 2**16 - 1
"""Bytes: an entry's length is a u16."""

CHECKPOINT = "checkpoint"
ENTRIES = "tile/entries"
PROMISES = "promise"

_PATH = re.compile(
    r"tile/(?P<kind>entries|[0-9]|[1-5][0-9]|6[0-3])/(?P<number>(?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def hashes_at(level: int) -> str:
    """Return the kind of the hash tiles of one level."""
    return f"tile/{level}"


def level_of(kind: str) -> int:
    """Return the level whose widths the tiles of a kind have: entries and promises go with the leaves."""
    return 0 if kind in (ENTRIES, PROMISES) else int(kind.removeprefix("tile/"))


def tile_name(kind: str, number: int, width: int = WIDTH) -> str:
    """Return a tile's path within the log (C2SP tlog-tiles, "Merkle tree tiles")."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03d}")
    name = f"{kind}/{'/'.join(reversed(groups))}"
    return name if width == WIDTH else f"{name}.p/{width}"


def encode_entries(bodies: Sequence[bytes]) -> bytes:
    """Write an entry bundle; bodies are at most 65,535 bytes each."""
    return b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def decode_entries(data: bytes, count: int) -> list[bytes]:
    """Read an entry bundle of exactly `count` entries; raises RegistryUnusable."""
    bodies, at = [], 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        bodies.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    if at != len(data) or len(bodies) != count:
        raise damaged("an entry bundle has the wrong length")
    return bodies


def encode_promises(rows: Sequence[tuple[int, bytes]]) -> bytes:
    """Write (time, signed entry timestamp) rows."""
    return b"".join(struct.pack(">QH", time, len(signature)) + signature for time, signature in rows)


def decode_promises(data: bytes, count: int) -> list[tuple[int, bytes]]:
    """Read exactly `count` rows; raises RegistryUnusable."""
    rows, at = [], 0
    while at + 10 <= len(data):
        time, length = struct.unpack_from(">QH", data, at)
        rows.append((time, data[at + 10 : at + 10 + length]))
        at += 10 + length
    if at != len(data) or len(rows) != count:
        raise damaged("a promise bundle has the wrong length")
    return rows


class Tiles:
    """The tiles of a log of one size. Reads are kept for the life of the object, so make one per operation."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._kept: dict[tuple[str, int], bytes] = {}
        self._rows: dict[tuple[int, int], list[bytes]] = {}

    def width(self, level: int, number: int) -> int:
        """Return how many records the tile has at this size: 0 when it does not exist yet."""
        return max(0, min(WIDTH, (self._size >> LEVEL_BITS * level) - WIDTH * number))

    def read(self, kind: str, number: int, width: int) -> bytes:
        """Return a tile's bytes; raises FileNotFoundError, or Unreadable when the disk refuses."""
        if width == 0:
            return b""
        if (kind, number) not in self._kept:
            path = self._directory / tile_name(kind, number, width)
            try:
                self._kept[kind, number] = read_plain(path)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise disk(error) from None
        return self._kept[kind, number]

    def forget(self) -> None:
        """Drop what was kept, for walks over a whole log."""
        self._kept.clear()
        self._rows.clear()

    def hashes(self, level: int, number: int) -> bytes:
        """Return the hashes of one tile, 32 bytes each."""
        width = self.width(level, number)
        data = self.read(hashes_at(level), number, width)
        if len(data) != HASH_SIZE * width:
            raise damaged(f"{tile_name(hashes_at(level), number, width)} has the wrong length")
        return data

    def entries(self, number: int) -> list[bytes]:
        """Return the bodies of one entry bundle."""
        width = self.width(0, number)
        return decode_entries(self.read(ENTRIES, number, width), width)

    def promises(self, number: int) -> list[tuple[int, bytes]]:
        """Return the (time, signed entry timestamp) rows of one bundle."""
        width = self.width(0, number)
        return decode_promises(self.read(PROMISES, number, width), width)

    @property
    def node(self) -> NodeReader:
        """Read any perfect subtree within this size (see `merkle`)."""

        def node(level: int, index: int) -> bytes:
            tile_level, rest = divmod(level, LEVEL_BITS)
            first = index << rest
            row = self._pyramid(tile_level, first // WIDTH, rest)
            at = (first % WIDTH >> rest) * HASH_SIZE
            return row[at : at + HASH_SIZE]

        return node

    def _pyramid(self, level: int, number: int, height: int) -> bytes:
        """Return the hashes `height` levels above a tile's own; each row is made once."""
        rows = self._rows.get((level, number))
        if rows is None:
            rows = self._rows[level, number] = [self.hashes(level, number)]
        while len(rows) <= height:
            rows.append(row_above(rows[-1]))
        return rows[height]

    def resource(self, path: str) -> bytes:
        """Return what a client of C2SP tlog-tiles gets at `tile/…`; raises NotFound for paths without a tile.

        Only the widest part of a tile is kept; a narrower one, which an older checkpoint asks for, is its beginning.
        """
        match = _PATH.fullmatch(path)
        if match is not None:
            number = int(match["number"].replace("x", "").replace("/", ""))
            width = int(match["width"] or WIDTH)
            level = 0 if match["kind"] == "entries" else int(match["kind"])
            whole = self.width(level, number)
            if width <= whole and tile_name(f"tile/{match['kind']}", number, width) == path:
                if match["kind"] == "entries":
                    return encode_entries(self.entries(number)[:width])
                return self.hashes(level, number)[: width * HASH_SIZE]
        raise NotFound(
            "the log has no such tile", remedy="read the checkpoint first: its size says which exist"
        )


def row_above(hashes: bytes) -> bytes:
    """Hash a row of 32-byte hashes pairwise (RFC 6962: prefix 0x01); an odd last one is left out."""
    return b"".join(
        [sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, len(hashes) - HASH_SIZE, 64)]
    )


def perfect_root(hashes: bytes, first: int, count: int) -> bytes:
    """Return the root over `count` (a power of two) of the 32-byte hashes, from the `first` on."""
    row = hashes[first * HASH_SIZE : (first + count) * HASH_SIZE]
    while len(row) > HASH_SIZE:
        row = row_above(row)
    return row


def write_durably(path: Path, data: bytes, *, before: Callable[[], None] | None = None) -> None:
    """Replace a file: written beside, flushed to disk, renamed. The rename is not yet flushed (see `flush_folders`).

    `before` runs between flushing and renaming, and by raising prevents the rename. The temporary name is
    fixed, as there is only one appender: what a crash left there is overwritten.
    """
    temporary = f"{path}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, flags, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if before is not None:
        before()
    os.replace(temporary, path)  # noqa: PTH105 (the temporary name is a string)


def flush_folders(top: Path, paths: Sequence[Path], *, deep: bool = True) -> None:
    """Flush the directory entries of `paths` to disk; with `deep` also those of their folders, up to `top`.

    Only a folder that an earlier commit has flushed up to `top` may be flushed without `deep`.
    """
    folders = {path.parent for path in paths}
    if deep:
        folders = {
            folder for path in paths for folder in path.parents if folder == top or top in folder.parents
        }
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        flush_folder(folder)


def drop_other_partials(directory: Path, kind: str, number: int, width: int) -> None:
    """Remove the narrower twins of a tile just committed. Space only: what cannot be removed may stay."""
    folder = directory / (tile_name(kind, number) + ".p")
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != str(width):
                path.unlink()
        if width == WIDTH:
            folder.rmdir()


def damaged(cause: str) -> RegistryUnusable:
    """Make the error for a log that contradicts itself."""
    return RegistryUnusable(
        "the log is damaged",
        cause=cause,
        remedy="restore the log's folder from a backup or a mirror; entries must never be written again by hand",
        check="log.damaged",
    )


def disk(error: OSError) -> Unreadable:
    """Make the error for a disk that does not do what it is told."""
    return Unreadable(
        "the log cannot be read or written",
        cause=os.strerror(error.errno) if error.errno else "input/output error",
        remedy="check space and permissions of the log's folder, then run the command again",
        check="log.disk",
    )
