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

from weighbridge.formats.pickle_events import Arg, Event, PickleAnomaly, Trace
from weighbridge.formats.pickle_ops import (
    CODES,
    HIGHEST_PROTOCOL,
    KINDS,
    MAX_OPCODES,
    NAMES,
    WIDTH,
    PickleBroken,
    argument,
    span,
)

MAX_EVENTS: Final = 200_000
MAX_EXPANSION: Final = 1_000_000_000
MAX_ANOMALIES: Final = 100


def trace(
    data: bytes,
    start: int = 0,
    *,
    max_opcodes: int = MAX_OPCODES,
    max_events: int = MAX_EVENTS,
    max_expansion: int = MAX_EXPANSION,
) -> Trace:
    """Run the stream at `start` symbolically; never raises on its content.

    Raises nothing: what CPython would refuse ends in `broken`, with all events up to there.
    """
    machine = _Machine(data, start, max_opcodes, max_events, max_expansion)
    broken = ""
    end = start
    try:
        end = machine.run()
    except PickleBroken as error:
        broken, end = error.reason, error.pos
    except IndexError:
        broken, end = "the data ends inside an opcode", len(data)
    return Trace(tuple(machine.events), tuple(machine.anomalies), end, broken, machine.spent)


# A stack item is an integer: kind in the low four bits, above them the offset of its opcode (strings, integers), the
# index of the name (globals, and results of calling them) or the number of the container.
(
    _OTHER,
    _STR,
    _INT,
    _FLOAT,
    _BOOL,
    _NONE,
    _BYTES,
    _GLOBAL,
    _RESULT,
    _LIST,
    _DICT,
    _SET,
    _TUPLE,
    _INTS,
    _PERS,
) = range(15)
_KIND_NAMES: Final = (
    "other", "str", "int", "float", "bool", "none", "bytes", "global", "result", "list", "dict", "set",
    "tuple", "ints", "persistent",
)  # fmt: skip
_EMPTY_TUPLE: Final = _INTS

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
    "NONE": _NONE, "NEWTRUE": _BOOL, "NEWFALSE": _BOOL, "BINFLOAT": _FLOAT, "EMPTY_TUPLE": _EMPTY_TUPLE,
    "EMPTY_LIST": _LIST, "EMPTY_DICT": _DICT, "EMPTY_SET": _SET,
}  # fmt: skip
_CLASS: Final = [_C_RARE] * 256
_TOKEN: Final = [_OTHER] * 256
_LENGTH: Final = [1 + WIDTH[KINDS.get(code, 0)] for code in range(256)]
for _class, _members in _CLASSES.items():
    for _member in _members:
        _CLASS[CODES[_member]] = _class
for _member, _token in _PUSHED.items():
    _TOKEN[CODES[_member]] = _token

# CPython's pickler ends a frame early only for a value of this size, which it then writes outside of frames.
_FRAME_TARGET: Final = 64 * 1024
_AFTER_FRAME: Final = b"\x95BX\x8d\x8e\x96"

_MAX_LOOPS: Final = 16
_MAX_SEARCH: Final = 200
_SMALL_SIZE: Final = 1000.0
_SHORT_TEXT: Final = 64


class _Machine:
    """The symbolic stack machine: its methods are named after the opcodes they stand for."""

    def __init__(
        self, data: bytes, start: int, max_opcodes: int, max_events: int, max_expansion: int
    ) -> None:
        self.data = data
        self.start = start
        self.size = len(data)
        self.limit = len(data)
        self.frame_start = self.frame_end = -1
        # Where a frame may begin: after PROTO, after a frame, after a value too large for one.
        self.boundary = start
        self.max_opcodes = max_opcodes
        self.max_events = max_events
        self.max_expansion = max_expansion
        self.spent = False
        self.events: list[Event] = []
        self.anomalies: list[PickleAnomaly] = []
        self.seen: set[tuple[object, ...]] = set()
        self.names: dict[tuple[str, str], int] = {}
        self.named: list[tuple[str, str, int, str]] = []
        self.stack: list[int] = []
        self.marks: list[int] = [0]
        self.memo = array("q")
        self.sparse: dict[int, int] = {}
        # Containers are numbered; the size of one counts shared values each time they are used.
        self.sizes = array("d", [0.0])
        self.loops = 0
        self.dunders: set[int] = set()
        self.tainted: set[int] = set()
        self.pending = -1
        self.pending_items: list[int] = []

    def run(self) -> int:
        """Run to STOP and return the offset after it; the common opcodes are handled in the loop itself."""
        data, stack, memo, sparse, marks = self.data, self.stack, self.memo, self.sparse, self.marks
        limit, pos = self.limit, self.start
        for _ in range(self.max_opcodes):
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
                stack.append(pos << 4 | _STR)
            elif kind == _C_MEMO:
                index = len(memo) if code == 0x94 else int.from_bytes(data[pos + 1 : end], "little")
                if index == len(memo) and len(stack) > marks[-1] and not sparse:
                    memo.append(stack[-1])
                else:
                    self.put(index + len(sparse) if code == 0x94 else index, self.top(pos))
            elif kind == _C_INT:
                stack.append(pos << 4 | _INT)
            elif kind == _C_PUSH:
                stack.append(_TOKEN[code])
            elif kind == _C_GET:
                index = int.from_bytes(data[pos + 1 : end], "little")
                stack.append(memo[index] if index < len(memo) else self.get(index, pos))
            elif kind == _C_MARK:
                marks.append(len(stack))
            elif kind == _C_NEW:
                stack.append(self.container(_TOKEN[code], 0.0))
            elif kind == _C_FILL:
                self.fill(code, pos)
            else:
                end = span(data, pos)
                if end > limit:
                    self.overrun(pos)
                if code == 0x2E:
                    return self.stop(pos)
                self.rare(code, pos, end)
                limit = self.limit
            pos = end
        self.spent = True
        return pos

    def odd(self, pos: int, code: str, reason: str) -> None:
        if len(self.anomalies) < MAX_ANOMALIES:
            self.anomalies.append(PickleAnomaly(pos, code, reason))

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
            raise PickleBroken(pos, "a frame is longer than the data")
        self.limit = self.frame_end = end + length

    def stop(self, pos: int) -> int:
        self.pop(pos)
        if self.stack or len(self.marks) > 1:
            self.odd(pos, "leftover", "values are left on the stack at STOP")
        if self.frame_end > pos + 1:
            self.odd(pos, "frame", "the frame goes on after STOP")
        return pos + 1

    # Stack and memo.

    def pop(self, pos: int) -> int:
        if len(self.stack) <= self.marks[-1]:
            raise PickleBroken(pos, "the stack is empty")
        return self.stack.pop()

    def top(self, pos: int) -> int:
        if len(self.stack) <= self.marks[-1]:
            raise PickleBroken(pos, "the stack is empty")
        return self.stack[-1]

    def pop_items(self, pos: int) -> list[int]:
        """Return what lies above the last MARK and take both away."""
        if len(self.marks) == 1:
            raise PickleBroken(pos, "there is no MARK")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def put(self, index: int, token: int) -> None:
        if index == len(self.memo):
            self.memo.append(token)
            self.sparse.pop(index, None)
        elif index < len(self.memo):
            self.memo[index] = token
        else:
            self.sparse[index] = token

    def get(self, index: int, pos: int) -> int:
        if index < len(self.memo):
            return self.memo[index]
        if index not in self.sparse:
            raise PickleBroken(pos, f"the memo holds nothing under {index}")
        return self.sparse[index]

    # Containers.

    def container(self, kind: int, size: float) -> int:
        self.sizes.append(size)
        return (len(self.sizes) - 1) << 4 | kind

    def size_of(self, items: list[int], pos: int, *, single: bool = False) -> float:
        """Count `items` written out in full; one that is being filled itself closes a loop and counts once."""
        size = float(len(items))
        opened: list[int] | None = None
        for item in items:
            if _LIST <= item & 15 <= _INTS:
                more = self.sizes[item >> 4]
                if more > _SMALL_SIZE:
                    if opened is None:
                        opened = self.opened(single=single)
                    if item in opened:
                        continue
                size += more
        if size > self.max_expansion:
            self.odd(pos, "expansion", "shared containers would grow beyond all measure when written out")
            return 0.0
        return size

    def opened(self, *, single: bool) -> list[int]:
        """Return the containers that may still be open: below a MARK, or anywhere when filled one by one."""
        found = self.stack if single else [self.stack[mark - 1] for mark in self.marks if mark]
        return found[-_MAX_SEARCH:]

    def tuple_of(self, items: list[int], pos: int) -> int:
        kind = _INTS
        for item in items:
            if item & 15 != _INT:
                kind = _TUPLE
                break
        token = self.container(kind, self.size_of(items, pos)) if items else _EMPTY_TUPLE
        if self.tainted and any(item in self.tainted for item in items):
            self.tainted.add(token)
        self.pending, self.pending_items = token, items
        return token

    def small_tuple(self, pos: int, count: int) -> int:
        stack = self.stack
        if len(stack) - self.marks[-1] < count:
            raise PickleBroken(pos, "the stack is empty")
        items = stack[-count:]
        del stack[-count:]
        return self.tuple_of(items, pos)

    def marked(self, code: int, pos: int) -> int:
        """LIST, DICT, TUPLE and FROZENSET: a container of what lies above the last MARK."""
        items = self.pop_items(pos)
        if code == 0x74:
            return self.tuple_of(items, pos)
        kind = _LIST if code == 0x6C else _DICT if code == 0x64 else _SET
        token = self.container(kind, self.size_of(items, pos))
        if code == 0x64:
            self.check_keys(token, items, pos)
        return token

    def fill(self, code: int, pos: int) -> None:
        """Do APPENDS, SETITEMS or ADDITEMS: put what lies above the last MARK into what lies below it."""
        self.filled(self.pop_items(pos), pairs=code == 0x75, pos=pos, single=False)

    def filled(self, items: list[int], *, pairs: bool, pos: int, single: bool) -> None:
        target = self.top(pos)
        kind = target & 15
        if kind == _GLOBAL:
            self.odd(pos, "global-changed", "items are put into a global object")
        elif kind not in (_LIST, _DICT, _SET, _RESULT):
            self.odd(pos, "target", "items are put into something that takes none")
        if pairs:
            self.check_keys(target, items, pos)
        if target in items:
            self.loops += 1
            if self.loops == _MAX_LOOPS:
                self.odd(pos, "expansion", "a container is put into itself again and again")
        elif _LIST <= kind <= _SET:
            self.sizes[target >> 4] += self.size_of(items, pos, single=single)

    def check_keys(self, target: int, items: list[int], pos: int) -> None:
        if len(items) % 2:
            raise PickleBroken(pos, "a key has no value")
        if self.dunders and any(key in self.dunders for key in items[::2]):
            self.tainted.add(target)

    def check_text(self, pos: int, text: bytes) -> None:
        """Check the encoding of a text, and remember the special names that state must not set."""
        if not text.isascii():
            argument(self.data, pos, span(self.data, pos))
        if len(text) > _FRAME_TARGET - 16:
            end = span(self.data, pos)
            self.boundary = end if end - pos > _FRAME_TARGET else self.boundary
        if text[:2] == b"__" and text[-2:] == b"__" and len(text) > 4:
            self.dunders.add(pos << 4 | _STR)

    # The other opcodes.

    def rare(self, code: int, pos: int, end: int) -> None:
        name = NAMES[code]
        stack = self.stack
        if 0x85 <= code <= 0x87:
            stack.append(self.small_tuple(pos, code - 0x84))
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            stack.append(self.marked(code, pos))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD"):
            self.acted(name, pos, end)
        elif name in ("APPEND", "SETITEM"):
            value = self.pop(pos)
            items = [value] if name == "APPEND" else [self.pop(pos), value]
            self.filled(items, pairs=name == "SETITEM", pos=pos, single=True)
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
            stack.append(_OTHER if name == "NEXT_BUFFER" else self.pop(pos))
        else:
            self.literal(name, pos, end)

    def literal(self, name: str, pos: int, end: int) -> None:
        """Numbers and texts in their less common spellings, GET and PUT written as text, bytes."""
        if name.endswith("BYTES") or name in ("BINBYTES8", "BYTEARRAY8"):
            self.stack.append(_BYTES)
            self.boundary = end if end - pos > _FRAME_TARGET else self.boundary
            return
        if name in ("LONG1", "LONG4"):
            self.stack.append(pos << 4 | _INT)
            return
        value = argument(self.data, pos, end)
        if name == "GET":
            self.stack.append(self.get(int(str(value)), pos))
        elif name == "PUT":
            self.put(int(str(value)), self.top(pos))
        elif isinstance(value, str):
            self.check_text(pos, value.encode("utf-8", "surrogatepass"))
            self.stack.append(pos << 4 | _STR)
        else:
            self.stack.append(
                _BOOL if isinstance(value, bool) else pos << 4 | _INT if isinstance(value, int)
                else _FLOAT if isinstance(value, float) else _BYTES
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

    # Names and calls.

    def text(self, token: int) -> str | None:
        """Return the text of a string item."""
        if token & 15 != _STR:
            return None
        pos = token >> 4
        value = argument(self.data, pos, span(self.data, pos))
        return value if isinstance(value, str) else None

    def named_by(self, opcode: str, pos: int, end: int) -> int:
        """Resolve a name, report it, and return its item."""
        if opcode == "STACK_GLOBAL":
            name, module = self.text(self.pop(pos)), self.text(self.pop(pos))
            if name is None or module is None:
                self.odd(pos, "computed-name", "the name of a global is computed, not written out")
                return _OTHER
            return self.global_of(module, name, opcode, pos)
        value = argument(self.data, pos, end)
        if isinstance(value, tuple):
            return self.global_of(str(value[0]), str(value[1]), opcode, pos)
        self.odd(pos, "extension", f"the name comes from the extension registry (code {value})")
        return _OTHER

    def global_of(self, module: str, name: str, opcode: str, pos: int) -> int:
        index = self.names.get((module, name))
        if index is None:
            index = self.names[module, name] = len(self.named)
            self.named.append((module, name, pos, opcode))
            self.report(Event("global", opcode, pos, module, name, None, pos, opcode))
        return index << 4 | _GLOBAL

    def acted(self, name: str, pos: int, end: int) -> None:
        """REDUCE, NEWOBJ, NEWOBJ_EX, OBJ, INST and BUILD: everything that runs code."""
        if name == "BUILD":
            self.build(pos)
            return
        items: list[int] | None
        if name == "INST":
            items = self.pop_items(pos)
            callee = self.named_by(name, pos, end)
        elif name == "OBJ":
            items = self.pop_items(pos)
            if not items:
                raise PickleBroken(pos, "the stack is empty")
            callee = items.pop(0)
        else:
            keywords = self.pop(pos) if name == "NEWOBJ_EX" else None
            arguments = self.pop(pos)
            items = self.items(arguments) if keywords is None else None
            callee = self.pop(pos)
        self.stack.append(self.called(name, pos, callee, items))

    def items(self, token: int) -> list[int] | None:
        """Return what an argument tuple holds, when it was built right before."""
        if token == _EMPTY_TUPLE:
            return []
        return self.pending_items if token == self.pending else None

    def called(self, opcode: str, pos: int, callee: int, items: list[int] | None) -> int:
        if callee & 15 != _GLOBAL:
            self.odd(pos, "computed-call", "something is called that is not a name written in the stream")
            return _OTHER
        self.happened("call", opcode, pos, callee >> 4, items)
        return callee & ~15 | _RESULT

    def build(self, pos: int) -> None:
        state = self.pop(pos)
        target = self.top(pos)
        kind = target & 15
        if state in self.tainted:
            self.odd(pos, "special-state", "the state of an object sets special names (__…__)")
        if kind == _RESULT:
            self.happened("build", "BUILD", pos, target >> 4, [state])
        elif kind == _GLOBAL:
            self.odd(pos, "global-changed", "state is set on a global object")
        else:
            self.odd(pos, "target", "state is set on something that takes none")

    def persistent(self, opcode: str, pos: int, end: int) -> None:
        if opcode == "PERSID":
            args: tuple[Arg, ...] = (Arg("str", str(argument(self.data, pos, end))),)
        else:
            identity = self.pop(pos)
            items = self.items(identity)
            args = tuple(self.argument_of(item) for item in (items if items is not None else [identity]))
        key = ("persistent", args)
        if key not in self.seen:
            self.seen.add(key)
            self.report(Event("persistent", opcode, pos, "", "", args, pos, opcode))
        self.stack.append(_PERS)

    def happened(self, kind: str, opcode: str, pos: int, index: int, items: list[int] | None) -> None:
        """Report a call or build once for each spelling of its arguments."""
        spelled: list[object] = [kind, opcode, index, items is None]
        for item in items or ():
            item_kind = item & 15
            if item_kind in (_GLOBAL, _RESULT):
                spelled.append(item)
            elif item_kind == _STR:
                text = self.text(item)
                spelled.append(text if text is not None and len(text) <= _SHORT_TEXT else _STR)
            else:
                spelled.append(item_kind)
        key = tuple(spelled)
        if key in self.seen:
            return
        self.seen.add(key)
        module, name, name_pos, name_opcode = self.named[index]
        args = None if items is None else tuple(self.argument_of(item) for item in items)
        self.report(Event(kind, opcode, pos, module, name, args, name_pos, name_opcode))

    def argument_of(self, token: int) -> Arg:
        kind = token & 15
        text = ""
        if kind == _STR:
            text = self.text(token) or ""
        elif kind in (_GLOBAL, _RESULT):
            module, name = self.named[token >> 4][:2]
            text = f"{module}.{name}"
        elif kind == _INT:
            pos = token >> 4
            value = argument(self.data, pos, span(self.data, pos))
            text = str(value) if isinstance(value, int) and abs(value) < 1 << 64 else ""
        return Arg(_KIND_NAMES[kind], text)

    def report(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > self.max_events:
            self.spent = True
            raise PickleBroken(event.pos, "more distinct events than the limit allows")
