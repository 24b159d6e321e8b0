"""Unpack streams of gzip, zlib, bzip2, xz, lzma, lz4, zstd and joblib's oldest packing, strictly and piece by piece.

Every byte of the file is accounted for: headers, packed data, checksums, what follows the last stream. What
two readers would read differently is noted as an anomaly; damage raises Unreadable. Sources: RFC 1950, RFC
1952, bzip2 and xz by their libraries in Python, the lzma-alone header as liblzma accepts it.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.archive import Anomaly
from weighbridge.formats.lz4 import MAGIC as LZ4_MAGIC
from weighbridge.formats.lz4 import Lz4Broken, unpack_frame

CHUNK = 1024 * 1024
MAX_WINDOW = 128 * 1024 * 1024
"""Bytes that unpacking may hold as its dictionary."""
MAX_STREAMS = 10_000
_MAX_NAME = 64 * 1024
_FEED = 64 * 1024
_ZFILE_HEADER = 2 + 19


@dataclass(slots=True)
class Packed:
    """A packed file being read: `anomalies` and `streams` are complete once `unpack` has ended."""

    kind: str
    file: BinaryIO
    size: int
    anomalies: list[Anomaly] = field(default_factory=list)
    streams: int = 0
    place: int = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end of the file."""
        self.file.seek(self.place)
        data = self.file.read(min(count, self.size - self.place))
        self.place += len(data)
        return data

    def odd(self, code: str, message: str) -> None:
        """Note something that two readers would read differently."""
        if len(self.anomalies) < 20:
            self.anomalies.append(Anomaly(code, self.place, message))


def unpack(packed: Packed) -> Iterator[bytes]:
    """Yield the content of all streams, at most a few mebibytes at a time.

    Raises Unreadable for damage (checks compressed.*) and OutOfBudget for windows that are too large.
    """
    step = _STEPS[packed.kind]
    while True:
        packed.streams += 1
        if packed.streams > MAX_STREAMS:
            raise OutOfBudget(
                f"more than {MAX_STREAMS} packed streams follow each other",
                remedy="unpack the file where you trust it, and scan what is inside",
                check="compressed.streams",
            )
        yield from step(packed)
        if not _another(packed):
            return


def _another(packed: Packed) -> bool:
    """Look at what follows a stream: zeros are padding, another stream of the kind is read, the rest is noted."""
    while packed.place < packed.size:
        here = packed.place
        data = packed.take(CHUNK)
        rest = data.lstrip(b"\0")
        if not rest:
            if packed.kind not in _PADDED:
                packed.odd("trailing", "zeros follow the packed data")
            continue
        packed.place = here + len(data) - len(rest)
        padded = packed.place != here
        if rest.startswith(_MAGICS.get(packed.kind, b"\xff" * 9)) and not padded:
            return True
        packed.odd("trailing", f"{packed.size - packed.place} bytes follow the packed data")
        return False
    return False


_MAGICS = {
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "lz4": LZ4_MAGIC,
    "zstd": b"\x28\xb5\x2f\xfd",
}
_PADDED = ("gzip", "xz")


def _damaged(packed: Packed, cause: str, check: str = "data") -> Unreadable:
    return Unreadable(
        f"the {packed.kind} data cannot be unpacked",
        cause=f"{cause} (near byte {packed.place})",
        remedy="fetch the file again, or have it written anew by its author",
        check=f"compressed.{check}",
    )


def _fed(packed: Packed, engine: Any) -> Iterator[bytes]:
    """Feed an engine of the standard library until its stream ends; `place` is left right behind it."""
    try:
        while not engine.eof:
            data = b""
            if engine.needs_input:
                data = packed.take(_FEED)
                if not data:
                    raise _damaged(packed, "the file ends inside the packed data", "short")
            chunk = engine.decompress(data, CHUNK)
            if chunk:
                yield chunk
    except lzma.LZMAError as error:
        if "memory" in str(error).lower():
            raise OutOfBudget(
                f"unpacking would take more than {MAX_WINDOW} bytes of memory",
                remedy="unpack the file where you trust it, and scan what is inside",
                check="compressed.window",
            ) from error
        raise _damaged(packed, "the packed data or its checksum is wrong") from error
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(packed, "the packed data or its checksum is wrong") from error
    packed.place -= len(engine.unused_data)


def _inflated(packed: Packed, wbits: int) -> Iterator[bytes]:
    """Inflate one stream; `place` is left right behind it."""
    engine = zlib.decompressobj(wbits)
    data = b""
    try:
        while not engine.eof:
            if not data:
                data = packed.take(_FEED)
                if not data:
                    raise _damaged(packed, "the file ends inside the packed data", "short")
            chunk = engine.decompress(data, CHUNK)
            data = engine.unconsumed_tail
            if chunk:
                yield chunk
            while not data and len(chunk) == CHUNK:
                chunk = engine.decompress(b"", CHUNK)
                if chunk:
                    yield chunk
    except zlib.error as error:
        raise _damaged(packed, "the packed data or its checksum is wrong") from error
    packed.place -= len(engine.unused_data)


def _gzip(packed: Packed) -> Iterator[bytes]:
    """Read one member, RFC 1952 section 2.3."""
    start = packed.place
    head = packed.take(10)
    if len(head) < 10 or head[:3] != b"\x1f\x8b\x08":
        raise _damaged(packed, "a gzip header is cut off or of an unknown method", "header")
    flags = head[3]
    if flags & 0xE0:
        packed.odd("flags", f"the gzip header carries reserved flags (0x{flags:02x})")
    if flags & 0x04:
        extra = packed.take(int.from_bytes(packed.take(2), "little"))
        if (
            len(extra) != 6 or extra[:4] != b"BC\x02\0"
        ):  # the one honest use: sizes of blocks for random access
            packed.odd("extra", f"the gzip header carries {len(extra)} bytes beside the packed data")
    for bit, what in ((0x08, "name"), (0x10, "comment")):
        if flags & bit:
            _text(packed, what)
    if flags & 0x02:
        header = _range(packed, start)
        if int.from_bytes(packed.take(2), "little") != zlib.crc32(header) & 0xFFFF:
            raise _damaged(packed, "the checksum of a gzip header does not fit", "header")
    crc = size = 0
    for chunk in _inflated(packed, -15):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
        yield chunk
    if packed.take(8) != crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little"):
        raise _damaged(packed, "the checksum or size at the end does not fit", "checksum")


def _text(packed: Packed, what: str) -> None:
    """Read a zero-terminated field of a gzip header."""
    here = packed.place
    end = packed.take(_MAX_NAME).find(b"\0")
    if end < 0:
        raise _damaged(packed, f"the {what} in a gzip header has no end", "header")
    packed.place = here
    text = packed.take(end + 1)[:-1].decode("latin-1")
    if len(text) > 1024 or not text.isprintable():
        packed.odd("extra", f"the {what} in the gzip header is no plain text")


def _range(packed: Packed, start: int) -> bytes:
    end, packed.place = packed.place, start
    data = packed.take(end - start)
    packed.place = end
    return data


def _zlib(packed: Packed) -> Iterator[bytes]:
    return _inflated(packed, 15)


def _zfile(packed: Packed) -> Iterator[bytes]:
    """Read what joblib wrote before 0.10: `ZF`, the size as 19 characters of hexadecimal, then zlib."""
    head = packed.take(_ZFILE_HEADER)
    try:
        announced = int(head[2:].decode("ascii").strip(), 16)
    except ValueError as error:
        raise _damaged(packed, "the size in its header is no number", "header") from error
    size = 0
    for chunk in _inflated(packed, 15):
        size += len(chunk)
        yield chunk
    if size != announced:
        raise _damaged(packed, "the size in its header does not fit", "header")


def _bzip2(packed: Packed) -> Iterator[bytes]:
    return _fed(packed, bz2.BZ2Decompressor())


def _xz(packed: Packed) -> Iterator[bytes]:
    return _fed(packed, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW))


def _lzma(packed: Packed) -> Iterator[bytes]:
    return _fed(packed, lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_WINDOW))


def _lz4(packed: Packed) -> Iterator[bytes]:
    packed.take(len(LZ4_MAGIC))
    try:
        yield from unpack_frame(packed.take)
    except Lz4Broken as error:
        raise _damaged(packed, str(error)) from error


def _zstd(packed: Packed) -> Iterator[bytes]:
    try:
        library = importlib.import_module("zstandard")
    except ImportError as error:
        raise Unreadable(
            "data packed with zstd needs a library that is not installed",
            cause="zstd is read with the package zstandard",
            remedy="pip install 'weighbridge[archives]', then scan again",
            check="compressed.missing",
        ) from error
    engine = library.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
    try:
        while not engine.eof:
            data = packed.take(1024)  # one step may unpack to thirty thousand times as much
            if not data:
                raise _damaged(packed, "the file ends inside the packed data", "short")
            chunk = engine.decompress(data)
            if chunk:
                yield chunk
    except library.ZstdError as error:
        raise _damaged(
            packed, "the packed data or its checksum is wrong, or its window is too large"
        ) from error
    packed.place -= len(engine.unused_data)


_STEPS: dict[str, Callable[[Packed], Iterator[bytes]]] = {
    "gzip": _gzip, "zlib": _zlib, "zfile": _zfile, "bzip2": _bzip2, "xz": _xz, "lzma": _lzma, "lz4": _lz4, "zstd": _zstd,
}  # fmt: skip
KINDS = frozenset(_STEPS)


def looks_packed(head: bytes) -> str:
    """Return the kind of a packed stream that begins without a magic number, or an empty text.

    `head` should hold some thousand bytes; they must unpack without an error as far as they go.
    """
    if head[:4] in (b"ZF0x", b"ZF0X") and len(head) > _ZFILE_HEADER:
        return "zfile" if _inflates(head[_ZFILE_HEADER:]) else ""
    if len(head) > 2 and head[0] & 15 == 8 and head[0] >> 4 <= 7:
        checked = int.from_bytes(head[:2], "big") % 31 == 0 and not head[1] & 0x20
        return "zlib" if checked and _inflates(head) else ""
    return "lzma" if _is_lzma(head) else ""


def _inflates(head: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(head, CHUNK))
    except zlib.error:
        return False


def _is_lzma(head: bytes) -> bool:
    """Tell whether `head` is a header of lzma-alone that liblzma accepts, before data of a range coder."""
    if len(head) < 18 or head[0] >= 225 or head[13]:
        return False
    dictionary = int.from_bytes(head[1:5], "little")
    usual = {1 << n for n in range(12, 32)} | {3 << n for n in range(11, 31)} | {0xFFFFFFFF}
    size = int.from_bytes(head[5:13], "little")
    if dictionary not in usual or (size != 0xFFFFFFFFFFFFFFFF and size >= 1 << 38):
        return False
    if head[0] == 0x5D:
        return True
    try:
        return bool(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MAX_WINDOW).decompress(head, CHUNK))
    except lzma.LZMAError:
        return False
