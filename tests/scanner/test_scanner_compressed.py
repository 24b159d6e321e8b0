"""Packed files: what is inside is judged like a file of its own, and nothing around it is forgiven."""

import bz2
import gzip
import lzma
import sys
import tracemalloc
import zipfile
import zlib
from io import BytesIO

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner import compressed_rules
from weighbridge.scanner.engine import scan_files
from weighbridge.scanner.file import from_bytes

GOOD = b"\x80\x04]\x94(K\x01K\x02e."
EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."
PACKERS = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zfile": lambda data: b"ZF" + hex(len(data)).ljust(19).encode() + zlib.compress(data),
}


def scan(data, path="model.joblib"):
    entry = FileEntry(path, len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def rules(report):
    return {finding.rule for finding in report.findings}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("path", ["model.joblib", "model.pkl.gz", "a.txt"])
def test_the_content_decides(kind, path):
    report = scan(PACKERS[kind](GOOD), path)
    assert (report.verdict, report.formats[path], report.coverage.complete) == (Verdict.CLEAN, kind, True)
    report = scan(PACKERS[kind](EVIL), path)
    assert report.verdict is Verdict.DANGEROUS
    assert report.findings[0].location.members == (path.removesuffix(".gz"),)


@pytest.mark.parametrize("kind", PACKERS)
def test_damage_is_broken_and_what_came_before_it_is_judged(kind):
    packed = PACKERS[kind](EVIL)
    assert scan(packed + b"x").verdict is Verdict.DANGEROUS
    assert "compressed-broken" in rules(scan(packed + b"x"))
    cut = scan(packed[:-1])
    assert "compressed-broken" in rules(cut) or cut.verdict is Verdict.DANGEROUS
    assert scan(PACKERS[kind](GOOD)[:-1]).verdict is Verdict.BROKEN


def test_several_streams_are_one_content_and_a_note():
    report = scan(gzip.compress(GOOD[:5]) + gzip.compress(GOOD[5:]))
    assert report.verdict is Verdict.NOTES
    assert rules(report) == {"compressed-streams"}
    assert scan(gzip.compress(GOOD) + gzip.compress(EVIL)).verdict is Verdict.DANGEROUS


def test_packing_inside_packing_is_followed_as_deep_as_the_budget_goes():
    data = EVIL
    for _ in range(4):
        data = gzip.compress(data)
    assert scan(data).verdict is Verdict.DANGEROUS
    assert scan(gzip.compress(data)).verdict is Verdict.UNREAD
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner.gz", gzip.compress(EVIL))
    assert scan(bz2.compress(out.getvalue())).verdict is Verdict.DANGEROUS


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: lzma.compress(data, preset=0)])
@pytest.mark.parametrize(
    "head", [b"", b"\x80\x04]\x94(" + b"K\1" * 12_000_000, b'{"a": [' + b"[]," * 8_000_000]
)
def test_a_bomb_is_unread_and_takes_little_memory(pack, head):
    data = pack(head or bytes(100_000_000))
    tracemalloc.start()
    report = scan(data, "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.verdict in (Verdict.UNREAD, Verdict.BROKEN)
    assert peak < 100_000_000


def test_text_that_unpacks_to_something_is_reported():
    prose = b"x^2 + y^2 = z^2 is a circle, and the text goes on\n" * 9
    assert scan(prose, "README.md").verdict is Verdict.CLEAN
    for data in (zlib.compress(EVIL), zlib.compress(EVIL)[:-4], PACKERS["zfile"](GOOD)):
        assert [f.rule for f in compressed_rules.examine(from_bytes("a", data, "text", text="x"))] == [
            "compressed-text"
        ]
    assert list(compressed_rules.examine(from_bytes("a", prose, "text", text=prose.decode()))) == []


def test_zstd_without_its_library_is_unread_and_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    report = scan(b"\x28\xb5\x2f\xfd\x00\x58\x09\x00\x00N.", "model.pkl.zst")
    assert report.verdict is Verdict.UNREAD
    assert not report.coverage.complete
    assert "weighbridge[archives]" in report.findings[0].help


def test_zstd_is_read_where_its_library_is():
    zstandard = pytest.importorskip("zstandard")
    assert scan(zstandard.compress(GOOD)).verdict is Verdict.CLEAN
    assert scan(zstandard.compress(EVIL)).verdict is Verdict.DANGEROUS
    assert scan(zstandard.compress(GOOD) + b"x").verdict is Verdict.BROKEN
    assert scan(zstandard.compress(GOOD)[:-1]).verdict is Verdict.BROKEN
    assert scan(zstandard.compress(bytes(600_000_000))).verdict is Verdict.UNREAD
