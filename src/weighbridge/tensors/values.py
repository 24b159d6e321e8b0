"""Give the numbers behind a tensor's bytes as float32, and round them as a cast would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from weighbridge.core.errors import Unreadable
from weighbridge.formats.gguf import BLOCKS, NAMES
from weighbridge.formats.safetensors import DTYPE_BITS
from weighbridge.tensors.quantized import DEQUANTIZE

Array: TypeAlias = npt.NDArray[Any]

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Types whose elements are numbers with a fraction, each by itself."""
PACKED = frozenset({"I8", "U8", "I32", "U32"})
"""Types in which libraries keep quantized weights: bytes, or several weights in one integer."""
_PLAIN: Mapping[str, str] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1", "BOOL": "u1", "I16": "<i2", "U16": "<u2",
    "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}  # fmt: skip
_ROUNDED = (np.uint32(0x7FFF), np.uint32(0x7FC0), np.uint32(0x7FFF_FFFF), np.uint32(0x7F80_0000))
_GGML = {name: BLOCKS[kind] for kind, name in NAMES.items() if kind in BLOCKS}


def layout(dtype: str) -> tuple[int, int]:
    """Return (elements, bytes) of the smallest piece that stands by itself; Unreadable for an unknown type."""
    bits = DTYPE_BITS.get(dtype)
    if bits is not None:
        return (1, bits // 8) if bits % 8 == 0 else (8 // int(np.gcd(8, bits)), bits // int(np.gcd(8, bits)))
    if dtype in _GGML:
        return _GGML[dtype]
    raise Unreadable(f"tensors of the type {dtype[:40]!r} cannot be read", check="tensors.type")


def numeric(dtype: str) -> bool:
    """Tell whether `numbers` can read this type."""
    return dtype in _PLAIN or dtype in FLOATS or dtype in DEQUANTIZE


def quantized(dtype: str) -> bool:
    """Tell whether this is one of ggml's block types."""
    return dtype in _GGML and dtype not in DTYPE_BITS


def numbers(dtype: str, raw: bytes) -> Array:
    """Return the elements in `raw` (whole blocks) as float32; NaN and infinities stay what they are."""
    if dtype in DEQUANTIZE:
        _, width, unpack = DEQUANTIZE[dtype]
        with np.errstate(all="ignore"):
            return unpack(np.frombuffer(raw, np.uint8).reshape(-1, width)).reshape(-1).astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype.startswith("F8_"):
        table: Array = _eight_bits(dtype)[np.frombuffer(raw, np.uint8)]
        return table
    with np.errstate(all="ignore"):
        return np.frombuffer(raw, _PLAIN[dtype]).astype(np.float32)


def _eight_bits(dtype: str) -> Array:
    """Return what each byte means in one of the two usual eight-bit floats (Micikevicius et al. 2022, table 1)."""
    mantissa = 3 if dtype == "F8_E4M3" else 2
    code = np.arange(256)
    sign, exponent = np.where(code & 128, -1.0, 1.0), (code & 127) >> mantissa
    part, bias = (code & ((1 << mantissa) - 1)) / (1 << mantissa), (1 << (6 - mantissa)) - 1
    value = np.where(exponent == 0, part * 2.0 ** (1 - bias), (1 + part) * 2.0 ** (exponent - float(bias)))
    if dtype == "F8_E4M3":
        value[(code & 127) == 127] = np.nan
    else:
        value[exponent == 31] = np.where(part[exponent == 31] == 0, np.inf, np.nan)
    table: Array = (sign * value).astype(np.float32)
    return table


def to_bf16(values: Array) -> Array:
    """Round float32 to bfloat16, to nearest and ties to even; every NaN becomes the same one."""
    bias, quiet, magnitude, infinity = _ROUNDED
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + bias + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    broken = (bits & magnitude) > infinity
    if broken.any():
        rounded[broken] = quiet
    return rounded


def to_f16(values: Array) -> Array:
    """Round float32 to float16; what is too large becomes infinite, and every NaN the same one."""
    with np.errstate(all="ignore"):
        rounded = values.astype(np.float16).view(np.uint16)
    broken = np.isnan(values)
    if broken.any():
        rounded[broken] = 0x7E00
    return rounded
