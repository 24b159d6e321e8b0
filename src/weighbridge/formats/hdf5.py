"""Read the structure of an HDF5 file: groups, links, attributes, and where each dataset keeps its bytes.

Covered is what h5py and Keras write: superblocks 0 to 3, object headers 1 and 2, symbol tables, compact
links, contiguous, compact and (B-tree 1) chunked data. Whatever else the format knows raises Unreadable.
Values of datasets are never decoded. Source: HDF5 File Format Specification 3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats import hdf5_messages as messages
from weighbridge.formats.hdf5_messages import ADDRESS, UNDEFINED, Attribute, Cursor, Layout

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 200_000
MAX_METADATA = 128 * 1024 * 1024
"""Bytes of headers, heaps and trees of one file; raw data is not read."""
MAX_BLOCK = 64 * 1024 * 1024
MAX_ANOMALIES = 1_000
_NATIVE_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
"""Deflate, shuffle, fletcher32, szip, nbit, scale-offset, and the LZF that h5py carries in itself."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something a weight file has no reason to hold; `code` says what, `where` names the object."""

    code: str
    offset: int
    where: str
    message: str


@dataclass(slots=True)
class Hdf5Tree:
    """What a file holds: attributes by object path, numbers of objects, spans that something refers to, anomalies."""

    attributes: list[tuple[str, Attribute]] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    spans: list[tuple[int, int, bool]] = field(default_factory=list)
    """Start and end of what something refers to; true for the bytes of datasets."""
    slack: list[tuple[int, int]] = field(default_factory=list)
    """Start and end of room that was allocated with a node of a tree and is not in use."""
    groups: int = 0
    datasets: int = 0
    end: int = 0

    def holes(self) -> list[tuple[int, int]]:
        """Return start and end of what nothing refers to; raises Unreadable where data lies upon something else."""
        found = []
        reached = data_reached = 0
        room = [(start, stop, False) for start, stop in self.slack]
        for start, stop, raw in sorted([*self.spans, *room]):
            if start < (reached if raw else data_reached) and stop > start:
                raise _broken("overlap", f"data and structure lie upon each other at byte {start}")
            if start > reached:
                found.append((reached, start))
            reached = max(reached, stop)
            if raw:
                data_reached = max(data_reached, stop)
        return [*found, (reached, self.end)] if reached < self.end else found


def find_signature(stream: BinaryIO, size: int) -> int | None:
    """Return where the superblock begins: at 0, 512, 1024, 2048 and so on, as the library searches; None if nowhere."""
    offset = 0
    while offset + 8 <= size:
        stream.seek(offset)
        if stream.read(8) == SIGNATURE:
            return offset
        offset = offset * 2 or 512
    return None


def read_hdf5(stream: BinaryIO, size: int) -> Hdf5Tree:
    """Walk over the whole file; raises Unreadable (`hdf5.…`) for broken or uncovered forms, OutOfBudget (`hdf5.budget`)."""
    return _Walk(stream, size).run()


class _Walk:
    """One walk over one file; every address is checked against the end of the file before it is used."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream = stream
        self.size = size
        self.base = 0
        self.spent = 0
        self.tree = Hdf5Tree(end=size)
        self.seen: set[int] = set()
        self.heaps: dict[int, dict[int, bytes]] = {}
        self.work: list[tuple[str, int]] = []
        self.branching = {0: 16, 1: 32, 2: 4}
        """Half the room of a node: of group trees, of chunk trees, of symbol tables."""

    def run(self) -> Hdf5Tree:
        """Read the superblock, then every object that links lead to."""
        start = find_signature(self.stream, self.size)
        if start is None:
            raise _broken("signature", "no superblock where one may be")
        if start:
            self.odd("user-block", 0, "/", f"{start} bytes of something else stand before the HDF5 data")
        self.base = start
        self.superblock()
        while self.work:
            path, address = self.work.pop()
            if address in self.seen:
                continue
            self.seen.add(address)
            if len(self.seen) > MAX_OBJECTS:
                raise spent(f"more than {MAX_OBJECTS} objects")
            self.object(path, address)
        return self.tree

    def odd(self, code: str, offset: int, where: str, message: str) -> None:
        """Keep an anomaly."""
        if len(self.tree.anomalies) >= MAX_ANOMALIES:
            raise spent(f"more than {MAX_ANOMALIES} oddities")
        self.tree.anomalies.append(Anomaly(code, offset, where, message))

    def block(self, address: int, length: int) -> Cursor:
        """Return `length` bytes at a file address, and count them as explained."""
        start = self.base + address
        if length > MAX_BLOCK:
            raise spent("one part of the structure is larger than a scan reads")
        if start < 0 or start + length > self.size:
            raise _broken(
                "bounds", f"the structure refers to bytes {start} to {start + length} of {self.size}"
            )
        self.spent += length
        if self.spent > MAX_METADATA:
            raise spent(f"more than {MAX_METADATA} bytes of structure")
        self.stream.seek(start)
        self.tree.spans.append((start, start + length, False))
        return Cursor(self.stream.read(length), start)

    def superblock(self) -> None:
        """Read the superblock (section II.A) and queue the root group."""
        version = self.block(0, 9).data[8]
        if version in (0, 1):
            head = self.block(0, 96 if version == 0 else 100)
            if head.data[13:15] != b"\x08\x08":
                raise _uncovered("addresses that are not 8 bytes long")
            head.skip(16)
            self.branching[2], self.branching[0] = head.number(2), head.number(2)
            head.skip(4)
            if version == 1:
                self.branching[1] = head.number(2)
                head.skip(2)
            base, _, end, driver = (head.number(ADDRESS) for _ in range(4))
            head.skip(ADDRESS)
            root = head.number(ADDRESS)
            if driver != UNDEFINED:
                self.odd("driver", head.start, "/", "the file is one of several that belong together")
        elif version in (2, 3):
            head = self.block(0, 48)
            if head.data[9:11] != b"\x08\x08":
                raise _uncovered("addresses that are not 8 bytes long")
            head.skip(12)
            base, extension, end, root = (head.number(ADDRESS) for _ in range(4))
            if extension != UNDEFINED:
                self.work.append(("(superblock extension)", extension))
        else:
            raise _uncovered(f"a superblock of version {version}")
        if base not in (0, self.base):
            raise _broken("base", f"the base address is {base}, the file begins at {self.base}")
        if self.base + end != self.size and end != self.size:
            code = "trailing" if self.base + end < self.size else "truncated"
            self.odd(
                code, min(end, self.size), "/", f"the file says it ends at {end}, it has {self.size} bytes"
            )
        self.work.append(("/", root))

    def object(self, path: str, address: int) -> None:
        """Read one object header and what its messages refer to."""
        found = list(self.header(address))
        kinds = {kind for kind, _, _ in found}
        if messages.LAYOUT in kinds:
            self.tree.datasets += 1
        elif kinds & {messages.SYMBOLS, messages.LINK_INFO, messages.LINK}:
            self.tree.groups += 1
        for kind, flags, body in found:
            if flags & 2:
                if kind == messages.DATATYPE:
                    continue  # a committed type: the dataset's bytes are accounted for by its layout
                raise _uncovered("shared messages")
            self.message(path, kind, body)

    def message(self, path: str, kind: int, body: Cursor) -> None:
        """Act on one message of an object header (section IV.A.2)."""
        if kind == messages.SYMBOLS:
            tree, heap = body.number(ADDRESS), body.number(ADDRESS)
            self.symbols(path, tree, self.local_heap(heap))
        elif kind == messages.LINK:
            self.link(path, messages.read_link(body))
        elif kind in (messages.LINK_INFO, messages.ATTRIBUTE_INFO):
            if messages.dense(kind, body):
                raise _uncovered("links or attributes kept in a fractal heap")
        elif kind == messages.ATTRIBUTE:
            attribute = messages.read_attribute(body, self.heap_object)
            self.tree.attributes.append((path, attribute))
        elif kind == messages.EXTERNAL:
            self.odd("external-storage", body.start, path, f"{path} keeps its data in another file")
        elif kind == messages.LAYOUT:
            self.layout(path, messages.read_layout(body))
        elif kind == messages.FILTERS:
            for number in messages.read_filters(body):
                if number not in _NATIVE_FILTERS:
                    self.odd("filter", body.start, path, f"{path} is packed by the plug-in filter {number}")
        elif kind == messages.BRANCHING:
            body.skip(1)
            self.branching = {1: body.number(2), 0: body.number(2), 2: body.number(2)}
        elif kind == messages.DRIVER:
            self.odd("driver", body.start, path, "the file is one of several that belong together")
        elif kind not in messages.QUIET:
            self.odd("message", body.start, path, f"{path} holds a message of the unknown kind {kind}")

    def header(self, address: int) -> Iterator[tuple[int, int, Cursor]]:
        """Yield kind, flags and body of every message of an object header, continuations included."""
        first = self.block(address, 16).data
        queue: list[tuple[int, int]]
        if first[:4] == b"OHDR":
            size_at, length, ordered = messages.second_header(first)
            if size_at < 0:
                raise _broken("header", "an object header of an unknown form")
            sized = self.block(address, size_at + length).data
            chunk = int.from_bytes(sized[size_at:], "little")
            queue = [(address + size_at + length, chunk)]
            self.block(address + size_at + length + chunk, 4)
            yield from self.second_messages(queue, ordered=ordered)
            return
        if first[0] != 1:
            raise _broken("header", f"no object header at {address}")
        yield from self.first_messages([(address + 16, int.from_bytes(first[8:12], "little"))])

    def first_messages(self, queue: list[tuple[int, int]]) -> Iterator[tuple[int, int, Cursor]]:
        """Yield the messages of a header of version 1."""
        for address, length in _each_once(queue):
            chunk = self.block(address, length)
            while chunk.left >= 8:
                kind, size, flags = chunk.number(2), chunk.number(2), chunk.number(1)
                chunk.skip(3)
                body = chunk.cut(size)
                if kind == messages.CONTINUATION:
                    queue.append((body.number(ADDRESS), body.number(ADDRESS)))
                else:
                    yield kind, flags, body

    def second_messages(
        self, queue: list[tuple[int, int]], *, ordered: bool
    ) -> Iterator[tuple[int, int, Cursor]]:
        """Yield the messages of a header of version 2; continuation blocks begin with OCHK and end with a checksum."""
        for number, (address, length) in enumerate(_each_once(queue)):
            chunk = self.block(address, length)
            stop = 0
            if number:
                if chunk.take(4) != b"OCHK":
                    raise _broken("header", "a continuation does not begin as one")
                stop = 4
            while chunk.left >= 4 + 2 * ordered + stop:
                kind, size, flags = chunk.number(1), chunk.number(2), chunk.number(1)
                chunk.skip(2 * ordered)
                body = chunk.cut(size)
                if kind == messages.CONTINUATION:
                    queue.append((body.number(ADDRESS), body.number(ADDRESS)))
                else:
                    yield kind, flags, body

    def local_heap(self, address: int) -> bytes:
        """Return the data segment of a local heap (section III.D)."""
        head = self.block(address, 32)
        if head.take(5) != b"HEAP\0":
            raise _broken("heap", f"no local heap at {address}")
        head.skip(3)
        length = head.number(8)
        head.skip(8)
        return self.block(head.number(ADDRESS), length).data

    def symbols(self, path: str, address: int, heap: bytes) -> None:
        """Walk over a group's B-tree (section III.A.1) and its symbol nodes (III.B)."""
        for _, child, level in self.nodes(address, 0, 8):
            if level:
                continue
            head = self.block(child, 8)
            if head.take(5) != b"SNOD\x01":
                raise _broken("symbols", f"no symbol table node at {child}")
            head.skip(1)
            count = head.number(2)
            entries = self.block(child + 8, count * 40)
            self.room(child + 8, count * 40, 2 * self.branching[2] * 40)
            for _ in range(count):
                name, target, cache = entries.number(ADDRESS), entries.number(ADDRESS), entries.number(4)
                entries.skip(4)
                scratch = entries.take(16)
                link = messages.Link(messages.text_at(heap, name), "hard", target, "")
                if cache == 2:
                    value = messages.text_at(heap, int.from_bytes(scratch[:4], "little"))
                    link = messages.Link(link.name, "soft", UNDEFINED, value)
                self.link(path, link)

    def nodes(self, address: int, kind: int, key_size: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield key, child address and level of every entry of a B-tree of version 1, from the top down."""
        work = [(address, 256)]
        visited: set[int] = set()
        while work:
            here, above = work.pop()
            head = self.block(here, 24)
            if head.take(5) != b"TREE" + bytes([kind]):
                raise _broken("tree", f"no B-tree node at {here}")
            level, used = head.number(1), head.number(2)
            if here in visited or level >= above or len(visited) > MAX_OBJECTS:
                raise _broken("tree", "the B-tree leads back into itself")
            visited.add(here)
            entries = self.block(here + 24, used * (key_size + ADDRESS) + key_size)
            whole = 2 * self.branching[kind] * (key_size + ADDRESS) + key_size
            self.room(here + 24, used * (key_size + ADDRESS) + key_size, whole)
            for _ in range(used):
                key = entries.take(key_size)
                child = entries.number(ADDRESS)
                yield key, child, level
                if level:
                    work.append((child, level))

    def room(self, address: int, used: int, whole: int) -> None:
        """Keep the part of a node that is not in use."""
        if used > whole:
            raise _broken("tree", f"the node at {address} holds more than it has room for")
        stop = min(self.base + address + whole, self.size)
        if self.base + address + used < stop:
            self.tree.slack.append((self.base + address + used, stop))

    def link(self, path: str, link: messages.Link) -> None:
        """Follow a hard link, and remark on one that leads elsewhere."""
        where = f"{path.rstrip('/')}/{link.name}"
        if link.kind == "hard":
            self.work.append((where, link.address))
        elif link.kind == "external":
            self.odd("external-link", 0, where, f"{where} is a link to another file: {link.target}")
        elif link.kind == "soft":
            self.odd("soft-link", 0, where, f"{where} is a link to {link.target}")
        else:
            self.odd("user-link", 0, where, f"{where} is a link of a kind that a plug-in defines")

    def layout(self, path: str, layout: Layout) -> None:
        """Account for the bytes of a dataset."""
        if layout.kind == "virtual":
            self.odd("virtual", layout.address, path, f"{path} is put together from other files")
        elif layout.kind == "contiguous" and layout.address != UNDEFINED:
            self.raw(layout.address, layout.size)
        elif layout.kind == "chunked" and layout.address != UNDEFINED:
            for key, child, level in self.nodes(layout.address, 1, 8 + 8 * layout.rank):
                if not level:
                    self.raw(child, int.from_bytes(key[:4], "little"))

    def raw(self, address: int, length: int) -> None:
        """Account for raw bytes without reading them."""
        start = self.base + address
        if start + length > self.size:
            raise _broken("bounds", f"data at {start} to {start + length} of {self.size} bytes")
        self.tree.spans.append((start, start + length, True))
        if len(self.tree.spans) > 4 * MAX_OBJECTS:
            raise spent("more pieces of data than a scan counts")

    def heap_object(self, address: int, index: int) -> bytes:
        """Return one object of a global heap (section III.E)."""
        known = self.heaps.get(address)
        if known is None:
            head = self.block(address, 16)
            if head.take(5) != b"GCOL\x01":
                raise _broken("heap", f"no global heap at {address}")
            head.skip(3)
            length = head.number(8)
            body = self.block(address + 16, max(0, length - 16))
            known = self.heaps[address] = messages.read_collection(body)
        if index not in known:
            raise _broken("heap", f"the global heap at {address} holds no object {index}")
        return known[index]


def _each_once(queue: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what the queue holds, also what is added meanwhile; a place met twice is refused."""
    seen: set[int] = set()
    for address, length in queue:
        if address in seen:
            raise _broken("header", "an object header continues into itself")
        seen.add(address)
        yield address, length


def _broken(check: str, cause: str) -> Unreadable:
    return Unreadable(
        "this HDF5 file is damaged", cause=cause, remedy="fetch the file again, or have it saved anew", check=f"hdf5.{check}"
    )  # fmt: skip


def _uncovered(what: str) -> Unreadable:
    return Unreadable(
        f"this HDF5 file uses {what}",
        cause="the reader covers what h5py and Keras write by default",
        remedy="save it again with h5py's default settings, or as safetensors",
        check="hdf5.uncovered",
    )


def spent(problem: str) -> OutOfBudget:
    """Return the error for a file that asks for more work than a scan spends."""
    return OutOfBudget(
        problem,
        cause="the file asks for more work than a scan spends on one HDF5 file",
        remedy="save it as safetensors",
        check="hdf5.budget",
    )
