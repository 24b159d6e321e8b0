"""Where a value in a template can come from: the caller's data, a constant, or text the template builds itself.

A template can reach Python through a subscript whose key it spells out of pieces (`x['__cl' ~ 'ass__']`).
So for each key we ask which constants and which built strings may end up in it. The answer is flow
insensitive and errs towards "built": every assignment to a name counts everywhere, whatever is appended
to one list counts as part of all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from jinja2 import nodes

from weighbridge.core.errors import OutOfBudget

MAX_STEPS = 2_000_000
"""Steps through assignments for one template; honest templates take a few thousand."""
MUTATORS = frozenset({"append", "extend", "insert", "setdefault", "update"})
SAME_ELEMENTS = frozenset({
    "batch", "d", "default", "dictsort", "e", "escape", "first", "items", "last", "list", "max", "min", "reject",
    "rejectattr", "reverse", "safe", "select", "selectattr", "slice", "sort", "string", "unique",
})  # fmt: skip
"""Filters whose result holds nothing but what went in."""
CASE_ONLY = frozenset({"capitalize", "lower", "title", "trim", "upper"})
NUMBERS = frozenset({"abs", "count", "float", "int", "length", "round", "wordcount"})
SAME_METHODS = frozenset({"copy", "get", "items", "keys", "pop", "values"})
PIECES = frozenset({"lstrip", "partition", "removeprefix", "removesuffix", "rpartition", "rsplit", "rstrip", "split",
                    "splitlines", "strip"})  # fmt: skip
"""Methods whose result is a part of the text they are called on."""
NUMBER_METHODS = frozenset({"count", "find", "index", "rfind", "rindex"})

_NUMERIC_NODES = (
    nodes.Sub, nodes.Div, nodes.FloorDiv, nodes.Pow, nodes.Neg, nodes.Pos, nodes.Not, nodes.Compare, nodes.Test,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sources:
    """What may end up in a value: string constants, and whether the template may have built it."""

    constants: frozenset[str]
    built: bool


@dataclass(slots=True)
class Flow:
    """Every assignment of one template; made once by `Flow.of`, then asked with `sources`."""

    names: dict[str, list[nodes.Node]] = field(default_factory=lambda: defaultdict(list))
    fields: dict[str, list[nodes.Node]] = field(default_factory=lambda: defaultdict(list))
    """By attribute name: what `{% set ns.name = … %}` and `namespace(name=…)` put there."""
    added: list[nodes.Node] = field(default_factory=list)
    """Arguments of every append, extend, update and the like."""
    macros: set[str] = field(default_factory=set)
    steps: int = 0
    _open: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, tree: nodes.Template) -> Flow:
        """Collect the assignments of a parsed template."""
        flow = cls()
        calls: dict[str, list[nodes.Call]] = defaultdict(list)
        for call in tree.find_all(nodes.Call):
            flow._collect_call(call, calls)
        for node in _walk(tree):
            flow._collect(node, calls)
        return flow

    def sources(self, expr: nodes.Node) -> Sources:
        """Tell which constants may end up in `expr`, and whether it may be a string the template built."""
        constants: set[str] = set()
        seen: set[object] = set()
        work: list[nodes.Node] = [expr]
        while work:
            node = work.pop()
            self._step()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, nodes.Const):
                if isinstance(node.value, str):
                    constants.add(node.value)
                continue
            if isinstance(node, nodes.Name):
                # A name met again stands for something that was there before, and may have been added to.
                work += self.added if node.name in seen else self.names.get(node.name, self.added)
                seen.add(node.name)
                continue
            parts = self._parts(node)
            if parts is None:
                return Sources(frozenset(constants), built=True)
            work += parts
        return Sources(frozenset(constants), built=False)

    def _parts(self, node: nodes.Node) -> list[nodes.Node] | None:
        """Return the expressions whose values `node` passes on; None when it may build a new string."""
        if isinstance(node, _NUMERIC_NODES) or self._numeric(node):
            return []
        if isinstance(node, nodes.Getattr):
            stored = list(self.fields.get(node.attr, []))
            if not stored or not self._may_be_namespace(node.node):
                return [node.node]
            return stored if self._is_namespace(node.node) else [*stored, node.node]
        if isinstance(node, nodes.Getitem):
            return [node.node]
        if isinstance(node, nodes.CondExpr):
            return [node.expr1, *([node.expr2] if node.expr2 else [])]
        if isinstance(node, (nodes.And, nodes.Or)):
            return [node.left, node.right]
        if isinstance(node, nodes.Add) and _holds_list(node):
            return [node.left, node.right]
        if isinstance(node, (nodes.List, nodes.Tuple)):
            return [*node.items, *self.added]
        if isinstance(node, nodes.Dict):
            return [part for pair in node.items for part in (pair.key, pair.value)] + list(self.added)
        if isinstance(node, nodes.Filter):
            parts = _filter_parts(node)
            return None if parts is None else [*parts, *self.added]
        return self._call_parts(node) if isinstance(node, nodes.Call) else None

    def _call_parts(self, call: nodes.Call) -> list[nodes.Node] | None:
        given: list[nodes.Node] = [*call.args, *(keyword.value for keyword in call.kwargs)]
        if isinstance(call.node, nodes.Name):
            if call.node.name in ("dict", "namespace") and call.dyn_args is None and call.dyn_kwargs is None:
                return [*given, *self.added]
            return [] if call.node.name == "range" else None
        if not isinstance(call.node, nodes.Getattr):
            return None
        if call.node.attr in SAME_METHODS:
            return [call.node.node, *given]
        if call.node.attr in NUMBER_METHODS:
            return []
        if call.node.attr in ("lower", "strip", "upper") and not given:
            return [call.node.node]
        return self._piece_parts(call, call.node.node) if call.node.attr in PIECES else None

    def _piece_parts(self, call: nodes.Call, whole: nodes.Node) -> list[nodes.Node] | None:
        """Follow a part of a text: a part of the caller's data is data, a part of a constant could be any word."""
        if id(call) in self._open:
            return []
        self._open.add(id(call))
        inner = self.sources(whole)
        self._open.discard(id(call))
        return None if inner.built or inner.constants - {""} else list(self.added)

    def _numeric(self, expr: nodes.Node, depth: int = 0) -> bool:
        """Whether `expr` can only be a number (or fail): then it cannot spell an attribute."""
        if isinstance(expr, nodes.Const):
            return isinstance(expr.value, (bool, int, float))
        if isinstance(expr, _NUMERIC_NODES):
            return True
        if depth > 20:
            return False
        if isinstance(expr, nodes.Add):
            return self._numeric(expr.left, depth + 1) or self._numeric(expr.right, depth + 1)
        if isinstance(expr, nodes.Mul):
            return self._numeric(expr.left, depth + 1) and self._numeric(expr.right, depth + 1)
        if isinstance(expr, nodes.Mod):
            return self._numeric(expr.left, depth + 1)
        if isinstance(expr, nodes.Filter):
            return expr.name in NUMBERS
        return isinstance(expr, nodes.Getattr) and _is_loop_counter(expr)

    def _may_be_namespace(self, expr: nodes.Node) -> bool:
        """Whether any `namespace(…)` stands anywhere behind `expr`."""
        seen: set[object] = set()
        work: list[nodes.Node] = [expr, *self.added]
        while work:
            value = work.pop()
            self._step()
            if id(value) in seen or (isinstance(value, nodes.Name) and value.name in seen):
                continue
            seen.add(value.name if isinstance(value, nodes.Name) else id(value))
            if isinstance(value, nodes.Name):
                if value.name == "namespace":
                    return True
                work += self.names.get(value.name, [])
            work += value.iter_child_nodes()
        return False

    def _is_namespace(self, expr: nodes.Node) -> bool:
        """Whether `expr` is a name that only ever stands for a `namespace(…)` without positional arguments."""
        seen: set[str] = set()
        work: list[nodes.Node] = [expr]
        while work:
            value = work.pop()
            self._step()
            if isinstance(value, nodes.Name) and value.name in self.names:
                if value.name not in seen:
                    seen.add(value.name)
                    work += self.names[value.name]
            elif not _makes_namespace(value):
                return False
        return True

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise OutOfBudget(
                "the template's assignments are too entangled to be followed",
                cause=f"more than {MAX_STEPS} steps",
                remedy="look at the template by hand, or remove it",
                check="jinja.budget",
            )

    def _collect_call(self, call: nodes.Call, calls: dict[str, list[nodes.Call]]) -> None:
        if isinstance(call.node, nodes.Name):
            calls[call.node.name].append(call)
            if call.node.name == "namespace":
                for keyword in call.kwargs:
                    self.fields[keyword.key].append(keyword.value)
        elif isinstance(call.node, nodes.Getattr) and call.node.attr in MUTATORS:
            self.added += _given(call)

    def _collect(self, node: nodes.Node, calls: dict[str, list[nodes.Call]]) -> None:
        if isinstance(node, nodes.Assign):
            self._bind(node.target, [node.node])
        elif isinstance(node, nodes.AssignBlock):
            self._bind(node.target, [_BUILT])
        elif isinstance(node, nodes.For):
            again = calls["loop"] if node.recursive else []
            self._bind(node.target, [node.iter, *(value for call in again for value in _given(call))])
        elif isinstance(node, nodes.With):
            for target, value in zip(node.targets, node.values, strict=True):
                self._bind(target, [value])
        elif isinstance(node, (nodes.Macro, nodes.CallBlock)):
            name = node.name if isinstance(node, nodes.Macro) else "caller"
            if isinstance(node, nodes.Macro):
                self.macros.add(name)
            self._collect_parameters(node, calls[name])

    def _collect_parameters(self, node: nodes.Macro | nodes.CallBlock, calls: list[nodes.Call]) -> None:
        """Give each parameter what calls put in its place; where a place cannot be told, everything."""
        for place, parameter in enumerate(node.args):
            self._bind(parameter, list(node.defaults))
            for call in calls:
                if call.dyn_args is not None or call.dyn_kwargs is not None:
                    self._bind(parameter, _given(call))
                    continue
                by_name = [keyword.value for keyword in call.kwargs if keyword.key == parameter.name]
                self._bind(parameter, [*call.args[place : place + 1], *by_name])
        for extra in ("varargs", "kwargs"):
            self.names[extra] += [value for call in calls for value in _given(call)]

    def _bind(self, target: nodes.Node, values: list[nodes.Node]) -> None:
        if isinstance(target, nodes.Name):
            self.names[target.name] += values
        elif isinstance(target, nodes.NSRef):
            self.fields[target.attr] += values
        elif isinstance(target, (nodes.Tuple, nodes.List)):
            for item in target.items:
                self._bind(item, values)


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    work: list[nodes.Node] = [tree]
    while work:
        node = work.pop()
        yield node
        work.extend(node.iter_child_nodes())


def _filter_parts(node: nodes.Filter) -> list[nodes.Node] | None:
    inner: list[nodes.Node] = [] if node.node is None else [node.node]
    if node.dyn_args is not None or node.dyn_kwargs is not None or node.node is None:
        return None
    given: list[nodes.Node] = [*node.args, *(pair.value for pair in node.kwargs)]
    if node.name in SAME_ELEMENTS:
        return inner + given
    if node.name in CASE_ONLY and not given:
        return inner
    if node.name == "map" and not node.args:
        return inner + given
    return None


def _given(call: nodes.Call) -> list[nodes.Node]:
    """Return every argument of a call; a spread one counts as built."""
    given = [*call.args, *(keyword.value for keyword in call.kwargs)]
    return given + [_BUILT for spread in (call.dyn_args, call.dyn_kwargs) if spread is not None]


def _holds_list(node: nodes.Add) -> bool:
    return isinstance(node.left, (nodes.List, nodes.Tuple)) or isinstance(
        node.right, (nodes.List, nodes.Tuple)
    )


def _makes_namespace(value: nodes.Node) -> bool:
    return (
        isinstance(value, nodes.Call)
        and isinstance(value.node, nodes.Name)
        and value.node.name == "namespace"
        and not value.args
        and value.dyn_args is None
        and value.dyn_kwargs is None
    )


def _is_loop_counter(expr: nodes.Getattr) -> bool:
    counters = ("depth", "depth0", "first", "index", "index0", "last", "length", "revindex", "revindex0")
    return isinstance(expr.node, nodes.Name) and expr.node.name == "loop" and expr.attr in counters


_BUILT: nodes.Node = nodes.Concat([])
