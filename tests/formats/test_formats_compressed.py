"""Packed streams: each packing is read to its last byte, and what another reader would forgive is named."""

import bz2
import gzip
import io
import lzma
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.compressed import CHUNK, MAX_WINDOW, Packed, looks_packed, unpack
from weighbridge.formats.lz4 import Lz4Broken, unpack_block, xxh32

TEXT = b"weighbridge " * 40
# Written by the lz4 library: linked blocks with the content's size; independent blocks with both checksums.
LZ4 = bytes.fromhex(
    "04224d186840e0010000000000009b17000000cf7765696768627269646765200c00ffbd50696467652000000000"
)
LZ4_CHECKED = bytes.fromhex(
    "04224d187440bd17000000cf7765696768627269646765200c00ffbd506964676520812e2e1c0000000058b2d437"
)


def zfile(data):
    return b"ZF" + hex(len(data)).ljust(19).encode() + zlib.compress(data)


PACKERS = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zfile": zfile,
}


def read(kind, data):
    packed = Packed(kind, io.BytesIO(data), len(data))
    return b"".join(unpack(packed)), packed


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("content", [b"", b"x", TEXT, bytes(3 * CHUNK), bytes(range(256)) * 9000])
def test_honest_streams_are_unpacked_to_the_last_byte(kind, content):
    found, packed = read(kind, PACKERS[kind](content))
    assert found == content
    assert packed.anomalies == []
    assert packed.place == packed.size
    assert packed.streams == 1


@pytest.mark.parametrize("data", [LZ4, LZ4_CHECKED])
def test_lz4_frames_of_the_library_are_read(data):
    found, packed = read("lz4", data)
    assert (found, packed.anomalies, packed.place) == (TEXT, [], len(data))


@pytest.mark.parametrize("kind", [*PACKERS, "lz4"])
def test_every_cut_is_damage(kind):
    data = LZ4_CHECKED if kind == "lz4" else PACKERS[kind](TEXT)
    for end in range(len(data)):
        with pytest.raises(Unreadable) as caught:
            read(kind, data[:end])
        assert caught.value.check.startswith("compressed.")


@pytest.mark.parametrize("kind", [*PACKERS, "lz4"])
@given(st.data())
def test_a_changed_byte_is_damage_or_an_anomaly_or_changes_nothing(kind, draw):
    data = bytearray(LZ4_CHECKED if kind == "lz4" else PACKERS[kind](TEXT))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found, packed = read(kind, bytes(data))
    except (Unreadable, OutOfBudget):
        return
    # A date in a gzip header says nothing; lzma-alone has no checksum at all.
    assert found == TEXT or packed.anomalies or kind == "lzma"


@pytest.mark.parametrize("kind", [*PACKERS, "lz4"])
def test_what_follows_a_stream_is_named(kind):
    whole = LZ4 if kind == "lz4" else PACKERS[kind](TEXT)
    _, packed = read(kind, whole + b"behind")
    assert [anomaly.code for anomaly in packed.anomalies] == ["trailing"]
    _, packed = read(kind, whole + bytes(8))
    assert [anomaly.code for anomaly in packed.anomalies] == ([] if kind in ("gzip", "xz") else ["trailing"])


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "lz4"])
def test_streams_one_after_the_other_are_one_content(kind):
    whole = LZ4 if kind == "lz4" else PACKERS[kind](TEXT)
    found, packed = read(kind, whole * 3)
    assert (found, packed.streams, packed.anomalies) == (TEXT * 3, 3, [])


def gzip_with(flags, fields):
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + fields + gzip.compress(TEXT)[10:]


def test_gzip_header_fields():
    assert read("gzip", gzip_with(0x08, b"model.tar\0"))[1].anomalies == []
    assert read("gzip", gzip_with(0x04, b"\6\0BC\2\0\1\2"))[1].anomalies == []
    for flags, fields in (
        (0x04, b"\4\0evil"),
        (0x08, b"\x80\x04\0"),
        (0x10, b"x" * 2000 + b"\0"),
        (0x40, b""),
    ):
        found, packed = read("gzip", gzip_with(flags, fields))
        assert found == TEXT
        assert packed.anomalies
    head = b"\x1f\x8b\x08\x02" + bytes(6)
    good = head + (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little") + gzip.compress(TEXT)[10:]
    assert read("gzip", good)[0] == TEXT
    with pytest.raises(Unreadable):
        read("gzip", head + b"\0\0" + gzip.compress(TEXT)[10:])


def test_a_window_larger_than_allowed_is_out_of_budget():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": MAX_WINDOW * 2}]
    with pytest.raises(OutOfBudget):
        read("xz", lzma.compress(TEXT, filters=filters))


def test_streams_without_a_magic_number_are_recognised():
    assert [looks_packed(PACKERS[kind](TEXT)) for kind in ("zlib", "lzma", "zfile")] == [
        "zlib",
        "lzma",
        "zfile",
    ]
    for data in (
        b"",
        b"x",
        b"xylophone music",
        b"ZF is not a file",
        b"]\0\0not lzma at all",
        bytes(100),
        b"\x80\x04N.",
    ):
        assert looks_packed(data) == ""


@pytest.mark.parametrize(
    ("data", "value"), [(b"", 0x02CC5D05), (b"a", 0x550D7456), (b"abc", 0x32D153FF), (b"a" * 100, None)]
)
def test_xxh32(data, value):
    assert xxh32(data) == value if value is not None else xxh32(data) != xxh32(data[:-1])


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_any_block_ends_in_bytes_or_an_error(packed, window):
    with suppress(Lz4Broken):
        assert len(unpack_block(packed, window, 1000)) <= 1000
