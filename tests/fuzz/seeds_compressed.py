"""Seeds for the readers of packed streams: one small file of each packing."""

import bz2
import gzip
import lzma
import zlib

PICKLE = b"\x80\x04]\x94(K\x01K\x02e."


def packed(data: bytes) -> bytes:
    """Return gzip without the time, so that seeds are the same each day."""
    return gzip.compress(data, mtime=0)


def seeds() -> list[bytes]:
    """Return one honest file of each packing, and two that are not."""
    return [
        packed(PICKLE),
        packed(PICKLE) + packed(b"N."),
        zlib.compress(PICKLE),
        bz2.compress(PICKLE),
        lzma.compress(PICKLE),
        lzma.compress(PICKLE, lzma.FORMAT_ALONE),
        b"ZF" + hex(len(PICKLE)).ljust(19).encode() + zlib.compress(PICKLE),
        bytes.fromhex("04224d186040820c000080") + PICKLE + bytes(4),
        packed(packed(PICKLE)),
        packed(b"PK\5\6" + bytes(18)) + b"behind",
    ]
