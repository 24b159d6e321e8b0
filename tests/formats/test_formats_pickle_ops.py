"""The opcode decoder: agrees with pickletools where both read, refuses what CPython refuses, and never guesses."""

import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.formats.pickle_ops import CODES, PickleBroken, decode

SAMPLES = [
    {"a": [1, 2.5, None, True, -7, 1 << 70, "text", "ü€", b"bytes", (1,), (1, 2), (1, 2, 3), ()]},
    [{1, 2}, frozenset({3}), bytearray(b"x"), complex(1, 2), "x" * 300, b"y" * 300, list(range(3000))],
    "z" * 70000,
    [-1, 255, 256, 65535, 65536, 1 << 31, -(1 << 31), 10**400, float("inf"), float("nan"), False],
    ["quote'", 'both"', "back\\slash", "new\nline", "\x00", "\ud800"],
]


def ours(data):
    return [(op.name, op.arg, op.pos) for op in decode(data)]


def theirs(data):
    return [(op.name, arg, pos) for op, arg, pos in pickletools.genops(data)]


def same(one, other):
    return repr([row for row in one if row[0] not in ("GLOBAL", "INST")]) == repr(
        [row for row in other if row[0] not in ("GLOBAL", "INST")]
    )


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", SAMPLES, ids=range(len(SAMPLES)))
def test_it_reads_what_picklers_write(value, protocol):
    data = pickle.dumps(value, protocol)
    assert same(ours(data), theirs(data))


def test_it_knows_every_opcode_of_the_standard_library():
    assert {op.name: ord(op.code) for op in pickletools.opcodes} == CODES


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"S'posix'", "posix"),
        (b'S"posix"', "posix"),
        (b"S'a\\x41\\101\\n\\\\\\''", "aAA\n\\'"),
        (b"S'\\xff'", b"\xff"),
        (b"V\\u0070osix", "posix"),
        (b"I00", False),
        (b"I01", True),
        (b"I-12", -12),
        (b"L12L", 12),
        (b"L12", 12),
        (b"F1.5", 1.5),
        (b"F-inf", float("-inf")),
    ],
)
def test_lines_of_text_mean_what_they_mean_to_python(line, value):
    data = line + b"\n."
    decoded = next(decode(data)).arg
    assert decoded == value
    assert type(decoded) is type(value)


def test_an_unknown_escape_keeps_its_backslash_without_a_warning():
    assert next(decode(b"S'\\q\\'\\\\'\n.")).arg == "\\q'\\"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b"\x80",
        b"\x80\x06.",
        b"\xff.",
        b"S'posix\n.",
        b"Sposix\n.",
        b"S'\\x4'\n.",
        b"S'a\\'\n.",
        b"S'ab",
        b"I\n.",
        b"I0x10\n.",
        b"I010\n.",
        b"I1_0\n.",
        b"F1_0.0\n.",
        b"F0x1p3\n.",
        b"cos\n\n.",
        b"c\nsystem\n.",
        b"cos\nsystem",
        b"c\xff\nsystem\n.",
        b"i\xc3\xbc\nsystem\n.",
        b"g-1\n.",
        b"X\x05\x00\x00\x00abcd.",
        b"X\x01\x00\x00\x00\xff.",
        b"\x8c\x05abc.",
        b"T\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\xff.",
        b"\x8e" + struct.pack("<Q", 1 << 63) + b".",
        b"\x95" + struct.pack("<Q", 1 << 63) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"\x8c\x05hello.",
        b"\x80\x04\x95" + struct.pack("<Q", 20) + b"N\x95" + struct.pack("<Q", 2) + b"0N.xxxxxxx",
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.N",
    ],
)
def test_what_is_damaged_is_refused(data):
    with pytest.raises(PickleBroken):
        list(decode(data))


def test_the_budget_of_opcodes_ends_the_reading():
    with pytest.raises(PickleBroken, match="opcodes"):
        list(decode(b"N" * 100 + b".", max_opcodes=50))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_like_pickletools_or_refused(data):
    try:
        read = ours(data)
    except PickleBroken:
        return
    assert same(read, theirs(data))


@given(
    st.sampled_from(SAMPLES),
    st.integers(0, 5),
    st.integers(0, 2**16),
    st.integers(0, 255),
    st.integers(0, 2**16),
)
def test_flipped_bytes_are_read_like_pickletools_or_refused(value, protocol, place, byte, cut):
    data = bytearray(pickle.dumps(value, protocol))
    data[place % len(data)] = byte
    data = bytes(data[: cut % len(data)]) if cut % 3 == 0 else bytes(data)
    try:
        read = ours(data)
    except PickleBroken:
        return
    assert same(read, theirs(data))
