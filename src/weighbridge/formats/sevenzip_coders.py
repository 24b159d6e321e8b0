"""Unpack the folders of 7z archives: copy, LZMA, LZMA2, delta, the branch filters, deflate and bzip2.

Source: 7zFormat.txt and Methods.txt of the LZMA SDK 26. Anything else (encryption, PPMd, several streams for one
folder) is named and not read.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable

CHUNK = 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024
_BRANCHES = {
    b"\x03\x03\x01\x03": lzma.FILTER_X86, b"\x03\x03\x02\x05": lzma.FILTER_POWERPC, b"\x03\x03\x04\x01": lzma.FILTER_IA64,
    b"\x03\x03\x05\x01": lzma.FILTER_ARM, b"\x03\x03\x07\x01": lzma.FILTER_ARMTHUMB, b"\x03\x03\x08\x05": lzma.FILTER_SPARC,
    b"\x04": lzma.FILTER_X86, b"\x05": lzma.FILTER_POWERPC, b"\x06": lzma.FILTER_IA64, b"\x07": lzma.FILTER_ARM,
    b"\x08": lzma.FILTER_ARMTHUMB, b"\x09": lzma.FILTER_SPARC,
}  # fmt: skip
_LZMA, _LZMA2, _DELTA = b"\x03\x01\x01", b"\x21", b"\x03"
_COPY, _DEFLATE, _BZIP2, _AES = b"\x00", b"\x04\x01\x08", b"\x04\x02\x02", b"\x06\xf1\x07\x01"


@dataclass(frozen=True, slots=True)
class Folder:
    """Packed bytes at [offset, offset + packed) that unpack to `size` bytes; coders from the packed side on."""

    offset: int
    packed: int
    size: int
    coders: tuple[tuple[bytes, bytes], ...]
    simple: bool
    """Whether each coder reads one stream and writes one."""


def unpack_folder(file: BinaryIO, folder: Folder) -> Iterator[bytes]:
    """Yield the content of a folder, at most a mebibyte at a time; raises Unreadable and OutOfBudget."""
    engine = _engine(folder)
    left, count, place = folder.packed, 0, folder.offset
    try:
        while count < folder.size:
            data = b""
            if engine is None or engine.needs_input:
                file.seek(place)
                data = file.read(min(CHUNK, left))
                left, place = left - len(data), place + len(data)
            chunk = data if engine is None else engine.decompress(data, CHUNK)
            if not chunk and not data and (engine is None or engine.eof or engine.needs_input):
                raise damaged("packed data is cut off", "data")
            count += len(chunk)
            if count > folder.size:
                raise damaged("packed data unpacks to more than its header says", "data")
            yield chunk
    except (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise damaged("packed data is damaged", "data") from error
    if left or (engine is not None and engine.unused_data):
        raise damaged("bytes follow the packed data", "data")


class _Deflate:
    """Gives zlib the face of the other engines."""

    def __init__(self) -> None:
        self.engine = zlib.decompressobj(-15)
        self.tail = b""

    @property
    def eof(self) -> bool:
        return self.engine.eof

    @property
    def needs_input(self) -> bool:
        return not self.tail and not self.engine.eof

    @property
    def unused_data(self) -> bytes:
        return self.engine.unused_data

    def decompress(self, data: bytes, limit: int) -> bytes:
        found = self.engine.decompress(self.tail + data, limit)
        self.tail = self.engine.unconsumed_tail
        return found


def _engine(folder: Folder) -> Any:
    """Return what unpacks the folder; None for bytes that lie there as they are."""
    methods = [method for method, _ in folder.coders]
    if _AES in methods:
        raise damaged("it is encrypted", "encrypted")
    if not folder.simple:
        raise damaged("several packed streams make up one folder, which is not read", "method")
    if methods == [_COPY]:
        return None
    if methods == [_DEFLATE]:
        return _Deflate()
    if methods == [_BZIP2]:
        return bz2.BZ2Decompressor()
    # liblzma lists filters in the order of packing, the packed side last.
    filters = [_filter(method, properties) for method, properties in reversed(folder.coders)]
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError) as error:
        raise damaged("its packing methods do not fit together", "method") from error


def _filter(method: bytes, properties: bytes) -> dict[str, Any]:
    if method == _DELTA and len(properties) == 1:
        return {"id": lzma.FILTER_DELTA, "dist": properties[0] + 1}
    if method in _BRANCHES and len(properties) in (0, 4):
        return {"id": _BRANCHES[method]}
    if method == _LZMA2 and len(properties) == 1 and properties[0] <= 40:
        bits = properties[0]
        return {"id": lzma.FILTER_LZMA2, "dict_size": _window((2 | bits & 1) << (bits // 2 + 11))}
    if method == _LZMA and len(properties) == 5 and properties[0] < 225:
        first = properties[0]
        window = _window(int.from_bytes(properties[1:], "little"))
        return {
            "id": lzma.FILTER_LZMA1,
            "lc": first % 9,
            "lp": first // 9 % 5,
            "pb": first // 45,
            "dict_size": window,
        }
    raise damaged(f"its packing method {method.hex()} is not read", "method")


def _window(size: int) -> int:
    if size > _MAX_WINDOW:
        raise OutOfBudget(
            f"unpacking would take {size} bytes of memory",
            remedy="unpack the archive where you trust it, and scan what is inside",
            check="sevenzip.budget",
        )
    return max(size, 4096)


def damaged(cause: str, check: str = "header") -> Unreadable:
    """Build the error for an archive that cannot be read, or not to its end."""
    return Unreadable(
        "the 7z archive cannot be read",
        cause=cause,
        remedy="fetch the file again, or have it packed anew by its author as zip or tar",
        check=f"sevenzip.{check}",
    )
