"""The stack, the memo and the containers of a symbolic pickle run: values are integers, nothing is built.

A value is its kind in the low four bits and a number above them: the offset of its opcode (texts and
integers), the index of its name (globals and results of calling them) or the number of the container. Of a
container two numbers are kept: its size written out in full, and a note of what it holds. Like
`pickle_ops`, this file keeps to plain annotations so that it can be compiled as it stands: `i64` is a plain
int unless it is, and lists of values are lists of Any so that a value may move without being made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import PickleAnomaly, PickleBroken

if TYPE_CHECKING:
    from mypy_extensions import i64

MAX_ANOMALIES: Final = 100

OTHER: Final = 0
STR: Final = 1
INT: Final = 2
FLOAT: Final = 3
BOOL: Final = 4
TRUE: Final = 1 << 4 | BOOL
NONE: Final = 5
BYTES: Final = 6
GLOBAL: Final = 7
RESULT: Final = 8
LIST: Final = 9
DICT: Final = 10
SET: Final = 11
TUPLE: Final = 12
INTS: Final = 13
PERS: Final = 14
OBJECT: Final = 15
"""A result that is told from others of its name: its number leads to the index of the name."""
KIND_NAMES: Final = (
    "other", "str", "int", "float", "bool", "none", "bytes", "global", "result", "list", "dict", "set",
    "tuple", "ints", "persistent", "result",
)  # fmt: skip
EMPTY_TUPLE: Final = 13

# A note: bit 0 says that the container lies in another one; above it the group of names whose results it
# holds at any depth; above that, for a tuple, the number of its items (9 for more than 8) and their kinds.
_INSIDE: Final = 1
_GROUP_MASK: Final = 0xFFFFF
SHAPE_SHIFT: Final = 21
_SHAPE_ITEMS: Final = 8

ANY_NAME: Final = 1
"""The group that stands for every name called so far."""
_MAX_GROUPS: Final = 4096
_MAX_GROUP: Final = 64
_MAX_UNIONS: Final = 65536

_MAX_LOOPS: Final = 16
_FEW: Final = 8
_USUAL: Final = 63
_MAX_SEARCH: Final = 200
_SMALL_SIZE: Final = 1000
_MOST_EXPANSION: Final = 1_000_000_000


class Stack:
    """What a run keeps of values; the machine that gives opcodes their meaning builds on it."""

    def __init__(self, max_expansion: int) -> None:
        self.max_expansion: i64 = min(max_expansion, _MOST_EXPANSION)
        self.anomalies: list[PickleAnomaly] = []
        self.stack: list[Any] = []
        self.marks: list[int] = [0]
        self.memo: list[Any] = []
        self.sparse: dict[int, int] = {}
        self.objects: list[int] = []
        # Types of numbers that may still be given their state: nothing has used them yet.
        self.unset: set[int] = set()
        # Containers are numbered; the size of one counts shared values each time they are used.
        self.sizes: list[int] = [0]
        self.notes: list[Any] = [0]
        self.usual: list[Any] = [0] * (_USUAL + 1)
        self.groups: list[frozenset[int]] = [frozenset(), frozenset()]
        self.group_of: dict[frozenset[int], int] = {}
        self.alone: dict[int, int] = {}
        self.unions: dict[int, int] = {}
        self.holding: i64 = 0
        self.asked: i64 = -1
        self.answered: i64 = 0
        # What was put into lists that lay in other containers already, whose notes do not tell it.
        self.late = 0
        self.loops = 0

    def odd(self, pos: int, code: str, reason: str) -> None:
        """Note something that no pickler writes."""
        if len(self.anomalies) < MAX_ANOMALIES:
            self.anomalies.append(PickleAnomaly(pos, code, reason))

    # Stack and memo.

    def pop(self, pos: int) -> int:
        """Take the top value off the stack."""
        if len(self.stack) <= self.marks[-1]:
            raise PickleBroken(pos, "the stack is empty")
        token: int = self.stack.pop()
        return token

    def top(self, pos: int) -> int:
        """Return the top value."""
        if len(self.stack) <= self.marks[-1]:
            raise PickleBroken(pos, "the stack is empty")
        token: int = self.stack[-1]
        return token

    def pop_items(self, pos: int) -> list[Any]:
        """Return what lies above the last MARK and take both away."""
        if len(self.marks) == 1:
            raise PickleBroken(pos, "there is no MARK")
        stack = self.stack
        mark = self.marks.pop()
        items = stack[mark:]
        count: i64 = len(items)
        if count > _FEW:
            del stack[mark:]
            return items
        while count > 0:  # cheaper than a slice when there are few
            stack.pop()
            count -= 1
        return items

    def put(self, index: int, token: int) -> None:
        """Keep a value in the memo; indices far above the others are kept apart."""
        if index == len(self.memo):
            self.memo.append(token)
            self.sparse.pop(index, None)
        elif index < len(self.memo):
            self.memo[index] = token
        else:
            self.sparse[index] = token

    def get(self, index: int, pos: int) -> int:
        """Return a value from the memo."""
        if 0 <= index < len(self.memo):
            token: int = self.memo[index]
            return token
        if index not in self.sparse:
            raise PickleBroken(pos, f"the memo holds nothing under {index}")
        return self.sparse[index]

    def result(self, token: int) -> int:
        """Return a result without what tells it from others of its name."""
        return token if token & 15 != OBJECT else self.objects[token >> 4] << 4 | RESULT

    # Containers.

    def container(self, kind: i64, size: i64, note: i64) -> i64:
        """Give a new container a number and return its value."""
        number: i64 = len(self.sizes)
        self.sizes.append(size)
        # Few notes are much used; one that was kept need not be made anew.
        place: i64 = note >> SHAPE_SHIFT & _USUAL
        usual: Any = self.usual[place]
        like: i64 = usual
        if like != note:
            usual = self.usual[place] = note
        self.notes.append(usual)
        return number << 4 | kind

    def weigh(self, items: list[Any], target: i64, pos: int, single: bool) -> i64:  # noqa: FBT001  compiled calls are plain
        """Count `items`, put into `target`, written out in full; leave the group of names they hold in `holding`.

        A container that is being filled itself closes a loop and counts once; -1 says that `target` itself is
        among its items.
        """
        size: i64 = len(items)
        last: i64 = 0
        item: i64
        notes = self.notes
        self.holding = 0
        opened: list[Any] | None = None
        for item in items:
            kind: i64 = item & 15
            if kind < RESULT or item == last or kind == PERS:
                continue
            if kind in (RESULT, OBJECT):
                last = item
                if kind == OBJECT and self.unset:
                    self.unset.discard(item >> 4)
                self.holding = self.union(self.holding, self.group(item))
                continue
            number: i64 = item >> 4
            note: i64 = notes[number]
            if note > _INSIDE:
                self.holding = self.union(self.holding, note >> 1 & _GROUP_MASK)
            if note & _INSIDE == 0 and kind < TUPLE:  # tuples are never filled later
                notes[number] = note + _INSIDE
            if item == target:
                size = -1 - self.max_expansion * len(items)
            more: i64 = self.sizes[number]
            if more > _SMALL_SIZE:
                if opened is None:
                    opened = self.opened(single=single)
                if item in opened:
                    continue
            size += more
            if size > self.max_expansion:
                self.odd(pos, "expansion", "shared containers would grow beyond all measure when written out")
                size = 0
        return size if size >= 0 else -1

    def opened(self, *, single: bool) -> list[Any]:
        """Return the containers that may still be open: below a MARK, or anywhere when filled one by one."""
        found = self.stack if single else [self.stack[mark - 1] for mark in self.marks[-_MAX_SEARCH:] if mark]
        return found[-_MAX_SEARCH:]

    def is_inside(self, token: int) -> bool:
        """Whether the container was put into another one before."""
        return LIST <= token & 15 <= INTS and self.notes[token >> 4] & _INSIDE != 0

    def tuple_of(self, items: list[Any], pos: int) -> i64:
        """Make a tuple; one of nothing but integers has a kind of its own."""
        if not items:
            return EMPTY_TUPLE
        count: i64 = len(items)
        ints = True
        plain = True
        shape: i64 = 0
        item: i64
        for item in items:
            kind: i64 = item & 15
            if kind != INT:
                ints = False
                if kind >= RESULT:
                    plain = False
            if count <= _SHAPE_ITEMS:
                shape = shape << 4 | kind
        size: i64 = count
        note: i64 = 0
        if not plain:
            size = self.weigh(items, -1, pos, False)
            note = self.holding << 1
        if ints:
            return self.container(INTS, size, 0)
        shape = shape << 4 | count if count <= _SHAPE_ITEMS else _SHAPE_ITEMS + 1
        return self.container(TUPLE, size, note | shape << SHAPE_SHIFT)

    def few(self, count: i64, first: i64, second: i64, third: i64, pos: int) -> i64:
        """Make a tuple of one to three values; those not there are 0."""
        shape: i64 = first & 15
        most: i64 = shape
        if count > 1:
            shape = shape << 4 | second & 15
            most = max(most, second & 15)
        if count > 2:
            shape = shape << 4 | third & 15
            most = max(most, third & 15)
        if most >= RESULT:
            return self.tuple_of([first, second, third][:count], pos)
        if shape == 0x222 >> 4 * (3 - count):
            return self.container(INTS, count, 0)
        return self.container(TUPLE, count, (shape << 4 | count) << SHAPE_SHIFT)

    def fill(self, target: i64, items: list[Any], pos: int, single: bool) -> None:  # noqa: FBT001  as weigh
        """Put items into a list, dict or set; other targets only mark what they are given."""
        size: i64 = self.weigh(items, target, pos, single)
        if not LIST <= target & 15 <= SET:
            return
        if size < 0:
            self.loops += 1
            if self.loops == _MAX_LOOPS:
                self.odd(pos, "expansion", "a container is put into itself again and again")
            return
        number = target >> 4
        self.sizes[number] += size
        if self.holding:
            self.hold(number, self.holding)

    def hold(self, number: int, group: int) -> None:
        """Add a group of names to what a container holds."""
        note = self.notes[number]
        old = note >> 1 & _GROUP_MASK
        self.notes[number] = note + ((self.union(old, group) - old) << 1)
        if note & _INSIDE:
            self.late = self.union(self.late, group)

    def shape(self, token: int) -> str:
        """Return the kinds of a tuple's items, separated by spaces; `…` stands for more than eight."""
        note = self.notes[token >> 4] >> SHAPE_SHIFT
        count = note & 15
        if count > _SHAPE_ITEMS:
            return "…"
        return " ".join(KIND_NAMES[note >> 4 * (count - place) & 15] for place in range(count))

    # Groups of names: which calls made what lies in a container, at any depth.

    def group(self, token: i64) -> i64:
        """Return the group of names whose results a value is or holds; 0 for none."""
        kind = token & 15
        if kind in (RESULT, OBJECT):
            if token == self.asked:
                return self.answered
            self.asked = token
            index = self.result(token) >> 4
            number = self.alone.get(index)
            if number is None:
                number = self.alone[index] = self.grouped(frozenset((index,)))
            self.answered = number
            return number
        return self.notes[token >> 4] >> 1 & _GROUP_MASK if LIST <= kind <= INTS else 0

    def grouped(self, members: frozenset[int]) -> int:
        """Return the number of a group."""
        number = self.group_of.get(members)
        if number is not None:
            return number
        if len(members) > _MAX_GROUP or len(self.groups) > _MAX_GROUPS:
            return ANY_NAME
        self.groups.append(members)
        number = self.group_of[members] = len(self.groups) - 1
        return number

    def union(self, one: int, other: int) -> int:
        """Return the group of the names of two groups."""
        if one == other or not other:
            return one
        if not one:
            return other
        if ANY_NAME in (one, other):
            return ANY_NAME
        key = one << 20 | other
        number = self.unions.get(key)
        if number is None:
            if len(self.unions) > _MAX_UNIONS:
                self.unions.clear()
            number = self.unions[key] = self.grouped(self.groups[one] | self.groups[other])
        return number
