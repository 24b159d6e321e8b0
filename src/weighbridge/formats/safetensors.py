"""Read and write safetensors headers strictly, and digest tensors so that equal weights can be recognised.

Layout (safetensors format description): eight bytes little-endian header length N, N bytes of JSON that
start with `{` and may be padded with spaces, then the tensors' raw bytes. This reader accepts a subset of
what the reference library accepts: every byte of the data area belongs to exactly one tensor, every key
appears once, every number is a plain integer. Anything else is Refused with a check id `safetensors.*`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused

MAX_HEADER = 100_000_000
"""The reference library's limit on the header, in bytes."""
MAX_NUMBER = 2**63 - 1
METADATA = "__metadata__"
TENSOR_SET_SCHEMA = b"weighbridge-tensor-set/v1\n"

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Width of one element in bits, for every dtype that safetensors 0.8 names."""

Octets: TypeAlias = bytes | bytearray | memoryview
Read: TypeAlias = Callable[[int, int], bytes]
"""`read(offset, length)` gives at most `length` bytes of the file."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: name, dtype, shape, and where its bytes lie, counted from the start of the data area."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        count = 1
        for side in self.shape:
            count *= side
        return count


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says of itself; `tensors` are in the order of their bytes."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_start: int

    @property
    def parameters(self) -> int:
        """The number of elements of all tensors together."""
        return sum(tensor.elements for tensor in self.tensors)


def parse_header(source: Read | Octets, size: int) -> SafetensorsHeader:
    """Read and check the header of a file of `size` bytes; `source` reads it or holds it.

    Raises Refused with a check id: `safetensors.header`, `.json`, `.duplicate`, `.padding`, `.metadata`,
    `.entry`, `.name`, `.dtype`, `.shape`, `.offsets`, `.size`, `.overlap`, `.hole`, `.trailing`, `.truncated`.
    """
    read = source if callable(source) else _reader(source)
    start, raw = _header_bytes(read, size)
    rows = _header_json(raw)
    metadata = _metadata(rows.pop(METADATA, {}))
    tensors = sorted((_tensor(name, row) for name, row in rows.items()), key=lambda t: (t.start, t.end))
    _check_cover(tensors, size - start)
    return SafetensorsHeader(tuple(tensors), metadata, start)


def _reader(buffer: Octets) -> Read:
    view = memoryview(buffer).cast("B")
    return lambda offset, length: bytes(view[offset : offset + length])


def _header_bytes(read: Read, size: int) -> tuple[int, bytes]:
    if size < 8:
        raise _refused(
            "header", "the file is too short to hold a header", f"{size} bytes, eight are the least"
        )
    (length,) = struct.unpack("<Q", _exact(read, 0, 8))
    if length > MAX_HEADER:
        raise _refused(
            "header", f"the header claims {length} bytes", f"more than {MAX_HEADER} are not allowed"
        )
    if length > size - 8:
        raise _refused(
            "truncated", f"the header claims {length} bytes, the file holds {size - 8} after its length"
        )
    raw = _exact(read, 8, length)
    if not raw.startswith(b"{"):
        raise _refused("header", "the header does not start with '{'", f"it starts with {raw[:8]!r}")
    if not raw.rstrip(b" ").endswith(b"}"):
        raise _refused("padding", "the header is padded with something other than spaces")
    return 8 + length, raw


def _exact(read: Read, offset: int, length: int) -> bytes:
    data = read(offset, length)
    if len(data) != length:
        raise _refused("truncated", f"only {len(data)} of {length} bytes could be read at offset {offset}")
    return data


def _header_json(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_constant=_no_constant,
            parse_float=float,
        )
    except (ValueError, RecursionError) as error:
        raise _refused("json", "the header is not strict JSON", str(error)[:200]) from error
    if not isinstance(value, dict):
        raise _refused("json", "the header is not one JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _refused("duplicate", f"the name {name[:80]!r} stands twice in the header")
        name.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        result[name] = value
    return result


def _integer(text: str) -> int:
    if text.startswith("-") or len(text) > 20:
        raise ValueError(f"the number {text[:24]} is negative or too large")
    return int(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _refused("metadata", f"{METADATA} is not an object")
    for key, item in value.items():
        if not isinstance(item, str):
            raise _refused("metadata", f"the metadata value of {key!r} is not a string")
        try:
            item.encode("utf-8")
        except UnicodeEncodeError as error:
            raise _refused("json", f"the metadata value of {key!r} holds a lone surrogate") from error
    return value


def _tensor(name: str, row: Any) -> TensorInfo:
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise _refused("entry", f"the entry of {name!r} needs exactly dtype, shape and data_offsets")
    _check_name(name)
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _refused("dtype", f"the tensor {name!r} has the unknown dtype {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or not all(_is_size(side) for side in shape):
        raise _refused("shape", f"the shape of {name!r} is not a list of plain integers from 0 to 2**63 - 1")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(place) for place in offsets):
        raise _refused("offsets", f"the data_offsets of {name!r} are not two plain integers")
    info = TensorInfo(name, dtype, tuple(shape), offsets[0], offsets[1])
    if info.end < info.start:
        raise _refused("offsets", f"the tensor {name!r} ends before it starts")
    expected = byte_size(dtype, info.shape)
    if info.end - info.start != expected:
        raise _refused(
            "size",
            f"the tensor {name!r} occupies {info.end - info.start} bytes",
            f"its dtype {dtype} and shape {list(info.shape)} need {expected}",
        )
    return info


def _check_name(name: str) -> None:
    # Rows of the tensor-set root are separated by tabs and newlines: a name must not be able to forge one.
    if not name or any(char < " " or char == "\x7f" for char in name):
        raise _refused("name", f"the tensor name {name[:80]!r} is empty or holds control characters")


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def byte_size(dtype: str, shape: Sequence[int]) -> int:
    """Return the bytes a tensor needs; Refused for overflow, unknown dtypes and parts of a byte."""
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        raise _refused("dtype", f"the dtype {dtype!r} is unknown")
    count = 1
    for side in shape:
        count *= side
        # Checked at each step, as the reference library does: a later 0 does not excuse an overflow.
        if count > MAX_NUMBER:
            raise _refused("shape", f"the shape {list(shape)[:8]} overflows")
    total = count * bits
    if total > MAX_NUMBER:
        raise _refused("shape", f"the shape {list(shape)[:8]} overflows")
    if total % 8:
        raise _refused("shape", f"{count} elements of {dtype} do not fill whole bytes")
    return total // 8


def _check_cover(tensors: Sequence[TensorInfo], available: int) -> None:
    """Each byte of the data area belongs to exactly one tensor."""
    place = 0
    for tensor in tensors:
        if tensor.start < place:
            raise _refused("overlap", f"the tensor {tensor.name!r} overlaps the one before it")
        if tensor.start > place:
            gap = tensor.start - place
            raise _refused("hole", f"{gap} bytes before the tensor {tensor.name!r} belong to none")
        place = tensor.end
    if place > available:
        raise _refused("truncated", f"the tensors need {place} bytes of data, the file holds {available}")
    if place < available:
        raise _refused("trailing", f"{available - place} bytes after the last tensor belong to none")


def lay_out(rows: Iterable[tuple[str, str, tuple[int, ...]]]) -> tuple[TensorInfo, ...]:
    """Place (name, dtype, shape) rows one after the other: widest dtype first, then by name.

    Widest first keeps every tensor aligned to its own element. Equal rows in any order give equal layouts.
    """
    placed, place = [], 0
    for name, dtype, shape in sorted(rows, key=lambda row: (-DTYPE_BITS.get(row[1], 0), row[0].encode())):
        end = place + byte_size(dtype, shape)
        placed.append(TensorInfo(name, dtype, tuple(shape), place, end))
        place = end
    return tuple(placed)


def write_header(tensors: Iterable[TensorInfo], metadata: Mapping[str, str]) -> bytes:
    """Return length and JSON, padded with spaces to eight bytes; what follows is the data area.

    Names are sorted by their bytes and metadata by key, so that equal content gives equal bytes. What
    `parse_header` would refuse is refused here.
    """
    ordered = sorted(tensors, key=lambda tensor: tensor.name.encode())
    value: dict[str, Any] = {}
    if metadata:
        value[METADATA] = {key: metadata[key] for key in sorted(metadata)}
    for tensor in ordered:
        if tensor.name in value or tensor.name == METADATA:
            raise _refused("duplicate", f"the name {tensor.name!r} stands twice")
        value[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start, tensor.end],
        }
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    head = struct.pack("<Q", len(raw)) + raw
    length = max((tensor.end for tensor in ordered), default=0)
    parse_header(head, len(head) + length)
    return head


def tensor_digest(dtype: str, shape: Sequence[int], chunks: Iterable[Octets]) -> Digest:
    r"""Digest one tensor independent of name and file: sha256 of `dtype:d0,d1\0` and its raw bytes."""
    state = hashlib.sha256(f"{dtype}:{_sides(shape)}\0".encode())
    for chunk in chunks:
        state.update(chunk)
    return Digest("sha256", state.hexdigest())


def tensor_set_root(rows: Iterable[tuple[str, str, Sequence[int], Digest]]) -> Digest:
    r"""Digest a set of (name, dtype, shape, tensor digest): survives resharding and metadata edits.

    sha256 over `weighbridge-tensor-set/v1\n` and the sorted rows `name\tdtype\tshape\tdigest\n`.
    """
    lines, names = [], set()
    for name, dtype, shape, digest in rows:
        _check_name(name)
        if name in names:
            raise _refused("duplicate", f"the name {name!r} stands twice in the set")
        names.add(name)
        lines.append(f"{name}\t{dtype}\t{_sides(shape)}\t{digest.hex}\n".encode())
    return Digest.of(TENSOR_SET_SCHEMA + b"".join(sorted(lines)))


def _sides(shape: Sequence[int]) -> str:
    return ",".join(str(side) for side in shape)


def _refused(check: str, problem: str, cause: str = "") -> Refused:
    return Refused(
        problem,
        cause=cause,
        remedy="get the file again from its source; if it is the same there, the publisher must write it anew",
        check=f"safetensors.{check}",
    )
