"""The symbolic machine that names what loading a pickle would do; `pickle_trace` is its door.

It runs one stream on a stack of plain integers, so that memory grows with the memo and not with the
objects described. It resolves each name and reports each call as an event, in order of first occurrence,
whatever happens to its result later: taking a result off the stack again does not hide the call.

Sources for the meaning of each opcode: CPython's Lib/pickle.py, Lib/pickletools.py and Modules/_pickle.c.
Where its two unpicklers differ the machine goes on as long as either of them does, and notes an anomaly.
Names are resolved only when both parts are texts written in the stream; a computed name, a computed
callable, a name from the extension registry and changes to global objects are anomalies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import PickleBroken, Trace

from .pickle_arrays import Arrays
from .pickle_calls import APPEND, INST, NEWOBJ_EX, OBJ, SETITEM
from .pickle_ops import HIGHEST_PROTOCOL, KINDS, LINES, NAMES, WIDTH, argument, loose_number, span, wide
from .pickle_stack import (
    BOOL,
    BYTES,
    DICT,
    EMPTY_TUPLE,
    FLOAT,
    INT,
    LIST,
    NONE,
    OBJECT,
    OTHER,
    RESULT,
    SET,
    STR,
    TRUE,
)

if TYPE_CHECKING:
    from mypy_extensions import i64


def run_trace(data: bytes, start: int, budgets: tuple[int, int, int], joblib: bool) -> Trace:  # noqa: FBT001
    """Run the stream at `start`; `budgets` are opcodes, distinct events and expansion. Raises nothing."""
    first = Machine(data, start, budgets, joblib)
    told = _run(first)
    if not first.crossings:
        return told
    return _with_other_readings(told, first, budgets)


def _run(machine: Machine) -> Trace:
    broken = ""
    end = machine.start
    try:
        end = machine.run()
    except PickleBroken as error:
        broken, end = error.reason, error.pos
    except IndexError:
        broken, end = "the data ends without STOP", machine.size
    events: Any = machine.told_events if machine.row_places else tuple(machine.events)
    # Who keeps a trace keeps what its events are made of, and no more.
    machine.stack, machine.memo, machine.sizes = [], [], []
    return Trace(events, tuple(machine.anomalies), end, broken, machine.spent, arrays=tuple(machine.arrays))


def _with_other_readings(told: Trace, first: Machine, budgets: tuple[int, int, int]) -> Trace:
    """Add the events of the readings in which CPython's C unpickler skips the rest of a frame.

    Where a piece of an opcode crosses the end of a frame it reads on behind the frame when the source is a file
    that cannot peek, and straight on otherwise; each crossing may go either way.
    """
    events = dict.fromkeys(told.events)
    waiting = [first]
    spent = told.spent
    runs = 0
    while waiting:
        machine = waiting.pop()
        for begin, end, frame in machine.crossings:
            runs += 1
            if runs > _MAX_READINGS or len(events) > budgets[1]:
                return told.with_events(tuple(events), spent=True)
            length = (begin - frame).to_bytes(8, "little")
            data = machine.data[: frame - 8] + length + machine.data[frame:begin] + machine.data[end:]
            other = Machine(data, machine.start, budgets, False)
            # What crosses before this place was read both ways already.
            other.crossed = begin
            spent = _run(other).spent or spent
            events.update(dict.fromkeys(other.told_events()))
            waiting.append(other)
    return told.with_events(tuple(events), spent=spent)


# How the loop treats an opcode: the commonest have a class of their own.
_C_RARE: Final = 0
_C_GET: Final = 1
_C_MEMO: Final = 2
_C_TEXT: Final = 3
_C_INT: Final = 4
_C_PUSH: Final = 5
_C_MARK: Final = 6
_C_NEW: Final = 7
_C_FILL: Final = 8
_C_TUPLE: Final = 9
_C_SHORT: Final = 10
_CLASSES: Final[dict[int, tuple[str, ...]]] = {
    _C_PUSH: ("NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_TUPLE"),
    _C_INT: ("BININT", "BININT1", "BININT2"),
    _C_TEXT: ("SHORT_BINUNICODE", "BINUNICODE"),
    _C_MEMO: ("MEMOIZE", "BINPUT", "LONG_BINPUT"),
    _C_GET: ("BINGET", "LONG_BINGET"),
    _C_MARK: ("MARK",),
    _C_NEW: ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
    _C_FILL: ("APPENDS", "SETITEMS", "ADDITEMS"),
    _C_TUPLE: ("TUPLE1", "TUPLE2", "TUPLE3"),
    _C_SHORT: ("REDUCE", "NEWOBJ", "BUILD", "BINPERSID", "TUPLE", "APPEND", "SETITEM", "STACK_GLOBAL"),
}
_PUSHED: Final[dict[str, int]] = {
    "NONE": NONE, "NEWTRUE": TRUE, "NEWFALSE": BOOL, "BINFLOAT": FLOAT, "EMPTY_TUPLE": EMPTY_TUPLE,
    "EMPTY_LIST": LIST, "EMPTY_DICT": DICT, "EMPTY_SET": SET,
}  # fmt: skip
_CLASS_OF: Final[dict[str, int]] = {name: number for number, names in _CLASSES.items() for name in names}
_CLASS: Final[bytes] = bytes([_CLASS_OF.get(NAMES.get(code, ""), _C_RARE) for code in range(256)])
_TOKEN: Final[bytes] = bytes([_PUSHED.get(NAMES.get(code, ""), OTHER) for code in range(256)])
_LENGTH: Final[bytes] = bytes([1 + WIDTH[KINDS.get(code, 0)] for code in range(256)])

# CPython's pickler ends a frame early only for a value of this size, which it then writes outside of frames.
_NUMBERS: Final = ("INT", "LONG", "FLOAT", "GET", "PUT")
_FRAME_TARGET: Final = 64 * 1024
_AFTER_FRAME: Final = b"\x95BX\x8d\x8e\x96"


# The opcodes the machine handles apart from the loop, by number.
_PERSID: Final = 0x50
_BINPERSID: Final = 0x51
_REDUCE: Final = 0x52
_TUPLE: Final = 0x74
_BUILD: Final = 0x62
_GLOBAL: Final = 0x63
_DUP: Final = 0x32
_POP: Final = 0x30
_POP_MARK: Final = 0x31
_STACK_GLOBAL: Final = 0x93
_NEWOBJ: Final = 0x81
_PROTO: Final = 0x80
_FRAME: Final = 0x95
_NEXT_BUFFER: Final = 0x97
_READONLY_BUFFER: Final = 0x98

_CHUNK: Final = 1 << 16
_MAX_READINGS: Final = 32
_MAX_STACK: Final = 4_000_000


_COMPILED: Final = not __file__.endswith(".py")


class Machine(Arrays):
    """The symbolic stack machine: its methods are named after the opcodes they stand for."""

    def __init__(self, data: bytes, start: int, budgets: tuple[int, int, int], joblib: bool) -> None:  # noqa: FBT001
        max_opcodes, max_events, max_expansion = budgets
        super().__init__(data, max_events, max_expansion)
        self.joblib = self.keeping = joblib
        self.opcodes_left: i64 = max_opcodes
        self.start = start
        self.limit: i64 = len(data)
        self.frame_start: i64 = -1
        self.resume: i64 = start
        # Where a frame may begin: after PROTO, after a frame, after a value too large for one.
        self.boundary: i64 = start
        # Where a piece of an opcode crosses the end of its frame: its place, the end and the begin of the frame.
        self.crossings: list[tuple[int, int, int]] = []
        self.crossed: i64 = -1

    def run(self) -> int:
        """Run to STOP and return the offset after it; the budgets are looked at now and then."""
        self.resume = self.start
        while self.opcodes_left > 0 and len(self.stack) < _MAX_STACK:
            count = min(self.opcodes_left, _CHUNK)
            self.opcodes_left -= count
            if self.stretch(count):
                return self.resume
        self.spent = True
        return self.resume

    def stretch(self, count: i64) -> bool:  # noqa: PLR0915  one loop, because a call an opcode costs more than all of it
        """Run `count` opcodes from `resume`; return whether STOP was among them."""
        data, stack, memo, marks, sizes = self.data, self.stack, self.memo, self.marks, self.sizes
        pos: i64 = self.resume
        limit: i64 = self.limit
        floor: i64 = marks[-1]
        dense = not self.sparse
        for _ in range(count):
            code: i64 = data[pos]
            kind: i64 = _CLASS[code]
            end: i64 = pos + _LENGTH[code]
            if end > limit:
                limit = self.over(pos)
                continue
            if kind == _C_GET:
                index: i64 = data[pos + 1] if code == 0x68 else wide(data, pos)  # BINGET
                stack.append(memo[index] if index < len(memo) else self.get(index, pos))
            elif kind == _C_MEMO:
                index = len(memo) if code == 0x94 else data[pos + 1] if code == 0x71 else wide(data, pos)
                if index == len(memo) and dense and len(stack) > floor:
                    memo.append(stack[-1])
                else:
                    self.put(index + len(self.sparse) if code == 0x94 else index, self.top(pos))
                    dense = not self.sparse
            elif kind == _C_TEXT:
                begin: i64 = end
                end += data[pos + 1] if code == 0x8C else wide(data, pos)  # SHORT_BINUNICODE
                if end > limit:
                    limit = self.over(pos)
                    continue
                if end > begin and (data[begin] == 0x5F or not _is_plain(data, begin, end)):
                    self.check_text(pos, data[begin:end])
                stack.append(pos << 4 | STR)
            elif kind in (_C_INT, _C_PUSH):
                stack.append(pos << 4 | INT if kind == _C_INT else _TOKEN[code])
            elif kind == _C_MARK:
                floor = len(stack)
                marks.append(floor)
            elif kind == _C_NEW:
                stack.append(len(sizes) << 4 | _TOKEN[code])
                sizes.append(0)
                self.notes.append(0)
            elif kind == _C_FILL:
                self.put_items(self.pop_items(pos), code, pos, False)
                floor = marks[-1]
            elif kind == _C_TUPLE:
                self.small_tuple(pos, code - 0x84)
            elif kind == _C_SHORT:
                self.resume = end
                self.rare(code, pos, end)
                end, limit, floor = self.resume, self.limit, marks[-1]
            elif code == 0x2E and self.stop(pos):
                return True
            else:
                self.resume = self.rest(pos, limit)
                self.rare(code, pos, self.resume)
                end, limit, floor, dense = self.resume, self.limit, marks[-1], not self.sparse
            pos = end
        self.resume = pos
        return False

    # Frames.

    def over(self, pos: int) -> int:
        """Deal with an opcode that is not whole before `limit`, and return where the data ends for the next try.

        It may begin behind the frame. It may cross the end of the frame: from there on the frame is ignored,
        as CPython's C unpickler does. What crosses the end of the data is broken.
        """
        if pos >= self.size:
            raise PickleBroken(pos, "the data ends without STOP")
        if pos < self.limit:
            self.crosses(self.piece(pos))
            span(self.data, pos)
            self.odd(pos, "frame", "an opcode crosses the end of its frame")
        elif pos == self.frame_end:
            self.boundary = pos
            if self.data[pos] not in _AFTER_FRAME and pos - self.frame_start < _FRAME_TARGET:
                self.odd(pos, "frame", "the frame ends before STOP, and no large value follows")
        self.limit = self.size
        return self.limit

    def rest(self, pos: int, limit: int) -> int:
        """Return where an opcode that the loop does not know itself ends.

        A name in the last line of the data is looked up by the unpickler in Python, less its last character.
        """
        try:
            end = span(self.data, pos)
        except PickleBroken:
            if pos < self.size and self.data[pos] in b"ci":
                self.unended(pos)
            raise
        if end > limit:
            self.over(pos)
        return end

    def unended(self, pos: int) -> None:
        """Report the name of a GLOBAL or INST whose last line does not end."""
        # A slice whose begin lies behind its end is no empty slice to the compiled code.
        last = max(len(self.data) - 1, pos + 1)
        module, _, name = self.data[pos + 1 : last].partition(b"\n")
        opcode = NAMES[self.data[pos]]
        codec = "utf-8" if opcode == "GLOBAL" else "ascii"
        try:
            callee = self.global_of(module.decode(codec), name.decode(codec), opcode, pos)
        except UnicodeDecodeError:
            return
        if opcode == "INST":
            self.called(INST, pos, callee, None)

    def build(self, pos: int, state: int) -> None:
        """BUILD; what is described to numpy or joblib is followed further."""
        super().build(pos, state)
        target = self.top(pos)
        if state & 15 == OBJECT:
            self.unset.discard(state >> 4)
        if target & 15 == RESULT and self.keeping:
            self.random_built(pos, target >> 4, state)
        elif target & 15 == OBJECT:
            behind = self.built(pos, self.resume, target, state)
            if behind >= 0:
                self.resume = self.boundary = behind
                if behind != pos + 1:
                    self.limit, self.frame_end = self.size, -1

    def nested(self, start: int) -> int:
        """Run the pickle that stands in place of an array of objects, as a stream of its own."""
        kept = (self.stack, self.marks, self.memo, self.sparse, self.tainted, self.dunders)
        outer = (self.start, self.limit, self.frame_start, self.frame_end, self.boundary)
        self.stack, self.marks, self.memo, self.sparse = [], [0], [], {}
        self.tainted, self.dunders = set(), set()
        self.start = self.boundary = start
        self.limit, self.frame_start, self.frame_end, self.joblib = self.size, -1, -1, False
        end = self.run()
        self.joblib = True
        self.stack, self.marks, self.memo, self.sparse, self.tainted, self.dunders = kept
        self.start, self.limit, self.frame_start, self.frame_end, self.boundary = outer
        if self.spent:
            raise PickleBroken(end, "more opcodes than the limit allows")
        return end

    def piece(self, pos: int) -> int:
        """Return where the piece of an opcode begins that crosses the end of the frame: a line, a count, what is counted."""
        kind = KINDS.get(self.data[pos], 0)
        begin = pos + 1
        newline = self.data.find(b"\n", begin, self.limit)
        if kind >= LINES:
            return newline + 1 if newline >= 0 else begin
        return begin if begin + WIDTH[kind] > self.limit else begin + WIDTH[kind]

    def crosses(self, begin: int) -> None:
        """Note that what begins here crosses the end of its frame."""
        if self.crossed < begin < self.limit < self.size and len(self.crossings) < _MAX_READINGS:
            self.crossings.append((begin, self.limit, self.frame_start))

    def frame(self, pos: int, end: int) -> None:
        """FRAME: the next bytes stand in a frame."""
        declared = int.from_bytes(self.data[pos + 1 : end], "little")
        length: i64 = min(declared, len(self.data) + 1)  # which may not fit into a machine word before that
        if end < self.frame_end:
            self.odd(pos, "frame", "a frame begins inside a frame")
            if length > self.frame_end - end:
                self.crosses(end)
                self.limit, self.frame_end = self.size, -1
            return
        if pos not in (self.boundary, self.frame_end):
            self.odd(pos, "frame", "a frame begins after opcodes that stand in no frame")
        self.frame_start = end
        if length > self.size - end:
            # CPython's C unpickler stops here; the one in Python reads what there is.
            self.odd(pos, "frame", "a frame is longer than the data")
            length = self.size - end
        self.limit = self.frame_end = end + length

    def stop(self, pos: int) -> bool:
        """STOP: check what is left over; True, as the stream is read."""
        self.pop(pos)
        if self.stack or len(self.marks) > 1:
            self.odd(pos, "leftover", "values are left on the stack at STOP")
        if self.frame_end > pos + 1:
            self.odd(pos, "frame", "the frame goes on after STOP")
        self.resume = pos + 1
        return True

    # Containers.

    def made_tuple(self, items: list[Any], pos: int) -> i64:
        """Make a tuple, and keep its items for a call that follows."""
        token = self.tuple_of(items, pos)
        self.pending, self.pending_items, self.pending_count = token, items, 0
        if self.tainted:
            self.taint(token, items)
        if self.keeping:
            self.keep_shape(token, items)
        return token

    def taint(self, token: int, items: list[Any]) -> None:
        """Note a tuple that holds state with special names."""
        if any(item in self.tainted for item in items):
            self.tainted.add(token)

    def small_tuple(self, pos: int, count: i64) -> None:
        """TUPLE1, TUPLE2 and TUPLE3."""
        stack = self.stack
        if len(stack) - self.marks[-1] < count:
            raise PickleBroken(pos, "the stack is empty")
        third: i64 = stack.pop() if count > 2 else 0
        second: i64 = stack.pop() if count > 1 else 0
        first: i64 = stack[-1]
        token = self.few(count, first, second, third, pos)
        stack[-1] = token
        self.pending, self.pending_count = token, count
        self.pending_first, self.pending_second, self.pending_third = first, second, third
        if self.tainted or self.keeping:
            items = self.items(token) or []
            self.taint(token, items)
            if self.keeping:
                self.keep_shape(token, items)

    def marked(self, code: i64, pos: int) -> i64:
        """LIST, DICT and FROZENSET: a container of what lies above the last MARK."""
        items = self.pop_items(pos)
        kind = LIST if code == 0x6C else DICT if code == 0x64 else SET
        size = self.weigh(items, -1, pos, False)
        token = self.container(kind, size, self.holding << 1)
        if kind == DICT:
            self.check_keys(token, items, pos)
            if self.keeping:
                self.keep_state(token, items, pos)
        elif kind == LIST and self.keeping:
            self.keep_count(token, len(items))
        if self.holding and kind != LIST:
            self.hash_items(items, pos, code)
        return token

    def check_text(self, pos: int, text: bytes) -> None:
        """Check the encoding of a text, and remember the special names that state must not set."""
        if not text.isascii():
            argument(self.data, pos, span(self.data, pos))
        if len(text) > _FRAME_TARGET - 16:
            end = span(self.data, pos)
            self.boundary = end if end - pos > _FRAME_TARGET else self.boundary
        if text[:2] == b"__" and text[-2:] == b"__" and len(text) > 4:
            self.dunders.add(pos << 4 | STR)

    # The other opcodes.

    def rare(self, code: i64, pos: int, end: int) -> None:
        """Do an opcode that the loop does not do itself."""
        stack = self.stack
        if code == _TUPLE:
            stack.append(self.made_tuple(self.pop_items(pos), pos))
        elif code in (_REDUCE, _NEWOBJ, INST, OBJ, NEWOBJ_EX):
            self.acted(code, pos, end)
        elif code in (0x6C, 0x64, 0x91):
            stack.append(self.marked(code, pos))
        elif code in (_BINPERSID, _PERSID):
            self.persistent(code, pos, end)
        elif code == _BUILD:
            self.build(pos, self.pop(pos))
        elif code in (APPEND, SETITEM):
            value = self.pop(pos)
            items: list[Any] = [value] if code == APPEND else [self.pop(pos), value]
            self.put_items(items, code, pos, True)
        elif code in (_STACK_GLOBAL, _GLOBAL, 0x82, 0x83, 0x84):
            stack.append(self.named_by(NAMES[code], pos, end))
        elif code in (_POP, _POP_MARK):
            self.dropped(NAMES[code], pos)
        elif code == _DUP:
            self.odd(pos, "dup", "DUP stands in no pickle that a pickler writes")
            stack.append(self.top(pos))
        elif code in (_PROTO, _FRAME):
            self.framing(NAMES[code], pos, end)
        elif code in (_NEXT_BUFFER, _READONLY_BUFFER):
            self.odd(pos, "buffer", "the stream needs a buffer that is not in the file")
            stack.append(OTHER if code == _NEXT_BUFFER else self.pop(pos))
        else:
            self.literal(NAMES[code], pos, end)

    def literal(self, name: str, pos: int, end: int) -> None:
        """Numbers and texts in their less common spellings, GET and PUT written as text, bytes."""
        if name.endswith("BYTES") or name in ("BINBYTES8", "BYTEARRAY8"):
            self.stack.append(BYTES)
            self.boundary = end if end - pos > _FRAME_TARGET else self.boundary
            return
        if name in ("LONG1", "LONG4"):
            self.stack.append(pos << 4 | INT)
            return
        try:
            value = argument(self.data, pos, end)
        except PickleBroken:
            value = loose_number(name, self.data[pos + 1 : end - 1]) if name in _NUMBERS else None
            if value is None:
                raise
            self.odd(pos, "number", "a number is written as no pickler writes it")
            if name in ("INT", "LONG", "FLOAT"):
                self.stack.append(OTHER)
                return
        if name == "GET":
            self.stack.append(self.get(int(str(value)), pos))
        elif name == "PUT":
            self.put(int(str(value)), self.top(pos))
        elif isinstance(value, str):
            self.check_text(pos, value.encode("utf-8", "surrogatepass"))
            self.stack.append(pos << 4 | STR)
        else:
            self.stack.append(
                TRUE if value is True else BOOL if isinstance(value, bool) else pos << 4 | INT if isinstance(value, int)
                else FLOAT if isinstance(value, float) else BYTES
            )  # fmt: skip

    def framing(self, name: str, pos: int, end: int) -> None:
        """PROTO and FRAME."""
        if name == "FRAME":
            self.frame(pos, end)
            return
        if self.data[pos + 1] > HIGHEST_PROTOCOL:
            raise PickleBroken(pos, f"protocol {self.data[pos + 1]} does not exist")
        self.boundary = end
        if pos != self.start:
            self.odd(pos, "proto", "PROTO stands inside the stream")

    def dropped(self, name: str, pos: int) -> None:
        """POP and POP_MARK."""
        if name == "POP_MARK":
            self.pop_items(pos)
        elif len(self.stack) > self.marks[-1]:
            self.stack.pop()
        else:
            self.pop_items(pos)  # POP takes a MARK away when nothing lies above it, as in CPython


def _is_plain(data: bytes, begin: i64, end: i64) -> bool:
    """Whether a text is ASCII and not so long that it matters to frames."""
    if _COMPILED and end - begin < 32:
        while begin < end:
            if data[begin] > 0x7F:
                return False
            begin += 1
        return True
    return end - begin < _FRAME_TARGET - 16 and data[begin:end].isascii()
