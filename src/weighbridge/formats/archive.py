"""Read zip archives strictly: both directories compared, every byte accounted for, members unpacked within a budget.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5. Loaders differ in what they forgive (bytes before
the first member, a name that differs between the two headers, a wrong checksum, an encryption flag); a
file that two readers could read differently is listed here as an anomaly and never read silently.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO, TypeVar

from weighbridge.core.errors import Unreadable
from weighbridge.formats.limits import DEFAULT_LIMITS, Budget, Limits
from weighbridge.formats.member_names import problem, twins
from weighbridge.formats.zip_extra import ZIP64, fields, odd_comment, odd_fields

STORED = 0
DEFLATED = 8
BZIP2 = 12
LZMA = 14
METHODS = (STORED, DEFLATED, BZIP2, LZMA)
ENCRYPTED = 0x0001
DESCRIPTOR = 0x0008
UTF8 = 0x0800
KNOWN_FLAGS = 0x0006 | DESCRIPTOR | UTF8
CHUNK = 1024 * 1024
PIECE = 256 * 1024
_Chunk = TypeVar("_Chunk", bytes, "memoryview[int]")

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_MAX_COMMENT = 0xFFFF
_MAX_OFFSET = 2**62
_MAX_HIDDEN = 1000
_MAX_DIRECTORY = 256 * 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024
_END_MARKED = 0x0002
_WIDE_SIZE = _END64.size - 12
_LINK, _FILE, _FOLDER = 0xA000, 0x8000, 0x4000


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something a strict archive does not have; `code` is stable, `offset` counts from the archive's start."""

    code: str
    offset: int
    message: str


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One member; [header_offset, end) covers its local header, data and data descriptor.

    `hidden` marks a member found between the others that the central directory does not list.
    """

    name: str
    header_offset: int
    data_offset: int
    compressed_size: int
    size: int
    method: int
    crc: int
    flags: int
    end: int
    hidden: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the member stands for a folder only."""
        return self.name.endswith("/") and self.size == 0 and self.compressed_size <= 2


@dataclass(frozen=True, slots=True)
class ZipArchive:
    """Members in the order of their headers, what is wrong, and how many bytes have an explanation."""

    members: tuple[ZipMember, ...]
    anomalies: tuple[Anomaly, ...]
    explained: int

    def member(self, name: str) -> ZipMember | None:
        """Return the first member called `name`, or None."""
        return next((member for member in self.members if member.name == name), None)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One record of the central directory."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    header_offset: int
    mode: int
    position: int

    @property
    def name(self) -> str:
        codec = "utf-8" if self.flags & UTF8 else "cp437"
        return self.raw_name.decode(codec, "backslashreplace")


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the central directory lies, after the end records were read."""

    start: int
    size: int
    count: int
    shift: int
    tail: int
    """Bytes from the end of the central directory to the end of the file that the end records explain."""


@dataclass(slots=True)
class _Notes:
    """Collects anomalies, not more of them than anybody reads."""

    found: list[Anomaly] = field(default_factory=list)

    def add(self, code: str, offset: int, message: str) -> None:
        if len(self.found) < 100:
            self.found.append(Anomaly(code, offset, message))


def read_zip(file: BinaryIO, size: int, limits: Limits = DEFAULT_LIMITS) -> ZipArchive:
    """Describe the zip archive that `file` (seekable, `size` bytes) is; never raises on its content.

    Raises OSError from `file`, and OutOfBudget when it has more members than `limits` allow.
    """
    notes = _Notes()
    directory = _find_directory(file, size, notes)
    if directory is None:
        members = tuple(_carve(file, 0, size, notes))
        return ZipArchive(
            members, tuple(notes.found), sum(member.end - member.header_offset for member in members)
        )
    Budget(limits).spend_members(directory.count)
    entries = _entries(file, directory, notes)
    _check_names(entries, notes)
    members = _members(file, entries, directory, notes)
    explained = directory.size + directory.tail
    explained += sum(member.end - member.header_offset for member in members)
    for member in members:
        most = max(member.compressed_size, 1) * limits.max_ratio
        if member.size > most and member.method in (STORED, DEFLATED):
            notes.add("ratio", member.header_offset, f"{member.name} unpacks to {member.size} bytes from "
                                                     f"{member.compressed_size}")  # fmt: skip
    return ZipArchive(members, tuple(notes.found), min(explained, size))


def _at(file: BinaryIO, offset: int, count: int) -> bytes:
    if not 0 <= offset <= _MAX_OFFSET:
        return b""
    file.seek(offset)
    return file.read(count)


def _find_directory(file: BinaryIO, size: int, notes: _Notes) -> _Directory | None:
    """Read the end of central directory record(s), sections 4.3.14 to 4.3.16."""
    tail_start = max(0, size - _END.size - _MAX_COMMENT)
    tail = _at(file, tail_start, size - tail_start)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        notes.add("no-end", size, "there is no end of central directory record")
        return None
    end = tail_start + found
    _, disk, start_disk, here, count, cd_size, cd_start, comment = _END.unpack_from(tail, found)
    if end + _END.size + comment != size:
        notes.add("trailing", end + _END.size + comment, "the archive does not end where its end record says")
    if odd_comment(tail[found + _END.size : found + _END.size + comment]):
        notes.add("hidden", end, "the comment of the archive is no text")
    _check_second_end(tail, found, tail_start, notes)
    boundary = end
    plain = (disk, start_disk, here, count, cd_size, cd_start)
    locator = _at(file, end - _LOCATOR.size, _LOCATOR.size)
    if locator[:4] == b"PK\x06\x07":
        boundary = int(_LOCATOR.unpack(locator)[2])
        if _LOCATOR.unpack(locator)[1] or _LOCATOR.unpack(locator)[3] > 1:
            notes.add("disks", end, "the archive claims to span several disks")
        wide = _wide_end(file, boundary, end, plain, notes)
        if wide is None:
            return None
        plain = wide
    disk, start_disk, here, count, cd_size, cd_start = plain
    if disk or start_disk or here != count:
        notes.add("disks", end, "the archive claims to span several disks")
    shift = boundary - cd_size - cd_start
    if shift:
        notes.add("prefix", 0, f"the central directory lies {shift} bytes from where the end record says")
    if cd_start + shift < 0:
        notes.add("directory", end, "the central directory would begin before the file")
        return None
    return _Directory(
        cd_start + shift, cd_size, count, shift, min(size, end + _END.size + comment) - boundary
    )


_Sizes = tuple[int, int, int, int, int, int]


def _wide_end(file: BinaryIO, boundary: int, end: int, plain: _Sizes, notes: _Notes) -> _Sizes | None:
    """Read the zip64 end record, section 4.3.14; the plain record must say the same or hold its maximum."""
    record = _at(file, boundary, _END64.size)
    if len(record) < _END64.size or record[:4] != b"PK\x06\x06":
        notes.add("end64", max(boundary, 0), "the zip64 end record is missing")
        return None
    length = int.from_bytes(record[4:12], "little")
    row = _END64.unpack(record)
    wide: _Sizes = (row[4], row[5], row[6], row[7], row[8], row[9])
    maxima = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    if any(narrow not in (broad, top) for narrow, broad, top in zip(plain, wide, maxima, strict=True)):
        notes.add("end64", boundary, "the zip64 end record contradicts the plain one")
    if boundary + 12 + length + _LOCATOR.size != end or length != _WIDE_SIZE:
        notes.add("end64", boundary, "there are unexplained bytes around the zip64 end record")
    return wide


def _check_second_end(tail: bytes, found: int, tail_start: int, notes: _Notes) -> None:
    """Note another end record that would also be consistent: two readers could pick differently."""
    other = tail.find(b"PK\x05\x06")
    while 0 <= other < found:
        if len(tail) - other >= _END.size:
            comment = int.from_bytes(tail[other + 20 : other + 22], "little")
            if other + _END.size + comment == len(tail):
                notes.add("second-end", tail_start + other, "two end records both fit the file")
        other = tail.find(b"PK\x05\x06", other + 1)


def _entries(file: BinaryIO, directory: _Directory, notes: _Notes) -> list[_Entry]:
    """Read the central directory, section 4.3.12."""
    data = _at(file, directory.start, min(directory.size, _MAX_DIRECTORY))
    entries: list[_Entry] = []
    pos = 0
    while pos < len(data) and len(entries) <= directory.count:
        if len(data) - pos < _CENTRAL.size or data[pos : pos + 4] != b"PK\x01\x02":
            notes.add("directory", directory.start + pos, "a record of the central directory is damaged")
            break
        row = _CENTRAL.unpack_from(data, pos)
        flags, method, crc, packed, size = row[3], row[4], row[7], row[8], row[9]
        name_size, extra_size, comment_size = row[10], row[11], row[12]
        begin = pos + _CENTRAL.size
        stop = begin + name_size + extra_size + comment_size
        if stop > len(data):
            notes.add("directory", directory.start + pos, "a record of the central directory is cut off")
            break
        extra = data[begin + name_size : begin + name_size + extra_size]
        size, packed, offset = _widened(extra, (size, packed, row[16]))
        entry = _Entry(data[begin : begin + name_size], flags, method, crc, packed, size,
                       offset + directory.shift, row[15] >> 16, directory.start + pos)  # fmt: skip
        entries.append(entry)
        for code, what in odd_fields(extra, entry.raw_name, entry.name):
            notes.add(code, entry.position, f"{entry.name!r}: {what}")
        if odd_comment(data[stop - comment_size : stop]):
            notes.add("hidden", entry.position, f"the comment of {entry.name!r} is no text")
        pos = stop
    if len(entries) != directory.count or len(data) != directory.size:
        notes.add(
            "directory", directory.start, f"{directory.count} members are announced, {len(entries)} listed"
        )
    return entries


def _widened(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Replace size, compressed size and offset by their zip64 values where they say so, section 4.5.3."""
    wide = next((body for kind, body in fields(extra) if kind == ZIP64), b"")
    result: list[int] = []
    for value in values:
        if value == 0xFFFFFFFF and len(wide) >= 8:
            result.append(int.from_bytes(wide[:8], "little"))
            wide = wide[8:]
        else:
            result.append(value)
    return result[0], result[1], result[2]


def _check_names(entries: list[_Entry], notes: _Notes) -> None:
    for entry, twin in zip(entries, twins(entry.name for entry in entries), strict=True):
        name = entry.name
        if twin:
            notes.add("duplicate", entry.position, f"two members are called {name!r}")
        if reason := problem(name):
            notes.add("name", entry.position, reason)
        if not entry.raw_name.isascii() and (not entry.flags & UTF8 or "\\x" in name):
            notes.add("name", entry.position, f"the name {name!r} is read differently by different readers")
        if entry.mode & 0xF000 == _LINK:
            notes.add("link", entry.position, f"{name!r} is a link")
        elif entry.mode & 0xF000 not in (0, _FILE, _FOLDER):
            notes.add("link", entry.position, f"{name!r} is a device, a pipe or a socket")
        if entry.flags & ENCRYPTED:
            notes.add("encrypted", entry.position, f"{name!r} is marked as encrypted")
        if entry.flags & ~(KNOWN_FLAGS | ENCRYPTED):
            notes.add("flags", entry.position, f"{name!r} carries unusual flags (0x{entry.flags:04x})")
        if entry.method not in METHODS:
            notes.add(
                "method", entry.position, f"{name!r} is packed by method {entry.method}, which is not read"
            )


def _members(
    file: BinaryIO, entries: list[_Entry], directory: _Directory, notes: _Notes
) -> tuple[ZipMember, ...]:
    """Compare each local header with its record and walk over the file: gaps and overlaps are noted."""
    members: list[ZipMember] = []
    position = 0
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for index, entry in enumerate(ordered):
        following = ordered[index + 1].header_offset if index + 1 < len(ordered) else directory.start
        if entry.header_offset > position:
            code = "gap" if members else "prefix"
            notes.add(code, position, f"{entry.header_offset - position} bytes belong to no member")
            members.extend(_carve(file, position, entry.header_offset, notes))
        elif entry.header_offset < position:
            notes.add("overlap", entry.header_offset, f"{entry.name!r} overlaps another member")
        member = _member(file, entry, following, notes)
        if member is not None:
            members.append(member)
            position = max(position, member.end)
    if position < directory.start:
        notes.add("gap", position, f"{directory.start - position} bytes belong to no member")
        members.extend(_carve(file, position, directory.start, notes))
    elif position > directory.start:
        notes.add("overlap", directory.start, "a member reaches into the central directory")
    return tuple(members)


def _member(file: BinaryIO, entry: _Entry, following: int, notes: _Notes) -> ZipMember | None:
    local = _local(file, entry.header_offset)
    if local is None:
        notes.add("local", entry.header_offset, f"there is no local header for {entry.name!r}")
        return None
    raw_name, flags, method, crc, packed, size, data_offset, extra = local
    for code, what in odd_fields(extra, raw_name, entry.name):
        notes.add(code, entry.header_offset, f"{entry.name!r}: {what}")
    end = data_offset + entry.compressed_size
    same = (raw_name, flags, method) == (entry.raw_name, entry.flags, entry.method)
    if not same or (crc, packed, size) not in (
        (entry.crc, entry.compressed_size, entry.size),
        (0, 0, 0) if flags & DESCRIPTOR else (entry.crc, entry.compressed_size, entry.size),
    ):
        notes.add("mismatch", entry.header_offset, f"the two headers of {entry.name!r} disagree")
    if flags & DESCRIPTOR:
        end = _descriptor(file, entry, end, following, notes)
    return ZipMember(
        entry.name, entry.header_offset, data_offset, entry.compressed_size, entry.size,
        entry.method, entry.crc, entry.flags, end,
    )  # fmt: skip


def _local(file: BinaryIO, offset: int) -> tuple[bytes, int, int, int, int, int, int, bytes] | None:
    """Read a local header, section 4.3.7: name, flags, method, crc, compressed size, size, data offset, extra."""
    header = _at(file, offset, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        return None
    row = _LOCAL.unpack(header)
    body = file.read(row[9] + row[10])
    if len(body) < row[9] + row[10]:
        return None
    extra = body[row[9] :]
    size, packed, _ = _widened(extra, (row[8], row[7], 0))
    return body[: row[9]], row[2], row[3], row[6], packed, size, offset + _LOCAL.size + len(body), extra


def _descriptor(file: BinaryIO, entry: _Entry, end: int, following: int, notes: _Notes) -> int:
    """Check the data descriptor after the data, section 4.3.9: optional signature, 32 or 64 bit sizes."""
    body = _at(file, end, min(24, max(0, following - end)))
    for signature in (b"PK\x07\x08", b""):
        for form in ("<III", "<IQQ"):
            expected = signature + _packed(form, entry)
            if body.startswith(expected) and end + len(expected) == following:
                return following
    notes.add("descriptor", end, f"the data descriptor of {entry.name!r} is missing or wrong")
    return end


def _packed(form: str, entry: _Entry) -> bytes:
    try:
        return struct.pack(form, entry.crc, entry.compressed_size, entry.size)
    except struct.error:
        return b"\xff" * 32


def _carve(file: BinaryIO, start: int, end: int, notes: _Notes) -> Iterator[ZipMember]:
    """Find members in [start, end) that the central directory does not list, so that they are judged as well."""
    for _ in range(_MAX_HIDDEN):
        local = _local(file, start)
        if local is None:
            return
        raw_name, flags, method, crc, packed, size, data_offset, _ = local
        if data_offset + packed > end:
            return
        name = raw_name.decode("utf-8", "backslashreplace")
        notes.add("hidden", start, f"the member {name!r} is not listed in the central directory")
        yield ZipMember(
            name, start, data_offset, packed, size, method, crc, flags, data_offset + packed, hidden=True
        )
        start = data_offset + packed


def stream_member(file: BinaryIO, member: ZipMember, budget: Budget) -> Iterator[bytes]:
    """Yield the unpacked bytes of `member`; raises Unreadable when data, size or checksum are wrong.

    Memory stays below two mebibytes. Raises OutOfBudget when `budget` is spent.
    """
    yield from _checked(_unpacked(file, member), member, budget)


def check_member(file: BinaryIO, member: ZipMember, budget: Budget) -> None:
    """Read `member` for its size and checksum alone; errors as for `stream_member`.

    What is stored goes through one buffer that fits into a processor's cache: a new object for each piece of a
    large member costs as much again as reading it.
    """
    if member.method == STORED:
        deque(_checked(_pieces(file, member), member, budget), maxlen=0)
    else:
        deque(_checked(_unpacked(file, member), member, budget), maxlen=0)


def _unpacked(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    if member.method not in METHODS:
        raise _damaged(member, f"packing method {member.method} is not read", "archive.method")
    return _UNPACK[member.method](file, member)


def _checked(chunks: Iterable[_Chunk], member: ZipMember, budget: Budget) -> Iterator[_Chunk]:
    crc = 0
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if count > member.size:
            raise _damaged(member, "it unpacks to more than its header says", "archive.size")
        budget.spend_unpacked(len(chunk))
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if count != member.size:
        raise _damaged(member, "it unpacks to less than its header says", "archive.size")
    if crc != member.crc:
        raise _damaged(member, "its checksum does not fit", "archive.crc")


def read_member(file: BinaryIO, member: ZipMember, budget: Budget) -> bytes:
    """Return the unpacked bytes of `member`; errors as for `stream_member`."""
    budget.check_memory(member.size)
    return b"".join(stream_member(file, member, budget))


def _stored(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    left = member.compressed_size
    position = member.data_offset
    while left:
        chunk = _at(file, position, min(CHUNK, left))
        if not chunk:
            raise _damaged(member, "the file ends inside it", "archive.data")
        left -= len(chunk)
        position += len(chunk)
        yield chunk


def _pieces(file: BinaryIO, member: ZipMember) -> Iterator[memoryview]:
    """Yield what `_stored` yields, each piece over the one before it."""
    buffer = memoryview(bytearray(min(PIECE, member.compressed_size)))
    readinto: Callable[[memoryview], int | None] | None = getattr(file, "readinto", None)
    if readinto is None:
        yield from (memoryview(chunk) for chunk in _stored(file, member))
        return
    left = member.compressed_size
    reachable = 0 <= member.data_offset <= _MAX_OFFSET
    if reachable:
        file.seek(member.data_offset)
    while left:
        count = readinto(buffer[: min(PIECE, left)]) if reachable else 0
        if not count:
            raise _damaged(member, "the file ends inside it", "archive.data")
        left -= count
        yield buffer[:count]


def _inflated(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    engine = zlib.decompressobj(-15)
    try:
        for packed in _stored(file, member):
            data = packed
            while data:
                if engine.eof:
                    raise _damaged(member, "bytes follow its packed data", "archive.data")
                yield engine.decompress(data, CHUNK)
                data = engine.unconsumed_tail or engine.unused_data
        while not engine.eof and (rest := engine.decompress(b"", CHUNK)):
            yield rest
    except zlib.error as error:
        raise _damaged(member, "its packed data is damaged", "archive.data") from error
    if not engine.eof:
        raise _damaged(member, "its packed data is cut off", "archive.data")


def _bunzipped(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    yield from _fed(bz2.BZ2Decompressor(), _stored(file, member), member)


def _unlzmad(file: BinaryIO, member: ZipMember) -> Iterator[bytes]:
    """Unpack method 14, section 5.8: a version, five bytes of properties, and a raw stream."""
    packed = _stored(file, member)
    first = next(packed, b"")
    if len(first) < 9 or first[2:4] != b"\5\0" or first[4] >= 225:
        raise _damaged(member, "its packed data is damaged", "archive.data")
    window = int.from_bytes(first[5:9], "little")
    if window > _MAX_WINDOW:
        raise _damaged(member, "unpacking it takes too much memory", "archive.method")
    properties = {
        "lc": first[4] % 9,
        "lp": first[4] // 9 % 5,
        "pb": first[4] // 45,
        "dict_size": max(window, 4096),
    }
    if properties["lc"] + properties["lp"] > 4:
        raise _damaged(member, "its packed data is damaged", "archive.data")
    engine = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **properties}])
    yield from _fed(engine, chain((first[9:],), packed), member, endless=not member.flags & _END_MARKED)


def _fed(
    engine: bz2.BZ2Decompressor | lzma.LZMADecompressor,
    packed: Iterable[bytes],
    member: ZipMember,
    *,
    endless: bool = False,
) -> Iterator[bytes]:
    """Feed an engine of the standard library; an `endless` stream may lack a mark of its end."""
    count = 0
    try:
        for data in packed:
            if engine.eof and data:
                raise _damaged(member, "bytes follow its packed data", "archive.data")
            chunk = engine.decompress(data, CHUNK)
            while chunk:
                count += len(chunk)
                yield chunk
                done = engine.eof or engine.needs_input or (endless and count >= member.size)
                chunk = b"" if done else engine.decompress(b"", CHUNK)
    except (OSError, ValueError, lzma.LZMAError) as error:
        raise _damaged(member, "its packed data is damaged", "archive.data") from error
    if engine.unused_data or not (engine.eof or endless):
        raise _damaged(member, "its packed data is cut off, or bytes follow it", "archive.data")


_UNPACK: dict[int, Callable[[BinaryIO, ZipMember], Iterator[bytes]]] = {
    STORED: _stored, DEFLATED: _inflated, BZIP2: _bunzipped, LZMA: _unlzmad,
}  # fmt: skip


def _damaged(member: ZipMember, cause: str, check: str) -> Unreadable:
    return Unreadable(
        f"the member {member.name!r} cannot be read",
        cause=cause,
        remedy="fetch the file again, or have it written anew by its author",
        check=check,
    )
