"""A pickle behind much that does nothing is still a pickle, in text, in tensors and in other formats."""

import struct
import sys
from pathlib import Path

import pytest

from weighbridge.core.finding import Verdict
from weighbridge.formats.safetensors import lay_out, write_header
from weighbridge.scanner import routing
from weighbridge.scanner.engine import scan_one
from weighbridge.scanner.file import from_bytes

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_graphs import mp_text

EVIL = b"cos\nsystem\n(S'true'\ntR."
MIB = 1024 * 1024


def worst(data, name):
    return max(finding.verdict.rank for finding in scan_one(from_bytes(name, data, "unknown")).findings)


@pytest.mark.parametrize("name", ["model.pkl", "vocab.txt"])
@pytest.mark.parametrize("padding", [b"N0" * 200_001, b"(1" * 200_001, b"I1\n0" * 200_001])
def test_text_that_is_a_long_pickle_is_one(name, padding):
    assert worst(padding + EVIL, name) == Verdict.DANGEROUS.rank


def packed(body):
    """A checkpoint of Flax whose first bytes, read as opcodes, lead into its array."""
    inner = (
        b"\x93\x91\xce"
        + struct.pack(">I", len(body))
        + mp_text("uint8")
        + b"\xc6"
        + struct.pack(">I", len(body))
        + body
    )
    key = b"a" * 216 + b"N0" * 12_355
    key += b"N" * (0x6161 - 2 - len(key)) + b"C" + bytes([24])
    rows = b"".join(mp_text(f"k{number}") + b"\xc0" for number in range(11))
    return (
        b"\x8c\xda"
        + struct.pack(">H", len(key))
        + key
        + b"\xc9"
        + struct.pack(">I", len(inner))
        + b"\x01"
        + inner
        + rows
    )


@pytest.mark.parametrize(
    "padding",
    [b"N0" * 100, b"N0" * 200_000, b"V" + b"a" * (2 * MIB) + b"\n0", b"C\xff" + b"a" * 255 + b"0", (b"C\xff" + b"a" * 255 + b"0") * 5000],
    ids=["few", "many", "line", "one", "strings"],
)  # fmt: skip
def test_a_checkpoint_that_is_a_long_pickle_is_one(padding):
    assert worst(packed(padding + EVIL), "flax_model.msgpack") == Verdict.DANGEROUS.rank


def test_the_end_of_what_is_looked_at_hides_nothing():
    for shift in range(0, 259, 37):
        padding = b"N0" * shift + (b"C\xff" + b"a" * 255 + b"0") * 4200
        assert worst(packed(padding + EVIL), "flax_model.msgpack") == Verdict.DANGEROUS.rank


def test_tensors_are_left_alone():
    raw = bytes(range(256)) * 4096
    data = write_header(lay_out([("a", "U8", (len(raw),))]), {}) + raw
    assert not scan_one(from_bytes("m.safetensors", data, "unknown")).findings


def test_raw_tensors_that_begin_with_a_jump_by_chance_are_left_alone():
    size = 3 << 20
    for code in (b"X", b"B", b"T"):
        raw = code + (size // 2).to_bytes(4, "little") + b"\xff" * (size - 5)
        file = from_bytes("t.bin", raw, "onnx-data")
        assert routing.also_pickle(file) is None


def test_jumps_into_a_payload_are_followed_however_many():
    payload = b"cposix\nsystem\n(S'true'\ntR."
    for jumps in (1, 3, 8, 9, 30):
        raw = b""
        for _ in range(jumps):
            raw += b"B" + (2 << 20).to_bytes(4, "little") + b"\xff" * (2 << 20) + b"0"
        raw += payload + b"\xff" * (2 << 20)
        one = routing.also_pickle(from_bytes("t.bin", raw, "onnx-data"))
        assert one is not None
        assert jumps > 8 or any(event.name == "system" for event in one.events)
