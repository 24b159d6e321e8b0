"""Read the header of 7z archives strictly: every packed stream, every property, every name.

Source: 7zFormat.txt of the LZMA SDK 26.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.archive import Anomaly
from weighbridge.formats.limits import DEFAULT_LIMITS, Budget, Limits
from weighbridge.formats.member_names import problem, twins
from weighbridge.formats.sevenzip_coders import Folder, damaged, unpack_folder

MAGIC = b"7z\xbc\xaf\x27\x1c"
_START = 32
_MAX_HEADER = 64 * 1024 * 1024
_MAX_CODERS = 8
(_END, _HEADER, _PROPERTIES, _ADDITIONAL, _MAIN, _FILES, _PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER, _SIZES,
 _COUNTS, _EMPTY, _EMPTY_FILE, _ANTI, _NAMES, _CTIME, _ATIME, _MTIME, _ATTRIBUTES, _COMMENT, _ENCODED, _STARTPOS,
 _DUMMY) = range(26)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SevenMember:
    """A file's `size` bytes are the next ones of its folder; `crc` is None where the archive gives none."""

    name: str
    folder: int
    size: int
    crc: int | None


@dataclass(frozen=True, slots=True)
class SevenArchive:
    """Members with content in the order of their folders, what is wrong, and how many bytes have an explanation."""

    members: tuple[SevenMember, ...]
    folders: tuple[Folder, ...]
    anomalies: tuple[Anomaly, ...]
    explained: int


@dataclass(slots=True)
class _Streams:
    """What a streams info says."""

    packs: list[tuple[int, int]] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    crcs: list[int | None] = field(default_factory=list)
    parts: list[list[tuple[int, int | None]]] = field(default_factory=list)
    """For each folder the sizes and checksums of the files in it."""


def read_sevenzip(file: BinaryIO, size: int, limits: Limits = DEFAULT_LIMITS) -> SevenArchive:
    """Describe the archive that `file` (seekable, `size` bytes) is.

    Raises Unreadable(sevenzip.*) for a damaged header, OutOfBudget for one that asks for too much.
    """
    file.seek(0)
    start = file.read(_START)
    if len(start) < _START or start[:6] != MAGIC:
        raise damaged("the archive does not begin as one")
    offset, length, crc = struct.unpack_from("<QQI", start, 12)
    if zlib.crc32(start[12:]) != int.from_bytes(start[8:12], "little"):
        raise damaged("the checksum of its start header does not fit")
    anomalies: list[Anomaly] = []
    end = _START + offset + length
    if end > size:
        raise damaged("the file ends before its header")
    if end < size:
        anomalies.append(Anomaly("trailing", end, f"{size - end} bytes follow the archive"))
    if not length:
        return SevenArchive((), (), tuple(anomalies), end if not offset else _START)
    data = _checked(file, _START + offset, length, crc)
    packs: list[tuple[int, int]] = [(_START + offset, length)]
    for _ in range(4):
        if data[:1] != bytes([_ENCODED]):
            break
        streams = _Reader(data, 1, limits).streams()
        packs += streams.packs
        data = _header_of(file, streams)
    if data[:1] != bytes([_HEADER]):
        raise damaged("its header is of an unknown kind")
    reader = _Reader(data, 1, limits)
    members, folders = reader.header()
    packs += reader.main.packs
    anomalies += [Anomaly(code, 0, text) for code, text in reader.odd]
    anomalies += _layout(packs, end)
    return SevenArchive(members, folders, tuple(anomalies), _START + sum(count for _, count in packs))


def _checked(file: BinaryIO, offset: int, length: int, crc: int | None) -> bytes:
    if length > _MAX_HEADER:
        raise OutOfBudget(
            f"the header of the archive has {length} bytes",
            remedy="unpack the archive where you trust it, and scan what is inside",
            check="sevenzip.budget",
        )
    file.seek(offset)
    data = file.read(length)
    if len(data) != length or (crc is not None and zlib.crc32(data) != crc):
        raise damaged("the checksum of its header does not fit")
    return data


def _header_of(file: BinaryIO, streams: _Streams) -> bytes:
    if len(streams.folders) != 1 or streams.folders[0].size > _MAX_HEADER:
        raise damaged("its packed header is not one folder of a reasonable size")
    data = b"".join(unpack_folder(file, streams.folders[0]))
    if streams.crcs[0] is not None and zlib.crc32(data) != streams.crcs[0]:
        raise damaged("the checksum of its packed header does not fit")
    return data


def _layout(packs: list[tuple[int, int]], end: int) -> Iterator[Anomaly]:
    """Compare the packed streams with the room for them: gaps and overlaps are noted."""
    place = _START
    for offset, length in sorted(packs):
        if offset > place:
            yield Anomaly("gap", place, f"{offset - place} bytes belong to no stream")
        elif offset < place and length:
            yield Anomaly("overlap", offset, "two packed streams overlap")
        place = max(place, offset + length)
    if place != end:
        yield Anomaly("gap", place, "the packed streams do not end where the archive does")


class _Reader:
    """Reads the properties of a header one after the other."""

    def __init__(self, data: bytes, place: int, limits: Limits) -> None:
        self.data = data
        self.place = place
        self.limits = limits
        self.main = _Streams()
        self.odd: list[tuple[str, str]] = []

    def take(self, count: int) -> bytes:
        if count < 0 or self.place + count > len(self.data):
            raise damaged("its header is cut off")
        self.place += count
        return self.data[self.place - count : self.place]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Read a number: the leading ones of its first byte count the bytes that follow."""
        first = self.byte()
        value = 0
        for index in range(8):
            mask = 0x80 >> index
            if not first & mask:
                return value | (first & (mask - 1)) << 8 * index
            value |= self.byte() << 8 * index
        return value

    def count(self) -> int:
        """Read a number of things, each of which takes room in the header."""
        value = self.number()
        if value > self.limits.max_members:
            Budget(self.limits).spend_members(value)
        return value

    def expect(self, kind: int) -> None:
        if self.byte() != kind:
            raise damaged("its header holds something out of place")

    def bits(self, count: int) -> list[bool]:
        data = self.take(-(-count // 8))
        return [bool(data[index // 8] & 0x80 >> index % 8) for index in range(count)]

    def digests(self, count: int) -> list[int | None]:
        defined = [True] * count if self.byte() else self.bits(count)
        return [int.from_bytes(self.take(4), "little") if known else None for known in defined]

    def header(self) -> tuple[tuple[SevenMember, ...], tuple[Folder, ...]]:
        members: tuple[SevenMember, ...] = ()
        while (kind := self.byte()) != _END:
            if kind == _MAIN:
                self.main = self.streams()
            elif kind == _FILES:
                members = self.files()
            else:
                raise damaged("its header holds properties that no archiver writes")
        if self.place != len(self.data):
            self.odd.append(("hidden", f"{len(self.data) - self.place} bytes follow the header"))
        return members, tuple(self.main.folders)

    # Streams.

    def streams(self) -> _Streams:
        found = _Streams()
        while (kind := self.byte()) != _END:
            if kind == _PACK:
                self.pack_info(found)
            elif kind == _UNPACK:
                self.unpack_info(found)
            elif kind == _SUBSTREAMS:
                self.substreams(found)
            else:
                raise damaged("its header holds something out of place")
        if not found.parts:
            found.parts = [[(f.size, crc)] for f, crc in zip(found.folders, found.crcs, strict=True)]
        return found

    def pack_info(self, found: _Streams) -> None:
        offset, count = _START + self.number(), self.count()
        while (kind := self.byte()) != _END:
            if kind == _SIZE:
                for _ in range(count):
                    size = self.number()
                    found.packs.append((offset, size))
                    offset += size
            elif kind == _CRC:
                self.digests(count)
            else:
                raise damaged("its header holds something out of place")

    def unpack_info(self, found: _Streams) -> None:
        self.expect(_FOLDER)
        count = self.count()
        if self.byte():
            raise damaged("its folders are described elsewhere")
        raw = [self.folder() for _ in range(count)]
        self.expect(_SIZES)
        place = 0
        for coders, simple, streams, last in raw:
            sizes = [self.number() for _ in range(last[1])]
            if place + streams > len(found.packs):
                raise damaged("a folder has no packed bytes")
            offset, packed = found.packs[place] if streams == 1 else (0, 0)
            place += streams
            found.folders.append(Folder(offset, packed, sizes[last[0]], coders, simple))
        found.crcs = [None] * count
        while (kind := self.byte()) != _END:
            if kind != _CRC:
                raise damaged("its header holds something out of place")
            found.crcs = self.digests(count)

    def folder(self) -> tuple[tuple[tuple[bytes, bytes], ...], bool, int, tuple[int, int]]:
        """Return the coders, whether all are simple, the packed streams, and (main output, outputs)."""
        number = self.number()
        if not 0 < number <= _MAX_CODERS:
            raise damaged("a folder has an impossible number of coders")
        coders: list[tuple[bytes, bytes]] = []
        ins = outs = 0
        for _ in range(number):
            flags = self.byte()
            method = self.take(flags & 15)
            counts = (self.number(), self.number()) if flags & 16 else (1, 1)
            ins, outs = ins + counts[0], outs + counts[1]
            coders.append((method, self.take(self.number()) if flags & 32 else b""))
        if ins > 32 or outs > 32 or not outs:
            raise damaged("a folder has an impossible number of streams")
        pairs = [(self.number(), self.number()) for _ in range(outs - 1)]
        streams = ins - len(pairs)
        packed = [self.number() for _ in range(streams)] if streams > 1 else []
        simple = ins == outs == number and not packed
        order = _order(number, pairs) if simple else list(range(number))
        main = next((index for index in range(outs) if index not in {out for _, out in pairs}), 0)
        return tuple(coders[index] for index in order), simple, streams, (main, outs)

    def substreams(self, found: _Streams) -> None:
        counts = [1] * len(found.folders)
        kind = self.byte()
        if kind == _COUNTS:
            counts = [self.count() for _ in found.folders]
            kind = self.byte()
        sizes: list[list[int]] = []
        for folder, count in zip(found.folders, counts, strict=True):
            known = [self.number() for _ in range(count - 1)] if kind == _SIZE else []
            if (count > 1 and kind != _SIZE) or sum(known) > folder.size:
                raise damaged("the sizes of its members do not fit")
            sizes.append([*known, folder.size - sum(known)] if count else [])
        kind = self.byte() if kind == _SIZE else kind
        open_ends = [count != 1 or crc is None for count, crc in zip(counts, found.crcs, strict=True)]
        wanted = sum(count for count, unknown in zip(counts, open_ends, strict=True) if unknown)
        digests: list[int | None] = [None] * wanted
        if kind == _CRC:
            digests = self.digests(wanted)
            kind = self.byte()
        if kind != _END:
            raise damaged("its header holds something out of place")
        rest = iter(digests)
        for row, crc, unknown in zip(sizes, found.crcs, open_ends, strict=True):
            found.parts.append([(size, next(rest) if unknown else crc) for size in row])

    # Files.

    def files(self) -> tuple[SevenMember, ...]:
        count = self.count()
        Budget(self.limits).spend_members(count)
        empty, names = [False] * count, [""] * count
        plain: list[bool] = []
        seen: set[int] = set()
        while (kind := self.byte()) != _END:
            inner = _Reader(self.take(self.number()), 0, self.limits)
            if kind in seen:
                raise damaged("its header says something twice")
            seen.add(kind)
            if kind == _EMPTY:
                empty = inner.bits(count)
            elif kind == _NAMES:
                names = inner.names(count)
            elif kind == _ATTRIBUTES:
                self.attributes(inner, count)
            elif kind == _DUMMY:
                if inner.data.strip(b"\0"):
                    self.odd.append(("hidden", "the padding of the header holds something"))
            elif kind in (_CTIME, _ATIME, _MTIME):
                inner.times(count)
            elif kind == _EMPTY_FILE:
                plain = inner.bits(sum(empty))
            else:
                self.odd.append(("hidden", f"the header holds the property {kind}, which no archiver writes"))
            if kind != _DUMMY and inner.place != len(inner.data):
                self.odd.append(("hidden", "a property of the header is longer than what it says"))
        kinds = iter([*plain, *[False] * count])
        shown = [
            name + "/" if none and not next(kinds) else name for name, none in zip(names, empty, strict=True)
        ]
        return self.members(shown, empty)

    def names(self, count: int) -> list[str]:
        if self.byte():
            raise damaged("its names are described elsewhere")
        text = self.take(len(self.data) - self.place).decode("utf-16-le", "backslashreplace")
        names = text.split("\0")
        if len(names) != count + 1 or names[-1]:
            raise damaged("its names are not as many as its members")
        return names[:-1]

    def times(self, count: int) -> None:
        defined = [True] * count if self.byte() else self.bits(count)
        if self.byte():
            raise damaged("its times are described elsewhere")
        self.take(8 * sum(defined))

    def attributes(self, inner: _Reader, count: int) -> None:
        """Read the attributes; a link, a device or a pipe is noted."""
        defined = [True] * count if inner.byte() else inner.bits(count)
        if inner.byte():
            raise damaged("its attributes are described elsewhere")
        for known in defined:
            value = int.from_bytes(inner.take(4), "little") if known else 0
            mode = value >> 16 & 0xF000 if value & 0x8000 else 0
            if mode not in (0, 0x8000, 0x4000) or value & 0x400:
                self.odd.append(("link", "a member is a link, a device or a pipe"))

    def members(self, names: list[str], empty: list[bool]) -> tuple[SevenMember, ...]:
        parts = [(folder, *part) for folder, row in enumerate(self.main.parts) for part in row]
        if len(parts) != empty.count(False):
            raise damaged("its members are not as many as their contents")
        for name, twin in zip(names, twins(names), strict=True):
            if twin:
                self.odd.append(("duplicate", f"two members are called {name!r}"))
            if reason := problem(name):
                self.odd.append(("name", reason))
        filled = [name for name, none in zip(names, empty, strict=True) if not none]
        return tuple(SevenMember(name, *part) for name, part in zip(filled, parts, strict=True))


def _order(number: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Return the coders from the packed side on; pair (input, output) says that a coder reads what another writes."""
    fed = dict(pairs)
    reads = {out: into for into, out in pairs}
    first = [index for index in range(number) if index not in fed]
    order = first[:1]
    while order and order[-1] in reads and len(order) <= number:
        order.append(reads[order[-1]])
    if len(order) != number or len(set(order)) != number:
        raise damaged("the coders of a folder form no chain")
    return order
