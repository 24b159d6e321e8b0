"""Patterns for names: a small regular-expression language that always matches whole texts, in bounded time.

Python's `re` would search where it should match and can take exponential time; a pattern that guards a signature
may do neither. Read are literals, `.`, classes, groups, `|`, `*`, `+`, `?`, `{m,n}` and escapes: of punctuation,
and d, w and s (ASCII). A `^` at the beginning and a `$` at the end may be written and change nothing.
Matching walks all alternatives side by side (Thompson's construction), so time is length times size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from weighbridge.core.errors import UsageError

MAX_PATTERN = 512
"""Characters."""
MAX_STEPS = 1000
"""Steps of the compiled pattern; repetitions count as often as they repeat."""
MAX_TEXT = 2048
"""Characters; no longer text matches anything."""
MAX_GROUPS = 32
"""Levels of groups."""

Ranges: TypeAlias = tuple[tuple[int, int], ...]

_ANY: Ranges = ((0, 9), (11, 0x10FFFF))
_CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 13), (32, 32)),
}
_MANY = 10**6
_SPECIAL = frozenset("*+?{}()|^$")


@dataclass(frozen=True, slots=True)
class _One:
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class _Row:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    least: int
    most: int


_Node: TypeAlias = _One | _Row | _Choice | _Repeat


@dataclass(frozen=True, slots=True)
class _Step:
    """Either characters to take (`ranges`) on the way to `after`, or several ways on without taking any."""

    ranges: Ranges | None
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. Building one checks it; raises UsageError(expect.pattern)."""

    source: str
    steps: tuple[_Step, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        program = _Program()
        first = program.add(_Parser(self.source).read(), 0)
        object.__setattr__(self, "steps", (*program.steps, _Step(None, (first,))))

    def matches(self, text: str) -> bool:
        """Tell whether the pattern matches the whole text."""
        if len(text) > MAX_TEXT:
            return False
        held = self._reach({len(self.steps) - 1})
        for character in map(ord, text):
            held = self._reach(
                {
                    after
                    for number in held
                    if (ranges := self.steps[number].ranges) is not None
                    and any(low <= character <= high for low, high in ranges)
                    for after in self.steps[number].after
                }
            )
            if not held:
                return False
        return 0 in held

    def _reach(self, numbers: set[int]) -> set[int]:
        """Follow all ways that take no character; step 0 is the end."""
        found, waiting = set(numbers), list(numbers)
        while waiting:
            step = self.steps[waiting.pop()]
            if step.ranges is None:
                new = [number for number in step.after if number not in found]
                found.update(new)
                waiting += new
        return found


class _Program:
    """Steps, each made after those it leads to; number 0 is the end."""

    def __init__(self) -> None:
        self.steps = [_Step(None, ())]
        self.spent = 0

    def add(self, node: _Node, after: int) -> int:
        """Append what matches `node` and goes on at `after`; return where it begins."""
        self.spent += 1
        if self.spent > 10 * MAX_STEPS:  # repetitions of nothing make no steps, and could be nested
            raise _unfit("its repetitions are nested too deeply")
        if isinstance(node, _One):
            return self._step(node.ranges, (after,))
        if isinstance(node, _Row):
            for part in reversed(node.parts):
                after = self.add(part, after)
            return after
        if isinstance(node, _Choice):
            return self._step(None, tuple(self.add(branch, after) for branch in node.branches))
        return self._repeat(node, after)

    def _repeat(self, node: _Repeat, after: int) -> int:
        if node.most >= _MANY:
            loop = self._step(None, (after,))
            inner = self.add(node.part, loop)
            self.steps[loop] = _Step(None, (inner, after))
            after = loop
        else:
            end = after
            for _ in range(node.most - node.least):
                after = self._step(None, (self.add(node.part, after), end))
        for _ in range(node.least):
            after = self.add(node.part, after)
        return after

    def _step(self, ranges: Ranges | None, after: tuple[int, ...]) -> int:
        if len(self.steps) >= MAX_STEPS:
            raise _unfit(f"it stands for more than {MAX_STEPS} steps")
        self.steps.append(_Step(ranges, after))
        return len(self.steps) - 1


class _Parser:
    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATTERN:
            raise _unfit(f"it is longer than {MAX_PATTERN} characters")
        source = source.removeprefix("^")
        bare = source.removesuffix("$")
        escaped = (len(bare) - len(bare.rstrip("\\"))) % 2 == 1
        self.text = source if escaped else bare
        self.at = 0
        self.depth = 0

    def read(self) -> _Node:
        node = self._choice()
        if self.at < len(self.text):
            raise _unfit("a ')' closes nothing")
        return node

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise _unfit("it ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def _choice(self) -> _Node:
        branches = [self._row()]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._row())
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches))

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return _Row(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        bounds = {"*": (0, _MANY), "+": (1, _MANY), "?": (0, 1)}
        mark = self._peek()
        if mark in bounds:
            self.at += 1
            least, most = bounds[mark]
        elif mark == "{":
            least, most = self._bounds()
        else:
            return part
        if (
            self._peek() == "?"
        ):  # "lazy": which way is tried first changes nothing where the whole text must match
            self.at += 1
        if self._peek() in ("*", "+", "?", "{"):
            raise _unfit("a repetition is repeated")
        return _Repeat(part, least, most)

    def _bounds(self) -> tuple[int, int]:
        inner, closed, _ = self.text[self.at + 1 :].partition("}")
        low, comma, high = inner.partition(",")
        numbers = [number for number in (low, high) if number]
        if not closed or not low or not all(one.isascii() and one.isdigit() for one in numbers):
            raise _unfit("a repetition is not {m}, {m,} or {m,n}")
        self.at += len(inner) + 2
        least = int(low)
        most = least if not comma else int(high) if high else _MANY
        if not least <= most or (most != _MANY and most > MAX_STEPS) or least > MAX_STEPS:
            raise _unfit(f"a repetition is out of bounds: {{{inner}}}")
        return least, most

    def _atom(self) -> _Node:
        character = self._next()
        if character == ".":
            return _One(_ANY)
        if character == "[":
            return _One(self._class())
        if character == "(":
            return self._group()
        if character == "\\":
            return _One(self._escape())
        if character in _SPECIAL:
            raise _unfit(
                f"a {character!r} stands where it means nothing; write \\{character} for the character"
            )
        return _One(((ord(character), ord(character)),))

    def _group(self) -> _Node:
        if self._peek() == "?":
            self.at += 1
            if self._next() != ":":
                raise _unfit("of groups with '?' only (?:…) is known")
        self.depth += 1
        if self.depth > MAX_GROUPS:
            raise _unfit("its groups are nested too deeply")
        node = self._choice()
        if self._next() != ")":
            raise _unfit("a group is not closed")
        self.depth -= 1
        return node

    def _class(self) -> Ranges:
        negated = self._peek() == "^"
        self.at += negated
        found: list[tuple[int, int]] = []
        while (character := self._next()) != "]" or not found:
            ranges = self._escape() if character == "\\" else ((ord(character), ord(character)),)
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                ranges = self._range(ranges)
            found += ranges
        return _outside(tuple(found)) if negated else tuple(found)

    def _range(self, low: Ranges) -> Ranges:
        self.at += 1
        character = self._next()
        high = self._escape() if character == "\\" else ((ord(character), ord(character)),)
        if any(first != last for first, last in (*low, *high)):
            raise _unfit("a range in a class is not from one character to another")
        if low[0][0] > high[0][0]:
            raise _unfit("a range in a class runs backwards")
        return ((low[0][0], high[0][0]),)

    def _escape(self) -> Ranges:
        character = self._next()
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return ranges if character.islower() else _outside(ranges)
        if character.isalnum() or not character.isascii():
            raise _unfit(f"the escape \\{character} is not known")
        return ((ord(character), ord(character)),)


def _outside(ranges: Ranges) -> Ranges:
    found, at = [], 0
    for low, high in sorted(ranges):
        if low > at:
            found.append((at, low - 1))
        at = max(at, high + 1)
    return (*found, (at, 0x10FFFF)) if at <= 0x10FFFF else tuple(found)


def _unfit(cause: str) -> UsageError:
    return UsageError(
        "this is not a pattern we can match",
        cause=cause,
        remedy="write literals, ., [a-z], (a|b), *, +, ?, {m,n}; it always has to match the whole name",
        check="expect.pattern",
    )
