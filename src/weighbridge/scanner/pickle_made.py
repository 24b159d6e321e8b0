"""Tell whether a pickle only makes objects of some classes, or keeps such a class as a value that could be called later.

A pickler writes a class right before it makes an object of it: the name, perhaps a note in the memo, an
empty tuple, NEWOBJ. A class that stands anywhere else ends up as an attribute, an item or an argument. This
looks at the opcodes one after the other; what it cannot follow counts as kept.
"""

from __future__ import annotations

from collections.abc import Collection

from weighbridge.formats.pickle_events import PickleBroken
from weighbridge.formats.pickle_ops import decode

_KEEPS = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"})
_GETS = frozenset({"BINGET", "LONG_BINGET", "GET"})
_CLASS = object()


class _Reader:
    """One stream, opcode by opcode: texts and classes on top of the stack, and those in the memo."""

    def __init__(self, wanted: Collection[tuple[str, str]]) -> None:
        self.wanted = wanted
        self.memo: dict[int, object] = {}
        self.top: list[object] = []
        self.expected: tuple[str, ...] = ()

    def follows(self, name: str, value: object) -> bool:
        """Take one opcode; False when it keeps a wanted class, or a name cannot be followed."""
        if name in _KEEPS:
            index = len(self.memo) if name == "MEMOIZE" else int(str(value))
            self.memo[index] = self.top[-1] if self.top else None
            return True
        if self.expected:
            right = name == self.expected[0]
            self.expected = self.expected[1:]
            self.top = []
            return right
        return self._pushed(name, value)

    def _pushed(self, name: str, value: object) -> bool:
        if name in _GETS:
            self.top.append(self.memo.get(int(str(value))))
        elif isinstance(value, str) and name not in ("GLOBAL", "INST", "PERSID"):
            self.top.append(value)
        elif name == "STACK_GLOBAL":
            parts = self.top[-2:]
            if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
                return False
            self.top = [_CLASS if tuple(parts) in self.wanted else None]
        elif name in ("GLOBAL", "INST"):
            if name == "INST" and value in self.wanted:
                return False
            self.top = [_CLASS if value in self.wanted else None]
        else:
            self.top = []
        if self.top and self.top[-1] is _CLASS:
            self.expected = ("EMPTY_TUPLE", "NEWOBJ")
        return True


def only_made(data: bytes, start: int, end: int, wanted: Collection[tuple[str, str]]) -> bool:
    """Tell whether the streams of `data` from `start` to `end` use the classes `wanted` for nothing but making objects.

    `wanted` holds pairs of module and name. Never raises: what cannot be read counts as kept.
    """
    try:
        while start < end:
            reader = _Reader(wanted)
            for op in decode(data, start):
                if not reader.follows(op.name, op.arg):
                    return False
                start = op.end
    except (PickleBroken, ValueError, IndexError):
        return False
    return True
