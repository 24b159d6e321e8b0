"""Read a pickle as a graph of plain nodes: nothing is imported, resolved, called or built.

A GLOBAL is a label, a REDUCE is looked up in a table that the caller passes, a NEWOBJ is an opaque node
that keeps what was said of it. Whatever the table and this machine do not know is refused with its label
and its offset, so that a graph stands only for pickles that are understood to the last opcode. The
opcodes follow CPython's Modules/_pickle.c, read by `pickle_ops.decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from weighbridge.core.errors import ConversionRefused, OutOfBudget
from weighbridge.formats import pickle_ops

Value: TypeAlias = object
"""None, bool, int, float, str, bytes, list, tuple, one of the nodes below, or what a `Call` returned."""

Call: TypeAlias = Callable[[tuple[Value, ...], int], Value]
"""`call(arguments, offset)` gives the node a REDUCE stands for, or raises ConversionRefused."""


@dataclass(frozen=True, slots=True)
class Global:
    """A label: module and name as the pickle spells them. It names something; nothing looks it up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class DictNode:
    """A dict or OrderedDict as the pairs that were set, in order; keys are compared by nobody here."""

    items: list[tuple[Value, Value]] = field(default_factory=list)
    label: str = "dict"


@dataclass(slots=True, eq=False)
class SetNode:
    """A set or frozenset as the elements that were added."""

    items: list[Value] = field(default_factory=list)
    label: str = "set"


@dataclass(slots=True, eq=False)
class Opaque:
    """An object of a class that stays a label: constructor arguments, state, and what was added to it."""

    label: Global
    args: tuple[Value, ...]
    offset: int
    state: Value = None
    built: bool = False
    items: list[tuple[Value, Value]] = field(default_factory=list)
    elements: list[Value] = field(default_factory=list)


Built: TypeAlias = Callable[[Opaque, int], Value]
"""`built(object, offset)` gives what an object is from the BUILD of its state on, or raises ConversionRefused."""


@dataclass(frozen=True, slots=True)
class GraphLimits:
    """How much one pickle may ask for; spent is OutOfBudget."""

    max_opcodes: int = 20_000_000
    max_nodes: int = 4_000_000
    """Containers, objects, strings, byte strings and large numbers: whatever takes memory of its own."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The object a pickle describes, and the offset just behind its STOP."""

    root: Value
    end: int


def read_graph(
    data: bytes,
    start: int = 0,
    *,
    calls: Mapping[tuple[str, str], Call],
    persistent: Call | None = None,
    limits: GraphLimits | None = None,
    built: Built | None = None,
) -> Graph:
    """Read the pickle that begins at `start`.

    `calls` maps (module, name) to what a REDUCE of it means; `persistent` gives the node of a binary
    persistent id; `built` gives what stands for an object once its state is set. Raises ConversionRefused (checks graph.*) for what is not understood or is no pickle,
    and OutOfBudget(graph.budget).
    """
    machine = _Machine(calls, persistent, limits or GraphLimits())
    machine.built = built
    try:
        return machine.run(data, start)
    except pickle_ops.PickleBroken as error:
        raise _refused("malformed", error.reason, error.pos) from error


_MARK = object()


class _Machine:
    """The stack, the memo and the marks of one run."""

    def __init__(
        self, calls: Mapping[tuple[str, str], Call], persistent: Call | None, limits: GraphLimits
    ) -> None:
        self.calls = calls
        self.persistent = persistent
        self.built: Built | None = None
        self.limits = limits
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, Value] = {}
        self.offset = 0
        self.nodes = 0

    def run(self, data: bytes, start: int) -> Graph:
        ops = pickle_ops.decode(data, start, max_opcodes=self.limits.max_opcodes + 1)
        for count, op in enumerate(ops):
            self.offset = op.pos
            if count >= self.limits.max_opcodes:
                raise _spent(f"more than {self.limits.max_opcodes} opcodes", op.pos)
            if op.name == "STOP":
                root = self.pop()
                if self.stack or self.marks:
                    raise self.refuse("malformed", "values are left on the stack at STOP")
                return Graph(root, op.end)
            self.step(op.name, op.arg)
        raise self.refuse("malformed", "the pickle ends without STOP")

    def step(self, name: str, argument: Value) -> None:
        if name in _LITERALS:
            self.push(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif (handler := _HANDLERS.get(name)) is not None:
            handler(self, argument)
        elif name not in _NOTHING:
            raise self.refuse("opcode", f"the opcode {name} is not used by tensors and is refused")

    # --- the stack

    def pop(self) -> Value:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.refuse("malformed", "the stack is empty")
        return self.stack.pop()

    def top(self) -> Value:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[Value]:
        if not self.marks:
            raise self.refuse("malformed", "there is no mark on the stack")
        place = self.marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def push(self, value: Value) -> None:
        self.grow()
        self.stack.append(value)

    def grow(self) -> None:
        self.nodes += 1
        if self.nodes > self.limits.max_nodes:
            raise _spent(f"more than {self.limits.max_nodes} objects", self.offset)

    def refuse(self, check: str, problem: str) -> ConversionRefused:
        return _refused(check, problem, self.offset)

    # --- opcodes

    def mark(self, _: Value) -> None:
        self.grow()
        self.marks.append(len(self.stack))

    def drop(self, _: Value) -> None:
        # CPython: POP on a mark just set takes the mark away.
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def remember(self, index: int) -> None:
        self.grow()
        self.memo[index] = self.top()

    def memoize(self, _: Value) -> None:
        self.remember(len(self.memo))

    def put(self, argument: Value) -> None:
        assert isinstance(argument, int)
        self.remember(argument)

    def get(self, argument: Value) -> None:
        assert isinstance(argument, int)
        if argument not in self.memo:
            raise self.refuse("malformed", f"memo entry {argument} is read before it is written")
        self.stack.append(self.memo[argument])

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def extend(self, values: list[Value]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Opaque):
            target.elements.extend(values)
        else:
            raise self.refuse("append", f"something is appended to {describe(target)}")

    def set_items(self, values: list[Value]) -> None:
        target = self.top()
        if len(values) % 2:
            raise self.refuse("malformed", "a key is set without a value")
        if not isinstance(target, (DictNode, Opaque)):
            raise self.refuse("setitem", f"an item is set on {describe(target)}")
        target.items.extend(zip(values[::2], values[1::2], strict=True))

    def set_item(self, _: Value) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def add_items(self, _: Value) -> None:
        values, target = self.pop_mark(), self.top()
        if not isinstance(target, SetNode):
            raise self.refuse("additem", f"an element is added to {describe(target)}")
        target.items.extend(values)

    def make_dict(self, _: Value) -> None:
        values = self.pop_mark()
        self.push(DictNode())
        self.set_items(values)

    def make_global(self, argument: Value) -> None:
        module, name = argument if isinstance(argument, tuple) else (None, None)
        self.push_global(module, name)

    def stack_global(self, _: Value) -> None:
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def push_global(self, module: Value, name: Value) -> None:
        # Every str on this stack came from a literal opcode: no call ever gives one.
        if type(module) is not str or type(name) is not str:
            raise self.refuse("global", "the name of a global is computed, not written down")
        self.push(Global(module, name))

    def persistent_id(self, _: Value) -> None:
        value = self.pop()
        if self.persistent is None or not isinstance(value, tuple):
            raise self.refuse("persistent", "there is a persistent id that is not a storage")
        self.push(self.persistent(value, self.offset))

    def reduce(self, _: Value) -> None:
        args, label = self.pop(), self.pop()
        if not isinstance(label, Global) or not isinstance(args, tuple):
            raise self.refuse("call", f"{describe(label)} is called, which is not a name written down")
        call = self.calls.get((label.module, label.name))
        if call is None:
            raise self.refuse("call", f"the checkpoint calls {label}, which is not how tensors are stored")
        self.push(call(args, self.offset))

    def new_object(self, _: Value) -> None:
        args, label = self.pop(), self.pop()
        if not isinstance(label, Global) or not isinstance(args, tuple):
            raise self.refuse("object", f"an object is made of {describe(label)}, which is not a class name")
        self.push(Opaque(label, args, self.offset))

    def build(self, _: Value) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Opaque) and not target.built:
            target.state, target.built = state, True
            if self.built is not None:
                self.stack[-1] = self.built(target, self.offset)
        elif not (isinstance(target, DictNode) and target.label == "OrderedDict" and _is_versions(state)):
            raise self.refuse("build", f"state is set on {describe(target)}")


def _is_versions(state: Value) -> bool:
    """Tell whether `state` is what `state_dict()` hangs on its OrderedDict: `_metadata`, scalars per module."""
    if not isinstance(state, DictNode) or [key for key, _ in state.items] != ["_metadata"]:
        return False
    table = state.items[0][1]
    return isinstance(table, DictNode) and all(
        isinstance(key, str)
        and isinstance(row, DictNode)
        and all(
            isinstance(k, str) and isinstance(v, (type(None), bool, int, float, str)) for k, v in row.items
        )
        for key, row in table.items
    )


_CONSTANTS: Mapping[str, Value] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
))  # fmt: skip
_NOTHING = frozenset(("PROTO", "FRAME"))

_Handler: TypeAlias = Callable[[_Machine, Value], None]
_HANDLERS: Mapping[str, _Handler] = {
    "MARK": _Machine.mark,
    "POP": _Machine.drop,
    "POP_MARK": lambda m, _: m.pop_mark().clear(),
    "DUP": lambda m, _: m.push(m.top()),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push(DictNode()),
    "EMPTY_SET": lambda m, _: m.push(SetNode()),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "DICT": _Machine.make_dict,
    "FROZENSET": lambda m, _: m.push(SetNode(m.pop_mark(), "frozenset")),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": _Machine.set_item,
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.make_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.persistent_id,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
}


def describe(value: Value) -> str:
    """Name a node in a refusal: its label where it has one, never its content."""
    if isinstance(value, Global):
        return str(value)
    if isinstance(value, Opaque):
        return f"an object of {value.label}"
    if isinstance(value, (DictNode, SetNode)):
        return f"a {value.label}"
    if value is None or isinstance(value, (bool, int, float, str, bytes, list, tuple)):
        return f"a {type(value).__name__}"
    return "a tensor"


def _refused(check: str, problem: str, offset: int) -> ConversionRefused:
    return ConversionRefused(
        f"{problem[:300]} (offset {offset})",
        cause="only the names and opcodes that tensors are stored with are followed; everything else is refused",
        remedy="ask the publisher for safetensors, or save `model.state_dict()` alone where the model is trusted",
        check=f"graph.{check}",
    )


def _spent(problem: str, offset: int) -> OutOfBudget:
    return OutOfBudget(
        f"the checkpoint holds {problem} (offset {offset})",
        cause="the limits keep a hostile file from taking all memory",
        remedy="raise the limits where this model is known to be that large",
        check="graph.budget",
    )
