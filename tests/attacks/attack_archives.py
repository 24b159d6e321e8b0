"""Zip, tar, 7z and packed streams, written by hand so that they can lie where a library would not let them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass

SEED32 = 0


@dataclass
class Member:
    """One zip member; whatever is set beside name and data makes directory and local header disagree."""

    name: str
    data: bytes
    method: int = 0
    local_name: str | None = None
    flags: int = 0
    local_flags: int | None = None
    crc: int | None = None
    local_crc: int | None = None
    size: int | None = None
    packed: int | None = None
    local_size: int | None = None
    attributes: int = 0
    listed: bool = True
    extra: bytes = b""
    gap: bytes = b""
    offset: int | None = None
    needs: int = 20


def zipped(members, *, prefix=b"", tail=b"", comment=b"", count=None, shift=0):
    """Write the members one after the other, then a directory of those that are listed."""
    out, directory, listed = bytearray(prefix), bytearray(), 0
    for m in members:
        out += m.gap
        body = m.data if m.method != zipfile.ZIP_DEFLATED else _deflated(m.data)
        crc, size, packed = zlib.crc32(m.data), len(m.data), len(body)
        at = len(out) if m.offset is None else m.offset
        local = (m.local_name if m.local_name is not None else m.name).encode()
        flags = m.flags if m.local_flags is None else m.local_flags
        said = (m.crc if m.crc is not None else crc) if m.local_crc is None else m.local_crc
        sizes = [m.packed if m.packed is not None else packed, m.size if m.size is not None else size]
        local_sizes = sizes if m.local_size is None else [m.local_size, m.local_size]
        if m.offset is None:
            out += (
                struct.pack(
                    "<4s5H3I2H", b"PK\3\4", m.needs, flags, m.method, 0, 33, said, *local_sizes, len(local), 0
                )
                + local
                + body
            )
        if m.listed:
            listed += 1
            name = m.name.encode()
            directory += struct.pack(
                "<4s6H3I5H2I",
                b"PK\1\2",
                0x0314,
                m.needs,
                m.flags,
                m.method,
                0,
                33,
                crc if m.crc is None else m.crc,
                *sizes,
                len(name),
                len(m.extra),
                0,
                0,
                0,
                m.attributes,
                at - shift,
            )
            directory += name + m.extra
    start = len(out) - shift
    total = listed if count is None else count
    out += (
        directory
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, total, total, len(directory), start, len(comment))
        + comment
    )
    return bytes(out + tail)


def _deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def tarred(entries, mode="w"):
    """Write (name, bytes or TarInfo) entries into a tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in entries:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(kind, target):
    """Return a tar entry that points somewhere."""
    info = tarfile.TarInfo()
    info.type = kind
    info.linkname = target
    return info


def packed(kind, data):
    """Pack bytes as joblib and others do."""
    packers = {
        "zlib": lambda d: zlib.compress(d, 3), "gzip": lambda d: gzip.compress(d, 3, mtime=0), "bz2": bz2.compress, "xz": lzma.compress,
        "lzma": lambda d: lzma.compress(d, format=lzma.FORMAT_ALONE), "lz4": lz4_frame, "zstd": zstd_frame,
    }  # fmt: skip
    return packers[kind](data)


def xxh32(data):
    """Return the xxHash32 (seed 0) of fewer than 16 bytes; an lz4 frame needs it for its descriptor."""
    mask, value = 0xFFFFFFFF, (SEED32 + 374761393 + len(data)) & 0xFFFFFFFF
    while len(data) >= 4:
        value = (value + int.from_bytes(data[:4], "little") * 3266489917) & mask
        value = ((value << 17 | value >> 15) & mask) * 668265263 & mask
        data = data[4:]
    for byte in data:
        value = (value + byte * 374761393) & mask
        value = ((value << 11 | value >> 21) & mask) * 2654435761 & mask
    value = (value ^ value >> 15) * 2246822519 & mask
    value = (value ^ value >> 13) * 3266489917 & mask
    return value ^ value >> 16


def lz4_frame(data):
    """Write an lz4 frame of stored blocks: independent blocks of at most 64 KiB, no checksums."""
    descriptor = b"\x60\x40"
    out = b"\x04\x22\x4d\x18" + descriptor + bytes((xxh32(descriptor) >> 8 & 0xFF,))
    for start in range(0, len(data), 65536):
        block = data[start : start + 65536]
        out += struct.pack("<I", len(block) | 0x80000000) + block
    return out + bytes(4)


def zstd_frame(data):
    """Write a zstd frame of raw blocks (RFC 8878): single segment, content size of four bytes."""
    out = b"\x28\xb5\x2f\xfd" + b"\xa0" + struct.pack("<I", len(data))
    blocks = [data[start : start + 65536] for start in range(0, len(data), 65536)] or [b""]
    for number, block in enumerate(blocks):
        out += (len(block) << 3 | (number == len(blocks) - 1)).to_bytes(3, "little") + block
    return out


def seven_zip(name, data):
    """Write a 7z archive of one stored member (7zFormat.txt): signature, packed stream, plain header."""

    def number(value):
        assert value < 1 << 28
        if value < 0x80:
            return bytes((value,))
        return (
            b"\xe0" + value.to_bytes(3, "little")
            if value < 1 << 24
            else b"\xf0" + value.to_bytes(4, "little")
        )

    streams = b"\x06" + number(0) + number(1) + b"\x09" + number(len(data)) + b"\x00"
    folders = (
        b"\x07\x0b\x01\x00"
        b"\x01"
        b"\x01\x00"
        b"\x0c"
        + number(len(data))
        + b"\x00"
        + b"\x08\x0a\x01"
        + struct.pack("<I", zlib.crc32(data))
        + b"\x00"
    )
    names = b"\x00" + name.encode("utf-16-le") + b"\x00\x00"
    files = b"\x05\x01" + b"\x11" + number(len(names)) + names + b"\x00"
    header = b"\x01\x04" + streams + folders + b"\x00" + files + b"\x00"
    start = struct.pack("<QQI", len(data), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + data + header
