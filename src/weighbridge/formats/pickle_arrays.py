"""Where the raw arrays of a joblib file lie: what the state of each NumpyArrayWrapper announces.

joblib writes an array as a wrapper object and, right behind the BUILD that gives the wrapper its state, the
bytes of the array: with an alignment in the state, first one byte that counts the padding and the padding;
for a dtype that holds objects, a pickle of its own instead (joblib's numpy_pickle.py, `read_array`). So the
few values that decide on the length are kept: dtypes, tuples of integers, the last small dicts. Whatever
is not written the way joblib writes it is refused, because its length would be a guess.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import InlineArray, PickleBroken

from .pickle_calls import NEWOBJ, RECONSTRUCT
from .pickle_ops import argument, span
from .pickle_outside import Outside
from .pickle_stack import (
    BOOL,
    DICT,
    EMPTY_TUPLE,
    GLOBAL,
    INT,
    INTS,
    LIST,
    NONE,
    OBJECT,
    STR,
    TUPLE,
)

if TYPE_CHECKING:
    from mypy_extensions import i64

_WRAPPERS: Final = (
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"),
)
_DTYPE: Final = ("numpy", "dtype")
_CLASSES: Final = (
    "numpy.ndarray", "numpy.matrix", "numpy.memmap", "numpy.core.memmap.memmap", "numpy._core.memmap.memmap",
    "numpy.matrixlib.defmatrix.matrix",
)  # fmt: skip
_CODE: Final = re.compile(r"(b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32)|[mM]8|O[48]|[SUV][0-9]{1,9})")
_NEEDED: Final = frozenset(("subclass", "shape", "order", "dtype", "allow_mmap"))
_ALIGNMENT: Final = "numpy_array_alignment_bytes"
_DTYPE_CALLS: Final = ([STR, BOOL, BOOL], [STR, INT, INT])
_RECORDS: Final = (("numpy", "record"), ("numpy.core.records", "record"), ("numpy.rec", "record"))
"""A class in place of a type's code: its size stands in the state alone."""
_ALIGNMENTS: Final = (-1, 1, 2, 4, 8, 16)
_OBJECT_FLAGS: Final = 1 | 2
_STRUCTURE_FLAGS: Final = 1 | 2 | 8 | 16 | 128
_MAX_DIMENSIONS: Final = 64
_MAX_KEPT: Final = 4096
_MAX_STATE: Final = 256
_MAX_OBJECTS: Final = 200_000


class Arrays(Outside):
    """The names of a stream, and the arrays it announces."""

    def __init__(self, data: bytes, max_events: int, max_expansion: int) -> None:
        super().__init__(data, max_events, max_expansion)
        self.arrays: list[InlineArray] = []
        # Of each object: (code, endianness, bytes of one element, 1 when it holds objects), of a dtype.
        self.dtypes: dict[int, tuple[str, str, int, int]] = {}
        self.fresh: set[int] = set()
        self.shapes: dict[int, list[Any]] = {}
        self.states: dict[int, list[Any]] = {}
        self.counts: dict[int, int] = {}
        # Dtypes whose state was set: numpy sets it once, and what was checked against it must stay.
        self.final: set[int] = set()
        self.kept_from = 0
        self.size: i64 = len(data)
        self.frame_end: i64 = -1

    # What is kept while the stream goes on.

    def keep_shape(self, token: int, items: list[Any]) -> None:
        """Keep a tuple that may be the shape of the next array, or say where a field of a dtype lies."""
        field = token & 15 == TUPLE and len(items) in (2, 3) and items[0] & 15 == OBJECT
        if field or (token & 15 == INTS and len(items) <= _MAX_DIMENSIONS):
            if len(self.shapes) >= _MAX_KEPT:
                self.shapes.clear()
            self.shapes[token] = items

    def keep_state(self, token: int, items: list[Any]) -> None:
        """Keep the items of a small dict for as long as it may be the state of the next array."""
        if token & 15 != DICT:
            return
        if len(self.states) >= _MAX_KEPT:
            self.states.clear()
            self.kept_from = len(self.sizes)
        self.states[token] = (self.states.get(token, []) + items)[: _MAX_STATE + 1]

    def object_of(self, code: i64, pos: int, token: i64, items: list[Any] | None) -> i64:
        """Give the result of a call a number of its own when it is a dtype or a wrapper."""
        index = token >> 4
        name = self.named[index][:2]
        if name != _DTYPE and name not in _WRAPPERS:
            return token
        number = len(self.objects)
        if number > _MAX_OBJECTS:
            raise PickleBroken(pos, "more array types than are kept apart")
        self.objects.append(index)
        if name == _DTYPE:
            self.dtype_of(number, items)
        elif code in (NEWOBJ, RECONSTRUCT) and items == []:
            self.fresh.add(number)
        else:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        return number << 4 | OBJECT

    def keep_count(self, token: int, count: int) -> None:
        """Count the items of a list for as long as they may be those of the next array of objects."""
        if len(self.counts) >= _MAX_KEPT and token not in self.counts:
            # Those that are still being filled stay.
            alive = {*self.opened(single=False), *self.opened(single=True)}
            self.counts = {kept: number for kept, number in self.counts.items() if kept in alive}
        self.counts[token] = self.counts.get(token, 0) + count

    def dtype_of(self, number: int, items: list[Any] | None) -> None:
        """Keep what numpy.dtype is called with, when it is a type whose size is known."""
        kinds = [item & 15 for item in items or ()]
        if items and kinds[0] == GLOBAL and self.named[items[0] >> 4][:2] in _RECORDS:
            kinds[0] = STR
            self.dtypes[number] = ("V", "", -1, 0)
            self.keeping = True
        if items is None or kinds not in _DTYPE_CALLS:
            return
        found = _CODE.fullmatch(self.text(items[0]) or "")
        if found:
            code = found.group(0)
            size = int(code[1:]) * (4 if code[0] == "U" else 1)
            self.dtypes[number] = (code, "", size, int(code[0] == "O"))
            if code[0] == "V":
                self.keeping = True

    # BUILD.

    def built(self, pos: int, end: int, target: int, state: int) -> int:
        """Follow what BUILD does to a dtype or a wrapper; return where the stream goes on."""
        number = target >> 4
        if self.named[self.objects[number]][:2] == _DTYPE:
            self.dtype_built(pos, number, state)
            return end
        if number not in self.fresh:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        self.fresh.discard(number)
        return self.array_at(pos, end, self.wrapper_state(pos, state))

    def dtype_built(self, pos: int, number: int, state: int) -> None:
        """Check the state of a dtype against its code: numpy believes it, and what lies leads outside of arrays.

        Flags that deny objects turn bytes into addresses; fields may lie behind the end of an element.
        """
        known = self.dtypes.pop(number, None)
        checked = None
        if known is not None and number not in self.final:
            checked = self.checked(known, (self.items(state) if state & 15 == TUPLE else None) or [])
        self.final.add(number)
        if checked is None and state & 15 not in (TUPLE, INTS):
            return  # not a shape of state that is listed
        if checked is None:
            self.odd(pos, "dtype-state", "the state of a number type is not one that numpy writes for it")
        else:
            self.dtypes[number] = checked

    def checked(self, known: tuple[str, str, int, int], items: list[Any]) -> tuple[str, str, int, int] | None:
        """Return what is known of a dtype once its state is set; None when the state does not fit."""
        code, _, size, objects = known
        if len(items) not in (8, 9) or self.integer(items[0]) not in (3, 4):
            return None
        order, flags = self.text(items[1]), self.integer(items[7])
        numbers = [self.integer(items[5]), self.integer(items[6])]
        if order not in ("<", ">", "|", "=") or flags is None or numbers[1] not in _ALIGNMENTS:
            return None
        if size < 0 and numbers[0] is not None and 0 < numbers[0] < 1 << 31:
            size = numbers[0]
        if numbers[0] != (size if code[0] in "SUV" else -1):
            return None
        parts = items[2:5]
        if parts == [NONE, NONE, NONE]:
            fits = flags == 63 if objects else flags == 0 or (code[0] == "U" and flags == 8)
            return (code, order, size, objects) if fits else None
        if code[0] != "V":
            return None
        inner = self.fields(parts[2], size) if parts[0] == NONE else self.repeated(parts, size)
        if inner is None or flags & ~_STRUCTURE_FLAGS:
            return None
        if flags & _OBJECT_FLAGS != (_OBJECT_FLAGS if inner else 0):
            return None
        return (code, order, size, inner)

    def fields(self, token: int, size: int) -> int | None:
        """Return 1 when a field holds objects, 0 when none does; None when one lies outside of an element."""
        items = self.states.get(token, []) if token & 15 == DICT and token >> 4 >= self.kept_from else []
        if not items or len(items) > _MAX_STATE or len(items) & 1:
            return None
        objects = 0
        for place in items[1::2]:
            row = self.shapes.get(place)
            if row is None or row[0] & 15 != OBJECT:
                return None
            known, offset = self.dtypes.get(row[0] >> 4), self.integer(row[1])
            if known is None or offset is None or not 0 <= offset <= size - known[2]:
                return None
            self.final.add(row[0] >> 4)
            objects |= known[3]
        return objects

    def repeated(self, parts: list[Any], size: int) -> int | None:
        """Return 1 when a sub-array holds objects, 0 when it does not; None when it is not as large as its type."""
        row = self.shapes.get(parts[0])
        if parts[1:] != [NONE, NONE] or row is None or len(row) != 2 or row[0] & 15 != OBJECT:
            return None
        known = self.dtypes.get(row[0] >> 4)
        if known is None:
            return None
        self.final.add(row[0] >> 4)
        count = known[2]
        for side in [row[1]] if row[1] & 15 == INT else self.shapes.get(row[1], []):
            count *= max(0, self.integer(side) or 0)
        return known[3] if count == size else None

    def array_built(self, pos: int, index: int, state: int) -> None:
        """Check that an array of objects is given as many as its shape says: numpy does not count them."""
        module, name = self.named[index][:2]
        if name not in ("_reconstruct", "_mareconstruct") or not module.startswith("numpy."):
            return
        items = (self.items(state) if state & 15 == TUPLE else None) or []
        lists = [item for item in items if item & 15 == LIST]
        if not lists:
            return
        shape = items[0] if items[0] & 15 != INT else items[1]
        count = 1
        sides = [] if shape == EMPTY_TUPLE else self.shapes.get(shape)
        for side in sides or ():
            length = self.integer(side)
            count *= -1 if length is None else min(length, self.size + 1)
        if sides is None or len(lists) > 1 or self.counts.get(lists[0], 0) != count:
            self.odd(pos, "array-items", "an array of objects is not given as many as its shape says")

    def integer(self, token: int) -> int | None:
        """Return the value of an integer."""
        if token & 15 != INT:
            return None
        pos = token >> 4
        value = argument(self.data, pos, span(self.data, pos))
        return value if isinstance(value, int) else None

    def wrapper_state(self, pos: int, state: int) -> dict[str, int]:
        """Return the attributes a wrapper is given; raises PickleBroken when they are not the ones joblib sets."""
        items = self.states.get(state, []) if state >> 4 >= self.kept_from else []
        found = {self.text(key) or "": value for key, value in zip(items[::2], items[1::2], strict=False)}
        names = frozenset(found)
        if len(found) * 2 != len(items) or names - {_ALIGNMENT} != _NEEDED:
            raise PickleBroken(pos, "an array is announced without saying how long it is")
        return found

    def array_at(self, pos: int, end: int, state: dict[str, int]) -> int:
        """Return the offset behind the array that begins at `end`."""
        if self.frame_end > end:
            raise PickleBroken(pos, "an array is announced in the middle of a frame")
        subclass, order = state["subclass"], self.text(state["order"])
        if subclass & 15 != GLOBAL or ".".join(self.named[subclass >> 4][:2]) not in _CLASSES:
            raise PickleBroken(pos, "an array is announced of a class that is not numpy's")
        if order not in ("C", "F") or state["allow_mmap"] & 15 != BOOL:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        shape = self.shape_of(pos, state["shape"])
        dtype = state["dtype"]
        known = self.dtypes.get(dtype >> 4) if dtype & 15 == OBJECT else None
        if known is None:
            raise PickleBroken(pos, "an array is announced of a type whose size is not known")
        code, endianness, size, objects = known
        if objects:
            begin, behind = end, self.nested(end)
        else:
            begin = self.padded(pos, end, state.get(_ALIGNMENT, NONE))
            behind = begin + self.length(pos, begin, shape, size)
        self.arrays.append(InlineArray(begin, behind - begin, endianness + code, shape, order))
        return behind

    def shape_of(self, pos: int, token: int) -> tuple[int, ...]:
        """Return the shape an array is announced with."""
        items = [] if token == EMPTY_TUPLE else self.shapes.get(token)
        sizes = [self.integer(item) for item in items or ()]
        if items is None or any(size is None or size < 0 for size in sizes):
            raise PickleBroken(pos, "an array is announced without saying how long it is")
        return tuple(size for size in sizes if size is not None)

    def length(self, pos: int, begin: int, shape: tuple[int, ...], size: int) -> int:
        """Return the bytes of an array; raises PickleBroken when the data has fewer."""
        count = size  # a plain integer: the product may be larger than a machine word
        for dimension in shape:
            count *= dimension
        if count > len(self.data) - begin:
            raise PickleBroken(pos, "an array is longer than the data")
        return count

    def padded(self, pos: int, end: int, alignment: int) -> int:
        """Return where the bytes of the array begin, behind the padding."""
        if alignment == NONE:
            return end
        most = self.integer(alignment)
        if most is None or not 1 <= most <= 255:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        padding = self.data[end] if end < self.size else self.size
        begin = end + 1 + padding
        if padding > most or begin > self.size:
            raise PickleBroken(pos, "the padding of an array is longer than its alignment, or than the data")
        if self.data[end + 1 : begin].strip(b"\xff"):
            raise PickleBroken(pos, "the padding of an array holds something")
        return begin

    def nested(self, start: int) -> int:
        """Run the pickle that stands in place of an array; the machine knows how."""
        raise PickleBroken(start, "a pickle stands in place of an array")
