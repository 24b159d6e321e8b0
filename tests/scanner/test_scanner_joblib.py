"""joblib files: raw arrays are stepped over as joblib does, and what pickle would make of them is judged as well."""

import gzip
import struct
import zlib

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

EVIL = b"cos\nsystem\nX\x02\x00\x00\x00id\x85R"


def scan(data, path="model.joblib"):
    entry = FileEntry(path, len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def wrapper(raw, *, aligned=True, count=None, code="f8"):
    """Return the opcodes of one array as joblib writes it, protocol 2, and its bytes right behind them."""
    dtype = (
        b"cnumpy\ndtype\n"
        + text(code)
        + b"\x89\x88\x87R(K\x03"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = (
        b"}("
        + text("subclass")
        + b"cnumpy\nndarray\n"
        + text("shape")
        + b"K"
        + bytes([count or len(raw) // 8])
        + b"\x85"
    )
    state += text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x88"
    if aligned:
        state += text("numpy_array_alignment_bytes") + b"K\x10"
    padding = b"\x04" + b"\xff" * 4 if aligned else b""
    return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"ub" + padding + raw


def dumped(*arrays, tail=b""):
    return b"\x80\x02](" + b"".join(arrays) + b"e" + tail + b"."


@pytest.mark.parametrize("aligned", [True, False])
def test_honest_arrays_pass_with_the_note_of_their_library(aligned):
    data = dumped(wrapper(struct.pack("<3d", 1, 2, 3), aligned=aligned), wrapper(bytes(80), aligned=aligned))
    report = scan(data)
    assert report.verdict is Verdict.NOTES
    assert report.formats["model.joblib"] == "joblib"
    assert {finding.rule for finding in report.findings} == {"pickle-profile"}
    assert report.coverage.complete
    for pack in (gzip.compress, zlib.compress):
        assert scan(pack(data)).verdict is Verdict.NOTES


def test_a_payload_behind_an_array_is_found():
    assert scan(dumped(wrapper(bytes(24)), tail=EVIL)).verdict is Verdict.DANGEROUS
    assert scan(dumped(wrapper(bytes(24))) + b"\x80\x02" + EVIL + b".").verdict is Verdict.DANGEROUS
    assert scan(dumped(wrapper(bytes(24))) + b"stray").verdict is Verdict.BROKEN


def test_a_payload_that_only_pickle_sees_is_found():
    raw = (EVIL + b".").ljust(40, b"N")
    assert scan(dumped(wrapper(raw, aligned=False))).verdict is Verdict.DANGEROUS


def test_a_listed_class_that_only_pickle_changes_is_found():
    raw = (b"ccollections\nCounter\n}X\x08\x00\x00\x00__init__cbuiltins\nset\nsb.").ljust(80, b"N")
    assert not scan(dumped(wrapper(raw, aligned=False))).verdict.passes


def test_a_payload_that_only_joblib_sees_is_found():
    # To pickle the array is a BINBYTES that swallows what follows; joblib steps over its bytes and goes on.
    raw = b"B" + struct.pack("<I", len(EVIL) + 10) + b"xxx"
    assert scan(dumped(wrapper(raw, aligned=False), tail=EVIL)).verdict is Verdict.DANGEROUS


def test_an_array_longer_than_the_file_is_broken():
    data = dumped(wrapper(bytes(24), count=200))
    assert scan(data).verdict is Verdict.BROKEN


def test_noise_in_an_array_names_nothing():
    raw = b"c\xc3\x28garbage \n--\n(i1 2\n3\n.".ljust(40, b"\x00")
    assert scan(dumped(wrapper(raw, aligned=False))).verdict is Verdict.NOTES


def test_a_pickle_that_only_mentions_the_wrapper_is_read_plainly():
    data = b"\x80\x02" + text("NumpyArrayWrapper") + b"."
    assert scan(data).verdict is Verdict.CLEAN
    assert scan(data + b"\x80\x02" + EVIL + b".").verdict is Verdict.DANGEROUS
    assert scan(data + b"stray").verdict is Verdict.BROKEN
