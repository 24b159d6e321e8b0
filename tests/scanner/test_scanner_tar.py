"""Tar archives: members are judged by their content, and the container is held to what tar programs write."""

import gzip
import io
import struct
import tarfile

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

GOOD = b"\x80\x04]\x94(K\x01K\x02e."
EVIL = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."


def scan(data, path="model.nemo"):
    entry = FileEntry(path, len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data)


def rules(report):
    return {finding.rule for finding in report.findings}


def make(members, form=tarfile.PAX_FORMAT, **changes):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_members_are_judged_by_their_content(pack):
    report = scan(pack(make({"./a.yaml": b"a: 1\n", "./weights.ckpt": GOOD})))
    assert report.verdict is Verdict.CLEAN
    assert report.coverage.complete
    report = scan(pack(make({"a.txt": b"text", "weights.ckpt": EVIL})))
    assert report.verdict is Verdict.DANGEROUS
    assert report.findings[0].location.members[-1] == "weights.ckpt"


def test_slips_links_and_strays_are_findings():
    assert rules(scan(make({"../../evil.txt": b"text"}))) == {"archive-path"}
    assert "archive-path" in rules(scan(make({"a": b""}, type=tarfile.SYMTYPE, linkname="/etc")))
    assert rules(scan(make({"a": b"text"}) + b"stray")) == {"archive-hidden"}
    assert rules(scan(make({"a": b"text", "A": b"text"}))) == {"archive-broken"}
    assert rules(scan(make({"a": b""}, type=b"S"))) == {"archive-encrypted"}
    assert scan(make({"a": b"text"})[:900]).verdict is Verdict.BROKEN


def test_an_archive_without_a_magic_number_is_recognised():
    data = bytearray(make({"a": EVIL}, tarfile.USTAR_FORMAT))
    data[257:512] = bytes(255)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    report = scan(bytes(data))
    assert report.formats["model.nemo"] == "tar"
    assert report.verdict is Verdict.DANGEROUS


def test_a_pickle_that_is_a_tar_header_as_well_is_reported():
    head = bytearray(b"]" + b"0]" * 200 + b".")
    head = head.ljust(512, b"\0")
    head[0:100] = (b"]" * 40 + b"0" * 39 + b".").ljust(100, b"\0")
    head[124:136] = b"00000000000\0"
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    report = scan(bytes(head) + bytes(1024), "weights.pkl")
    assert not report.verdict.passes


def legacy(payload=b"."):
    pickled = b"\x80\x02}q\x00."
    storages = (
        b"\x80\x02K\x01."
        b"\x80\x02(X\x01\x00\x00\x00aX\x03\x00\x00\x00cpuK\x04t." + struct.pack("<q", 4) + bytes(16)
    )
    return make({"sys_info": pickled, "pickle": b"\x80\x02" + payload if payload != b"." else pickled,
                 "storages": storages, "tensors": b"\x80\x02K\x00."})  # fmt: skip


def test_the_oldest_torch_layout_is_recognised_judged_and_unread():
    report = scan(legacy(), "model.t7")
    assert (report.verdict, report.formats["model.t7"]) == (Verdict.UNREAD, "torch-tar")
    assert rules(report) == {"torch-tar"}
    assert not report.coverage.complete
    assert scan(legacy(EVIL[2:]), "model.t7").verdict is Verdict.DANGEROUS


def test_many_empty_members_take_little_time():
    data = make({f"{n}": b"" for n in range(3000)})
    assert scan(data).verdict is Verdict.CLEAN
