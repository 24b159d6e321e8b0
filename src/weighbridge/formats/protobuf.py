"""Walk protocol buffers on the wire against a table of fields: every byte belongs to a known field, or is named.

Source: the protocol buffers encoding document. Nothing is built from the data: the walk is a loop over an explicit
stack, sees each field once, skips what is long, and hands out only what the table marks as wanted.

A table is text, one message after the other, one field in a line or several with semicolons between them; `*` marks a repeated field, `!` one whose values are handed out,
`+` one that every such message has, because whoever loads it asks for it:

    Message
    1 int name
    2 str! title
    3 f32* numbers
    4 Other!+ others
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.cursor import WINDOW, Cursor

MAX_DEPTH = 100
"""Messages inside messages, the limit of the reference libraries."""
MAX_FIELDS = 12_000_000
MAX_ALIVE = 1_000_000
"""Values handed out that are held at once."""
MAX_ALIVE_BYTES = 48 * 1024 * 1024
MAX_UNKNOWN = 20
_RECORD = 5
"""A message that is held counts as so many values."""
MAX_OUTLINE = 3_000_000

_WIRE = {"int": 0, "f64": 1, "f32": 5, "str": 2, "line": 2, "bytes": 2}
_WIDTH = {"f64": 8, "f32": 4}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONG_VARINT = re.compile(rb"[\x80-\xff]{10}")


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table: `kind` is int, f32, f64, str, line, bytes or the name of a message.

    A `line` is text without control characters. It is asked for where the same bytes, read against the table of
    another format, could otherwise hold a message: the fields that matter there begin with control characters.
    """

    name: str
    kind: str
    repeated: bool
    wanted: bool
    needed: bool = False


Schema: TypeAlias = Mapping[str, Mapping[int, Field]]


@dataclass(frozen=True, slots=True)
class Span:
    """Where the bytes of a wanted `bytes` field lie."""

    offset: int
    length: int


@dataclass(slots=True)
class Record:
    """The wanted values of one message that was walked to its end; `path` names the messages around it."""

    kind: str
    offset: int
    path: tuple[str, ...] = ()
    values: dict[str, list[int | str | Span | Record]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return the last value of a text field, or an empty text."""
        value = self.values.get(name, ("",))[-1]
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return all values of a text field."""
        return tuple(value for value in self.values.get(name, ()) if isinstance(value, str))

    def number(self, name: str) -> int:
        """Return the last value of an integer field, or 0."""
        value = self.values.get(name, (0,))[-1]
        return value if isinstance(value, int) else 0

    def records(self, name: str) -> tuple[Record, ...]:
        """Return the messages of a field."""
        return tuple(value for value in self.values.get(name, ()) if isinstance(value, Record))


def schema(text: str) -> Schema:
    """Read a table."""
    found: dict[str, dict[int, Field]] = {}
    current: dict[int, Field] = {}
    for line in filter(None, map(str.strip, text.replace(";", "\n").splitlines())):
        words = line.split()
        if len(words) == 1:
            current = found.setdefault(words[0], {})
            continue
        kind = words[1].rstrip("*!+")
        marks = words[1][len(kind) :]
        current[int(words[0])] = Field(words[2], kind, "*" in marks, "!" in marks, "+" in marks)
    return found


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk leaves: the outermost message, and the fields that the table does not know."""

    root: Record
    fields: int
    unknown: tuple[tuple[str, int, int], ...]
    """(message, field number, offset), the first few."""
    missing: tuple[tuple[str, str, int], ...] = ()
    """(message, name of a field that it needs and has not, offset), the first few."""


def walk(
    stream: BinaryIO, size: int, table: Schema, root: str, *, check: str, what: str,
    on: Callable[[Record], None] = lambda _: None,
) -> Walked:  # fmt: skip
    """Walk over one message of `size` bytes; `on` gets each message, inner ones first.

    Raises Unreadable with checks `<check>.truncated`, `.wire`, `.twice`, `.nesting`, `.varint`, `.text`, and
    OutOfBudget.
    """
    return _Walk(Cursor(stream, size, check=check, what=what), table, on).run(root)


@dataclass(frozen=True, slots=True)
class Outline:
    """The outermost fields of a message: their wire types by number, and where the first of each begins."""

    wires: Mapping[int, frozenset[int]]
    first: Mapping[int, tuple[int, int]]
    """Offset and length of the value; for numbers the value and 0."""


def outline(stream: BinaryIO, begin: int, end: int) -> Outline | None:
    """Return the outermost fields between two offsets, or None when the bytes cannot be a message."""
    cursor = Cursor(stream, end, check="protobuf", what="a message")
    cursor.skip(begin)
    wires: dict[int, set[int]] = {}
    first: dict[int, tuple[int, int]] = {}
    walker = _Walk(cursor, {}, lambda _: None)
    try:
        for _ in range(MAX_OUTLINE):
            if not cursor.left():
                return Outline({number: frozenset(found) for number, found in wires.items()}, first)
            tag = walker.varint(end, 5)
            number, wire = tag >> 3, tag & 7
            if wire not in (0, 1, 2, 5) or not number:
                return None
            value = walker.varint(end) if wire in (0, 2) else {1: 8, 5: 4}[wire]
            wires.setdefault(number, set()).add(wire)
            first.setdefault(number, (value, 0) if wire == 0 else (cursor.place, value))
            cursor.skip(value if wire else 0)
    except Unreadable:
        return None
    return None


class _Frame:
    __slots__ = ("alive", "alive_bytes", "end", "fields", "record", "seen", "slot")

    def __init__(self, record: Record, fields: Mapping[int, Field], end: int, slot: Field | None) -> None:
        self.record = record
        self.fields = fields
        self.end = end
        self.slot = slot
        self.seen: set[int] = set()
        self.alive = 0
        self.alive_bytes = 0


class _Walk:
    def __init__(self, cursor: Cursor, table: Schema, on: Callable[[Record], None]) -> None:
        self.cursor = cursor
        self.table = table
        self.on = on
        self.needed = {
            kind: {number: row.name for number, row in rows.items() if row.needed}
            for kind, rows in table.items()
        }
        self.count = 0
        self.alive = 0
        self.alive_bytes = 0
        self.unknown: dict[tuple[str, int], int] = {}
        self.missing: dict[tuple[str, str], int] = {}
        self.stack: list[_Frame] = []

    def run(self, root: str) -> Walked:
        frame = _Frame(Record(root, 0), self.table[root], self.cursor.end, None)
        self.stack.append(frame)
        while self.stack:
            top = self.stack[-1]
            if self.cursor.place >= top.end:
                self.close()
            else:
                self.step(top)
        rows = tuple((message, number, offset) for (message, number), offset in self.unknown.items())
        missing = tuple((message, name, offset) for (message, name), offset in self.missing.items())
        return Walked(frame.record, self.count, rows, missing)

    def close(self) -> None:
        """Hand out a message that has been walked to its end."""
        frame = self.stack.pop()
        for number, name in self.needed[frame.record.kind].items():
            if number not in frame.seen and len(self.missing) < MAX_UNKNOWN:
                self.missing.setdefault((frame.record.kind, name), frame.record.offset)
        self.on(frame.record)
        if frame.slot is not None and frame.slot.wanted and self.stack:
            parent = self.stack[-1]
            parent.record.values.setdefault(frame.slot.name, []).append(frame.record)
            parent.alive += frame.alive + _RECORD
            parent.alive_bytes += frame.alive_bytes
            self.alive += _RECORD
            self.check_alive()
        else:
            self.alive -= frame.alive
            self.alive_bytes -= frame.alive_bytes

    def varint(self, end: int, longest: int = 10) -> int:
        cursor = self.cursor
        at = cursor.place - cursor.base
        if 0 <= at < len(cursor.buffer) and cursor.place < end:
            first = cursor.buffer[at]
            if first < 0x80:  # nearly all of them
                cursor.place += 1
                return first
        value = shift = 0
        for _ in range(min(longest, end - cursor.place)):
            byte = cursor.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise cursor.damaged("varint", "a number of more than 64 bits")
                return value
            shift += 7
        raise cursor.damaged("varint", "a number does not end")

    def step(self, frame: _Frame) -> None:
        """Read one field."""
        self.count += 1
        if self.count > MAX_FIELDS:
            raise _spent(f"more than {MAX_FIELDS} fields")
        place = self.cursor.place
        tag = self.varint(frame.end, 5)
        number, wire = tag >> 3, tag & 7
        if not number or tag >> 32:
            raise self.cursor.damaged("wire", f"a field with the number {number}")
        row = frame.fields.get(number)
        if row is None:
            self.unlisted(frame, number, wire, place)
            return
        if number in frame.seen and not row.repeated:
            raise self.cursor.damaged("twice", f"the field {frame.record.kind}.{row.name} stands twice")
        frame.seen.add(number)
        expected = _WIRE.get(row.kind, 2)
        if wire == expected:
            self.value(frame, row, wire)
        elif wire == 2 and row.repeated and row.kind in ("int", "f32", "f64"):
            self.packed(row.kind, self.length(frame), frame)
        else:
            raise self.cursor.damaged("wire", f"{frame.record.kind}.{row.name} is written as type {wire}")

    def length(self, frame: _Frame) -> int:
        length = self.varint(frame.end)
        if length > frame.end - self.cursor.place:
            raise self.cursor.damaged(
                "truncated", f"{length} bytes are announced in {frame.record.kind}, fewer remain"
            )
        return length

    def value(self, frame: _Frame, row: Field, wire: int) -> None:
        """Read the value of a known field."""
        if wire == 0:
            number = self.varint(frame.end)
            if row.wanted:
                self.keep(frame, row, number - (1 << 64) if number >> 63 else number, 0)
        elif wire != 2:
            self.fixed(frame, _WIDTH[row.kind])
        elif row.kind == "bytes":
            length = self.length(frame)
            if row.wanted:
                self.keep(frame, row, Span(self.cursor.place, length), 0)
            self.cursor.skip(length)
        elif row.kind in ("str", "line"):
            self.string(frame, row, self.length(frame))
        else:
            self.open(frame, row)

    def fixed(self, frame: _Frame, width: int) -> None:
        if width > frame.end - self.cursor.place:
            raise self.cursor.damaged("truncated", f"a number in {frame.record.kind} does not end")
        self.cursor.skip(width)

    def open(self, frame: _Frame, row: Field) -> None:
        """Enter a message inside the message."""
        length = self.length(frame)
        if len(self.stack) >= MAX_DEPTH:
            raise self.cursor.damaged("nesting", f"messages are nested more than {MAX_DEPTH} deep")
        record = Record(row.kind, self.cursor.place, (*frame.record.path, frame.record.kind))
        self.stack.append(_Frame(record, self.table[row.kind], self.cursor.place + length, row))

    def string(self, frame: _Frame, row: Field, length: int) -> None:
        if not row.wanted and row.kind == "str":
            self.cursor.skip(length)
            return
        if length > MAX_ALIVE_BYTES:
            raise _spent(f"a text of {length} bytes")
        try:
            text = self.cursor.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.cursor.damaged("text", f"{frame.record.kind}.{row.name} is not UTF-8") from error
        if row.kind == "line" and _CONTROL.search(text):
            raise self.cursor.damaged("text", f"{frame.record.kind}.{row.name} holds control characters")
        if row.wanted:
            self.keep(frame, row, text, length)

    def keep(self, frame: _Frame, row: Field, value: int | str | Span, cost: int) -> None:
        frame.record.values.setdefault(row.name, []).append(value)
        frame.alive += 1
        frame.alive_bytes += cost
        self.alive += 1
        self.alive_bytes += cost
        self.check_alive()

    def check_alive(self) -> None:
        """Refuse to hold more values at once than allowed."""
        if self.alive > MAX_ALIVE or self.alive_bytes > MAX_ALIVE_BYTES:
            raise _spent("more values in one message than are held at once")

    def packed(self, kind: str, length: int, frame: _Frame) -> None:
        """Move over the numbers of a packed field."""
        cursor = self.cursor
        if kind != "int":
            if length % _WIDTH[kind]:
                raise cursor.damaged(
                    "truncated", f"packed numbers in {frame.record.kind} do not fill {length} bytes"
                )
            cursor.skip(length)
            return
        carry = b""
        while length > 0:
            chunk = cursor.take(min(length, WINDOW))
            length -= len(chunk)
            if _LONG_VARINT.search(carry + chunk):
                raise cursor.damaged("varint", "a packed number of more than 64 bits")
            carry = chunk[-10:]
        if carry and carry[-1] >= 0x80:
            raise cursor.damaged("varint", "a packed number does not end")

    def unlisted(self, frame: _Frame, number: int, wire: int, place: int) -> None:
        """Note a field that the table does not know, and move over it."""
        if wire == 0:
            self.varint(frame.end)
        elif wire == 2:
            self.cursor.skip(self.length(frame))
        elif wire in (1, 5):
            self.fixed(frame, 8 if wire == 1 else 4)
        else:
            raise self.cursor.damaged(
                "wire", f"field {number} of {frame.record.kind} is written as type {wire}"
            )
        if len(self.unknown) < MAX_UNKNOWN:
            self.unknown.setdefault((frame.record.kind, number), place)


def _spent(cause: str) -> OutOfBudget:
    return OutOfBudget(
        "the file asks for more work than a scan may spend on it",
        cause=cause,
        remedy="split the model, or use one of an ordinary size",
        check="budget.protobuf",
    )
