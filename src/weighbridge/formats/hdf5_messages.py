"""Read the messages of HDF5 object headers: links, attributes with their texts, layouts, filters.

Each function takes a cursor over one message and raises Unreadable(hdf5.…) when it does not hold what it
says. Source: HDF5 File Format Specification 3.0, section IV.A.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from weighbridge.core.errors import Unreadable

ADDRESS = 8
UNDEFINED = 0xFFFF_FFFF_FFFF_FFFF
SPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 6, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOLS, DRIVER, ATTRIBUTE_INFO = 0xB, 0xC, 0x10, 0x11, 0x14, 0x15
BRANCHING = 0x13
QUIET = frozenset({0, SPACE, DATATYPE, 4, 5, 0xA, 0xD, 0xE, 0x12, 0x16, 0x17})
"""Messages that refer to nothing: empty, space, type, fill values, group info, comment, times, counts."""
MAX_TEXT = 64 * 1024 * 1024
MAX_ELEMENTS = 1_000_000

Heap = Callable[[int, int], bytes]
"""Gives an object of a global heap by address of the collection and index."""


class Cursor:
    """Bytes that are read from the front; reading past their end raises Unreadable(hdf5.short)."""

    __slots__ = ("data", "position", "start")

    def __init__(self, data: bytes, start: int = 0) -> None:
        self.data = data
        self.start = start
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count < 0 or count > self.left:
            raise broken(
                "short", f"{count} bytes were expected at {self.start + self.position}, {self.left} are there"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        self.take(count)

    def number(self, width: int) -> int:
        """Return an unsigned little-endian number."""
        return int.from_bytes(self.take(width), "little")

    def cut(self, count: int) -> Cursor:
        """Return a cursor over the next `count` bytes."""
        start = self.start + self.position
        return Cursor(self.take(count), start)


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a group; kind is hard, soft, external or user."""

    name: str
    kind: str
    address: int
    target: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """A named value; `texts` holds its strings, and is empty for numbers and the like."""

    name: str
    texts: tuple[bytes, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a dataset's bytes are; kind is compact, contiguous, chunked or virtual."""

    kind: str
    address: int = UNDEFINED
    size: int = 0
    rank: int = 0


def second_header(first: bytes) -> tuple[int, int, bool]:
    """Return position and width of the first chunk's size, and whether messages carry their order; -1 when unknown."""
    flags = first[5]
    if first[4] != 2 or flags & 0xC0:
        return -1, 0, False
    return 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0), 1 << (flags & 3), bool(flags & 4)


def dense(kind: int, body: Cursor) -> bool:
    """Tell whether a link info or attribute info message refers to a fractal heap."""
    body.skip(1)
    flags = body.number(1)
    if flags & 1:
        body.skip(8 if kind == LINK_INFO else 2)
    return body.number(ADDRESS) != UNDEFINED


def text_at(heap: bytes, offset: int) -> str:
    """Return the zero-terminated name at an offset of a local heap."""
    end = heap.find(b"\0", offset) if 0 <= offset < len(heap) else -1
    if end < 0:
        raise broken("heap", "a name lies outside of its heap")
    return heap[offset:end].decode("utf-8", "replace")


def read_link(body: Cursor) -> Link:
    """Read a link message."""
    if body.number(1) != 1:
        raise broken("link", "a link message of an unknown version")
    flags = body.number(1)
    kind = body.number(1) if flags & 8 else 0
    body.skip((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = body.take(body.number(1 << (flags & 3))).decode("utf-8", "replace")
    if kind == 0:
        return Link(name, "hard", body.number(ADDRESS), "")
    value = body.take(body.number(2)).decode("utf-8", "replace")
    return Link(name, {1: "soft", 64: "external"}.get(kind, "user"), UNDEFINED, value.replace("\0", " "))


def read_layout(body: Cursor) -> Layout:
    """Read a data layout message of version 1 to 4."""
    version = body.number(1)
    if version in (1, 2):
        rank, kind = body.number(1), body.number(1)
        body.skip(5)
        address = body.number(ADDRESS) if kind else UNDEFINED
        sizes = [body.number(4) for _ in range(rank)]
        if kind == 1:
            raise broken("layout", "contiguous data of an old form, whose length is not said")
        return Layout("chunked", address, 0, len(sizes)) if kind == 2 else Layout("compact")
    kind = body.number(1)
    if version not in (3, 4) or kind > 3:
        raise broken("layout", f"a data layout of the unknown version {version}")
    if kind == 0:
        body.skip(body.number(2))
        return Layout("compact")
    if kind == 1:
        return Layout("contiguous", body.number(ADDRESS), body.number(8))
    if kind == 3:
        return Layout("virtual", body.start)
    if version == 4:
        raise Unreadable(
            "this HDF5 file uses chunks with an index of the newest form",
            cause="the reader covers what h5py and Keras write by default",
            remedy="save it again with h5py's default settings, or as safetensors",
            check="hdf5.uncovered",
        )
    rank = body.number(1)
    return Layout("chunked", body.number(ADDRESS), 0, rank)


def read_filters(body: Cursor) -> list[int]:
    """Return the numbers of the filters of a pipeline message."""
    version, count = body.number(1), body.number(1)
    if version not in (1, 2):
        raise broken("filter", "a filter pipeline of an unknown version")
    body.skip(6 if version == 1 else 0)
    numbers = []
    for _ in range(count):
        number = body.number(2)
        length = body.number(2) if version == 1 or number >= 256 else 0
        body.skip(2)
        values = body.number(2)
        body.skip(-(-length // 8) * 8 if version == 1 else length)
        body.skip(4 * values + (4 if version == 1 and values % 2 else 0))
        numbers.append(number)
    return numbers


def read_attribute(body: Cursor, heap: Heap) -> Attribute:
    """Read an attribute; strings come out as bytes, whether they stand here or in a global heap."""
    version = body.number(1)
    if version not in (1, 2, 3):
        raise broken("attribute", f"an attribute of the unknown version {version}")
    flags = body.number(1)
    sizes = [body.number(2) for _ in range(3)]
    body.skip(1 if version == 3 else 0)
    parts = []
    for size in sizes:
        parts.append(body.cut(size))
        body.skip(-size % 8 if version == 1 else 0)
    name = parts[0].data.split(b"\0", 1)[0].decode("utf-8", "replace")
    if version > 1 and flags & 3:
        raise Unreadable(
            "this HDF5 file uses attributes of a shared type",
            cause=f"the text of {name[:80]!r} cannot be read without following it",
            remedy="save it again with h5py's default settings, or as safetensors",
            check="hdf5.uncovered",
        )
    return _value(name, parts[1], _elements(parts[2]), body, heap)


def _value(name: str, kind: Cursor, count: int, body: Cursor, heap: Heap) -> Attribute:
    """Read the texts of a value whose type and number of elements are known (section IV.A.2.d)."""
    number = kind.number(1) & 0xF
    bits = kind.number(3)
    size = kind.number(4)
    if number == 3 or number == 5:  # noqa: PLR1714  strings and opaque bytes
        if count > MAX_ELEMENTS or count * size > MAX_TEXT:
            raise broken("attribute", "more text than a scan reads")
        texts = tuple(body.take(size).rstrip(b"\0") for _ in range(count))
        return Attribute(name, texts, "text" if number == 3 else "opaque")
    if number != 9:
        return Attribute(name, (), "number")
    found = []
    total = 0
    for _ in range(count):
        length, address, index = body.number(4), body.number(ADDRESS), body.number(4)
        data = heap(address, index) if length or address else b""
        total += len(data)
        if total > MAX_TEXT:
            raise broken("attribute", "more text than a scan reads")
        found.append(data)
    return Attribute(name, tuple(found), "text" if bits & 0xF == 1 else "sequence")


def _elements(space: Cursor) -> int:
    """Return how many elements a dataspace has (section IV.A.2.b)."""
    version, rank, flags = space.number(1), space.number(1), space.number(1)
    if version not in (1, 2):
        raise broken("space", f"a dataspace of the unknown version {version}")
    kind = space.number(1)
    space.skip(4 if version == 1 else 0)
    count = 1
    for _ in range(rank):
        count *= space.number(8)
    del flags
    return 0 if version == 2 and kind == 2 else count


def read_collection(body: Cursor) -> dict[int, bytes]:
    """Return the objects of a global heap collection by index; index 0 is free space and ends it."""
    found: dict[int, bytes] = {}
    while body.left >= 16:
        index = body.number(2)
        body.skip(6)
        size = body.number(8)
        if index == 0:
            break
        if index in found:
            raise broken("heap", "one index stands twice in a global heap")
        found[index] = body.take(size)
        body.skip(min(-size % 8, body.left))
    return found


def broken(check: str, cause: str) -> Unreadable:
    """Return the error for a file that does not hold what it says."""
    return Unreadable(
        "this HDF5 file is damaged", cause=cause, remedy="fetch the file again, or have it saved anew", check=f"hdf5.{check}"
    )  # fmt: skip
