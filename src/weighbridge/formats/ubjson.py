"""Walk over UBJSON, in which XGBoost saves its models: every length is checked, no key stands twice, nothing follows.

Source: the UBJSON specification, draft 12. Nothing is built; numbers in typed arrays are stepped over.
"""

from __future__ import annotations

from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.cursor import Cursor

MAX_DEPTH = 200
MAX_VALUES = 20_000_000
MAX_KEY = 65_536
MAX_KEYS = 500_000
_WIDTH = {b"Z": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_INTEGERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}


class _Open:
    """An object or array that has not ended: `left` counts what is still to come, -1 when it ends by its bracket."""

    __slots__ = ("keys", "left", "type")

    def __init__(self, *, is_object: bool, kind: bytes | None, left: int) -> None:
        self.keys: set[bytes] | None = set() if is_object else None
        self.type = kind
        self.left = left


def read_ubjson(stream: BinaryIO, size: int) -> frozenset[bytes]:
    """Walk over one object of `size` bytes; return its keys. Raises Unreadable (`ubjson.*`) and OutOfBudget."""
    cursor = Cursor(stream, size, check="ubjson", what="UBJSON")
    if cursor.take(1) != b"{":
        raise cursor.damaged("root", "it does not begin with an object")
    root = _enter(cursor, b"{")
    stack, values = [root], 0
    while stack:
        values += 1
        if values > MAX_VALUES:
            raise OutOfBudget(
                f"more than {MAX_VALUES} values", cause="the model asks for more work than a scan may spend on it",
                remedy="use a model of an ordinary size", check="budget.ubjson",
            )  # fmt: skip
        _step(cursor, stack)
    if cursor.left():
        raise cursor.damaged("trailing", f"{cursor.left()} bytes follow the object")
    return frozenset(root.keys or ())


def _step(cursor: Cursor, stack: list[_Open]) -> None:
    """Read one value of the innermost object or array, or its end."""
    top = stack[-1]
    if top.left == 0:
        stack.pop()
        return
    marker = b""
    if top.left < 0 and (marker := cursor.take(1)) in (b"}", b"]"):
        if (marker == b"}") != (top.keys is not None):
            raise cursor.damaged("bracket", "an object or array ends with the bracket of the other")
        stack.pop()
        return
    if top.left > 0:
        top.left -= 1
    if top.keys is not None:
        _key(cursor, top.keys, marker)
        marker = b""
    kind = top.type or marker or cursor.take(1)
    if kind in (b"{", b"["):
        if len(stack) >= MAX_DEPTH:
            raise cursor.damaged("nesting", f"values are nested more than {MAX_DEPTH} deep")
        stack.append(_enter(cursor, kind))
    elif kind in (b"S", b"H"):
        cursor.skip(_length(cursor, cursor.take(1)))
    elif kind in _WIDTH:
        cursor.skip(_WIDTH[kind])
    else:
        raise cursor.damaged("type", f"a value of the unknown type {kind!r}")


def _key(cursor: Cursor, keys: set[bytes], marker: bytes) -> None:
    length = _length(cursor, marker or cursor.take(1))
    if length > MAX_KEY:
        raise cursor.damaged("key", f"a key of {length} bytes")
    key = cursor.take(length)
    if key in keys:
        raise cursor.damaged("duplicate", f"the key {key[:80]!r} stands twice")
    keys.add(key)
    if len(keys) > MAX_KEYS:
        raise OutOfBudget(
            f"more than {MAX_KEYS} keys in one object", cause="the model asks for more work than a scan may spend on it",
            remedy="use a model of an ordinary size", check="budget.ubjson",
        )  # fmt: skip


def _length(cursor: Cursor, marker: bytes) -> int:
    form = _INTEGERS.get(marker)
    value = cursor.number(form) if form else -1
    if value < 0:
        raise cursor.damaged("length", f"a length that is no natural number ({marker!r})")
    return value


def _enter(cursor: Cursor, bracket: bytes) -> _Open:
    """Read the type and count that may open an object or array; step over an array of plain numbers at once."""
    kind: bytes | None = None
    count = -1
    ahead = cursor.take(1)
    if ahead == b"$":
        kind = cursor.take(1)
        ahead = cursor.take(1)
        if ahead != b"#" or kind not in {*_WIDTH, b"S", b"H", b"{", b"["}:
            raise cursor.damaged("type", "a typed container without a count, or of an unknown type")
    if ahead == b"#":
        count = _length(cursor, cursor.take(1))
        if bracket == b"[" and kind in _WIDTH:
            cursor.skip(count * _WIDTH[kind])
            count = 0
        elif count > cursor.left():
            raise cursor.damaged("truncated", f"{count} values are announced, {cursor.left()} bytes remain")
    else:
        cursor.place -= 1
    return _Open(is_object=bracket == b"{", kind=kind, left=count)
