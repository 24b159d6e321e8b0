"""Name what loading a pickle would do: a symbolic stack machine over the decoded opcodes.

`trace` runs one stream on a stack of plain integers, so that memory grows with the memo and not with the
objects described. It resolves each name and reports each call as an event, in order of first occurrence,
whatever happens to its result later: taking a result off the stack again does not hide the call.

Source for the meaning of each opcode: CPython's Lib/pickletools.py and Modules/_pickle.c. Names are
resolved only when both parts are texts written in the stream; a computed name, a computed callable, a
name from the extension registry and changes to global objects are anomalies. Like `pickle_ops`, this
file keeps to plain annotations so that it can be compiled.
"""

from __future__ import annotations

from array import array
from typing import Final

from weighbridge.formats.pickle_arrays import Arrays
from weighbridge.formats.pickle_events import Trace
from weighbridge.formats.pickle_ops import (
    CODES,
    HIGHEST_PROTOCOL,
    KINDS,
    MAX_OPCODES,
    NAMES,
    WIDTH,
    PickleBroken,
    argument,
    loose_number,
    span,
)
from weighbridge.formats.pickle_stack import (
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
    SET,
    STR,
)

MAX_EVENTS: Final = 200_000
MAX_EXPANSION: Final = 1_000_000_000


def trace(
    data: bytes,
    start: int = 0,
    *,
    max_opcodes: int = MAX_OPCODES,
    max_events: int = MAX_EVENTS,
    max_expansion: int = MAX_EXPANSION,
    joblib: bool = False,
) -> Trace:
    """Run the stream at `start` symbolically; never raises on its content.

    With `joblib` the raw arrays behind joblib's array wrappers are read past, as `joblib.load` does; without
    it the stream is read as `pickle.load` reads it. Raises nothing: what CPython would refuse ends in
    `broken`, with all events up to there.
    """
    machine = _Machine(data, start, (max_opcodes, max_events, max_expansion), joblib=joblib)
    broken = ""
    end = start
    try:
        end = machine.run()
    except PickleBroken as error:
        broken, end = error.reason, error.pos
    except IndexError:
        broken, end = "the data ends inside an opcode", len(data)
    return Trace(
        tuple(machine.events), tuple(machine.anomalies), end, broken, machine.spent, tuple(machine.arrays)
    )


# How the loop treats an opcode: push a constant, push a text, an integer, keep in the memo,
# get from it, MARK, a new container, fill one, anything else.
_C_RARE, _C_PUSH, _C_INT, _C_TEXT, _C_MEMO, _C_GET, _C_MARK, _C_NEW, _C_FILL = range(9)
_CLASSES: Final = {
    _C_PUSH: ("NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_TUPLE"),
    _C_INT: ("BININT", "BININT1", "BININT2"),
    _C_TEXT: ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    _C_MEMO: ("MEMOIZE", "BINPUT", "LONG_BINPUT"),
    _C_GET: ("BINGET", "LONG_BINGET"),
    _C_MARK: ("MARK",),
    _C_NEW: ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
    _C_FILL: ("APPENDS", "SETITEMS", "ADDITEMS"),
}
_PUSHED: Final = {
    "NONE": NONE, "NEWTRUE": BOOL, "NEWFALSE": BOOL, "BINFLOAT": FLOAT, "EMPTY_TUPLE": EMPTY_TUPLE,
    "EMPTY_LIST": LIST, "EMPTY_DICT": DICT, "EMPTY_SET": SET,
}  # fmt: skip
_CLASS: Final = [_C_RARE] * 256
_TOKEN: Final = [OTHER] * 256
_LENGTH: Final = [1 + WIDTH[KINDS.get(code, 0)] for code in range(256)]
for _class, _members in _CLASSES.items():
    for _member in _members:
        _CLASS[CODES[_member]] = _class
for _member, _token in _PUSHED.items():
    _TOKEN[CODES[_member]] = _token

# CPython's pickler ends a frame early only for a value of this size, which it then writes outside of frames.
_NUMBERS: Final = ("INT", "LONG", "FLOAT", "GET", "PUT")
_FRAME_TARGET: Final = 64 * 1024
_AFTER_FRAME: Final = b"\x95BX\x8d\x8e\x96"


class _Machine(Arrays):
    """The symbolic stack machine: its methods are named after the opcodes they stand for."""

    def __init__(self, data: bytes, start: int, budgets: tuple[int, int, int], *, joblib: bool) -> None:
        self.max_opcodes, max_events, max_expansion = budgets
        super().__init__(data, max_events, max_expansion, joblib=joblib)
        self.start = start
        self.limit = len(data)
        self.frame_start = -1
        self.resume = start
        # Where a frame may begin: after PROTO, after a frame, after a value too large for one.
        self.boundary = start

    def run(self) -> int:
        """Run to STOP and return the offset after it; the common opcodes are handled in the loop itself."""
        data, stack, memo, sparse, marks = self.data, self.stack, self.memo, self.sparse, self.marks
        limit, pos = self.limit, self.start
        while self.max_opcodes > 0:
            self.max_opcodes -= 1
            if pos >= limit:
                limit = self.unframed(pos)
            code = data[pos]
            kind = _CLASS[code]
            end = pos + _LENGTH[code]
            if end > limit:
                limit = self.overrun(pos)
                continue
            if kind == _C_TEXT:
                begin = end
                end += int.from_bytes(data[pos + 1 : begin], "little")
                if end > limit:
                    limit = self.overrun(pos)
                    continue
                text = data[begin:end]
                if text[:2] == b"__" or end - pos > _FRAME_TARGET or not text.isascii():
                    self.check_text(pos, text)
                stack.append(pos << 4 | STR)
            elif kind == _C_MEMO:
                index = len(memo) if code == 0x94 else int.from_bytes(data[pos + 1 : end], "little")
                if index == len(memo) and len(stack) > marks[-1] and not sparse:
                    memo.append(stack[-1])
                else:
                    self.put(index + len(sparse) if code == 0x94 else index, self.top(pos))
            elif kind == _C_INT:
                stack.append(pos << 4 | INT)
            elif kind == _C_PUSH:
                stack.append(_TOKEN[code])
            elif kind == _C_GET:
                index = int.from_bytes(data[pos + 1 : end], "little")
                stack.append(memo[index] if index < len(memo) else self.get(index, pos))
            elif kind == _C_MARK:
                marks.append(len(stack))
            elif kind == _C_NEW:
                stack.append(self.container(_TOKEN[code], 0.0, 0))
            elif kind == _C_FILL:
                self.put_items(self.pop_items(pos), NAMES[code], pos, single=False)
            else:
                end = self.rest(pos, limit)
                if code == 0x2E:
                    return self.stop(pos)
                self.resume = end
                self.rare(code, pos, end)
                end, limit = self.resume, self.limit
            pos = end
        self.spent = True
        return pos

    # Frames.

    def unframed(self, pos: int) -> int:
        if pos >= self.size:
            raise PickleBroken(pos, "the data ends without STOP")
        if pos == self.frame_end:
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
            self.overrun(pos)
        return end

    def unended(self, pos: int) -> None:
        """Report the name of a GLOBAL or INST whose last line does not end."""
        module, _, name = self.data[pos + 1 : -1].partition(b"\n")
        opcode = NAMES[self.data[pos]]
        codec = "utf-8" if opcode == "GLOBAL" else "ascii"
        try:
            callee = self.global_of(module.decode(codec), name.decode(codec), opcode, pos)
        except UnicodeDecodeError:
            return
        if opcode == "INST":
            self.called(opcode, pos, callee, None)

    def build(self, pos: int, state: int) -> None:
        """BUILD; a dtype or an array wrapper of joblib is followed further."""
        super().build(pos, state)
        target = self.top(pos)
        if target & 15 == OBJECT:
            self.resume = self.boundary = self.built(pos, self.resume, target, state)
            if self.resume != pos + 1:
                self.limit, self.frame_end = self.size, -1

    def nested(self, start: int) -> int:
        """Run the pickle that stands in place of an array of objects, as a stream of its own."""
        kept = (self.stack, self.marks, self.memo, self.sparse, self.tainted, self.dunders)
        outer = (self.start, self.limit, self.frame_start, self.frame_end, self.boundary)
        self.stack, self.marks, self.memo, self.sparse = [], [0], array("q"), {}
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

    def overrun(self, pos: int) -> int:
        """Note an opcode that crosses the end of its frame, or raise when it crosses the end of the data.

        From here on the frame is ignored, as CPython's C unpickler does.
        """
        span(self.data, pos)
        self.odd(pos, "frame", "an opcode crosses the end of its frame")
        self.limit = self.size
        return self.limit

    def frame(self, pos: int, end: int) -> None:
        length = int.from_bytes(self.data[pos + 1 : end], "little")
        if end < self.frame_end:
            self.odd(pos, "frame", "a frame begins inside a frame")
        elif pos not in (self.boundary, self.frame_end):
            self.odd(pos, "frame", "a frame begins after opcodes that stand in no frame")
        self.frame_start = end
        if length > self.size - end:
            # CPython's C unpickler stops here; the one in Python reads what there is.
            self.odd(pos, "frame", "a frame is longer than the data")
            length = self.size - end
        self.limit = self.frame_end = end + length

    def stop(self, pos: int) -> int:
        self.pop(pos)
        if self.stack or len(self.marks) > 1:
            self.odd(pos, "leftover", "values are left on the stack at STOP")
        if self.frame_end > pos + 1:
            self.odd(pos, "frame", "the frame goes on after STOP")
        return pos + 1

    # Containers.

    def made_tuple(self, items: list[int], pos: int) -> int:
        token = self.tuple_of(items, pos)
        if self.tainted and any(item in self.tainted for item in items):
            self.tainted.add(token)
        self.pending, self.pending_items = token, items
        if self.joblib:
            self.keep_shape(token, items)
        return token

    def small_tuple(self, pos: int, count: int) -> int:
        stack = self.stack
        if len(stack) - self.marks[-1] < count:
            raise PickleBroken(pos, "the stack is empty")
        items = stack[-count:]
        del stack[-count:]
        return self.made_tuple(items, pos)

    def marked(self, name: str, pos: int) -> int:
        """LIST, DICT, TUPLE and FROZENSET: a container of what lies above the last MARK."""
        items = self.pop_items(pos)
        if name == "TUPLE":
            return self.made_tuple(items, pos)
        kind = LIST if name == "LIST" else DICT if name == "DICT" else SET
        size = self.weigh(items, pos, single=False)
        token = self.container(kind, size, self.holding << 1)
        if name == "DICT":
            self.check_keys(token, items, pos)
            if self.joblib:
                self.keep_state(token, items)
        if self.holding and name != "LIST":
            self.hash_items(items, name, pos)
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

    def rare(self, code: int, pos: int, end: int) -> None:
        name = NAMES[code]
        stack = self.stack
        if 0x85 <= code <= 0x87:
            stack.append(self.small_tuple(pos, code - 0x84))
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            stack.append(self.marked(name, pos))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD"):
            self.acted(name, pos, end)
        elif name in ("APPEND", "SETITEM"):
            value = self.pop(pos)
            items = [value] if name == "APPEND" else [self.pop(pos), value]
            self.put_items(items, name, pos, single=True)
        elif name in ("GLOBAL", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            stack.append(self.named_by(name, pos, end))
        elif name in ("PERSID", "BINPERSID"):
            self.persistent(name, pos, end)
        elif name in ("POP", "POP_MARK"):
            self.dropped(name, pos)
        elif name == "DUP":
            self.odd(pos, "dup", "DUP stands in no pickle that a pickler writes")
            stack.append(self.top(pos))
        elif name in ("PROTO", "FRAME"):
            self.framing(name, pos, end)
        elif name in ("NEXT_BUFFER", "READONLY_BUFFER"):
            self.odd(pos, "buffer", "the stream needs a buffer that is not in the file")
            stack.append(OTHER if name == "NEXT_BUFFER" else self.pop(pos))
        else:
            self.literal(name, pos, end)

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
                BOOL if isinstance(value, bool) else pos << 4 | INT if isinstance(value, int)
                else FLOAT if isinstance(value, float) else BYTES
            )  # fmt: skip

    def framing(self, name: str, pos: int, end: int) -> None:
        if name == "FRAME":
            self.frame(pos, end)
            return
        if self.data[pos + 1] > HIGHEST_PROTOCOL:
            raise PickleBroken(pos, f"protocol {self.data[pos + 1]} does not exist")
        self.boundary = end
        if pos != self.start:
            self.odd(pos, "proto", "PROTO stands inside the stream")

    def dropped(self, name: str, pos: int) -> None:
        if name == "POP_MARK":
            self.pop_items(pos)
        elif len(self.stack) > self.marks[-1]:
            self.stack.pop()
        else:
            self.pop_items(pos)  # POP takes a MARK away when nothing lies above it, as in CPython
