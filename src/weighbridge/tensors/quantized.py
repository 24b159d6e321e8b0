"""Turn ggml's quantized blocks back into numbers, many blocks at a time.

Source: the block layouts of ggml (ggml-common.h, the `block_*` structures, and the dequantize functions of
ggml-quants.c), read as a specification. Each function takes rows of bytes, one block a row, and gives one
row of float32 for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[Any]


def _half(rows: Rows, at: int) -> Rows:
    """Return the float16 at byte `at` of each row as a column of float32."""
    return np.ascontiguousarray(rows[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Rows) -> Rows:
    """Return the low halves of the bytes, then the high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=1)


def _fifth(rows: Rows, at: int) -> Rows:
    """Return the fifth bits of 32 numbers, which lie in four bytes, as 0 or 16."""
    bits = np.unpackbits(np.ascontiguousarray(rows[:, at : at + 4]), axis=1, bitorder="little")
    shifted: Rows = bits << 4
    return shifted


def _q4_0(rows: Rows) -> Rows:
    return _half(rows, 0) * (_nibbles(rows[:, 2:18]).astype(np.float32) - 8)


def _q4_1(rows: Rows) -> Rows:
    return _half(rows, 0) * _nibbles(rows[:, 4:20]) + _half(rows, 2)


def _q5_0(rows: Rows) -> Rows:
    numbers = _nibbles(rows[:, 6:22]) | _fifth(rows, 2)
    return _half(rows, 0) * (numbers.astype(np.float32) - 16)


def _q5_1(rows: Rows) -> Rows:
    return _half(rows, 0) * (_nibbles(rows[:, 8:24]) | _fifth(rows, 4)) + _half(rows, 2)


def _q8_0(rows: Rows) -> Rows:
    return _half(rows, 0) * np.ascontiguousarray(rows[:, 2:34]).view(np.int8)


def _scales(packed: Rows) -> tuple[Rows, Rows]:
    """Unpack the eight six-bit scales and eight six-bit minima that share twelve bytes."""
    low, middle, high = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((low & 63, (high & 15) | ((low >> 6) << 4)), axis=1)
    minima = np.concatenate((middle & 63, (high >> 4) | ((middle >> 6) << 4)), axis=1)
    return scales, minima


def _of_scales(rows: Rows, numbers: Rows) -> Rows:
    """Scale 8 groups of 32 numbers a row by the two half floats and twelve bytes at its beginning."""
    scales, minima = _scales(rows[:, 4:16])
    groups = numbers.reshape(len(rows), 8, 32).astype(np.float32)
    scaled = (_half(rows, 0) * scales)[:, :, None] * groups - (_half(rows, 2) * minima)[:, :, None]
    flat: Rows = scaled.reshape(len(rows), 256)
    return flat


def _pairs(packed: Rows) -> Rows:
    """Return 256 four-bit numbers: of each 32 bytes the low halves, then the high ones."""
    parts = packed.reshape(len(packed), 4, 1, 32)
    return np.concatenate((parts & 15, parts >> 4), axis=2).reshape(len(packed), 8, 32)


def _q4_k(rows: Rows) -> Rows:
    return _of_scales(rows, _pairs(np.ascontiguousarray(rows[:, 16:144])))


def _q5_k(rows: Rows) -> Rows:
    shifts = np.arange(8, dtype=np.uint8)[None, :, None]
    fifth = (rows[:, None, 16:48] >> shifts) & 1
    return _of_scales(rows, _pairs(np.ascontiguousarray(rows[:, 48:176])) | (fifth << 4))


def _q6_k(rows: Rows) -> Rows:
    low = np.ascontiguousarray(rows[:, :128]).reshape(-1, 2, 2, 32)
    high = np.ascontiguousarray(rows[:, 128:192]).reshape(-1, 2, 1, 32)
    shifts = np.array((0, 2, 4, 6), dtype=np.uint8)[None, None, :, None]
    numbers = np.concatenate((low & 15, low >> 4), axis=2) | (((high >> shifts) & 3) << 4)
    scales = np.ascontiguousarray(rows[:, 192:208]).view(np.int8).astype(np.float32) * _half(rows, 208)
    groups = numbers.reshape(-1, 16, 16).astype(np.float32) - 32
    scaled: Rows = groups * scales[:, :, None]
    return scaled.reshape(-1, 256)


DEQUANTIZE: Mapping[str, tuple[int, int, Callable[[Rows], Rows]]] = {
    "Q4_0": (32, 18, _q4_0), "Q4_1": (32, 20, _q4_1), "Q5_0": (32, 22, _q5_0), "Q5_1": (32, 24, _q5_1),
    "Q8_0": (32, 34, _q8_0), "Q4_K": (256, 144, _q4_k), "Q5_K": (256, 176, _q5_k), "Q6_K": (256, 210, _q6_k),
}  # fmt: skip
"""Type to elements of a block, bytes of a block, and the function that unpacks rows of blocks."""
