"""MessagePack: a checkpoint of Flax passes, other layouts are unlisted, damage is broken; other languages' data is named."""

import sys
from pathlib import Path

import pytest

from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import flax, flax_seeds, mp_array, mp_text


def found(data, name="flax_model.msgpack"):
    part = scan_one(from_bytes(name, data, "unknown"))
    return {(finding.rule, finding.subject) for finding in part.findings}


@pytest.mark.parametrize("data", flax_seeds())
def test_a_checkpoint_passes(data):
    assert found(data) == set()


@pytest.mark.parametrize(
    ("row", "subject"),
    [
        (mp_text("x") + mp_array(code=42), "the extension type 42"),
        (mp_text("x") + b"\xc4\x02ab", "raw bytes that are no array"),
        (b"\xc4\x02nd" + b"\xc3", "a key that is a raw"),
        (b"\x07\xc3", "a key that is a number"),
        (mp_text("x") + mp_array("object"), "the data type 'object'"),
    ],
)
def test_what_flax_does_not_write_is_unlisted(row, subject):
    assert ("flax-unlisted", subject) in found(flax(row))


def test_arrays_of_objects_in_another_layout_are_unlisted():
    evil = b"cos\nsystem\n(S'true'\ntR."
    data = b"\x82\xc4\x04kind\xc4\x01O\xc4\x04data\xc4" + bytes((len(evil),)) + evil
    assert {rule for rule, _ in found(data)} >= {"flax-unlisted"}


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("trailing", flax() + b"\x80\x04N."),
        ("truncated", flax()[:-2]),
        ("duplicate", flax(mp_text("step") + b"\1")),
        ("type", flax(mp_text("x") + b"\xc1")),
        ("nesting", flax(mp_text("x") + b"\x91" * 400)),
        ("nesting", flax(mp_text("x") + b"\xdd\xff\xff\xff\xff")),
        ("key", flax(b"\x90\x01")),
        (
            "array",
            flax(mp_text("x") + mp_array()[:-2] + b"\x91\x91")[:0] + flax(mp_text("x") + b"\xd4\x01\x01"),
        ),
        ("array", flax(mp_text("x") + b"\xc7\x05\x01\x93\x91\xa1a\x01")),
    ],
)
def test_damage_is_broken(check, data):
    assert ("flax-broken", f"flax.{check}") in found(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"RDX3\nX\n\0\0\0\3" + bytes(8), "r-data"),
        (b"X\n\0\0\0\3\0\4\3\0" + bytes(8), "r-data"),
        (b"\xac\xed\0\5sr\0\x0ejava.util.Date", "java"),
        (b"ptrt\0\0\0\1" + b"\xff" * 20, "tensorrt"),
        (b"\0\0\0\x18ftypmp42" + b"\xff\0" * 8, "video"),
    ],
)
def test_other_formats_are_recognised_and_unread(data, kind):
    assert ("unread-format", kind) in found(data, "model.bin")


@pytest.mark.parametrize(
    "text", ["A\n3\n262916\n197888\n6\nCP1252\n", "RDA3\nA\n3\n262916\n197888\n", "7767517\n10 12\n"]
)
def test_data_written_as_text_is_unread(text):
    rules = {rule for rule, _ in found(text.encode(), "model.rds")}
    assert rules & {"unread-text", "unread-format"}


def test_ordinary_text_is_ordinary_text():
    assert found(b"A\n3\napples\n", "notes.txt") == set()
