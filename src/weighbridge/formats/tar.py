"""Read tar archives strictly: each header, each padding and the end; what tar programs forgive is named.

Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format"; the GNU tar manual,
"Basic Tar Format". Loaders unpack members one after the other and let later ones replace earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import Unreadable
from weighbridge.formats.archive import Anomaly
from weighbridge.formats.limits import DEFAULT_LIMITS, Budget, Limits
from weighbridge.formats.member_names import problem, twins

BLOCK = 512
_MAX_EXTENSION = 1024 * 1024
_POSIX, _GNU, _V7 = b"ustar\x0000", b"ustar  \x00", bytes(8)
_FILES, _FOLDER, _LINKS = b"\x0007", b"5", {b"1": "a hard link", b"2": "a symbolic link"}
_DEVICES = {b"3": "a character device", b"4": "a block device", b"6": "a named pipe"}
_PAX_NUMBERS = ("size", "uid", "gid", "mtime", "atime", "ctime", "LIBARCHIVE.creationtime", "SCHILY.dev",
                "SCHILY.ino", "SCHILY.nlink")  # fmt: skip
_PAX_TEXTS = ("path", "linkpath", "uname", "gname", "comment", "hdrcharset")
_RECORD = re.compile(rb"([1-9][0-9]{0,9}) ([^=\n]{1,200})=")
_COPY = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file, folder, link or device; a file's bytes lie at [data_offset, data_offset + size)."""

    name: str
    kind: str
    """`file`, `folder`, or in words what else it is."""
    header_offset: int
    data_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TarArchive:
    """Members in the order of their headers, what is wrong, and how many bytes have an explanation."""

    members: tuple[TarMember, ...]
    anomalies: tuple[Anomaly, ...]
    explained: int


def is_header(block: bytes) -> bool:
    """Tell whether `block` is a header with a checksum that fits: what every tar program goes by."""
    if len(block) < BLOCK or not block[0]:
        return False
    digits = block[148:156].rstrip(b" \0").lstrip(b" ")
    try:
        return int(digits, 8) in _sums(block[:BLOCK])
    except ValueError:
        return False


def _sums(block: bytes) -> tuple[int, int]:
    """Return the checksum over unsigned bytes, and the one over signed bytes that old programs wrote."""
    rest = block[:148] + block[156:]
    unsigned = sum(rest) + 8 * 32
    return unsigned, unsigned - 256 * sum(byte > 127 for byte in rest)


def read_tar(file: BinaryIO, size: int, limits: Limits = DEFAULT_LIMITS) -> TarArchive:
    """Describe the tar archive that `file` (seekable, `size` bytes) is; what is wrong is listed.

    Raises OSError from `file`, and OutOfBudget when it has more members than `limits` allow.
    """
    walk = _Walk(file, size, Budget(limits))
    try:
        walk.run()
    except Unreadable as error:
        walk.odd("header", error.cause)
    for member, twin in zip(walk.members, twins(plain(m.name) for m in walk.members), strict=True):
        if twin:
            walk.odd("duplicate", f"two members are called {member.name!r}", member.header_offset)
    return TarArchive(tuple(walk.members), tuple(walk.anomalies), min(walk.explained, size))


def plain(name: str) -> str:
    """Return a name without the `./` that tar programs write before it."""
    while name.startswith("./"):
        name = name[2:]
    return name


@dataclass(slots=True)
class _Walk:
    """One pass over the headers."""

    file: BinaryIO
    size: int
    budget: Budget
    members: list[TarMember] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    place: int = 0
    explained: int = 0
    said: dict[str, str] = field(default_factory=dict)
    """What pax headers and long names say of the next member."""

    def odd(self, code: str, message: str, offset: int | None = None) -> None:
        """Note an anomaly, not more of them than anybody reads."""
        if len(self.anomalies) < 100:
            self.anomalies.append(Anomaly(code, self.place if offset is None else offset, message))

    def at(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset`."""
        self.file.seek(offset)
        return self.file.read(max(0, min(count, self.size - offset)))

    def run(self) -> None:
        """Walk from header to header up to the end of the archive."""
        while True:
            block = self.at(self.place, BLOCK)
            if len(block) < BLOCK:
                self.odd("end", "the archive ends without the two blocks of zeros that close it")
                return
            if not block.strip(b"\0"):
                self.end()
                return
            if not is_header(block):
                self.odd("header", "a header is damaged, and what follows it was not read")
                return
            self.budget.spend_members(1)
            self.header(block)

    def end(self) -> None:
        """Check what follows the last member: zeros only, at least two blocks of them."""
        offset = self.place
        while data := self.at(offset, _COPY):
            if data.strip(b"\0"):
                self.odd("trailing", "something follows the end of the archive", offset)
                return
            offset += len(data)
        if offset - self.place < 2 * BLOCK:
            self.odd("end", "the archive ends without the two blocks of zeros that close it")
        self.explained = offset

    def header(self, block: bytes) -> None:
        """Read one header and step over its data."""
        here = self.place
        kind = block[156:157]
        declared = _number(block[124:136])
        size = self.wide_size(declared)
        if kind in _LINKS or kind in _DEVICES or kind == _FOLDER:
            if size and kind != b"1":
                self.odd("mismatch", "a member without content declares a size")
            size = 0 if kind != b"1" else size
        begin = here + BLOCK
        behind = begin + -(-size // BLOCK) * BLOCK
        if behind > self.size:
            raise _damaged("a member is longer than the archive")
        if self.at(begin + size, behind - begin - size).strip(b"\0"):
            self.odd("hidden", "the padding behind a member is not empty", begin + size)
        if kind in (b"x", b"g", b"L", b"K"):
            self.extension(kind, self.at(begin, size) if size <= _MAX_EXTENSION else None)
        else:
            self.member(block, kind, begin, size)
        self.place = self.explained = behind

    def wide_size(self, declared: int) -> int:
        """Return the size that a pax header gives where there is one; both must agree unless one cannot hold it."""
        text = self.said.get("size")
        if text is None:
            return declared
        wide = _decimal(text)
        if wide != declared and wide < 8**11:
            self.odd("mismatch", "two headers of a member disagree about its size")
        return wide

    def member(self, block: bytes, kind: bytes, begin: int, size: int) -> None:
        """Note one member and what is odd about it."""
        name = self.name_of(block)
        shown = plain(name)
        what = "file" if kind in _FILES else "folder" if kind == _FOLDER else ""
        if what == "file" and name.endswith("/") and not size:
            what = "folder"  # how the oldest archives write a folder
        if not what:
            what = _LINKS.get(kind) or _DEVICES.get(kind) or ""
            if what:
                self.odd("link", f"{name!r} is {what}")
            else:
                what = "a member of an unknown kind"
                self.odd("method", f"{name!r} is of the kind {kind!r}, which is not read")
        if reason := problem(shown) if shown not in ("", ".") else "":
            self.odd("name", reason)
        self.members.append(TarMember(name, what, self.place, begin, size))
        self.said.clear()

    def name_of(self, block: bytes) -> str:
        """Return the member's name, and check the fields of the header that hold text."""
        magic = block[257:265]
        name, link = self.text(block[:100]), self.text(block[157:257])
        if magic == _POSIX:
            prefix = self.text(block[345:500])
            name = f"{prefix}/{name}" if prefix else name
            rest = block[500:]
        elif magic == _GNU:
            rest = block[369:]  # access and change time stand before that
        else:
            rest = block[257:]
        if rest.strip(b"\0"):
            self.odd("hidden", "a header holds bytes where nothing belongs")
        if magic in (_POSIX, _GNU):
            self.text(block[265:297])
            self.text(block[297:329])
        if link and block[156:157] not in _LINKS:
            self.odd("hidden", "a header that is no link names a target")
        return self.said.get("path", name)

    def text(self, raw: bytes) -> str:
        """Return a text field, which zeros must fill up."""
        content, _, rest = raw.partition(b"\0")
        if rest.strip(b"\0"):
            self.odd("hidden", "bytes follow the end of a text in a header")
        return content.decode("utf-8", "backslashreplace")

    def extension(self, kind: bytes, data: bytes | None) -> None:
        """Read a header that says something of the next member, or of all that follow."""
        if data is None:
            raise _damaged("a header beside a member is longer than any honest one")
        if kind in (b"L", b"K"):
            key = "path" if kind == b"L" else "linkpath"
            if key in self.said:
                self.odd("duplicate", "a member is given two names")
            self.said[key] = self.text(data)
            return
        for key, value in _records(data):
            self.record(kind, key, value)

    def record(self, kind: bytes, key: str, value: str) -> None:
        """Keep one pax record; what no honest archive says is noted."""
        if kind == b"g" and key not in ("comment", "mtime"):
            self.odd("mismatch", f"a header for all members sets {key[:60]!r}")
        if key.startswith("GNU.sparse."):
            self.odd("method", "a member is stored sparse, which is not read")
        elif key not in _PAX_NUMBERS and key not in _PAX_TEXTS:
            self.odd("hidden", f"a pax header holds {key[:60]!r}, which no reader explains")
        elif key in _PAX_NUMBERS and not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", value):
            self.odd("header", f"the pax header {key!r} is no number")
        if key in self.said:
            self.odd("duplicate", f"the pax header {key[:60]!r} is given twice")
        if kind == b"x":
            self.said[key] = value


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the records of a pax header: length, space, key, equals sign, value, newline."""
    place = 0
    while place < len(data):
        match = _RECORD.match(data, place)
        if match is None:
            raise _damaged("a pax header is damaged")
        end = place + int(match.group(1))
        if end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise _damaged("a pax header is damaged")
        value = data[match.end() : end - 1]
        if b"\0" in value:
            raise _damaged("a pax header holds a zero byte")
        yield match.group(2).decode("utf-8", "backslashreplace"), value.decode("utf-8", "backslashreplace")
        place = end


def _number(raw: bytes) -> int:
    """Read a size: octal digits, or the binary form of GNU tar."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big", signed=False) & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] != 0x80 or value >= 1 << 62:
            raise _damaged("a size is no number that a file can have")
        return value
    digits = raw.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise _damaged("a size is no number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _damaged("a size in a pax header is no number")
    return int(text)


def _damaged(cause: str) -> Unreadable:
    return Unreadable(
        "the tar archive cannot be read",
        cause=cause,
        remedy="fetch the file again, or have it written anew by its author",
        check="tar.header",
    )
