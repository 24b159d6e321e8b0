"""Read a GGUF file strictly: metadata, tensor table, and a data section that the tensors fill without a gap.

Source: the GGUF specification (ggml, docs/gguf.md), versions 1 to 3, and the block sizes of ggml's types.
Only header and tables are read; of the data section the padding between tensors is.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor

MAGIC = b"GGUF"
MAX_STRINGS = 20_000_000
"""Strings in all metadata together; the largest vocabularies with their merges hold about a million."""
MAX_TENSORS = 300_000
MAX_KEYS = 200_000
MAX_KEPT = 16 * 1024 * 1024
"""Bytes of metadata text that may be kept, all together."""
MAX_NESTING = 8
MAX_DIMENSIONS = 4
DEFAULT_ALIGNMENT = 32
_MAX_NAME = 65_535

NAMES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
"""Type of a tensor to the name that ggml gives it."""
BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Type of a tensor to (elements in a block, bytes of a block), as ggml has them."""

_SCALARS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_BOOL, _STRING, _ARRAY = 7, 8, 9
_FLOATS = frozenset({6, 12})


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a GGUF file says of itself; `texts` holds each string value and each string of a template array."""

    version: int
    big_endian: bool
    keys: frozenset[str]
    numbers: Mapping[str, int]
    texts: tuple[tuple[str, bytes], ...]
    tensors: int
    unknown_types: tuple[int, ...]
    """Types of tensors that this reader has no sizes for; the data section is then not accounted for."""
    elements: Mapping[int, int] = field(default_factory=dict)
    """Type of a tensor to the elements of all tensors of that type, without those of unknown types."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: its name, ggml's number of its type, its shape with the slowest side first, its bytes in the file."""

    name: str
    kind: int
    shape: tuple[int, ...]
    start: int
    size: int


def read_tensors(stream: BinaryIO, size: int) -> tuple[GgufTensor, ...]:
    """Read where the tensors of a GGUF file lie, in the order of their bytes; raises as `read_gguf` does.

    Refused as well (`gguf.order`, `gguf.type`): big-endian files, and types whose blocks have no known size.
    """
    reader = _Reader(stream, size)
    unknown = reader.read().unknown_types
    if reader.order == ">":
        raise reader.cursor.damaged("order", "its numbers are big-endian, which nobody reads here")
    if unknown:
        raise reader.cursor.damaged("type", f"it holds tensors of the unknown types {unknown[:8]}")
    return tuple(
        GgufTensor(name, *reader.kinds[name], reader.start + offset, length)
        for offset, length, name in reader.rows
    )


def read_gguf(stream: BinaryIO, size: int) -> Gguf:
    """Read a file of `size` bytes; raises Unreadable (checks `gguf.*`) and OutOfBudget."""
    return _Reader(stream, size).read()


class _Reader:
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.cursor = Cursor(stream, size, check="gguf", what="a GGUF model")
        self.order = "<"
        self.version = 0
        self.keys: set[str] = set()
        self.numbers: dict[str, int] = {}
        self.texts: list[tuple[str, bytes]] = []
        self.kept = 0
        self.strings = 0
        self.elements: dict[int, int] = {}
        self.kinds: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.rows: list[tuple[int, int, str]] = []
        self.start = size

    def read(self) -> Gguf:
        tensors, pairs = self.header()
        for _ in range(pairs):
            self.pair()
        alignment = self.numbers.get("general.alignment", DEFAULT_ALIGNMENT)
        if alignment <= 0 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise self.cursor.damaged("alignment", f"the alignment {alignment} is no power of two")
        rows, unknown = self.tensor_table(tensors, alignment)
        self.rows = rows
        if not unknown:
            self.data(rows, alignment)
        return Gguf(
            self.version, self.order == ">", frozenset(self.keys), self.numbers, tuple(self.texts), tensors, unknown,
            self.elements,
        )  # fmt: skip

    def header(self) -> tuple[int, int]:
        """Read magic, version and the two counts."""
        cursor = self.cursor
        if cursor.take(4) != MAGIC:
            raise cursor.damaged("magic", "it does not begin with GGUF")
        raw = cursor.take(4)
        if raw[:2] == b"\0\0":
            self.order = ">"
        (self.version,) = struct.unpack(self.order + "I", raw)
        if self.version not in (1, 2, 3):
            raise cursor.damaged("version", f"version {self.version} of the format is not known")
        tensors, pairs = self.count(), self.count()
        if tensors > min(MAX_TENSORS, cursor.left()) or pairs > min(MAX_KEYS, cursor.left()):
            raise cursor.damaged("counts", f"{tensors} tensors and {pairs} keys are announced")
        return tensors, pairs

    def count(self) -> int:
        return self.cursor.number(self.order + ("I" if self.version == 1 else "Q"))

    def string(self, longest: int = -1) -> bytes:
        length = self.count()
        if 0 <= longest < length:
            raise self.cursor.damaged("name", f"a name of {length} bytes")
        return self.cursor.take(length)

    def name(self) -> str:
        try:
            return self.string(_MAX_NAME).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.cursor.damaged("name", "a name is not UTF-8") from error

    def pair(self) -> None:
        """Read one key with its value."""
        key = self.name()
        if key in self.keys:
            raise self.cursor.damaged("duplicate", f"the key {key[:80]!r} stands twice")
        self.keys.add(key)
        kind = self.cursor.number(self.order + "I")
        if kind == _STRING:
            self.keep(key, self.count())
        elif kind == _ARRAY:
            self.array(key, 1)
        else:
            value = self.scalar(kind)
            if value is not None:
                self.numbers[key] = value

    def keep(self, key: str, length: int) -> None:
        self.kept += length
        if self.kept > MAX_KEPT:
            raise _spent("bytes of text in the metadata", MAX_KEPT)
        self.texts.append((key, self.cursor.take(length)))

    def scalar(self, kind: int) -> int | None:
        form = _SCALARS.get(kind)
        if form is None:
            raise self.cursor.damaged("type", f"a value of the unknown type {kind}")
        raw = self.cursor.take(struct.calcsize("<" + form))
        if kind == _BOOL and raw not in (b"\0", b"\1"):
            raise self.cursor.damaged("bool", f"a truth value of {raw[0]}")
        return None if kind in _FLOATS else int(struct.unpack(self.order + form, raw)[0])

    def array(self, key: str, depth: int) -> None:
        """Walk over one array, and over arrays in it."""
        cursor = self.cursor
        if depth > MAX_NESTING:
            raise cursor.damaged("nesting", f"arrays are nested more than {MAX_NESTING} deep")
        kind, count = cursor.number(self.order + "I"), self.count()
        if kind == _STRING:
            self.strings_of(key, count)
        elif kind == _ARRAY:
            self.spend(count)
            for _ in range(count):
                self.array(key, depth + 1)
        elif kind == _BOOL:
            while count > 0:
                part = min(count, 65536)
                if cursor.take(part).translate(None, b"\0\1"):
                    raise cursor.damaged("bool", "a truth value that is neither 0 nor 1")
                count -= part
        elif kind in _SCALARS:
            cursor.skip(count * struct.calcsize("<" + _SCALARS[kind]))
        else:
            raise cursor.damaged("type", f"an array of the unknown type {kind}")

    def spend(self, count: int) -> None:
        if count > self.cursor.left():
            raise self.cursor.damaged(
                "truncated", f"{count} items are announced, {self.cursor.left()} bytes remain"
            )
        self.strings += count
        if self.strings > MAX_STRINGS:
            raise _spent("strings in the metadata", MAX_STRINGS)

    def strings_of(self, key: str, count: int) -> None:
        self.spend(count)
        declared = "template" in key
        for _ in range(count):
            length = self.count()
            if declared:
                self.keep(key, length)
            else:
                self.cursor.skip(length)

    def tensor_table(self, count: int, alignment: int) -> tuple[list[tuple[int, int, str]], tuple[int, ...]]:
        """Return (offset, bytes, name) of each tensor, and the types that are not known."""
        cursor = self.cursor
        rows: list[tuple[int, int, str]] = []
        names: set[str] = set()
        unknown: set[int] = set()
        for _ in range(count):
            name = self.name()
            if name in names:
                raise cursor.damaged("duplicate", f"the tensor {name[:80]!r} stands twice")
            names.add(name)
            dimensions = cursor.number(self.order + "I")
            if dimensions > MAX_DIMENSIONS:
                raise cursor.damaged("shape", f"the tensor {name[:80]!r} has {dimensions} dimensions")
            shape = [self.count() for _ in range(dimensions)]
            kind = cursor.number(self.order + "I")
            offset = cursor.number(self.order + "Q")
            self.kinds[name] = kind, tuple(reversed(shape))
            if offset % alignment:
                raise cursor.damaged(
                    "alignment", f"the tensor {name[:80]!r} does not lie on a multiple of {alignment}"
                )
            if kind in BLOCKS:
                rows.append((offset, self.byte_size(name, shape, kind), name))
            else:
                unknown.add(kind)
        return sorted(rows), tuple(sorted(unknown))

    def byte_size(self, name: str, shape: list[int], kind: int) -> int:
        elements = 1
        for side in shape:
            elements *= side
            if elements > 2**63 - 1:
                raise self.cursor.damaged("shape", f"the shape of {name[:80]!r} overflows")
        block, width = BLOCKS[kind]
        if (shape[0] if shape else 1) % block:
            raise self.cursor.damaged("shape", f"a row of {name[:80]!r} does not fill blocks of {block}")
        self.elements[kind] = self.elements.get(kind, 0) + elements
        return elements // block * width

    def data(self, rows: list[tuple[int, int, str]], alignment: int) -> None:
        """Hold the tensors against the data section: in a row, aligned, zeros between, nothing after."""
        cursor = self.cursor
        if not rows:
            if cursor.left() >= alignment:
                raise cursor.damaged("trailing", f"{cursor.left()} bytes belong to no tensor")
            cursor.zeros(cursor.left(), "the end of the file")
            return
        cursor.zeros(-cursor.place % alignment, "the padding before the data")
        self.start = start = cursor.place
        for offset, length, name in rows:
            gap = start + offset - cursor.place
            if gap < 0:
                raise cursor.damaged("overlap", f"the tensor {name[:80]!r} overlaps the one before it")
            if gap >= alignment:
                raise cursor.damaged("hole", f"{gap} bytes before the tensor {name[:80]!r} belong to none")
            cursor.zeros(gap, "the padding between tensors")
            cursor.skip(length)
        if cursor.left() not in (0, (start - cursor.place) % alignment):
            raise cursor.damaged("trailing", f"{cursor.left()} bytes after the last tensor belong to none")
        cursor.zeros(cursor.left(), "the padding after the last tensor")


def _spent(what: str, limit: int) -> OutOfBudget:
    return OutOfBudget(
        f"more than {limit} {what}",
        cause="the file asks for more work than a scan may spend on it",
        remedy="use a file of an ordinary size",
        check="budget.gguf",
    )
