"""Blocks of ggml's types, packed here by hand, come out as the numbers they were packed from."""

import numpy as np
import pytest

from weighbridge.core.errors import Unreadable
from weighbridge.tensors.quantized import DEQUANTIZE
from weighbridge.tensors.values import layout, numbers, to_bf16, to_f16

HALF = np.array([0.5], dtype="<f2").tobytes()
QUARTER = np.array([0.25], dtype="<f2").tobytes()


def test_q8_0_is_scale_times_signed_byte():
    codes = np.arange(-16, 16, dtype=np.int8)
    assert numbers("Q8_0", HALF + codes.tobytes()).tolist() == (codes * 0.5).tolist()


def test_q4_0_holds_low_halves_first_and_is_centred_on_eight():
    packed = bytes((15 - i) << 4 | i for i in range(16))
    expected = [(i - 8) * 0.5 for i in range(16)] + [(7 - i) * 0.5 for i in range(16)]
    assert numbers("Q4_0", HALF + packed).tolist() == expected


def test_q4_1_has_a_minimum():
    packed = bytes(i for i in range(16))
    expected = [i * 0.5 + 0.25 for i in range(16)] + [0.25] * 16
    assert numbers("Q4_1", HALF + QUARTER + packed).tolist() == expected


def test_q5_takes_its_fifth_bits_from_four_bytes():
    fifth = (1 << 0 | 1 << 31).to_bytes(4, "little")
    found = numbers("Q5_0", HALF + fifth + bytes(16))
    assert found.tolist() == [0.0, *[-8.0] * 30, 0.0]
    found = numbers("Q5_1", HALF + QUARTER + fifth + bytes(16))
    assert found.tolist() == [8.25, *[0.25] * 30, 8.25]


def test_q4_k_reads_six_bit_scales_from_twelve_bytes():
    # Scales 1..8 of which the last four have their upper bits elsewhere; minima all one.
    scales = [1, 2, 3, 4, 37, 38, 39, 40]
    low = [scales[i] | (scales[i + 4] >> 4) << 6 for i in range(4)]
    middle = [1] * 4
    high = [(scales[i + 4] & 15) | 1 << 4 for i in range(4)]
    raw = HALF + QUARTER + bytes(low + middle + high) + bytes([0x21] * 128)
    found = numbers("Q4_K", raw).reshape(8, 32)
    for group in range(8):
        code = 1 if group % 2 == 0 else 2
        assert (found[group] == 0.5 * scales[group] * code - 0.25).all(), group


def test_q5_k_adds_sixteen_where_the_bit_of_its_group_is_set():
    raw = HALF + QUARTER + bytes([1] * 4 + [0] * 4 + [1] * 4) + bytes([0b0000_0010] * 32) + bytes(128)
    found = numbers("Q5_K", raw).reshape(8, 32)
    assert (found[1] == 8).all()
    assert (found[0] == 0).all()


def test_q6_k_has_sixteen_signed_scales():
    scales = np.array([*range(-8, 0), *range(1, 9)], dtype=np.int8)
    raw = bytes([0x21] * 128) + bytes([0b11_10_01_00] * 64) + scales.tobytes() + HALF
    found = numbers("Q6_K", raw).reshape(2, 4, 2, 16)
    for half in range(2):
        for part in range(4):
            code = (1 if part < 2 else 2) + (part << 4) - 32
            for half_group in range(2):
                scale = scales[half * 8 + part * 2 + half_group]
                assert (found[half, part, half_group] == 0.5 * scale * code).all()


@pytest.mark.parametrize("dtype", DEQUANTIZE)
def test_any_bytes_give_as_many_numbers_as_the_block_holds(dtype):
    block, width = layout(dtype)
    raw = np.random.default_rng(1).integers(0, 256, width * 5, dtype=np.uint8).tobytes()
    assert numbers(dtype, raw).shape == (5 * block,)
    assert numbers(dtype, b"\xff" * width).shape == (block,)


def test_rounding_is_to_nearest_and_ties_go_to_even():
    values = np.array(
        [1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 3.4e38, np.inf, -np.inf, np.nan, 0.0], dtype=np.float32
    )
    assert to_bf16(values).tolist() == [0x3F80, 0x3F80, 0x3F82, 0x7F80, 0x7F80, 0xFF80, 0x7FC0, 0]
    assert to_f16(np.array([1.0, 70000.0, np.nan], dtype=np.float32)).tolist() == [0x3C00, 0x7C00, 0x7E00]


def test_eight_bit_floats():
    assert numbers("F8_E4M3", bytes([0x38, 0xB8, 0x7E, 0x01, 0x00])).tolist() == [
        1.0,
        -1.0,
        448.0,
        2.0**-9,
        0.0,
    ]
    assert np.isnan(numbers("F8_E4M3", b"\x7f")[0])
    assert numbers("F8_E5M2", bytes([0x3C, 0x7B, 0x7C, 0x01])).tolist() == [1.0, 57344.0, np.inf, 2.0**-16]


def test_parts_of_a_byte_stand_together():
    assert layout("F4") == (2, 1)
    assert layout("F6_E2M3") == (4, 3)
    with pytest.raises(Unreadable):
        layout("F3")
