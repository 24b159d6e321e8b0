"""Tell how a pickle uses names that are harmless in one place only: classes that it may make, bytes that it may carry.

A pickler writes a class right before it makes an object of it: the name, perhaps a note in the memo, an
empty tuple, NEWOBJ. A class that stands anywhere else ends up as an attribute, an item or an argument, from
where it could be called later. In the same way a function that loads bytes stands right before these bytes.
This looks at the opcodes one after the other; what it cannot follow counts as another use.
"""

from __future__ import annotations

from collections.abc import Collection

from weighbridge.formats.pickle_events import PickleBroken
from weighbridge.formats.pickle_ops import decode

_KEEPS = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})
_GETS = frozenset({"BINGET", "LONG_BINGET", "GET"})
_BYTES = frozenset({"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"})
_NAMED = object()
_MADE = (frozenset({"EMPTY_TUPLE"}), frozenset({"NEWOBJ"}))
_CARRIED = (_BYTES, frozenset({"TUPLE1"}), frozenset({"REDUCE"}))


class Reader:
    """One stream, opcode by opcode: texts and wanted names on top of the stack, and those in the memo."""

    def __init__(self, wanted: Collection[tuple[str, str]], after: tuple[frozenset[str], ...]) -> None:
        self.wanted = wanted
        self.after = after
        self.carried: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        """Forget the stream before."""
        self.memo: dict[int, object] = {}
        self.top: list[object] = []
        self.expected: tuple[frozenset[str], ...] = ()

    def follows(self, name: str, value: object) -> bool:
        """Take one opcode; False when it uses a wanted name in another way, or a name cannot be followed."""
        if self.is_note(name, value):
            return True
        if self.expected:
            right = name in self.expected[0]
            if isinstance(value, bytes) and right:
                self.carried.append(value)
            self.expected = self.expected[1:]
            self.top = []
            return right
        if not self.pushed(name, value):
            return False
        if self.is_wanted():
            self.expected = self.after
        return True

    def is_note(self, name: str, value: object) -> bool:
        """Tell whether the opcode keeps the top value in the memo, and keep it."""
        if name not in _KEEPS:
            return False
        index = len(self.memo) if name == "MEMOIZE" else int(str(value))
        self.memo[index] = self.top[-1] if self.top else None
        return True

    def is_wanted(self) -> bool:
        """Tell whether a wanted name lies on top."""
        return bool(self.top) and self.top[-1] is _NAMED

    def pushed(self, name: str, value: object) -> bool:
        """Follow what an opcode leaves on top; False when a name cannot be followed."""
        if name in _GETS:
            self.top.append(self.memo.get(int(str(value))))
        elif isinstance(value, str) and name not in ("GLOBAL", "INST", "PERSID"):
            self.top.append(value)
        elif name == "STACK_GLOBAL":
            parts = self.top[-2:]
            if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
                return False
            self.top = [_NAMED if tuple(parts) in self.wanted else None]
        elif name in ("GLOBAL", "INST"):
            if name == "INST" and value in self.wanted:
                return False
            self.top = [_NAMED if value in self.wanted else None]
        else:
            self.top = []
        return True


def only_made(data: bytes, start: int, end: int, wanted: Collection[tuple[str, str]]) -> bool:
    """Tell whether the streams of `data` from `start` to `end` use the classes `wanted` for nothing but making objects.

    `wanted` holds pairs of module and name. Never raises: what cannot be read counts as another use.
    """
    return walk(data, start, end, Reader(wanted, _MADE))


def carried(data: bytes, start: int, end: int, name: tuple[str, str]) -> list[bytes] | None:
    """Return the bytes that the function `name` is called with, in order; None when it is used in another way."""
    reader = Reader((name,), _CARRIED)
    return reader.carried if walk(data, start, end, reader) else None


def walk(data: bytes, start: int, end: int, reader: Reader) -> bool:
    """Take the opcodes of the streams from `start` to `end`; tell whether the reader could follow all of them."""
    try:
        while start < end:
            reader.begin()
            for op in decode(data, start):
                if not reader.follows(op.name, op.arg):
                    return False
                start = op.end
    except (PickleBroken, ValueError, IndexError):
        return False
    return True
