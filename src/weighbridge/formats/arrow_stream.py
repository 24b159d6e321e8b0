"""Count the rows of an Arrow stream or file: the lengths that its record batches state, no buffer and no value.

Source: the Arrow columnar format, "IPC streaming format" and "IPC file format" (Message.fbs). Datasets saved to disk by
Hugging Face's library are such streams.
"""

from __future__ import annotations

from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable

FILE_MAGIC = b"ARROW1"
CONTINUES = b"\xff\xff\xff\xff"
MAX_MESSAGE = 64 * 1024 * 1024
MAX_MESSAGES = 1_000_000
_SCHEMA, _RECORD_BATCH = 1, 3
"""Kinds of message that matter here (MessageHeader); dictionaries and tensors hold no rows."""


def count_rows(stream: BinaryIO, size: int) -> int:
    """Return the rows of all record batches of a file of `size` bytes; raises Unreadable (`dataset.arrow`), OutOfBudget."""
    stream.seek(0)
    at = 8 if stream.read(6) == FILE_MAGIC else 0
    rows, first = 0, True
    for _ in range(MAX_MESSAGES):
        if at == size and not first:
            return rows
        stream.seek(at)
        length, header = _frame(stream.read(8))
        if length == 0 and not first:
            return rows
        if not 0 < length <= min(MAX_MESSAGE, size - at - header):
            raise _damaged(f"the message at {at} is {length} bytes long")
        stream.seek(at + header)
        message = _Table.root(stream.read(length))
        kind, body = message.number(1, 1), message.number(3, 8)
        if first and kind != _SCHEMA:
            raise _damaged("it does not begin with a schema")
        if kind == _RECORD_BATCH:
            count = message.table(2).number(0, 8)
            if count >= 1 << 63:
                raise _damaged(f"the batch at {at} has a negative length")
            rows += count
        at += header + length + body
        if body >= 1 << 63 or at > size:
            raise _damaged("a message reaches beyond its end")
        first = False
    raise OutOfBudget(
        f"an Arrow stream of more than {MAX_MESSAGES} messages is not counted", check="dataset.arrow"
    )


def _frame(data: bytes) -> tuple[int, int]:
    """Return the length of a message's metadata, and of what stands before it (before 0.15, four bytes less)."""
    if len(data) < 4:
        raise _damaged("it ends between two messages")
    if data[:4] != CONTINUES:
        return int.from_bytes(data[:4], "little", signed=True), 4
    if len(data) < 8:
        raise _damaged("it ends between two messages")
    return int.from_bytes(data[4:8], "little", signed=True), 8


class _Table:
    """One table of a flatbuffer: numbers and tables by slot, each place checked."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        back = int.from_bytes(self._bytes(place, 4), "little", signed=True)
        self._vtable = place - back
        self._slots = (self._unsigned(self._vtable, 2) - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """Return the outermost table."""
        if len(data) < 8:
            raise _damaged("a message is too short")
        return cls(data, int.from_bytes(data[:4], "little"))

    def number(self, slot: int, width: int) -> int:
        """Return an unsigned number; 0 where the field is left out (its default)."""
        place = self._field(slot)
        return self._unsigned(place, width) if place else 0

    def table(self, slot: int) -> _Table:
        """Return the table that a field refers to."""
        place = self._field(slot)
        if not place:
            raise _damaged("a message has no header")
        return _Table(self._data, place + self._unsigned(place, 4))

    def _field(self, slot: int) -> int:
        if slot >= self._slots:
            return 0
        relative = self._unsigned(self._vtable + 4 + 2 * slot, 2)
        return self._place + relative if relative else 0

    def _unsigned(self, place: int, width: int) -> int:
        return int.from_bytes(self._bytes(place, width), "little")

    def _bytes(self, place: int, width: int) -> bytes:
        if place < 0 or place + width > len(self._data):
            raise _damaged("an offset leads out of a message")
        return self._data[place : place + width]


def _damaged(cause: str) -> Unreadable:
    return Unreadable(
        "this is not an Arrow stream as its libraries write it",
        cause=cause,
        remedy="write the file again; until then its rows are not counted",
        check="dataset.arrow",
    )
