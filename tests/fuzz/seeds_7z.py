"""Small 7z archives, built byte by byte: seeds for the fuzzer, samples for tests."""

import bz2
import lzma
import struct
import zlib

COPY, DEFLATE, BZIP2, LZMA2 = b"\x01\x00", b"\x03\x04\x01\x08", b"\x03\x04\x02\x02", b"\x21\x21\x01\x08"
_FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 * 1024}]


def number(value: int) -> bytes:
    return (
        bytes([value])
        if value < 128
        else b"\xc0" + value.to_bytes(2, "little")
        if value < 1 << 14
        else b"\xff" + value.to_bytes(8, "little")
    )


def pack(method: bytes, data: bytes) -> bytes:
    if method == DEFLATE:
        return zlib.compress(data, 9, -15)
    if method == BZIP2:
        return bz2.compress(data)
    if method == LZMA2:
        return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)
    return data


def streams(offset: int, packed: bytes, method: bytes, sizes: list[int], crcs: list[int]) -> bytes:
    """Return a streams info of one folder."""
    info = b"\x06" + number(offset) + b"\x01\x09" + number(len(packed)) + b"\x00"
    info += b"\x07\x0b\x01\x00\x01" + method + b"\x0c" + number(sum(sizes))
    if len(sizes) == 1:
        return info + b"\x0a\x01" + struct.pack("<I", crcs[0]) + b"\x00\x00"
    counts = b"\x0d" + number(len(sizes)) + b"\x09" + b"".join(number(size) for size in sizes[:-1])
    return (
        info
        + b"\x00\x08"
        + counts
        + b"\x0a\x01"
        + b"".join(struct.pack("<I", crc) for crc in crcs)
        + b"\x00\x00"
    )


def files(names: list[str], extra: bytes = b"") -> bytes:
    text = b"\x00" + b"".join(name.encode("utf-16-le", "surrogatepass") + b"\0\0" for name in names)
    return b"\x05" + number(len(names)) + b"\x11" + number(len(text)) + text + extra + b"\x00"


def wrapped(body: bytes, header: bytes) -> bytes:
    tail = struct.pack("<QQI", len(body), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(tail)) + tail + body + header


def archive(
    members: dict[str, bytes], method: bytes = COPY, *, encoded: bool = False, extra: bytes = b""
) -> bytes:
    """Return an archive of one folder; `encoded` packs the header as well, `extra` goes behind the names."""
    packed = pack(method, b"".join(members.values()))
    rows = list(members.values())
    info = (
        streams(0, packed, method, [len(row) for row in rows], [zlib.crc32(row) for row in rows])
        if members
        else b""
    )
    header = b"\x01" + (b"\x04" + info if members else b"") + files(list(members), extra) + b"\x00"
    if not encoded:
        return wrapped(packed, header)
    small = pack(LZMA2, header)
    return wrapped(
        packed + small, b"\x17" + streams(len(packed), small, LZMA2, [len(header)], [zlib.crc32(header)])
    )


def seeds() -> list[bytes]:
    """Return one archive of each method, with plain and packed headers."""
    members = {"a.txt": b"text\n" * 9, "folder/data.pkl": b"\x80\x04]\x94(K\x01K\x02e."}
    found = [archive(members, method) for method in (COPY, DEFLATE, BZIP2, LZMA2)]
    return [*found, archive(members, LZMA2, encoded=True), archive({}), archive({"x": b"y"})]
