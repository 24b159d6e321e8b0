"""Unpack lz4 frames strictly: each block, each size and each checksum.

Sources: lz4_Frame_format.md 1.6.4, lz4_Block_format.md and xxhash_spec.md, as published with the libraries.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAGIC = b"\x04\x22\x4d\x18"
_WINDOW = 64 * 1024
_BLOCK_SIZES = {4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024}
_MASK = 0xFFFFFFFF
_P1, _P2, _P3, _P4, _P5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393


class Lz4Broken(ValueError):
    """The frame is damaged; the text says where."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the frame descriptor says; section "Frame Descriptor"."""

    linked: bool
    block_checksum: bool
    content_checksum: bool
    content_size: int | None
    block_size: int


def unpack_frame(take: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the blocks of one frame; `take(count)` gives exactly the next bytes, or fewer at the end of the file.

    The frame's magic number was taken already. At most two blocks of four mebibytes are held. Raises Lz4Broken.
    """
    frame = _descriptor(take)
    digest = Xxh32() if frame.content_checksum else None
    window = b""
    total = 0
    while word := int.from_bytes(_exactly(take, 4), "little"):
        size = word & 0x7FFFFFFF
        if size > frame.block_size:
            raise Lz4Broken("a block is larger than the frame allows")
        packed = _exactly(take, size)
        if frame.block_checksum and _checksum(take) != xxh32(packed):
            raise Lz4Broken("the checksum of a block does not fit")
        block = packed if word >> 31 else unpack_block(packed, window, frame.block_size)
        total += len(block)
        if digest:
            digest.update(block)
        if frame.linked:
            window = (window + block)[-_WINDOW:]
        yield block
    if digest and _checksum(take) != digest.value():
        raise Lz4Broken("the checksum of the content does not fit")
    if frame.content_size not in (None, total):
        raise Lz4Broken("the content is not as large as the frame says")


def _exactly(take: Callable[[int], bytes], count: int) -> bytes:
    data = take(count)
    if len(data) != count:
        raise Lz4Broken("the file ends inside a frame")
    return data


def _checksum(take: Callable[[int], bytes]) -> int:
    return int.from_bytes(_exactly(take, 4), "little")


def _descriptor(take: Callable[[int], bytes]) -> _Frame:
    header = _exactly(take, 2)
    flags, sizes = header
    if flags >> 6 != 1 or flags & 0x02 or sizes & 0x8F or sizes >> 4 not in _BLOCK_SIZES:
        raise Lz4Broken("the frame descriptor is not of a known version")
    if flags & 0x01:
        raise Lz4Broken("the frame needs a dictionary that is not in the file")
    size = None
    if flags & 0x08:
        field = _exactly(take, 8)
        header += field
        size = int.from_bytes(field, "little")
    if _exactly(take, 1)[0] != xxh32(header) >> 8 & 0xFF:
        raise Lz4Broken("the checksum of the frame descriptor does not fit")
    return _Frame(not flags & 0x20, bool(flags & 0x10), bool(flags & 0x04), size, _BLOCK_SIZES[sizes >> 4])


def unpack_block(packed: bytes, window: bytes, limit: int) -> bytes:
    """Unpack one block of at most `limit` bytes; matches may reach into `window`. Raises Lz4Broken."""
    out = bytearray(window)
    base = len(window)
    place, end = 0, len(packed)
    try:
        while place < end:
            token = packed[place]
            place, count = _length(packed, place + 1, token >> 4)
            if place + count > end:
                raise Lz4Broken("literals reach beyond the end of their block")
            out += packed[place : place + count]
            place += count
            if place == end:
                if token & 15:
                    raise Lz4Broken("a block ends inside a match")
                break
            offset = packed[place] | packed[place + 1] << 8
            place, count = _length(packed, place + 2, token & 15)
            count += 4
            if not 0 < offset <= len(out) or len(out) - base + count > limit:
                raise Lz4Broken("a match reaches outside of what was unpacked")
            start = len(out) - offset
            if offset >= count:
                out += out[start : start + count]
            else:
                piece = bytes(out[start:])
                out += (piece * (count // offset + 1))[:count]
    except IndexError as error:
        raise Lz4Broken("a block ends inside a sequence") from error
    if len(out) - base > limit:
        raise Lz4Broken("a block unpacks to more than the frame allows")
    return bytes(out[base:])


def _length(packed: bytes, place: int, count: int) -> tuple[int, int]:
    if count == 15:
        while True:
            more = packed[place]
            place += 1
            count += more
            if more != 255:
                break
    return place, count


class Xxh32:
    """The 32-bit hash of xxHash with seed 0, fed piece by piece."""

    def __init__(self) -> None:
        self._lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        self._rest = b""
        self._size = 0

    def update(self, data: bytes) -> None:
        """Add `data`."""
        self._size += len(data)
        data = self._rest + data
        whole = len(data) & ~15
        a, b, c, d = self._lanes
        for w, x, y, z in struct.iter_unpack("<IIII", data[:whole]):
            a = a + w * _P2 & _MASK
            a = (a << 13 | a >> 19) * _P1 & _MASK
            b = b + x * _P2 & _MASK
            b = (b << 13 | b >> 19) * _P1 & _MASK
            c = c + y * _P2 & _MASK
            c = (c << 13 | c >> 19) * _P1 & _MASK
            d = d + z * _P2 & _MASK
            d = (d << 13 | d >> 19) * _P1 & _MASK
        self._lanes = [a, b, c, d]
        self._rest = data[whole:]

    def value(self) -> int:
        """Return the hash of everything added so far."""
        a, b, c, d = self._lanes
        value = _turn(a, 1) + _turn(b, 7) + _turn(c, 12) + _turn(d, 18) if self._size >= 16 else _P5
        value = value + self._size & _MASK
        rest = self._rest
        for (word,) in struct.iter_unpack("<I", rest[: len(rest) & ~3]):
            value = _turn(value + word * _P3 & _MASK, 17) * _P4 & _MASK
        for byte in rest[len(rest) & ~3 :]:
            value = _turn(value + byte * _P5 & _MASK, 11) * _P1 & _MASK
        value = (value ^ value >> 15) * _P2 & _MASK
        value = (value ^ value >> 13) * _P3 & _MASK
        return value ^ value >> 16


def _turn(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & _MASK


def xxh32(data: bytes) -> int:
    """Return the xxHash-32 of `data`, seed 0."""
    digest = Xxh32()
    digest.update(data)
    return digest.value()
