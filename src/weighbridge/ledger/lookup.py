"""Where an entry is: sorted hashes beside the log, made from the tree and made again when they are lost.

::

    index/<N>    for the entries [N * 65536, (N + 1) * 65536), once all of them are there:
                 root of that subtree (32 bytes), SHA-256 of the rest, then 65,536 records of 10 bytes in order:
                 the first 8 bytes of the leaf hash and the entry's place in the subtree (big-endian u16)

An index is believed only in so far as its subtree root is the tree's and its digest its own; what it finds is
held against the leaf hash in the tree. One that is missing or does not fit is passed over, and the tiles it
would have spoken for are read instead. The last, incomplete part of the log is kept in memory once asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock

from weighbridge.ledger.merkle import HASH_SIZE
from weighbridge.ledger.tiles import WIDTH, Tiles, damaged, disk, tile_name, write_durably
from weighbridge.store.plain import read_plain

KIND = "index"
PART = WIDTH * WIDTH
PART_LEVEL = 16
RECORD = 10
KEY = 8
HEAD = 2 * HASH_SIZE


class Finder:
    """Finds leaf hashes in the log of one folder; may be used by several threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = Lock()
        self._believed: set[tuple[int, int, int]] = set()
        self._tail_start = 0
        self._tail_end = 0
        self._tail: dict[bytes, list[int]] = {}

    def find(self, tiles: Tiles, size: int, leaf: bytes, since: int) -> int | None:
        """Return the first index at or after `since` below `size` whose leaf hash this is, or None."""
        with self._lock:
            for index in self._candidates(tiles, size, leaf, max(0, since)):
                number, at = divmod(index, WIDTH)
                if tiles.hashes(0, number)[at * HASH_SIZE : (at + 1) * HASH_SIZE] == leaf:
                    return index
            return None

    def _candidates(self, tiles: Tiles, size: int, leaf: bytes, since: int) -> Iterator[int]:
        whole = size // PART
        for part in range(since // PART, whole):
            places = self._look_up(tiles, part, leaf)
            if places is None:
                yield from _read_through(tiles, leaf, max(since, part * PART), (part + 1) * PART)
            else:
                yield from (index for at in places if (index := part * PART + at) >= since)
        self._take_tail(tiles, whole * PART, size)
        yield from (index for index in self._tail.get(leaf[:KEY], ()) if since <= index < size)

    def _take_tail(self, tiles: Tiles, start: int, end: int) -> None:
        """Bring what is known of the incomplete part up to `end`."""
        if start != self._tail_start:
            self._tail, self._tail_start, self._tail_end = {}, start, start
        while self._tail_end < end:
            number, first = divmod(self._tail_end, WIDTH)
            data = tiles.hashes(0, number)
            for at in range(first, len(data) // HASH_SIZE):
                key = data[at * HASH_SIZE : at * HASH_SIZE + KEY]
                self._tail.setdefault(key, []).append(number * WIDTH + at)
            self._tail_end = number * WIDTH + len(data) // HASH_SIZE

    def _look_up(self, tiles: Tiles, part: int, leaf: bytes) -> list[int] | None:
        """Return the places within a part that an index gives for a leaf hash; None without a usable index."""
        try:
            descriptor = os.open(self._directory / tile_name(KIND, part), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            file = (part, status.st_ino, status.st_mtime_ns)
            if file not in self._believed:
                if not _fits(os.read(descriptor, HEAD + PART * RECORD + 1), tiles.node(PART_LEVEL, part)):
                    return None
                self._believed.add(file)
            return _search(descriptor, leaf[:KEY])
        except OSError:
            return None
        finally:
            os.close(descriptor)


def build(directory: Path, tiles: Tiles, size: int, *, most: int) -> None:
    """Write the indexes of complete parts that have none, the newest first, `most` at a time.

    Only ever a help: what cannot be written now is written by a later append.
    """
    for part in range(size // PART - 1, -1, -1):
        path = directory / tile_name(KIND, part)
        if most == 0:
            return
        if not path.exists():
            with suppress(OSError):
                write_durably(path, encode(tiles, part))
            most -= 1


def check(directory: Path, tiles: Tiles, size: int) -> None:
    """Hold each index that is there against the tiles; raises RegistryUnusable."""
    for part in range(size // PART):
        name = tile_name(KIND, part)
        try:
            kept = read_plain(directory / name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk(error) from None
        if kept != encode(tiles, part):
            raise damaged(f"{name} is not the index of its entries; it may be removed, and is made again")
        tiles.forget()


def encode(tiles: Tiles, part: int) -> bytes:
    """Return the index of a complete part, from its tiles."""
    records = []
    for number in range(PART // WIDTH):
        data = tiles.hashes(0, part * (PART // WIDTH) + number)
        high = bytes([number])
        records += [
            data[at * HASH_SIZE : at * HASH_SIZE + KEY] + high + at.to_bytes(1, "big") for at in range(WIDTH)
        ]
    records.sort()
    body = b"".join(records)
    return tiles.node(PART_LEVEL, part) + sha256(body).digest() + body


def _fits(data: bytes, root: bytes) -> bool:
    return (
        len(data) == HEAD + PART * RECORD
        and data[:HASH_SIZE] == root
        and data[HASH_SIZE:HEAD] == sha256(memoryview(data)[HEAD:]).digest()
    )


def _search(descriptor: int, key: bytes) -> list[int]:
    """Return the places of all records with this key, in order."""
    low, high = 0, PART
    while low < high:
        middle = (low + high) // 2
        if os.pread(descriptor, KEY, HEAD + middle * RECORD) < key:
            low = middle + 1
        else:
            high = middle
    places = []
    while low < PART:
        record = os.pread(descriptor, RECORD, HEAD + low * RECORD)
        if record[:KEY] != key:
            break
        places.append(int.from_bytes(record[KEY:], "big"))
        low += 1
    return places


def _read_through(tiles: Tiles, leaf: bytes, start: int, end: int) -> Iterator[int]:
    for number in range(start // WIDTH, end // WIDTH):
        data = tiles.hashes(0, number)
        at = data.find(leaf)
        while at >= 0:
            index = number * WIDTH + at // HASH_SIZE
            if at % HASH_SIZE == 0 and index >= start:
                yield index
            at = data.find(leaf, at + 1)
