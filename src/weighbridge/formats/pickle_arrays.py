"""What a pickle says of arrays: the states that numpy believes, and where the raw arrays of a joblib file lie.

joblib writes an array as a wrapper object and, right behind the BUILD that gives the wrapper its state, the
bytes of the array: with an alignment in the state, first one byte that counts the padding and the padding;
for a dtype that holds objects, a pickle of its own instead (joblib's numpy_pickle.py, `read_array`). So the
few values that decide on the length are kept: dtypes, tuples of integers, the last small dicts. Whatever
is not written the way joblib writes it is refused, because its length would be a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import InlineArray, PickleBroken

from .pickle_calls import ARRAY, DTYPE, NEWOBJ, RANDOM, RECONSTRUCT
from .pickle_dtypes import Dtypes
from .pickle_stack import BOOL, BYTES, GLOBAL, INT, LIST, NONE, OBJECT, RESULT, STR, TUPLE

if TYPE_CHECKING:
    from mypy_extensions import i64

_WRAPPERS: Final = (
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper"),
)
_MASKED: Final = "_mareconstruct"
_CLASSES: Final = (
    "numpy.ndarray", "numpy.matrix", "numpy.memmap", "numpy.core.memmap.memmap", "numpy._core.memmap.memmap",
    "numpy.matrixlib.defmatrix.matrix",
)  # fmt: skip
_NEEDED: Final = frozenset(("subclass", "shape", "order", "dtype", "allow_mmap"))
_ALIGNMENT: Final = "numpy_array_alignment_bytes"
_BYTES_OF: Final = (("_codecs", "encode"), ("builtins", "bytes"), ("__builtin__", "bytes"))
"""How protocols before 3 write bytes."""
_MOST: Final = 1 << 62
_MAX_UNSET: Final = 100_000
_MAX_EMPTY: Final = 4096
_LAST: Final[dict[str | None, int]] = {"pos": 624, "buffer_pos": 4}
"""Where a generator stands in its buffer, at most: numpy reads there without looking."""


class Arrays(Dtypes):
    """The names of a stream, and the arrays it describes or announces."""

    def __init__(self, data: bytes, max_events: int, max_expansion: int) -> None:
        super().__init__(data, max_events, max_expansion)
        self.arrays: list[InlineArray] = []
        self.fresh: set[int] = set()
        # Arrays that were made and have no state yet, and tuples that were seen to be the shape (0,).
        self.blank: set[int] = set()
        self.empty: set[int] = set()
        self.frame_end: i64 = -1

    def object_of(self, code: i64, pos: int, token: i64, items: list[Any] | None) -> i64:
        """Give the result of a call a number of its own when it is a dtype, an array or a wrapper."""
        index = token >> 4
        name = self.named[index][:2]
        special = self.special[index]
        if special not in (DTYPE, ARRAY) and name not in _WRAPPERS:
            return token
        number = len(self.objects)
        self.objects.append(index)
        if special == DTYPE:
            self.dtype_of(pos, number, items)
        elif special == ARRAY:
            self.blank_array(pos, number, items or [])
        elif code in (NEWOBJ, RECONSTRUCT) and items == []:
            self.fresh.add(number)
        else:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        if len(self.blank) + len(self.fresh) > _MAX_UNSET:
            raise PickleBroken(pos, "more arrays without a state than are kept apart")
        return number << 4 | OBJECT

    def blank_array(self, pos: int, number: int, items: list[Any]) -> None:
        """Note an array that is still to be given its state: one of no elements, so that nobody can look into it."""
        self.blank.add(number)
        masked = self.named[self.objects[number]][1] == _MASKED
        shape = items[-2] if len(items) == (4 if masked else 3) else NONE
        if shape in self.empty:
            return
        if self.sides(shape) != [0]:
            self.odd(pos, "array-made", "an array is made with elements before it is given any")
        elif masked and len(self.empty) < _MAX_EMPTY:  # one tuple for all of them; others have their own
            self.empty.add(shape)

    # BUILD.

    def built(self, pos: int, end: int, target: int, state: int) -> int:
        """Follow what BUILD does to an object that has a number.

        Returns where the stream goes on behind an array of joblib; -1 where nothing stands in the stream.
        """
        number = target >> 4
        special = self.special[self.objects[number]]
        if special == DTYPE:
            self.dtype_built(pos, number, state)
            return -1
        if special == ARRAY:
            self.array_built(pos, number, state)
            return -1
        if number not in self.fresh:
            raise PickleBroken(pos, "an array is announced in another way than joblib does")
        self.fresh.discard(number)
        return self.array_at(pos, end, self.wrapper_state(pos, state))

    def array_built(self, pos: int, number: int, state: int) -> None:
        """Check the state of an array: it is given once, for what was seen of the old memory would dangle."""
        if number not in self.blank:
            self.odd(pos, "array-state", "an array is given its state a second time")
        self.blank.discard(number)
        items = (self.items(state) if state & 15 == TUPLE else None) or []
        if state & 15 != TUPLE:
            return  # not a shape of state that is listed
        if items and items[0] & 15 == INT:
            items = items[1:]
        count = 6 if self.named[self.objects[number]][1] == _MASKED else 4
        if len(items) != count or not self.is_content(items[3], self.sides(items[0])):
            self.odd(
                pos, "array-items", "an array is not given as much as its shape says, as numpy writes it"
            )

    def is_content(self, content: int, sides: list[int] | None) -> bool:
        """Whether an array of this shape can be filled with this: numpy counts bytes, but not the items of a list."""
        count = 1
        for side in sides or ():
            count *= side
        if sides is None or count > _MOST:
            return False
        kind = content & 15
        if kind == LIST:
            return self.counts.get(content, 0) == count
        return kind in (BYTES, STR) or (kind == RESULT and self.named[content >> 4][:2] in _BYTES_OF)

    def random_built(self, pos: int, index: int, state: int) -> None:
        """Check the state of one of numpy's generators of random numbers."""
        if self.special[index] != RANDOM or state & 15 == NONE:
            return
        rows = self.items(state) if state & 15 == TUPLE else [state]
        fits = rows is not None
        if (
            rows and rows[0] & 15 == STR
        ):  # before numpy 1.17: name, numbers, place, and what is left of a pair
            fits = len(rows) in (3, 5) and self.is_place("pos", rows[2])
        elif rows:
            fits = self.is_random(rows[0])
        if not fits:
            self.odd(
                pos, "random-state", "the state of a generator of random numbers is not one that numpy writes"
            )

    def is_random(self, token: int, *, inner: bool = False) -> bool:
        """Whether a dict is the state of a generator, or the part of it called so, as far as numpy does not check it."""
        items = self.kept_state(token)
        if items is None:
            return False
        for key, value in zip(items[::2], items[1::2], strict=True):
            text = self.text(key)
            if text is None or (text in _LAST and not self.is_place(text, value)):
                return False
            if text == "state" and not inner and not self.is_random(value, inner=True):
                return False
        return True

    def is_place(self, name: str, token: int) -> bool:
        """Whether a generator can stand there in its buffer."""
        place = self.integer(token)
        return place is not None and 0 <= place <= _LAST[name]

    def wrapper_state(self, pos: int, state: int) -> dict[str, int]:
        """Return the attributes a wrapper is given; raises PickleBroken when they are not the ones joblib sets."""
        items = self.kept_state(state) or []
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
        if known is None or known[2] < 0:
            raise PickleBroken(pos, "an array is announced of a type whose size is not known")
        code, endianness, size, flags = known
        if flags & 1:  # it holds objects
            begin, behind = end, self.nested(end)
        else:
            begin = self.padded(pos, end, state.get(_ALIGNMENT, NONE))
            behind = begin + self.length(pos, begin, shape, size)
        self.arrays.append(InlineArray(begin, behind - begin, endianness + code, shape, order))
        return behind

    def shape_of(self, pos: int, token: int) -> tuple[int, ...]:
        """Return the shape an array is announced with."""
        sides = self.sides(token)
        if sides is None:
            raise PickleBroken(pos, "an array is announced without saying how long it is")
        return tuple(sides)

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
