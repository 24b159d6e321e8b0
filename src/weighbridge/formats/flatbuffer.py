"""Walk over a flatbuffer against its tables: each offset is checked, each byte belongs to one thing or is padding.

Source: the flatbuffers internals document. Tables are visited from an explicit stack; what is visited twice is
counted once. What nothing refers to must be zeros that align what follows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from weighbridge.core.errors import OutOfBudget, Unreadable

MAX_THINGS = 500_000
"""Tables, vectors and texts of one file."""
MAX_GAP = 64

Tables: TypeAlias = Mapping[str, Mapping[int, str]]


@dataclass(slots=True)
class Table:
    """One table: where it lies, and the value or place of each field that is there, by slot.

    Numbers are given as they are, unsigned; text and vectors of numbers as (offset, count); tables as such.
    """

    kind: str
    place: int
    fields: dict[int, int | tuple[int, int] | Table | list[Table]] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)
    """Slots that are filled and that the table's definition does not know."""


class Flatbuffer:
    """A flatbuffer of which each reachable part has been checked; `root` is its outermost table."""

    def __init__(
        self, data: bytes, tables: Tables, unions: Tables, root: str, *, check: str, identified: bool = True
    ) -> None:
        self.data = data
        self.tables = tables
        self.unions = unions
        self.check = check
        self.spans: dict[int, int] = {}
        self.known: dict[tuple[int, str], Table] = {}
        self.vectors: dict[tuple[int, str], tuple[int, int] | list[Table]] = {}
        self.entries = 0
        self.unknown: dict[tuple[str, int], int] = {}
        self.work: list[Table] = []
        self.span(0, 8 if identified else 4)
        self.root = self.table(self.offset(0), root)
        while self.work:
            self.fill(self.work.pop())

    def damaged(self, check: str, cause: str) -> Unreadable:
        """Return the error for bytes that the format does not allow."""
        return Unreadable(
            "this is not a flatbuffer as its libraries write it",
            cause=cause,
            remedy="fetch the file again; if it is the same there, its publisher must write it anew",
            check=f"{self.check}.{check}",
        )

    def span(self, begin: int, end: int) -> None:
        """Note that bytes belong to something; they must lie inside the file."""
        if begin < 0 or end > len(self.data) or end < begin:
            raise self.damaged("offset", f"bytes {begin} to {end} lie outside of the file")
        if self.spans.get(begin, -1) < end:
            self.spans[begin] = end
            self.spend(1)

    def spend(self, count: int) -> None:
        """Count parts, and entries of vectors that refer to parts."""
        self.entries += count
        if self.entries > MAX_THINGS:
            raise OutOfBudget(
                "the model asks for more work than a scan may spend on it", cause=f"more than {MAX_THINGS} parts",
                remedy="use a model of an ordinary size", check="budget.flatbuffer",
            )  # fmt: skip

    def number(self, place: int, width: int) -> int:
        """Return an unsigned number."""
        if place < 0 or place + width > len(self.data):
            raise self.damaged("offset", f"a number at {place} lies outside of the file")
        return int.from_bytes(self.data[place : place + width], "little")

    def offset(self, place: int) -> int:
        """Follow the offset at `place`."""
        step = self.number(place, 4)
        if not step:
            raise self.damaged("offset", f"the offset at {place} leads nowhere")
        return place + step

    def table(self, place: int, kind: str) -> Table:
        """Return the table at `place`, to be filled when its turn comes."""
        key = (place, kind)
        if key not in self.known:
            self.known[key] = Table(kind, place)
            self.work.append(self.known[key])
        return self.known[key]

    def fill(self, table: Table) -> None:
        """Read the fields of a table by its vtable."""
        place = table.place
        (back,) = struct.unpack("<i", self.number(place, 4).to_bytes(4, "little"))
        vtable = place - back
        size, inline = self.number(vtable, 2), self.number(vtable + 2, 2)
        if size < 4 or size % 2 or inline < 4:
            raise self.damaged("vtable", f"the vtable at {vtable} is malformed")
        self.span(vtable, vtable + size)
        self.span(place, place + inline)
        known = self.tables[table.kind]
        slots = struct.unpack(f"<{(size - 4) // 2}H", self.data[vtable + 4 : vtable + size])
        for slot, relative in enumerate(slots):
            if not relative:
                continue
            kind = known.get(slot)
            if kind is None:
                table.unknown.append(slot)
                self.unknown.setdefault((table.kind, slot), place)
                continue
            width = int(kind) if kind.isdigit() else 4
            if relative < 4 or relative + width > inline:
                raise self.damaged("vtable", f"a field of the table at {place} lies outside of it")
            if kind.startswith("u"):
                self.union(table, slot, kind[1:], place + relative)
            else:
                self.value(table, slot, kind, place + relative)

    def value(self, table: Table, slot: int, kind: str, at: int) -> None:
        """Read one field."""
        if kind.isdigit():
            table.fields[slot] = self.number(at, int(kind))
        elif kind == "s":
            table.fields[slot] = self.text(self.offset(at))
        elif kind.startswith("*"):
            table.fields[slot] = self.vector(self.offset(at), kind[1:])
        else:
            table.fields[slot] = self.table(self.offset(at), kind)

    def union(self, table: Table, slot: int, kind: str, at: int) -> None:
        """Read a field whose table is chosen by the number in the slot before."""
        chosen = table.fields.get(slot - 1, 0)
        member = self.unions[kind].get(chosen) if isinstance(chosen, int) else None
        if member is None:
            table.unknown.append(slot)
            self.unknown.setdefault((f"{table.kind} {kind} {chosen}", slot), table.place)
            return
        table.fields[slot] = self.table(self.offset(at), member)

    def text(self, place: int) -> tuple[int, int]:
        """Check a text and its closing zero."""
        length = self.number(place, 4)
        self.span(place, place + 4 + length + 1)
        if self.data[place + 4 + length]:
            raise self.damaged("text", f"the text at {place} does not end in a zero")
        return place + 4, length

    def vector(self, place: int, kind: str) -> tuple[int, int] | list[Table]:
        """Check a vector; return its tables, or where its numbers lie."""
        known = self.vectors.get((place, kind))
        if known is None:
            known = self.vectors[place, kind] = self.new_vector(place, kind)
        return known

    def new_vector(self, place: int, kind: str) -> tuple[int, int] | list[Table]:
        """Check a vector that has not been met before."""
        count = self.number(place, 4)
        width = int(kind) if kind.isdigit() else 4
        self.span(place, place + 4 + count * width)
        if kind.isdigit():
            return place + 4, count
        self.spend(count)
        rows = [self.offset(place + 4 + 4 * index) for index in range(count)]
        if kind == "s":
            for row in rows:
                self.text(row)
            return place + 4, count
        return [self.table(row, kind) for row in rows]

    def string(self, value: object) -> str:
        """Return the text of a field, or an empty text."""
        if not isinstance(value, tuple):
            return ""
        raw = self.data[value[0] : value[0] + value[1]]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged("text", f"the text at {value[0]} is not UTF-8") from error

    def cover(self) -> int:
        """Check that what belongs to nothing is padding; return where the last thing ends."""
        place = 0
        for begin, end in sorted(self.spans.items()):
            if begin > place and (begin - place > MAX_GAP or self.data[place:begin].strip(b"\0")):
                raise self.damaged("hole", f"bytes {place} to {begin} belong to nothing")
            place = max(place, end)
        return place
