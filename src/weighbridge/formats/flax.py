"""Walk over a checkpoint of Flax: MessagePack with text as keys, numbers, and arrays as extension type 1.

Sources: the MessagePack specification; flax.serialization, read as one. Type 1 holds (shape, name of the data type,
raw bytes), type 2 a complex number, type 3 a numpy scalar. Nothing is built.
"""

from __future__ import annotations

from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor

MAX_DEPTH = 200
MAX_VALUES = 20_000_000
MAX_KEY = 65_536
MAX_KEYS = 500_000
DTYPES = frozenset(
    {
        "bool", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32", "uint64", "float16",
        "float32", "float64", "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "V2",
    }
)  # fmt: skip
_SIZED = {
    0xD9: ("text", 1), 0xDA: ("text", 2), 0xDB: ("text", 4), 0xC4: ("raw", 1), 0xC5: ("raw", 2), 0xC6: ("raw", 4),
    0xDC: ("row", 2), 0xDD: ("row", 4), 0xDE: ("map", 2), 0xDF: ("map", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2),
    0xC9: ("ext", 4),
}  # fmt: skip
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3


def read_flax(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Walk over a checkpoint of `size` bytes; return what Flax would not write, the first few.

    Raises Unreadable (checks `flax.*`) and OutOfBudget.
    """
    return _Walk(Cursor(stream, size, check="flax", what="a checkpoint of Flax")).run()


class _Open:
    """A map or row of which `left` values are still to come."""

    __slots__ = ("keys", "left")

    def __init__(self, left: int, *, is_map: bool) -> None:
        self.left = left
        self.keys: set[bytes] | None = set() if is_map else None


class _Walk:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.strange: dict[str, None] = {}
        self.values = 0

    def run(self) -> tuple[str, ...]:
        stack: list[_Open] = []
        self.value(stack, "root")
        while stack:
            top = stack[-1]
            if not top.left:
                stack.pop()
                continue
            top.left -= 1
            if top.keys is not None:
                self.key(top.keys)
            self.value(stack, "value")
        if self.cursor.left():
            raise self.cursor.damaged("trailing", f"{self.cursor.left()} bytes follow the checkpoint")
        return tuple(self.strange)[:20]

    def head(self) -> tuple[str, int]:
        """Read the head of a value: what it is, and how many bytes or values belong to it."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise OutOfBudget(
                f"more than {MAX_VALUES} values", cause="the file asks for more work than a scan may spend on it",
                remedy="use a checkpoint of an ordinary size", check="budget.flax",
            )  # fmt: skip
        byte = self.cursor.take(1)[0]
        if byte in _SIZED:
            kind, width = _SIZED[byte]
            return kind, int.from_bytes(self.cursor.take(width), "big")
        if 0xD4 <= byte <= 0xD8:
            return "ext", 1 << (byte - 0xD4)
        if 0xA0 <= byte <= 0xBF:
            return "text", byte & 31
        if 0x80 <= byte <= 0x9F:
            return ("map" if byte < 0x90 else "row"), byte & 15
        if byte == 0xC1:
            raise self.cursor.damaged("type", "a byte that begins no value")
        return "number", _FIXED.get(byte, 0)

    def key(self, keys: set[bytes]) -> None:
        kind, length = self.head()
        if kind != "text" or length > MAX_KEY:
            self.strange[f"a key that is a {kind}"] = None
            if kind in ("map", "row", "ext"):
                raise self.cursor.damaged("key", f"a key that is a {kind}")
        key = self.cursor.take(length)
        if key in keys:
            raise self.cursor.damaged("duplicate", f"the key {key[:80]!r} stands twice")
        keys.add(key)
        if len(keys) > MAX_KEYS:
            raise OutOfBudget(
                f"more than {MAX_KEYS} keys in one map", cause="the file asks for more work than a scan may spend on it",
                remedy="use a checkpoint of an ordinary size", check="budget.flax",
            )  # fmt: skip

    def value(self, stack: list[_Open], where: str) -> None:
        """Read one value; maps and rows are opened for their values to follow."""
        kind, length = self.head()
        if where == "root" and kind != "map":
            raise self.cursor.damaged("root", "it is no map")
        if kind in ("map", "row"):
            if length > self.cursor.left() or len(stack) >= MAX_DEPTH:
                raise self.cursor.damaged("nesting", f"{length} values, {len(stack)} deep")
            stack.append(_Open(length, is_map=kind == "map"))
        elif kind == "ext":
            number = self.cursor.take(1)[0]
            end = self.cursor.place + length
            if length > self.cursor.left():
                raise self.cursor.damaged("truncated", f"{length} bytes are announced, fewer remain")
            if number in (_ARRAY, _SCALAR):
                self.array(end)
            elif number != _COMPLEX:
                self.strange[f"the extension type {number}"] = None
            self.cursor.place = end
        else:
            if kind == "raw":
                self.strange["raw bytes that are no array"] = None
            self.cursor.skip(length)

    def array(self, end: int) -> None:
        """Check that an array is its shape, its data type and just as many bytes as are left."""
        cursor = self.cursor
        kind, count = self.head()
        if kind != "row" or count != 3:
            raise cursor.damaged("array", "an array that is not three values")
        kind, dimensions = self.head()
        if kind != "row" or dimensions > 64:
            raise cursor.damaged("array", "an array without a shape")
        for _ in range(dimensions):
            kind, width = self.head()
            if kind != "number":
                raise cursor.damaged("array", "a shape that is not made of numbers")
            cursor.skip(width)
        kind, length = self.head()
        name = cursor.take(min(length, 64)).decode("latin-1") if kind == "text" else ""
        if name not in DTYPES:
            self.strange[f"the data type {name!r}"] = None
        kind, length = self.head()
        if kind != "raw" or cursor.place + length != end:
            raise cursor.damaged("array", "an array whose bytes are not what is left of it")
