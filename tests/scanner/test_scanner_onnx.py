"""The rules on ONNX: honest models pass, operators are judged by exact name, data files must belong to the model."""

import io
import sys
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.onnx import read_onnx
from weighbridge.formats.protobuf import schema, walk
from weighbridge.scanner.engine import scan_files, scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import onnx, onnx_graph, onnx_node, onnx_seeds, onnx_tensor, pb, varint


def found(data, name="m.onnx"):
    part = scan_one(from_bytes(name, data, "unknown"))
    return {(finding.rule, finding.subject) for finding in part.findings}


def scanned(**files):
    named = {name.replace("__", "/").replace("_dot_", "."): data for name, data in files.items()}
    rows = tuple(FileEntry(path, len(data), Digest.of(data)) for path, data in sorted(named.items()))
    report = scan_files("m", Manifest(rows), lambda entry: io.BytesIO(named[entry.path]))
    return {(finding.rule, finding.verdict) for finding in report.findings}


@pytest.mark.parametrize("data", onnx_seeds())
def test_honest_models_pass(data):
    assert found(data) == set()


@pytest.mark.parametrize(
    ("op", "domain", "rule"),
    [
        ("Evil", "", "onnx-unlisted"),
        ("Relu", "evil", "onnx-unlisted"),
        ("SentencepieceTokenizer", "ai.onnx.contrib", "onnx-unlisted"),
        ("PyOp", "ai.onnx.contrib", "onnx-code"),
        ("PyOp", "", "onnx-code"),
        ("PythonOp", "com.microsoft", "onnx-code"),
        ("EPContext", "com.microsoft", "onnx-code"),
    ],
)
def test_operators_are_judged_by_exact_name(op, domain, rule):
    subject = f"{domain or 'ai.onnx'}::{op}"
    assert (rule, subject) in found(onnx(onnx_node(op, domain)))
    inner = pb((1, "body"), (6, onnx_graph(onnx_node(op, domain))), (20, 5))
    assert (rule, subject) in found(onnx(onnx_node("If", "", inner)))
    function = pb((1, "f"), (7, onnx_node(op, domain)), (10, "local"))
    assert (rule, subject) in found(onnx(onnx_node("f", "local"), functions=(function,)))
    training = pb((2, onnx_graph(onnx_node(op, domain))))
    assert (rule, subject) in found(onnx(onnx_node(), extra=((20, training),)))


def test_a_node_may_call_a_function_of_the_model_only():
    assert found(onnx(onnx_node("f", "local"))) == {("onnx-unlisted", "local::f")}


GOOD = onnx(onnx_node(), tensors=(onnx_tensor(),))
BROKEN = {
    "onnx.truncated": [GOOD + b"\x32\x7f", onnx(onnx_node()).replace(b"\x22\x04Relu", b"\x22\x7fRelu")],
    "onnx.twice": [onnx(onnx_node() + pb((4, "Abs"))), GOOD + pb((7, b""))],
    "onnx.wire": [
        GOOD + pb((6, 1)),
        GOOD + b"\x0b",
        onnx(pb((4, 7))),
        GOOD + pb((99, 1))[:-1] + b"\1\x9b\x06",
    ],
    "onnx.text": [onnx(pb((4, b"\xff"))), pb((1, 8), (2, "a\nb"), (7, b""))],
    "onnx.varint": [onnx(tensors=(pb((7, b"\xff" * 11)),)), onnx(tensors=(pb((7, b"\x80")),))],
}


@pytest.mark.parametrize(
    ("check", "data"), [(check, data) for check, rows in BROKEN.items() for data in rows]
)
def test_what_the_wire_does_not_allow_is_broken(check, data):
    part = scan_one(from_bytes("m.onnx", data, "unknown"))
    subjects = {finding.subject for finding in part.findings}
    # What cannot even be outlined stays unknown, and blocks as such.
    assert check in subjects or part.kind == "unknown"
    assert max(finding.verdict.rank for finding in part.findings) >= Verdict.UNREAD.rank


def test_deep_nesting_ends():
    table = schema("A\n1 A! a")
    data = b""
    for _ in range(150):
        data = pb((1, data))
    with pytest.raises(Unreadable) as caught:
        walk(io.BytesIO(data), len(data), table, "A", check="x", what="x")
    assert caught.value.check == "x.nesting"


def test_an_unknown_field_is_unread():
    assert found(GOOD + pb((99, "x"))) == {("onnx-unread", "ModelProto 99")}


@pytest.mark.parametrize(
    "location",
    ["../x", "/etc/passwd", "a/../b", "C:\\x", "*/_ORT_MEM_ADDR_/*", "~/x", "http://x", "a//b", "."],
)
def test_tensors_must_lie_inside_the_model(location):
    data = onnx(onnx_node(), tensors=(onnx_tensor(("location", location), external=True),))
    assert found(data) == {("onnx-path", location)}


@pytest.mark.parametrize(
    "tensor",
    [
        onnx_tensor(("location", "w.bin")),
        onnx_tensor(external=True),
        onnx_tensor(("location", "a"), ("location", "b"), external=True),
        onnx_tensor(("location", "a"), ("offset", "-5"), external=True),
        onnx_tensor(("location", "a"), ("length", "x"), external=True),
    ],
)
def test_a_tensor_is_inside_or_outside(tensor):
    assert "onnx-broken" in {rule for rule, _ in found(onnx(onnx_node(), tensors=(tensor,)))}


def outside(*rows):
    entries = (
        onnx_tensor(("location", "w.bin"), ("offset", str(a)), ("length", str(b)), external=True)
        for a, b in rows
    )
    return onnx(onnx_node(), tensors=tuple(entries))


RAW = b"\xff\xfe\0\1" * 16


def test_data_beside_the_model_is_accounted_for():
    assert scanned(m_dot_onnx=outside((0, 32), (32, 32)), w_dot_bin=RAW) == set()
    padded = RAW[:8] + bytes(56) + RAW
    assert scanned(a__m_dot_onnx=outside((0, 8), (64, 64)), a__w_dot_bin=padded) == set()


def test_bytes_that_no_tensor_claims_are_broken():
    broken = ("onnx-broken", Verdict.BROKEN)
    assert scanned(m_dot_onnx=outside((0, 32)), w_dot_bin=RAW) == {broken}
    assert scanned(m_dot_onnx=outside((8, 56)), w_dot_bin=RAW) == {broken}
    assert scanned(m_dot_onnx=outside((0, 65)), w_dot_bin=RAW) == {broken}
    assert ("unread-format", Verdict.UNREAD) in scanned(m_dot_onnx=outside((0, 64)), x_dot_bin=RAW)


def test_missing_data_is_unread():
    assert scanned(m_dot_onnx=outside((0, 64))) == {("onnx-unread", Verdict.UNREAD)}


def test_a_pickle_that_a_model_claims_is_still_a_pickle():
    evil = b"cos\nsystem\n(S'true'\ntR."
    assert ("pickle-call", Verdict.DANGEROUS) in scanned(m_dot_onnx=outside((0, len(evil))), w_dot_bin=evil)


def test_varints_are_read_as_the_libraries_read_them():
    assert found(pb((1, 8)).replace(b"\x08\x08", b"\x08\x88\x00") + onnx(onnx_node())[2:]) == set()
    assert varint(300) == b"\xac\x02"


def fields_of(data):
    """Return where each outermost field of a message ends."""
    ends, place = [], 0
    while place < len(data):
        wire = data[place] & 7
        place += 1
        length = shift = 0
        while True:
            byte = data[place]
            length |= (byte & 0x7F) << shift
            shift, place = shift + 7, place + 1
            if byte < 0x80:
                break
        place += length if wire == 2 else 0
        ends.append(place)
    return ends


def test_a_model_cut_between_two_fields_does_not_pass():
    plain = onnx(onnx_node())
    local = onnx(onnx_node("f", "local"), functions=(pb((1, "f"), (10, "local")),))
    for data, ends in ((plain, fields_of(plain)[:3]), (local, fields_of(local)[:-1])):
        assert found(data) == set()
        for end in ends:
            assert any(
                not row.verdict.passes
                for row in scan_one(from_bytes("m.onnx", data[:end], "unknown")).findings
            )


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (pb((1, 8), (2, "pytorch"), (7, onnx_graph(onnx_node()))), "ModelProto opset_import"),
        (pb((1, 8), (7, onnx_graph(onnx_node())), (8, pb((1, "")))), "OperatorSetIdProto version"),
        (onnx(onnx_node("Gelu", "com.microsoft"), domains=()), "ModelProto opset_import of 'com.microsoft'"),
        (pb((1, 8), (7, onnx_graph(onnx_node())), (8, pb((1, "x"), (2, 1)))), "ModelProto opset_import of 'ai.onnx'"),
    ],
)  # fmt: skip
def test_a_model_without_what_every_runtime_asks_for_is_not_whole(data, missing):
    assert ("onnx-broken", f"missing {missing}") in found(data)


def test_a_model_without_graph_or_version_is_not_whole_whatever_took_it_for_one():
    for data, name in (
        (pb((1, 8), (8, pb((2, 17)))), "graph"),
        (pb((7, onnx_graph(onnx_node())), (8, pb((2, 17)))), "ir_version"),
    ):
        assert read_onnx(io.BytesIO(data), len(data)).missing == (("ModelProto", name, 0),)
        assert any(not row.verdict.passes for row in scan_one(from_bytes("m.onnx", data, "unknown")).findings)


def test_the_oldest_models_import_no_operators():
    assert found(pb((1, 2), (2, "caffe2"), (7, onnx_graph(onnx_node())))) == set()


def test_what_a_model_runs_is_said_even_when_it_is_not_whole():
    data = pb((1, 8), (2, "x"), (7, onnx_graph(onnx_node("PyOp", "ai.onnx.contrib"))))
    assert {rule for rule, _ in found(data)} == {"onnx-broken", "onnx-code"}
