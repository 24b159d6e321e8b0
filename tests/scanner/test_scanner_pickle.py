"""Rules on pickles and checkpoints: each has a bad and a good sample, made here and inert."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.limits import Limits
from weighbridge.formats.pickle_events import Arg
from weighbridge.scanner import names
from weighbridge.scanner.engine import scan_files

CALL = b"cposix\nsystem\n(S'true'\ntR."
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00."


def scan(data, path="model.bin", limits=None):
    entry = FileEntry(path, len(data), Digest.of(data))
    return scan_files("m", Manifest.of([entry]), lambda _: data, limits=limits or Limits())


def rules(data, path="model.bin", limits=None):
    return {finding.rule for finding in scan(data, path, limits).findings}


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as container:
        for name, content in members.items():
            container.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def tensor(key="0", numel=4, storage="FloatStorage", legacy=False):
    """Return the pickle of {"w": tensor} as torch writes it, protocol 2."""
    view = b"N" if legacy else b""
    return (
        b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
        b"ctorch\n" + storage.encode() + b"\nq\x04X" + struct.pack("<I", len(key)) + key.encode() + b"q\x05"
        b"X\x03\x00\x00\x00cpuq\x06J" + struct.pack("<i", numel) + view + b"tq\x07QK\x00K\x02K\x02\x86q\x08"
        b"K\x02K\x01\x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds."
    )


def checkpoint(**changes):
    members = {
        "archive/data.pkl": tensor(),
        "archive/byteorder": b"little",
        "archive/data/0": bytes(16),
        "archive/version": b"3\n",
    }
    members.update({name.replace("__", "/"): content for name, content in changes.items()})
    return archive({name: content for name, content in members.items() if content is not None})


def legacy(pickled=None, keys=("0",), storages=None):
    listed = b"\x80\x02]q\x00(" + b"".join(b"X\x01\x00\x00\x00" + key.encode() for key in keys) + b"e."
    raw = storages if storages is not None else struct.pack("<q", 4) + bytes(16)
    return MAGIC + (pickled or tensor(legacy=True)) + listed + raw


GOOD = [
    (pickle.dumps({"a": [1, 2.5, "x", None], "b": (1, 2)}, protocol), "pickle") for protocol in range(6)
] + [
    (pickle.dumps(collections.OrderedDict(a={1, 2}), 2), "pickle"),
    (pickle.dumps({"bytes": b"\xff\x00"}, 2), "pickle"),
    (pickle.dumps({"array": np.arange(6.0).reshape(2, 3), "number": np.float32(1)}, 2), "pickle"),
    (pickle.dumps({"array": np.arange(6.0).reshape(2, 3), "number": np.int64(1)}, 4), "pickle"),
    (pickle.dumps({"array": np.arange(6.0)}, 5), "pickle"),
    (checkpoint(), "torch-zip"),
    (legacy(), "torch-legacy"),
]


@pytest.mark.parametrize(("data", "kind"), GOOD, ids=range(len(GOOD)))
def test_good_samples_are_clean_and_read_to_the_last_byte(data, kind):
    report = scan(data)
    assert report.verdict is Verdict.CLEAN, [finding.message for finding in report.findings]
    assert report.formats == {"model.bin": kind}
    assert report.coverage.complete
    assert report.coverage.bytes_read == len(data)


BAD = [
    (CALL, "pickle-call", Verdict.DANGEROUS),
    (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R0N.", "pickle-call", Verdict.DANGEROUS),
    (b"cbuiltins\neval\n.", "pickle-import", Verdict.DANGEROUS),
    (b"ctorch._utils\nsys.modules.clear\n)R.", "pickle-call", Verdict.DANGEROUS),
    (b"cbuiltins\ngetattr\n(cposix\nsystem\nS'x'\ntR.", "pickle-call", Verdict.DANGEROUS),
    (b"cwholly.unknown\nThing\n)\x81.", "pickle-unlisted", Verdict.UNLISTED),
    (b"ccollections\nOrderedDict.fromkeys\n)R.", "pickle-unlisted", Verdict.UNLISTED),
    (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "pickle-unlisted", Verdict.UNLISTED),
    (b"ccollections\ndefaultdict\n(ctorch\nSize\ntR.", "pickle-unlisted", Verdict.UNLISTED),
    (b"cnumpy\ndtype\n(S'f4'\nK\x00K\x01tR}b.", "pickle-unlisted", Verdict.UNLISTED),
    (b"Pan id\n.", "pickle-persistent", Verdict.UNLISTED),
    (tensor(), "pickle-persistent", Verdict.UNLISTED),
    (CALL[:-1], "pickle-broken", Verdict.DANGEROUS),
    (b"\x80\x04]2a.", "pickle-broken", Verdict.BROKEN),
    (b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x05hello.", "pickle-broken", Verdict.BROKEN),
    (b"\x80\x02N.garbage", "pickle-trailing", Verdict.BROKEN),
    (b"\x80\x02N." + CALL, "pickle-call", Verdict.DANGEROUS),
    (b"\x80\x02N." + CALL[:-1], "pickle-call", Verdict.DANGEROUS),
    (b"\x80\x02N.\x80\x02N.", "pickle-streams", Verdict.NOTES),
    (checkpoint(archive__data__0=bytes(12)), "torch-layout", Verdict.BROKEN),
    (checkpoint(archive__data__0=None), "torch-layout", Verdict.BROKEN),
    (checkpoint(archive__data__1=b"hidden"), "torch-layout", Verdict.BROKEN),
    (checkpoint(archive__version=b"import os"), "torch-layout", Verdict.BROKEN),
    (checkpoint(**{"archive/data.pkl": tensor() + b"more"}), "pickle-trailing", Verdict.BROKEN),
    (checkpoint(**{"archive/data.pkl": CALL}), "pickle-call", Verdict.DANGEROUS),
    (checkpoint(**{"archive/data.pkl": tensor(storage="OddStorage")}), "pickle-persistent", Verdict.BROKEN),
    (checkpoint(**{"archive/extra.pkl": CALL}), "pickle-call", Verdict.DANGEROUS),
    (checkpoint(**{"archive/code/program.bin": b"\x01\x02"}), "unread-format", Verdict.UNREAD),
    (archive({"a.pkl": CALL}), "pickle-call", Verdict.DANGEROUS),
    (archive({"in.zip": archive({"a.dat": CALL})}), "pickle-call", Verdict.DANGEROUS),
    (archive({"../a.txt": b"text"}), "archive-path", Verdict.BROKEN),
    (b"MZ" + archive({"a.txt": b"text"}), "archive-polyglot", Verdict.BROKEN),
    (pickle.dumps(1) + archive({"a.txt": b"text"}), "archive-polyglot", Verdict.BROKEN),
    (archive({"a.txt": b"text"}).replace(b"text", b"tent"), "archive-broken", Verdict.BROKEN),
    (archive({"a.txt": b"text"}) + b"behind", "archive-hidden", Verdict.BROKEN),
    (legacy(pickled=CALL), "pickle-call", Verdict.DANGEROUS),
    (legacy(keys=("1",)), "torch-layout", Verdict.BROKEN),
    (legacy(storages=struct.pack("<q", 5) + bytes(20)), "torch-layout", Verdict.BROKEN),
    (legacy(storages=struct.pack("<q", 4) + bytes(15)), "torch-layout", Verdict.BROKEN),
    (legacy(storages=struct.pack("<q", 4) + bytes(17)), "torch-layout", Verdict.BROKEN),
    (MAGIC, "pickle-broken", Verdict.BROKEN),
    (MAGIC.replace(b"\x8a\x0al", b"\x8a\x0am") + b"x", "pickle-trailing", Verdict.BROKEN),
]


@pytest.mark.parametrize(("data", "rule", "verdict"), BAD, ids=[f"{n}-{row[1]}" for n, row in enumerate(BAD)])
def test_bad_samples_are_reported(data, rule, verdict):
    report = scan(data)
    assert rule in {finding.rule for finding in report.findings}
    assert report.verdict is verdict


def saved(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def test_numpy_files_are_read_by_their_header():
    plain = saved(np.zeros((2, 2)))
    assert scan(plain).verdict is Verdict.CLEAN
    assert scan(archive({"a.npy": plain, "b.npy": plain})).formats == {"model.bin": "npz"}
    assert rules(plain + b"x") == {"numpy-broken"}
    assert rules(plain[:-1]) == {"numpy-broken"}
    objects = saved(np.array([None, "x"], dtype=object))
    assert scan(objects).verdict is Verdict.NOTES
    head = objects[: objects.index(b"\n") + 1]
    assert rules(head + CALL) == {"numpy-objects", "pickle-call"}


def test_the_name_of_a_file_decides_nothing():
    for path in ("model.safetensors", "README.md", "picture.jpg", "data.json", "weights", "x.py"):
        assert "pickle-call" in rules(CALL, path)
        assert "pickle-call" in rules(archive({path: CALL}), path)


def test_text_is_not_mistaken_for_a_pickle():
    for text in (
        b"click\nnumpy\n",
        b"# A model\n\nIt does things.\n",
        b"N.\nB.\n",
        b"(see\nhere)",
        b"configs\nx\ny\n",
    ):
        report = scan(text, "notes.txt")
        assert report.formats == {"notes.txt": "text"}
        assert report.verdict is Verdict.CLEAN
    assert "pickle-import" in rules(b"cos\nsystem\nand then nothing", "notes.txt")
    assert "pickle-unlisted" in rules(b"codd, name\nsystem\n(tRnothing more", "notes.txt")


def polyglot(payload):
    """Return a sound safetensors file that pickle loaders would run: texts that jump from the length to the data."""
    size = 0x58 + (60 << 8)  # as bytes: X (BINUNICODE), a count of 60, and zeros
    front = b'{"__metadata__":{"k":"'
    back = b'"},"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(payload), len(payload))
    landing = 5 + 60 - 8  # within the header
    filler = bytearray(b"x" * (size - len(front) - len(back)))
    position = landing - len(front)
    while size - (position + len(front) + 2) > 126:
        filler[position : position + 2] = b"U" + bytes((100,))
        position += 102
    filler[position : position + 2] = b"U" + bytes((size - (position + len(front) + 2),))
    return struct.pack("<Q", size) + front + bytes(filler) + back + payload


def test_a_safetensors_file_that_is_a_pickle_as_well_is_broken():
    harmless = scan(polyglot(b"no pickle"), "model.safetensors")
    assert harmless.formats == {"model.safetensors": "safetensors"}
    assert harmless.verdict is Verdict.CLEAN
    report = scan(polyglot(CALL), "model.safetensors")
    assert {finding.rule for finding in report.findings} == {"pickle-polyglot", "pickle-call"}
    assert report.verdict is Verdict.DANGEROUS


def test_a_jump_out_of_sight_is_one_to_a_payload():
    far = b"B" + struct.pack("<I", 3 << 20) + bytes(3 << 20) + CALL
    report = scan(polyglot(far), "model.safetensors")
    assert "pickle-polyglot" in {finding.rule for finding in report.findings}


def test_a_length_that_looks_like_a_pickle_is_still_a_safetensors_file():
    for size in (0x80, 0x180, 0x280, 0x480, 0x2E88, 0x58 + 256, 0x28 + 512, 0x50 + 256):
        header = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'.ljust(size)
        report = scan(struct.pack("<Q", size) + header + b"\x0a.", "model.bin")
        assert report.formats == {"model.bin": "safetensors"}
        assert report.verdict is Verdict.CLEAN, (size, report.findings)


def test_the_finding_teaches():
    (finding,) = [
        f for f in scan(checkpoint(**{"archive/data.pkl": CALL})).findings if f.rule == "pickle-call"
    ]
    assert finding.message == "loading this file would run posix.system"
    assert finding.location.members == ("archive/data.pkl",)
    assert finding.evidence == (
        "     0: c    GLOBAL       'posix system'",
        '    24: R    REDUCE       posix.system("true")',
    )
    assert "do not load it" in finding.help
    assert finding.why


def test_evidence_never_carries_control_characters():
    evil = b"cposix\nsystem\n(V\\u001b]0;x\\u0007\\u202e\\u000a%s\ntR." % (b"A" * 500)
    for finding in scan(evil).findings:
        for line in (finding.message, *finding.evidence):
            assert line.isprintable()
            assert len(line) < 400


def test_each_rule_once_per_name():
    data = b"(" + b"cposix\nsystem\n(S'true'\ntR" * 5 + b"cposix\nsystem\nt."
    assert [finding.rule for finding in scan(data).findings] == ["pickle-call"]


def test_spent_budgets_are_unread_and_never_clean():
    assert scan(b"\x80\x02(" + b"N" * 100 + b"t.", limits=Limits(max_opcodes=50)).verdict is Verdict.UNREAD
    assert scan(checkpoint(), limits=Limits(max_members=2)).verdict is Verdict.UNREAD
    assert scan(checkpoint(), limits=Limits(max_memory=10)).verdict is Verdict.UNREAD
    assert scan(archive({"a": bytes(9000)}, zipfile.ZIP_DEFLATED), limits=Limits(max_unpacked=100)).verdict in (
        Verdict.UNREAD, Verdict.BROKEN,
    )  # fmt: skip
    nested = archive({"a.txt": b"text"})
    for _ in range(6):
        nested = archive({"inner.zip": nested})
    assert rules(nested) == {"unread-budget"}
    assert scan(nested, limits=Limits(max_depth=10)).verdict is Verdict.CLEAN


def test_many_findings_are_cut_and_the_worst_is_kept():
    data = b"(" + b"".join(b"cm%d\nx\n" % number for number in range(300)) + CALL[:-1] + b"t."
    report = scan(data)
    assert len(report.findings) == 201
    assert {"findings-cut", "pickle-call"} <= {finding.rule for finding in report.findings}
    # What is not shown cannot be waived: the cut itself must stand in the way.
    assert not next(f for f in report.findings if f.rule == "findings-cut").verdict.passes
    assert report.verdict is Verdict.DANGEROUS


@pytest.mark.parametrize(
    ("shape", "args", "fits"),
    [
        ("", (), True),
        ("", (Arg("int", "1"),), False),
        ("int|none", (Arg("none", ""),), True),
        ("int int", (Arg("int", "1"),), False),
        ("*str", (Arg("str", "a"), Arg("str", "b")), True),
        ("*str", (Arg("str", "a"), Arg("int", "1")), False),
        ("str=latin1", (Arg("str", "latin1"),), True),
        ("str=latin1", (Arg("str", "utf7"),), False),
        ("global:a.b", (Arg("global", "a.b"),), True),
        ("global:a.b", (Arg("global", "a.c"),), False),
        ("result:a.b", (Arg("global", "a.b"),), False),
    ],
)
def test_shapes_of_calls(shape, args, fits):
    assert names.parse_shape(shape).fits(args) is fits


def test_no_inert_name_is_dangerous_and_dotted_names_are_never_inert():
    for full in names.inert():
        module, _, name = full.rpartition(".")
        assert names.danger(module, name) == "", full
        assert names.find_inert(module, name) is not None
    assert names.find_inert("torch", "storage.UntypedStorage") is None
    assert names.find_inert("", "collections.OrderedDict") is None
