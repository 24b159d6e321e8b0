"""Read how many rows a Parquet file says it holds: its footer alone, no column and no value.

Source: the Parquet format (parquet.thrift, README "File format") and Thrift's compact protocol. A library that reads
Parquet is a hundred megabytes of native code; the footer is one structure, of which two members are wanted and the
rest is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
MAX_FOOTER = 32 * 1024 * 1024
MAX_PARTS = 2_000_000
"""Fields and entries stepped over: a few seconds of work."""
MAX_DEPTH = 16

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)
_ROWS, _GROUPS, _ENCRYPTION, _GROUP_ROWS = 3, 4, 8, 3
"""Field ids: FileMetaData.num_rows, .row_groups, .encryption_algorithm, RowGroup.num_rows."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a footer says: rows of the file, and in how many groups."""

    rows: int
    groups: int


def read_footer(stream: BinaryIO, size: int) -> Footer:
    """Read the footer of a file of `size` bytes; raises Unreadable (`dataset.parquet`) or OutOfBudget.

    The rows of the groups must add up to the rows of the file.
    """
    if size < 12:
        raise _damaged(f"it has {size} bytes, and the smallest has 12")
    stream.seek(0)
    head = stream.read(4)
    stream.seek(size - 8)
    tail = stream.read(8)
    if ENCRYPTED in (head, tail[4:]):
        raise _damaged("its footer is encrypted")
    if head != MAGIC or tail[4:] != MAGIC:
        raise _damaged("it does not begin and end with PAR1")
    length = int.from_bytes(tail[:4], "little")
    if length > size - 12:
        raise _damaged("its footer is longer than the file")
    if length > MAX_FOOTER:
        raise OutOfBudget(
            f"a Parquet footer of {length} bytes is not read",
            remedy="nothing is lost but the number of rows",
            check="dataset.parquet",
        )
    stream.seek(size - 8 - length)
    data = stream.read(length)
    if len(data) != length:
        raise _damaged("its footer could not be read to its end")
    return _metadata(_Compact(data))


def _metadata(reader: _Compact) -> Footer:
    rows: int | None = None
    found: list[int] | None = None
    signed = False
    for field, kind in reader.fields():
        if field == _ROWS and kind == _I64:
            rows = reader.integer()
        elif field == _GROUPS and kind == _LIST:
            found = _groups(reader)
        else:
            signed = signed or field == _ENCRYPTION
            reader.skip(kind)
    if reader.left and not signed:
        raise _damaged(f"{reader.left} bytes follow the footer's structure")
    if rows is None or found is None:
        raise _damaged("its footer does not say how many rows and groups there are")
    if rows < 0 or any(count < 0 for count in found) or sum(found) != rows:
        raise _damaged(f"its footer says {rows} rows, and its groups {sum(found)}")
    return Footer(rows, len(found))


def _groups(reader: _Compact) -> list[int]:
    count, kind = reader.list_header()
    if count and kind != _STRUCT:
        raise _damaged("its row groups are no structures")
    found = []
    for _ in range(count):
        rows: int | None = None
        for field, inner in reader.fields():
            if field == _GROUP_ROWS and inner == _I64:
                rows = reader.integer()
            else:
                reader.skip(inner, depth=1)
        if rows is None:
            raise _damaged("a row group does not say how many rows it has")
        found.append(rows)
    return found


class _Compact:
    """Steps over Thrift's compact protocol; everything declared is checked against what is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._parts = 0

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield id and type of each field of the structure here; the caller reads or skips each before the next."""
        field = 0
        while True:
            self._spend(1)
            head = self._byte()
            if head == 0:
                return
            step, kind = head >> 4, head & 15
            field = field + step if step else self.integer()
            if not 0 < field < 1 << 15:
                raise _damaged("a field of its footer has no possible number")
            yield field, kind

    def integer(self) -> int:
        """Read a zigzag variable-length integer of at most 64 bits."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def list_header(self) -> tuple[int, int]:
        """Read how many entries a list has, and of which type."""
        head = self._byte()
        count = head >> 4
        if count == 15:
            count = self._varint()
        if count > self.left:  # the shortest entry takes one byte
            raise _damaged("a list in its footer is longer than the footer")
        return count, head & 15

    def skip(self, kind: int, *, depth: int = 0) -> None:
        """Step over a value of a type, bytes of a field's own truth value included."""
        if kind in (_TRUE, _FALSE):
            return  # the type is the value
        self._skip_value(kind, depth)

    def _skip_value(self, kind: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _damaged(f"its footer is nested deeper than {MAX_DEPTH}")
        self._spend(1)
        if kind in (_TRUE, _FALSE, _BYTE):
            self._take(1)
        elif kind in (_I16, _I32, _I64):
            self._varint()
        elif kind in (_DOUBLE, _UUID):
            self._take(8 if kind == _DOUBLE else 16)
        elif kind == _BINARY:
            self._take(self._varint())
        elif kind in (_LIST, _SET):
            count, inner = self.list_header()
            for _ in range(count):
                self._skip_value(inner, depth + 1)
        elif kind == _MAP:
            self._skip_map(depth)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth=depth + 1)
        else:
            raise _damaged(f"its footer has a value of the unknown type {kind}")

    def _skip_map(self, depth: int) -> None:
        count = self._varint()
        if count > self.left:
            raise _damaged("a map in its footer is longer than the footer")
        if not count:
            return
        kinds = self._byte()
        for _ in range(count):
            self._skip_value(kinds >> 4, depth + 1)
            self._skip_value(kinds & 15, depth + 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF
        raise _damaged("a number in its footer does not end")

    def _byte(self) -> int:
        if self._at >= len(self._data):
            raise _damaged("its footer ends in the middle")
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, count: int) -> None:
        if count > self.left:
            raise _damaged("its footer ends in the middle")
        self._at += count

    def _spend(self, count: int) -> None:
        self._parts += count
        if self._parts > MAX_PARTS:
            raise OutOfBudget(
                f"a Parquet footer of more than {MAX_PARTS} parts is not read",
                remedy="nothing is lost but the number of rows",
                check="dataset.parquet",
            )


def _damaged(cause: str) -> Unreadable:
    return Unreadable(
        "this is not Parquet as its libraries write it",
        cause=cause,
        remedy="write the file again; until then its rows are not counted",
        check="dataset.parquet",
    )
