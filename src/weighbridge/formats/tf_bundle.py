"""Read the index of a TensorFlow checkpoint: a sorted table that says where in the data files each tensor lies.

Source: tensorflow/core/lib/io/table (the table format of LevelDB) and tensor_bundle.proto. Each block has a type and
a masked CRC-32C; the footer of 48 bytes names two blocks and ends in a magic number.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor
from weighbridge.formats.protobuf import Record, walk
from weighbridge.formats.tf_tables import TABLE

TAIL = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER = 48
_TRAILER = 5
MAX_INDEX = 64 * 1024 * 1024
MAX_ENTRIES = 200_000
MAX_KEYS = 32 * 1024 * 1024
"""Bytes of all names; names that share their beginnings take less in the file."""


@dataclass(slots=True)
class Bundle:
    """`rows` are (shard, offset, bytes) of each tensor."""

    shards: int = 1
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    packed: bool = False
    """Some block is packed, and was not read."""


def read_bundle(stream: BinaryIO, size: int) -> Bundle:
    """Read an index of `size` bytes; raises Unreadable (checks `tensorflow.*`) and OutOfBudget."""
    if size > MAX_INDEX:
        raise OutOfBudget(
            f"an index of {size} bytes", cause="that is more than is read", remedy="use a checkpoint of an ordinary size",
            check="budget.tensorflow",
        )  # fmt: skip
    stream.seek(0)
    return _Table(stream.read(size)).read()


class _Table:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.cursor = Cursor(
            io.BytesIO(data), len(data), check="tensorflow", what="the index of a checkpoint"
        )
        self.bundle = Bundle()
        self.spans: list[tuple[int, int]] = []
        self.names = 0

    def read(self) -> Bundle:
        size = len(self.data)
        if size < _FOOTER or not self.data.endswith(TAIL):
            raise self.cursor.damaged("footer", "it does not end like one")
        place = size - _FOOTER
        meta_at, place = self.varint(place)
        meta_size, place = self.varint(place)
        index_at, place = self.varint(place)
        index_size, place = self.varint(place)
        if self.data[place:-8].strip(b"\0"):
            raise self.cursor.damaged("footer", "the padding of the footer is not zero")
        self.block(meta_at, meta_size)
        seen: set[bytes] = set()
        for _, handle in self.block(index_at, index_size):
            offset, used = self.varint(0, handle)
            length, used = self.varint(used, handle)
            if used != len(handle):
                raise self.cursor.damaged("handle", "bytes follow the place of a block")
            for key, value in self.block(offset, length):
                if key in seen:
                    raise self.cursor.damaged("duplicate", "a name stands twice")
                seen.add(key)
                self.entry(key, value)
        self.cover(size - _FOOTER)
        return self.bundle

    def varint(self, place: int, data: bytes | None = None) -> tuple[int, int]:
        data = self.data if data is None else data
        value = 0
        for shift in range(0, 70, 7):
            if place >= len(data):
                break
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, place
        raise self.cursor.damaged("varint", "a number does not end")

    def block(self, offset: int, length: int) -> list[tuple[bytes, bytes]]:
        """Return the entries of one block."""
        end = offset + length + _TRAILER
        if end > len(self.data) - _FOOTER:
            raise self.cursor.damaged("block", "a block reaches past the end of the file")
        self.spans.append((offset, end))
        if self.data[end - _TRAILER]:
            self.bundle.packed = True
            return []
        block = self.data[offset : offset + length]
        restarts = int.from_bytes(block[-4:], "little")
        limit = length - 4 - 4 * restarts
        if length < 4 or limit < 0:
            raise self.cursor.damaged("block", "a block does not hold its own table")
        rows: list[tuple[bytes, bytes]] = []
        place, key = 0, b""
        while place < limit:
            shared, place = self.varint(place, block)
            fresh, place = self.varint(place, block)
            size, place = self.varint(place, block)
            if shared > len(key) or place + fresh + size > limit:
                raise self.cursor.damaged("block", "an entry reaches past its block")
            key = key[:shared] + block[place : place + fresh]
            rows.append((key, block[place + fresh : place + fresh + size]))
            place += fresh + size
            self.names += len(key)
            if len(rows) > MAX_ENTRIES or self.names > MAX_KEYS:
                raise self.cursor.damaged("block", "more or longer names than a checkpoint has")
        return rows

    def entry(self, key: bytes, value: bytes) -> None:
        """Read the header, which has no name, or where one tensor lies."""
        found: list[Record] = []
        kind = "BundleEntryProto" if key else "BundleHeaderProto"
        walked = walk(
            io.BytesIO(value), len(value), TABLE, kind, check="tensorflow", what="the index of a checkpoint", on=found.append
        )  # fmt: skip
        root = walked.root
        if walked.unknown:
            raise self.cursor.damaged("entry", "an entry holds a field that the schema does not know")
        if not key:
            self.bundle.shards = root.number("num_shards")
            if not 0 < self.bundle.shards < 100_000:
                raise self.cursor.damaged("entry", f"{self.bundle.shards} parts are announced")
        elif not root.records("slices"):
            shard, offset, size = root.number("shard_id"), root.number("offset"), root.number("size")
            if not 0 <= shard < self.bundle.shards or offset < 0 or size < 0:
                raise self.cursor.damaged(
                    "entry", f"a tensor lies in part {shard} at {offset}, {size} bytes long"
                )
            self.bundle.rows.append((shard, offset, size))
            if len(self.bundle.rows) > MAX_ENTRIES:
                raise self.cursor.damaged("entry", f"more than {MAX_ENTRIES} tensors")

    def cover(self, end: int) -> None:
        """Each byte before the footer belongs to one block."""
        place = 0
        for begin, stop in sorted(self.spans):
            if begin != place:
                raise self.cursor.damaged(
                    "cover", f"bytes {min(place, begin)} to {max(place, begin)} belong to no block, or to two"
                )
            place = stop
        if place != end:
            raise self.cursor.damaged("cover", f"{end - place} bytes before the footer belong to no block")
