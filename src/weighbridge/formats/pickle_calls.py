"""What a symbolic pickle run reports of names: resolved, called, given state or items, hashed.

`Calls` adds to the stack the names a stream resolves and the events of everything that runs code. Equal
events are reported once. Texts in arguments tell events apart only while they are few at their place;
after that they are reported as unknown, so that a stream of many dates or decimals is one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import Arg, Event, PickleBroken

from .pickle_ops import NAMES, argument, span, wide
from .pickle_stack import (
    ANY_NAME,
    DICT,
    EMPTY_TUPLE,
    GLOBAL,
    INT,
    INTS,
    KIND_NAMES,
    LIST,
    NONE,
    OBJECT,
    OTHER,
    PERS,
    RESULT,
    SET,
    SHAPE_SHIFT,
    STR,
    TUPLE,
    Stack,
)

if TYPE_CHECKING:
    from mypy_extensions import i64

_SHORT_TEXT: Final = 64
_MAX_TEXTS: Final = 256
_MAX_ARGUMENTS: Final = 255
_MAX_ROW: Final = 16
_MAX_KEPT: Final = 4096

APPEND: Final = 0x61
APPENDS: Final = 0x65
SETITEM: Final = 0x73
SETITEMS: Final = 0x75
DICT_CODE: Final = 0x64
INST: Final = 0x69
OBJ: Final = 0x6F
NEWOBJ_EX: Final = 0x92
NEWOBJ: Final = 0x81
REDUCE: Final = 0x52
BUILD: Final = 0x62
RECONSTRUCT: Final = 256
NAMES_OF: Final[dict[int, str]] = {**NAMES, RECONSTRUCT: "RECONSTRUCT"}

_PLAIN: Final = 0
_RECONSTRUCTOR: Final = 1
_NEWOBJ: Final = 2
_NEWOBJ_EX: Final = 3
_HASHES: Final = 4
DTYPE: Final = 5
ARRAY: Final = 6
_GETATTR: Final = 7
RANDOM: Final = 8
_DESCRIBED: Final = (ARRAY, RANDOM)
"""What is called by these names takes a state that must be kept to be checked."""
ATTRIBUTE: Final = "GETATTR"
"""What stands for the opcode by which a name is resolved that getattr of a named global gives."""
_SPECIAL: Final[dict[tuple[str, str], int]] = {
    ("copyreg", "_reconstructor"): _RECONSTRUCTOR, ("copy_reg", "_reconstructor"): _RECONSTRUCTOR,
    ("copyreg", "__newobj__"): _NEWOBJ, ("copy_reg", "__newobj__"): _NEWOBJ,
    ("copyreg", "__newobj_ex__"): _NEWOBJ_EX, ("copy_reg", "__newobj_ex__"): _NEWOBJ_EX,
    **{
        (module, name): _HASHES
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "dict", "tuple")
    },
    ("numpy", "dtype"): DTYPE,
    ("builtins", "getattr"): _GETATTR, ("__builtin__", "getattr"): _GETATTR,
    **dict.fromkeys((("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"), ("numpy.ma.core", "_mareconstruct"), ("numpy.ma", "_mareconstruct")), ARRAY),
    **dict.fromkeys((("numpy.random", "__RandomState_ctor"), ("numpy.random._pickle", "__randomstate_ctor"), ("numpy.random._pickle", "__bit_generator_ctor"), ("numpy.random._pickle", "__generator_ctor")), RANDOM),
    **{("collections", name): _HASHES for name in ("OrderedDict", "Counter", "defaultdict", "ChainMap")},
}  # fmt: skip
"""Calls that mean more than themselves: constructors of other classes, and what hashes the items it is given."""


# Making a NamedTuple without the detour through its keyword arguments.
_new: Final[Any] = tuple.__new__


def event_of(*row: object) -> Event:
    """Return an event of these fields."""
    event: Event = _new(Event, row)
    return event


class Calls(Stack):
    """The names of a stream, and the events they take part in."""

    def __init__(self, data: bytes, max_events: int, max_expansion: int) -> None:
        super().__init__(max_expansion)
        self.data = data
        self.max_events = max_events
        self.spent = False
        self.events: list[Event] = []
        self.seen: set[object] = set()
        self.texts: dict[int, set[str]] = {}
        self.names: dict[tuple[str, str], int] = {}
        self.named: list[tuple[str, str, int, str]] = []
        self.special: list[int] = []
        # For each name: the group of names that its results hold, through arguments and state.
        self.holds: list[int] = []
        self.called_names: set[int] = set()
        self.hashed_names: set[int] = set()
        self.dunders: set[int] = set()
        self.tainted: set[int] = set()
        self.late_taint = False
        self.pending: i64 = -1
        self.pending_items: list[Any] = []
        # A pending tuple of up to three items: how many, and which.
        self.pending_count: i64 = 0
        self.pending_first: i64 = 0
        self.pending_second: i64 = 0
        self.pending_third: i64 = 0
        self.last_calls: list[list[int] | None] = []
        self.last_builds: list[list[int] | None] = []
        # Where the persistent ids stand that are not among the events yet.
        self.row_places: list[int] = []
        self.arguments: dict[int, Arg] = {}
        self.joblib = False
        # Whether tuples, lists and small dicts are kept: they may describe an array, or the fields of a dtype.
        self.keeping = False
        # Containers with a lower number were made before anything was kept, or are kept no more.
        self.kept_from = 0

    # Names.

    def text(self, token: int) -> str | None:
        """Return the text of a string item."""
        if token & 15 != STR:
            return None
        pos: i64 = token >> 4
        data = self.data
        code: i64 = data[pos]
        if code in (0x8C, 0x58):  # SHORT_BINUNICODE and BINUNICODE; their lengths were checked before
            begin: i64 = pos + 2 if code == 0x8C else pos + 5
            length: i64 = data[pos + 1] if code == 0x8C else wide(data, pos)
            try:
                return data[begin : begin + length].decode("utf-8")
            except UnicodeDecodeError:
                pass  # it holds half a surrogate pair
        value = argument(self.data, pos, span(self.data, pos))
        return value if isinstance(value, str) else None

    def named_by(self, opcode: str, pos: int, end: int) -> int:
        """Resolve a name, report it, and return its item."""
        if opcode == "STACK_GLOBAL":
            name, module = self.text(self.pop(pos)), self.text(self.pop(pos))
            if name is None or module is None:
                self.odd(pos, "computed-name", "the name of a global is computed, not written out")
                return OTHER
            return self.global_of(module, name, opcode, pos)
        if opcode in ("GLOBAL", "INST"):
            self.check_name(pos, end)
        value = argument(self.data, pos, end)
        if isinstance(value, tuple):
            return self.global_of(str(value[0]), str(value[1]), opcode, pos)
        self.odd(pos, "extension", f"the name comes from the extension registry (code {value})")
        return OTHER

    def check_name(self, pos: int, end: int) -> None:
        """Note a name of which a part is empty, as the unpickler in Python looks it up."""
        module, _, name = self.data[pos + 1 : end - 1].partition(b"\n")
        if not module or not name:
            self.odd(pos, "empty-name", "a global has an empty name")

    def global_of(self, module: str, name: str, opcode: str, pos: int) -> int:
        """Give a name a number, and report it the first time."""
        # An attribute is another thing than a dotted name, even where both lead to the same object.
        key = (module, name) if opcode != ATTRIBUTE else (module, ATTRIBUTE + " " + name)
        index = self.names.get(key)
        if index is None:
            index = self.names[key] = len(self.named)
            self.named.append((module, name, pos, opcode))
            special = _SPECIAL.get((module, name), _PLAIN)
            self.special.append(special)
            if special in _DESCRIBED:
                self.keep()
            self.holds.append(0)
            self.last_calls.append(None)
            self.last_builds.append(None)
            self.report(Event("global", opcode, pos, module, name, None, pos, opcode))
        return index << 4 | GLOBAL

    # Calls.

    def acted(self, code: i64, pos: int, end: int) -> None:
        """REDUCE, NEWOBJ, NEWOBJ_EX, OBJ and INST: everything that calls."""
        items: list[Any] | None
        if code == INST:
            callee: i64 = self.named_by("INST", pos, end)  # first, as the unpickler in Python does
            items = self.pop_items(pos)
            self.weigh(items, -1, pos, False)
        elif code == OBJ:
            items = self.pop_items(pos)
            if not items:
                raise PickleBroken(pos, "the stack is empty")
            self.weigh(items, -1, pos, False)
            callee = items.pop(0)
        elif code == NEWOBJ_EX:
            self.pop(pos)
            self.pop(pos)
            items = None
            callee = self.pop(pos)
        else:
            stack = self.stack
            if len(stack) - self.marks[-1] < 2:
                raise PickleBroken(pos, "the stack is empty")
            arguments: i64 = stack.pop()
            items = self.items(arguments)
            callee = stack.pop()
        self.stack.append(self.called(code, pos, callee, items))

    def items(self, token: i64) -> list[Any] | None:
        """Return what an argument tuple holds, when it was built right before."""
        if token == EMPTY_TUPLE:
            return []
        if token != self.pending:
            return None
        if self.pending_count:
            self.pending_items = [self.pending_first, self.pending_second, self.pending_third][
                : self.pending_count
            ]
            self.pending_count = 0
        return self.pending_items

    def called(self, code: i64, pos: int, callee: i64, items: list[Any] | None) -> i64:
        """Report a call and return its result."""
        if callee & 15 != GLOBAL:
            self.odd(pos, "computed-call", "something is called that is not a name written in the stream")
            return OTHER
        index: i64 = callee >> 4
        if code != REDUCE and self.named[index][3] == ATTRIBUTE:
            self.odd(pos, "computed-call", "something is made of an attribute as if it were a class")
            return OTHER
        known = items is not None and self.is_last(self.last_calls, code, index, items)
        if not known:
            self.happened("call", NAMES_OF[code], pos, index, items)
        if items:
            item: i64
            for item in items:
                kind: i64 = item & 15
                # Of a call known already the results among the arguments are, but not what containers hold.
                if kind >= RESULT and kind not in (INTS, PERS) and not (known and kind in (RESULT, OBJECT)):
                    group = self.group(item)
                    if group:
                        self.keeps(index, group, pos, code)
            special = self.special[index]
            if special == _HASHES:
                for item in items:
                    if item & 15 in (LIST, TUPLE):
                        self.hashed(self.union(self.group(item), self.late), pos, code)
            elif (
                special
                and special != DTYPE
                and special not in _DESCRIBED
                and code == REDUCE
                and items[0] & 15 == GLOBAL
            ):
                if special == _GETATTR:
                    return self.attribute(pos, items, callee + 1)
                return self.constructed(special, pos, items, callee + 1)
        if self.joblib or self.special[index] in (DTYPE, ARRAY):
            return self.object_of(code, pos, callee + 1, items)
        return callee + 1  # the kind after GLOBAL is RESULT

    def is_last(self, last: list[list[int] | None], code: i64, index: i64, items: list[Any]) -> bool:
        """Whether this call or build is like the one before it of the same name, which was reported.

        If it is not, it is the one before from now on.
        """
        row = last[index]
        count: i64 = len(items)
        place: i64 = 0
        item: i64
        if row is not None and len(row) == count + 1 and row[count] == code:
            for item in items:
                told: i64 = row[place]
                if told != item and told != self.told(item):
                    break
                place += 1
            else:
                return True
        if count > _MAX_ROW:
            return False
        fresh: list[int] = [self.told(item) for item in items]
        fresh.append(code)
        last[index] = fresh
        return False

    def told(self, token: i64) -> i64:
        """Return all that an event tells of an argument, as one number."""
        kind = token & 15
        if kind in (STR, GLOBAL, RESULT):
            return token
        if kind == TUPLE:
            note: i64 = self.notes[token >> 4]
            return note >> SHAPE_SHIFT << 4 | TUPLE
        return kind if kind != OBJECT else self.result(token)

    def object_of(self, code: i64, pos: int, token: i64, items: list[Any] | None) -> i64:
        """Return the value of the result `token`; who must tell results apart gives it a number of its own."""
        del code, pos, items
        return token

    def attribute(self, pos: int, items: list[Any], result: i64) -> i64:
        """Give what getattr finds on a global a name of its own: both are written in the stream.

        Only a plain attribute of a plain name: no dots, no special names, no attribute of an attribute.
        """
        index: i64 = items[0] >> 4
        module, name, _, opcode = self.named[index]
        text = (self.text(items[1]) or "") if len(items) == 2 else ""
        if opcode == ATTRIBUTE or "." in name or not text.isidentifier() or text[:2] == "__":
            return result
        return self.global_of(module, f"{name}.{text}", ATTRIBUTE, pos)

    def constructed(self, special: int, pos: int, items: list[Any], result: i64) -> i64:
        """Report the call that a function of `copyreg` makes for its first argument, and return its result."""
        if special == _RECONSTRUCTOR:
            if len(items) != 3 or items[1] & 15 != GLOBAL:
                return result
            module, name = self.named[items[1] >> 4][:2]
            state: i64 = items[2]
            if module not in ("builtins", "__builtin__"):
                return result
            if name == "object" and state == NONE:
                return self.called(RECONSTRUCT, pos, items[0], [])
            # dict.__new__ and dict.__init__: the items are copied, and no method of the class sees them.
            if name == "dict" and state & 15 == DICT:
                return self.called(RECONSTRUCT, pos, items[0], [state])
            return result
        if special == _NEWOBJ:
            return self.called(NEWOBJ, pos, items[0], items[1:])
        return self.called(NEWOBJ_EX, pos, items[0], None)

    def keep(self) -> None:
        """Keep tuples, lists and small dicts from now on."""
        if not self.keeping:
            self.keeping = True
            self.kept_from = len(self.sizes)

    def keep_state(self, token: int, items: list[Any], pos: int) -> None:
        """Keep what a dict is given, where that may be needed; nothing needs it here."""

    def keep_count(self, token: int, count: int) -> None:
        """Count what a list is given, where that may be needed; nothing needs it here."""

    def build(self, pos: int, state: int) -> None:
        """BUILD: set the state of what a call gave."""
        target = self.result(self.top(pos))
        kind = target & 15
        if state in self.tainted or (self.late_taint and state & 15 == TUPLE):
            self.odd(pos, "special-state", "the state of an object sets special names (__…__)")
        if kind == RESULT:
            items: list[Any] = [state]
            if not self.is_last(self.last_builds, BUILD, target >> 4, items):
                self.happened("build", "BUILD", pos, target >> 4, items)
            group = self.group(state)
            if group:
                self.keeps(target >> 4, group, pos, BUILD)
        elif kind == GLOBAL:
            self.odd(pos, "global-changed", "state is set on a global object")
        else:
            self.odd(pos, "target", "state is set on something that takes none")

    # Items and keys.

    def put_items(self, items: list[Any], code: i64, pos: int, single: bool) -> None:  # noqa: FBT001  as weigh
        """Put items into the top value: APPEND(S), SETITEM(S), ADDITEMS."""
        target = self.top(pos)
        kind: i64 = target & 15
        pairs = code in (SETITEMS, SETITEM)
        if kind in (DICT, LIST):
            if pairs and (len(items) & 1 or self.dunders):
                self.check_keys(target, items, pos)
            self.fill(target, items, pos, single)
            if self.keeping:
                if pairs:
                    self.keep_state(target, items, pos)
                elif kind == LIST:
                    self.keep_count(target, len(items))
            if self.holding and pairs:
                self.hash_items(items, pos, code)
            return
        target = self.result(target)
        kind = target & 15
        opcode = NAMES[code]
        if kind == RESULT:
            self.noted("items", opcode, pos, target >> 4)
        elif kind == GLOBAL:
            self.odd(pos, "global-changed", "items are put into a global object")
        elif kind != SET:
            self.odd(pos, "target", "items are put into something that takes none")
        if pairs:
            self.check_keys(target, items, pos)
        self.fill(target, items, pos, single)
        if self.holding:
            if kind == RESULT:
                self.keeps(target >> 4, self.holding, pos, code)
            if code not in (APPEND, APPENDS):
                self.hash_items(items, pos, code)

    def hash_items(self, items: list[Any], pos: int, code: i64) -> None:
        """Report what is hashed when `items` are put into a dict or set."""
        item: i64
        for item in items[::2] if code in (SETITEM, SETITEMS, DICT_CODE) else items:
            kind: i64 = item & 15
            if kind in (RESULT, OBJECT, TUPLE):
                self.hashed(self.group(item), pos, code)

    def check_keys(self, target: int, items: list[Any], pos: int) -> None:
        """Check that each key has a value, and remember state that sets special names."""
        if len(items) % 2:
            raise PickleBroken(pos, "a key has no value")
        if self.dunders and any(key in self.dunders for key in items[::2]):
            self.tainted.add(target)
            if self.is_inside(target):
                self.late_taint = True

    def hashed(self, group: int, pos: int, code: i64) -> None:
        """Report that results of these names, and of what they hold, are hashed and compared."""
        if not group:
            return
        waiting = sorted(self.called_names if group == ANY_NAME else self.groups[group])
        while waiting:
            index = waiting.pop()
            if index in self.hashed_names:
                continue
            self.hashed_names.add(index)
            self.noted("key", NAMES_OF[code], pos, index)
            held = self.holds[index]
            waiting += sorted(self.called_names if held == ANY_NAME else self.groups[held])

    def keeps(self, index: int, group: int, pos: int, code: i64) -> None:
        """Note that results of a name hold what these names gave."""
        old = self.holds[index]
        new = self.union(old, group)
        if new != old:
            self.holds[index] = new
            if index in self.hashed_names:
                self.hashed(new, pos, code)

    # Reports.

    def noted(self, kind: str, opcode: str, pos: int, index: int) -> None:
        """Report an event that has no arguments."""
        key = (kind, opcode, index) if kind == "items" else (kind, index)
        if key not in self.seen:
            self.seen.add(key)
            module, name, name_pos, name_opcode = self.named[index]
            self.report(Event(kind, opcode, pos, module, name, None, name_pos, name_opcode))

    def happened(self, kind: str, opcode: str, pos: int, index: int, items: list[Any] | None) -> None:
        """Report a call or build once for each spelling of its arguments."""
        self.called_names.add(index)
        if items is not None and len(items) > _MAX_ARGUMENTS:
            items = None
        spelled: list[object] = [kind, opcode, index, items is None]
        blurred: list[int] = []
        for place, item in enumerate(items or ()):
            item_kind = item & 15
            if item_kind in (GLOBAL, RESULT, OBJECT):
                spelled.append(self.result(item))
            elif item_kind == TUPLE:
                spelled.append(self.shape(item))
            elif item_kind == STR:
                text = self.text(item)
                if text is None or len(text) > _SHORT_TEXT:
                    spelled.append(STR)
                elif self.is_telling(index, place, text):
                    spelled.append("=" + text)
                else:
                    spelled.append(OTHER)
                    blurred.append(place)
            else:
                spelled.append(item_kind)
        key = tuple(spelled)
        if key in self.seen:
            return
        self.seen.add(key)
        module, name, name_pos, name_opcode = self.named[index]
        args = None
        if items is not None:
            args = tuple(
                self.argument_of(item) if place not in blurred else Arg("str", "")
                for place, item in enumerate(items)
            )
        self.report(Event(kind, opcode, pos, module, name, args, name_pos, name_opcode))

    def is_telling(self, index: int, place: int, text: str) -> bool:
        """Whether this text at this place of a call still tells one event from another."""
        texts = self.texts.setdefault(index << 8 | place, set())
        if text in texts:
            return True
        if len(texts) >= _MAX_TEXTS:
            return False
        texts.add(text)
        return True

    def argument_of(self, token: int) -> Arg:
        """Say what is known of one argument; what is asked for again and again is kept."""
        told = self.told(token)
        if told & 15 == INT:
            told = token
        known = self.arguments.get(told)
        if known is None:
            if len(self.arguments) > _MAX_KEPT:
                self.arguments.clear()
            known = self.arguments[told] = self.described(self.result(token))
        return known

    def described(self, token: int) -> Arg:
        """Say what is known of one argument."""
        kind = token & 15
        text = ""
        if kind == STR:
            text = self.text(token) or ""
        elif kind in (GLOBAL, RESULT):
            module, name = self.named[token >> 4][:2]
            text = f"{module}.{name}"
        elif kind == TUPLE:
            text = self.shape(token)
        elif kind == INT:
            pos = token >> 4
            code: i64 = self.data[pos]
            if code in (0x4B, 0x4D):  # BININT1 and BININT2
                number: i64 = self.data[pos + 1]
                text = str(number if code == 0x4B else number | self.data[pos + 2] << 8)
            else:
                value = argument(self.data, pos, span(self.data, pos))
                text = str(value) if isinstance(value, int) and abs(value) < 1 << 64 else ""
        arg: Arg = _new(Arg, (KIND_NAMES[kind], text))
        return arg

    def report(self, event: Event) -> None:
        """Add an event, within the limit."""
        self.events.append(event)
        if len(self.events) + len(self.row_places) > self.max_events:
            self.too_many(event.pos)

    def too_many(self, pos: int) -> None:
        """End the run: there are more events than may be reported."""
        self.spent = True
        raise PickleBroken(pos, "more distinct events than the limit allows")
