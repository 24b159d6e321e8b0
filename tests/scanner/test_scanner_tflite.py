"""The rules on TensorFlow Lite: built-in operators pass, others are unlisted, wrong offsets and loose bytes are broken."""

import io
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from weighbridge.core.errors import OutOfBudget
from weighbridge.core.finding import Verdict
from weighbridge.formats.flatbuffer import Flatbuffer
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import tflite, tflite_seeds


def found(data):
    part = scan_one(from_bytes("m.tflite", data, "unknown"))
    return {(finding.rule, finding.subject) for finding in part.findings}


@pytest.mark.parametrize("data", tflite_seeds())
def test_honest_models_pass(data):
    assert found(data) == set()


@pytest.mark.parametrize("name", ["FlexReadFile", "MyOp", "TFLite_Detection_PostProcess2"])
def test_custom_operators_are_unlisted(name):
    assert found(tflite({0: (1, 32), 1: name})) == {("tflite-unlisted", name)}


def test_operators_that_hand_over_are_unlisted():
    assert found(tflite({0: (1, 51)})) == {("tflite-unlisted", "DELEGATE")}


def test_a_custom_name_counts_whatever_the_number():
    assert found(tflite({0: (1, 22), 1: "FlexReadFile"})) == {("tflite-unlisted", "FlexReadFile")}


def test_what_the_schema_does_not_know_is_unread():
    assert found(tflite({0: (1, 127), 3: (4, 999)})) == {("tflite-unread", "the operator number 999")}
    assert found(tflite(extra={30: "x"})) >= {("tflite-unread", "the field 30 of Model")}
    odd = {0: (4, 0), 3: (1, 250), 4: {0: [4]}}
    assert {rule for rule, _ in found(tflite(operator=odd))} >= {"tflite-unread"}


GOOD = tflite()


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("tflite.offset", b"\xff\xff\xff\x7f" + GOOD[4:]),
        ("tflite.offset", b"\0\0\0\0" + GOOD[4:]),
        ("tflite.trailing", GOOD + b"x"),
        ("tflite.trailing", GOOD + bytes(100)),
        ("tflite.index", tflite(operator={0: (4, 7)})),
        ("tflite.hole", GOOD.replace(b"main\0", b"main\0\0\0\1", 1)),
        ("tflite.offset", GOOD[: len(GOOD) // 2]),
        ("tflite.text", GOOD.replace(b"\4\0\0\0main\0", b"\3\0\0\0main\0")),
        ("tflite.text", tflite({0: (1, 32), 1: b"\xff\0"})),
        ("tflite.missing", tflite(extra={0: (4, 2)})),
        ("tflite.missing", tflite(extra={2: []})),
    ],
)
def test_wrong_offsets_and_loose_bytes_are_broken(check, data):
    part = scan_one(from_bytes("m", data, "unknown"))
    subjects = {finding.subject for finding in part.findings}
    assert check in subjects or (check == "tflite.hole" and subjects)
    assert Verdict.BROKEN in {finding.verdict for finding in part.findings}


def packed(name, content, between=b""):
    out = io.BytesIO(GOOD + between)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, content)
    return out.getvalue()


def test_labels_behind_a_model_pass():
    assert found(packed("labels.txt", b"cat\ndog\n")) == set()


def test_an_archive_without_members_behind_a_model_is_nothing():
    empty = b"PK\5\6" + bytes(18)
    assert found(GOOD + empty) == set()
    assert found(GOOD + empty[:-2] + b"\1\0x") != set()
    assert found(GOOD + empty + b"x") != set()


def test_what_is_packed_behind_a_model_is_judged():
    assert "pickle-call" in {rule for rule, _ in found(packed("labels.txt", b"cos\nsystem\n(S'true'\ntR."))}


def test_bytes_between_model_and_labels_are_broken():
    assert Verdict.BROKEN in {
        finding.verdict
        for finding in scan_one(
            from_bytes("m", packed("labels.txt", b"cat\n", b"loose bytes"), "unknown")
        ).findings
    }


def test_a_model_of_too_many_parts_is_unread(monkeypatch):
    from weighbridge.formats import flatbuffer

    codes = [{0: (1, 22)} for _ in range(200)]
    assert found(tflite(*codes)) == set()
    monkeypatch.setattr(flatbuffer, "MAX_THINGS", 300)
    with pytest.raises(OutOfBudget):
        scan_one(from_bytes("m", tflite(*codes), "unknown"))


def test_a_vector_that_many_tables_share_is_walked_once():
    rows, users = 3_000, 3_000
    out = bytearray(
        struct.pack("<I4sHHHH", 16, b"TEST", 6, 8, 4, 0) + struct.pack("<iI", 8, 4) + struct.pack("<I", users)
    )
    shared = len(out) + 4 * users + 8 * users
    for index in range(users):
        out += struct.pack("<I", len(out) and 4 * users + 8 * index - 4 * index)
    for _ in range(users):
        out += struct.pack("<iI", len(out) - 8, shared - len(out) - 4)
    out += struct.pack("<I", rows)
    leaf = len(out) + 4 * rows
    for _ in range(rows):
        out += struct.pack("<I", leaf - len(out))
    out += struct.pack("<i", len(out) - 8) + struct.pack("<I", 0)
    buffer = Flatbuffer(
        bytes(out[:-4] + struct.pack("<I", 4) + struct.pack("<I", 0)), {"A": {0: "*A"}}, {}, "A", check="x"
    )
    assert buffer.entries < 20_000
