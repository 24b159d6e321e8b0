"""What the numbers of an array are: types of numpy as a pickle describes them, held to what numpy itself writes.

numpy believes the state of a `dtype`, and changes the object in place: flags that deny objects, fields that lie
over each other or outside of an element, turn the bytes of an array into addresses. So a type takes its state
once, before anything has used it, and what it is made of does not change after that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import PickleBroken

from .pickle_ops import argument, span
from .pickle_outside import Outside
from .pickle_stack import BOOL, DICT, EMPTY_TUPLE, GLOBAL, INT, INTS, NONE, OBJECT, STR, TRUE, TUPLE

if TYPE_CHECKING:
    from mypy_extensions import i64

_CODE: Final = re.compile(r"(b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[mM]8|O[48]|[SUV][0-9]{1,9})")
_DTYPE_CALLS: Final = ([STR, BOOL, BOOL], [STR, INT, INT])
_RECORDS: Final = (("numpy", "record"), ("numpy.core.records", "record"), ("numpy.rec", "record"))
"""A class in place of a type's code: its size stands in the state alone."""
_ALIGNMENTS: Final = (-1, 1, 2, 4, 8, 16)
# What numpy says of a type: holds references, is pickled as a list, begins as zeros, needs Python to be compared.
_REFERENCES: Final = 1
_LIST: Final = 2
_ZEROED: Final = 8
_PYTHON: Final = 16
_ALIGNED: Final = 128
_FROM_FIELDS: Final = _REFERENCES | _LIST | _ZEROED | _PYTHON
_OBJECT: Final = 63
_TIME_UNITS: Final = ("none tuple", "dict tuple")
"""The kinds of what follows the state of a time: notes, and its unit."""
_MAX_DIMENSIONS: Final = 64
_MAX_SIZE: Final = 1 << 31
_MAX_KEPT: Final = 4096
_MAX_STATE: Final = 256
_MAX_OBJECTS: Final = 200_000
_NEAR_MARK: Final = 4
_MARKS: Final = 200


class Dtypes(Outside):
    """The names of a stream, and the types of numbers it describes."""

    def __init__(self, data: bytes, max_events: int, max_expansion: int) -> None:
        super().__init__(data, max_events, max_expansion)
        # Of each object that is a dtype: (code, endianness, bytes of one element, flags).
        self.dtypes: dict[int, tuple[str, str, int, int]] = {}
        self.dtypes_made = 0
        self.shapes: dict[int, list[Any]] = {}
        # Dicts that may be a state, in two generations: what is not in them and older than `kept_from` is not known whole.
        self.states: dict[int, list[Any]] = {}
        self.older: dict[int, list[Any]] = {}
        self.rotated = 0
        self.counts: dict[int, int] = {}
        # Dicts that a dtype took as its fields: numpy keeps the dict itself.
        self.taken: set[int] = set()
        self.size: i64 = len(data)

    # What is kept while the stream goes on.

    def keep_shape(self, token: int, items: list[Any]) -> None:
        """Keep a tuple that may be the shape of the next array, say where a field of a dtype lies, or name its fields."""
        kind = items[0] & 15 if items else NONE
        field = token & 15 == TUPLE and kind == OBJECT and len(items) in (2, 3)
        named = token & 15 == TUPLE and kind == STR and len(items) <= _MAX_STATE
        if field or named or (token & 15 == INTS and len(items) <= _MAX_DIMENSIONS):
            if len(self.shapes) >= _MAX_KEPT:
                # What stands at the begin of a tuple that is still open stays.
                stack = self.stack
                near = [place for mark in self.marks[-_MARKS:] for place in range(mark, mark + _NEAR_MARK)]
                alive = [stack[place] for place in near if place < len(stack)]
                self.shapes = {kept: self.shapes[kept] for kept in alive if kept in self.shapes}
            self.shapes[token] = items

    def keep_state(self, token: int, items: list[Any], pos: int) -> None:
        """Keep the items of a small dict for as long as it may be the state of the next object."""
        if token & 15 != DICT:
            return
        if token in self.taken:
            self.odd(pos, "dtype-state", "the fields of a number type are changed after it took them")
        if len(self.states) >= _MAX_KEPT:
            self.older, self.states = self.states, {}
            self.kept_from, self.rotated = self.rotated, len(self.sizes)
        known = self.states.get(token)
        if known is None:
            known = self.older.get(token, [])
        self.states[token] = (known + items)[: _MAX_STATE + 1]

    def kept_state(self, token: int) -> list[Any] | None:
        """Return keys and values of a dict; None when not all of them are known."""
        if token & 15 != DICT or token >> 4 < self.kept_from:
            return None
        items = self.states.get(token)
        if items is None:
            items = self.older.get(token, [])
        return items if len(items) <= _MAX_STATE and len(items) & 1 == 0 else None

    def keep_count(self, token: int, count: int) -> None:
        """Count the items of a list for as long as they may be those of the next array of objects."""
        if len(self.counts) >= _MAX_KEPT and token not in self.counts:
            # Those that are still being filled stay.
            alive = {*self.opened(single=False), *self.opened(single=True)}
            self.counts = {kept: number for kept, number in self.counts.items() if kept in alive}
        self.counts[token] = self.counts.get(token, 0) + count

    def integer(self, token: int) -> int | None:
        """Return the value of an integer."""
        if token & 15 != INT:
            return None
        pos = token >> 4
        value = argument(self.data, pos, span(self.data, pos))
        return value if isinstance(value, int) else None

    def sides(self, token: int) -> list[int] | None:
        """Return a shape; None when it is not known, or not one that an array can have."""
        if token == EMPTY_TUPLE:
            return []
        found: list[int] = []
        items = self.shapes.get(token) if token & 15 == INTS else None
        for item in items or ():
            side = self.integer(item)
            if side is None or side < 0:
                return None
            found.append(side)
        return found if items is not None else None

    # numpy.dtype.

    def dtype_of(self, pos: int, number: int, items: list[Any] | None) -> None:
        """Keep what numpy.dtype is called with, when it is a type whose size is known."""
        self.dtypes_made += 1
        if self.dtypes_made > _MAX_OBJECTS:
            raise PickleBroken(pos, "more array types than are kept apart")
        kinds = [item & 15 for item in items or ()]
        if items and kinds[0] == GLOBAL and self.named[items[0] >> 4][:2] in _RECORDS:
            kinds[0] = STR
            self.dtypes[number] = ("V", "", -1, 0)
            self.keep()
        if items is None or kinds not in _DTYPE_CALLS:
            return
        # Without a copy it is the one object that all of numpy uses.
        if items[2] == TRUE or self.integer(items[2]) == 1:
            self.unset.add(number)
        found = _CODE.fullmatch(self.text(items[0]) or "")
        if found:
            code = found.group(0)
            size = int(code[1:]) * (4 if code[0] == "U" else 1)
            self.dtypes[number] = (code, "", size, _OBJECT if code[0] == "O" else 0)
            if code[0] == "V":
                self.keep()

    def dtype_built(self, pos: int, number: int, state: int) -> None:
        """Check the state of a dtype against its code, and that nothing has used it before."""
        known = self.dtypes.pop(number, None)
        checked = None
        if known is not None and number in self.unset:
            checked = self.checked(known, (self.items(state) if state & 15 == TUPLE else None) or [])
        self.unset.discard(number)
        if checked is None and state & 15 not in (TUPLE, INTS):
            return  # not a shape of state that is listed
        if checked is None:
            self.odd(pos, "dtype-state", "the state of a number type is not one that numpy writes for it")
        else:
            self.dtypes[number] = checked

    def checked(self, known: tuple[str, str, int, int], items: list[Any]) -> tuple[str, str, int, int] | None:
        """Return what is known of a dtype once its state is set; None when the state does not fit."""
        code, _, size, native = known
        if len(items) not in (8, 9) or self.integer(items[0]) not in (3, 4):
            return None
        order, flags = self.text(items[1]), self.integer(items[7])
        numbers = [self.integer(items[5]), self.integer(items[6])]
        if order not in ("<", ">", "|", "=") or flags is None or numbers[1] not in _ALIGNMENTS:
            return None
        if not self.are_notes(code, items[8:]):
            return None
        if size < 0 and numbers[0] is not None and 0 < numbers[0] < _MAX_SIZE:
            size = numbers[0]
        if numbers[0] != (size if code[0] in "SUV" else -1):
            return None
        parts = items[2:5]
        if parts == [NONE, NONE, NONE]:
            fits = flags == native or (code[0] == "U" and flags == _ZEROED)
            return (code, order, size, flags) if fits else None
        if code[0] != "V":
            return None
        if parts[0] == NONE:
            inner = self.fields(parts, size)
            fits = inner is not None and (flags & ~_ALIGNED in (inner, inner | _ZEROED))
        else:
            fits = flags == self.repeated(parts, size)
        return (code, order, size, flags) if fits else None

    def are_notes(self, code: str, more: list[Any]) -> bool:
        """Whether what follows the state is what numpy writes there: the unit of a time, notes of a person."""
        if code[0] in "mM":
            return len(more) == 1 and more[0] & 15 == TUPLE and self.shape(more[0]) in _TIME_UNITS
        return not more or more[0] & 15 in (NONE, DICT)

    def fields(self, parts: list[Any], size: int) -> int | None:
        """Return the flags that a type with these fields has at least.

        None when one lies outside of an element, over the objects of another one, or is named only.
        """
        items = self.kept_state(parts[2]) or []
        keys = {self.text(key) for key in items[::2]}
        named = self.shapes.get(parts[1], []) if parts[1] & 15 == TUPLE else []
        names = {self.text(item) for item in named}
        if not names or None in keys or not names <= keys:
            return None
        flags = _PYTHON
        places: list[tuple[int, int, int]] = []
        for place in set(items[1::2]):  # a field that has a title as well stands there twice
            row = self.shapes.get(place)
            if row is None or row[0] & 15 != OBJECT:
                return None
            known, offset = self.dtypes.get(row[0] >> 4), self.integer(row[1])
            if known is None or known[2] < 0 or offset is None or not 0 <= offset <= size - known[2]:
                return None
            places.append((offset, offset + known[2], known[3] & _REFERENCES))
            flags |= known[3] & _FROM_FIELDS
        places.sort()
        end, holds = 0, 0
        for first, last, inner in places:
            if first < end and (inner or holds):
                return None
            end, holds = max(end, last), inner if last > end else holds | inner
        self.taken.add(parts[2])
        return flags

    def repeated(self, parts: list[Any], size: int) -> int | None:
        """Return the flags of a sub-array; None when it is not as large as its type."""
        row = self.shapes.get(parts[0])
        if parts[1:] != [NONE, NONE] or row is None or len(row) != 2 or row[0] & 15 != OBJECT:
            return None
        known = self.dtypes.get(row[0] >> 4)
        side = self.integer(row[1])
        sides = self.sides(row[1]) if side is None else [side]
        if known is None or known[2] < 0 or sides is None:
            return None
        count = known[2]
        for length in sides:
            if length < 0:
                return None
            count *= min(length, _MAX_SIZE)
        return known[3] if count == size else None
