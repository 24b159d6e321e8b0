"""The 7z reader: each method is unpacked and compared with its checksum, and nothing around it is forgiven."""

import io
import struct
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from seeds_7z import BZIP2, COPY, DEFLATE, LZMA2, archive, seeds, wrapped

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.limits import Limits
from weighbridge.formats.sevenzip import read_sevenzip
from weighbridge.formats.sevenzip_coders import unpack_folder
from weighbridge.scanner.engine import scan_files

GOOD = b"\x80\x04]\x94(K\x01K\x02e."
EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."
MEMBERS = {"a.txt": b"text\n" * 900, "folder/data.pkl": GOOD, "b.txt": b"more\n"}


def read(data, limits=None):
    return read_sevenzip(io.BytesIO(data), len(data), limits or Limits())


def codes(data):
    return {anomaly.code for anomaly in read(data).anomalies}


def scan(data):
    entry = FileEntry("model.7z", len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def rules(report):
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("method", [COPY, DEFLATE, BZIP2, LZMA2])
@pytest.mark.parametrize("encoded", [False, True])
def test_honest_archives_are_explained_to_the_last_byte(method, encoded):
    data = archive(MEMBERS, method, encoded=encoded)
    found = read(data)
    assert found.anomalies == ()
    assert found.explained == len(data)
    content = b"".join(unpack_folder(io.BytesIO(data), found.folders[0]))
    assert content == b"".join(MEMBERS.values())
    assert [(m.name, m.size) for m in found.members] == [(name, len(row)) for name, row in MEMBERS.items()]
    report = scan(data)
    assert report.verdict is Verdict.CLEAN
    assert report.coverage.complete
    bad = scan(archive({**MEMBERS, "z.pkl": EVIL}, method, encoded=encoded))
    assert bad.verdict is Verdict.DANGEROUS
    assert bad.findings[0].location.members == ("z.pkl",)


def attributes(value):
    return b"\x15\x06\x01\x00" + struct.pack("<I", value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (archive(MEMBERS) + b"behind", "trailing"),
        (archive({"../up": b"x"}), "name"),
        (archive({"/root": b"x"}), "name"),
        (archive({"a": b"x", "A": b"y"}), "duplicate"),
        (archive({"a": b"x", "a/b": b"y"}), "duplicate"),
        (archive({"a": b"x"}, extra=attributes(0xA1FF8000)), "link"),
        (archive({"a": b"x"}, extra=attributes(0x400)), "link"),
        (archive({"a": b"x"}, extra=b"\x19\x04evil"), "hidden"),
        (archive({"a": b"x"}, extra=b"\x16\x04evil"), "hidden"),
        (wrapped(b"x" + b"gap", archive({"a": b"x"})[33:]), "gap"),
    ],
)
def test_what_an_archiver_never_writes_is_named(data, code):
    assert code in codes(data)
    assert not scan(data).verdict.passes


def test_padding_and_folders_are_known():
    assert codes(archive({"a": b"x"}, extra=b"\x19\x03\0\0\0" + attributes(0x81A48000))) == set()
    # Two members without content: a folder called a, and an empty file in it.
    header = b"\x01\x05\x02\x0e\x01\xc0\x0f\x01\x40\x11\x0d\x00a\0\0\0a\0/\0b\0\0\0\x00\x00"
    assert codes(wrapped(b"", header)) == set()


def test_damage_is_broken_and_what_came_before_it_is_judged():
    data = archive({"a.pkl": EVIL, "b.txt": b"hello"})
    report = scan(data.replace(b"hello", b"hallo"))
    assert report.verdict is Verdict.DANGEROUS
    assert "archive-broken" in rules(report)
    assert not report.coverage.complete
    for broken in (
        data[:-1],
        data[:40],
        data[:20],
        data.replace(b"7z\xbc\xaf\x27\x1c\x00\x04", b"7z\xbc\xaf\x27\x1c\x00\x05")[:50],
    ):
        with pytest.raises(Unreadable):
            read(broken)
        assert not scan(broken).verdict.passes
    longer = archive({"a": b"x" * 9}, DEFLATE).replace(
        zlib.compress(b"x" * 9, 9, -15), zlib.compress(b"x" * 8, 9, -15) + b"!"
    )
    assert not scan(longer).verdict.passes


@pytest.mark.parametrize(
    ("method", "code"), [(b"\x24\x06\xf1\x07\x01\x00", "encrypted"), (b"\x03\x03\x04\x01", "is not read")]
)
def test_what_is_not_read_is_unread(method, code):
    report = scan(archive({"a": b"x"}, method))
    assert report.verdict is Verdict.UNREAD
    assert rules(report) == {"archive-encrypted"}
    assert code in report.findings[0].message


def test_budgets_are_kept():
    with pytest.raises(OutOfBudget):
        read(archive({f"{n}": b"" + b"x" for n in range(20)}), Limits(max_members=10))
    huge = b"\x21\x21\x01\x28"
    assert scan(archive({"a": b"x"}, huge)).verdict is Verdict.UNREAD
    assert scan(archive({"a.bin": bytes(300_000_000)}, LZMA2)).verdict is Verdict.UNREAD


@given(
    st.sampled_from(seeds()),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    st.booleans(),
)
def test_damage_ends_in_a_description_or_an_error(data, changes, mend):
    body = bytearray(data)
    for place, byte in changes:
        body[place % len(body)] = byte
    if mend and len(body) > 32:
        offset, length = struct.unpack_from("<QQ", body, 12)
        if offset + length + 32 <= len(body):
            body[28:32] = struct.pack("<I", zlib.crc32(body[32 + offset : 32 + offset + length]))
        body[8:12] = struct.pack("<I", zlib.crc32(body[12:32]))
    body = bytes(body)
    try:
        found = read(body)
        for folder in found.folders:
            assert sum(len(chunk) for chunk in unpack_folder(io.BytesIO(body), folder)) == folder.size
    except (Unreadable, OutOfBudget):
        return
