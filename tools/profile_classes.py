"""Decide for one class whether pickles may rebuild it, and how: by its own source and that of every base it has."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from profile_inert import why_not
from profile_reach import Reach
from profile_source import FUNCTIONS, Module, World, dotted

STDLIB = {
    "builtins.object": "", "abc.ABC": "", "typing.Generic": "", "typing.Protocol": "", "typing_extensions.Protocol": "",
    "typing_extensions.Generic": "", "numbers.Number": "", "contextlib.ContextDecorator": "",
    "contextlib.AbstractContextManager": "", "collections.abc.Callable": "", "collections.abc.Iterable": "",
    "collections.abc.Iterator": "", "collections.abc.Sized": "", "collections.abc.Collection": "",
    "collections.abc.Container": "", "collections.abc.Hashable": "", "collections.abc.Sequence": "same",
    "collections.abc.Mapping": "same", "collections.abc.MutableMapping": "same", "collections.abc.Set": "same",
    "collections.abc.MutableSequence": "same", "collections.Mapping": "same", "collections.Iterable": "",
    "typing.Callable": "", "typing.Iterator": "", "typing.Iterable": "", "typing.Sequence": "same",
    "typing.Mapping": "same", "typing.MutableMapping": "same", "typing.Hashable": "", "typing.Sized": "",
    "builtins.dict": "dict", "typing.Dict": "dict", "collections.OrderedDict": "dict", "typing.OrderedDict": "dict",
    "collections.UserDict": "dict", "collections.Counter": "dict", "builtins.list": "list", "typing.List": "list",
    "collections.UserList": "list", "builtins.set": "set", "builtins.str": "str", "builtins.int": "int",
    "builtins.float": "float", "builtins.tuple": "tuple", "typing.Tuple": "tuple", "typing.NamedTuple": "fields",
    "collections.namedtuple()": "fields", "typing.NamedTuple()": "fields", "enum.Enum": "enum", "enum.IntEnum": "enum",
    "enum.Flag": "enum", "enum.IntFlag": "enum", "enum.StrEnum": "enum", "argparse.Namespace": "",
    "types.SimpleNamespace": "same",
}  # fmt: skip
"""Bases outside of any wheel, and what an object of theirs is; `same` has its own idea of equality."""

_METACLASSES = {"abc.ABCMeta", "builtins.type", "enum.EnumMeta", "enum.EnumType", "typing.GenericMeta"}
_DECORATORS = {
    "dataclasses.dataclass", "functools.total_ordering", "typing.final", "typing.runtime_checkable",
    "typing_extensions.final", "typing_extensions.runtime_checkable", "typing_extensions.deprecated", "typing.dataclass_transform",
    "typing_extensions.dataclass_transform",
    "warnings.deprecated",
}  # fmt: skip
_READ_ONLY = frozenset({
    "property", "classmethod", "staticmethod", "abstractmethod", "abc.abstractmethod", "functools.lru_cache",
    "lru_cache", "contextmanager", "functools.wraps", "abc.abstractproperty",
})  # fmt: skip
"""Decorators that make nothing which runs code when the attribute is written."""
_LOADED = ("__setstate__", "__new__", "__getattribute__", "__del__", "__class__", "__dict__")
_OWN_WAY = ("__reduce__", "__reduce_ex__", "__getnewargs__", "__getnewargs_ex__")
_FILLED = ("__setitem__", "append", "extend", "add", "update", "__missing__", "__iadd__", "__ior__")
_BODY = (
    ast.Assign,
    ast.AnnAssign,
    ast.Expr,
    ast.Pass,
    ast.Delete,
    ast.Assert,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    *FUNCTIONS,
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a person read and accepts: special methods (`reach`, `metaclass`, `decorator` too) by full class name."""

    accepted: dict[str, frozenset[str]]
    bases: dict[str, str]

    def covers(self, full: str, what: str) -> bool:
        """Tell whether this member of this class was accepted by hand."""
        return what in self.accepted.get(full, ())


@dataclass(slots=True)
class Body:
    """One class of the line of bases: where it is and what its body binds."""

    full: str
    module: Module
    node: ast.ClassDef
    members: dict[str, list[ast.stmt]] = field(default_factory=dict)
    managed: set[str] = field(default_factory=set)
    settable: bool = False
    """Whether writing some attribute may run code: properties with setters, other descriptors."""
    odd: str = ""


def _read_body(body: Body, statements: list[ast.stmt]) -> None:
    for item in statements:
        if isinstance(item, FUNCTIONS):
            body.members.setdefault(item.name, []).append(item)
            if item.decorator_list:
                body.managed.add(item.name)
                body.settable |= any(dotted(d) not in _READ_ONLY for d in item.decorator_list)
        elif isinstance(item, ast.If):
            _read_body(body, item.body + item.orelse)
        elif isinstance(item, ast.Try):
            _read_body(body, item.body + [s for h in item.handlers for s in h.body] + item.orelse)
        elif isinstance(item, ast.Assign | ast.AnnAssign):
            for target in item.targets if isinstance(item, ast.Assign) else [item.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        body.members.setdefault(name.id, []).append(item)
                        if isinstance(item.value, ast.Call):
                            body.managed.add(name.id)
                            body.settable = True
        elif isinstance(item, ast.For) and all(_only_calls(inner) for inner in item.body):
            continue
        elif not isinstance(item, _BODY):
            body.odd = f"its body holds a {type(item).__name__} statement"


def _only_calls(node: ast.stmt) -> bool:
    """Tell a statement that calls a method and binds nothing: `_constraints.pop(name)`."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
    )


@dataclass(slots=True)
class Line:
    """A class with everything it inherits from, and the first reason that it cannot be followed."""

    bodies: list[Body] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    problem: str = ""
    made: bool = False
    """Whether the class may only be made and not kept as a value, since calling it reaches outside."""
    read: bool = False
    """Whether a method that loading runs was accepted by a person rather than by the rule."""

    def defines(self, name: str) -> bool:
        """Tell whether any class of the line binds `name` in its body."""
        return any(name in body.members for body in self.bodies)


class Classes:
    """Judges the classes of one world."""

    def __init__(self, world: World, trust: Trust, reach: Reach) -> None:
        self.world, self.trust, self.reach = world, trust, reach

    def judge(self, module: Module, name: str) -> tuple[str, str]:
        """Return (kind, "") for a class that may be granted, ("", reason) for one that may not."""
        if name in module.assigned or name in module.imports or name in module.functions:
            return "", "its name is bound more than once"
        kinds = {self._judge(module, node) for node in module.classes[name]}
        refused = [reason for kind, reason in kinds if not kind]
        if refused or len(kinds) != 1:
            return "", (refused or ["its branches differ"])[0]
        return kinds.pop()

    def named_tuples(self, module: Module) -> list[str]:
        """Return the names that the module binds, once, to what `namedtuple` makes."""
        found = []
        for name, values in module.assigned.items():
            call = values[0]
            if len(values) == 1 and isinstance(call, ast.Call) and name not in module.classes:
                made = self.world.qualify(module, dotted(call.func))
                if made in ("collections.namedtuple", "typing.NamedTuple"):
                    found.append(name)
        return found

    def _judge(self, module: Module, node: ast.ClassDef) -> tuple[str, str]:
        line = Line()
        self._follow(line, f"{module.name}.{node.name}", module, node)
        problem = line.problem or self._special(line)
        if problem:
            return "", problem
        shapes = {STDLIB.get(base, self.trust.bases.get(base, "")) for base in line.outside} - {""}
        same = "same" in shapes
        shapes.discard("same")
        if "enum" in shapes:
            return self._enum(line)
        if len(shapes) > 1:
            return "", f"its bases are of several kinds: {', '.join(sorted(shapes))}"
        kind = shapes.pop() if shapes else "object"
        refused = self._reaches(line)
        if refused:
            return "", refused
        line.made = any(self.trust.covers(body.full, "made") for body in line.bodies)
        if line.made and kind != "object":
            return "", "it may only be made, and is no plain object"
        if kind == "object":
            return self._object(line, same=same or self._compares(line))
        if kind in ("dict", "list", "set"):
            bad = next((item for item in _FILLED if (why := self._inert(line, item)) and why), "")
            return ("", f"it has its own {bad}") if bad else (kind, "")
        return kind, ""

    def _follow(self, line: Line, full: str, module: Module, node: ast.ClassDef) -> None:
        if any(body.full == full for body in line.bodies):
            return
        body = Body(full, module, node)
        _read_body(body, node.body)
        line.bodies.append(body)
        line.problem = line.problem or body.odd or self._dressed(body)
        for base in node.bases:
            self._base(line, body, base)

    def _dressed(self, body: Body) -> str:
        """Return what is wrong with decorators and metaclasses: only known ones may stand there."""
        for item in body.node.decorator_list:
            call = item.func if isinstance(item, ast.Call) else item
            name = self.world.qualify(body.module, dotted(call))
            if name.partition(".")[0] in body.module.assigned:
                name = f"{body.module.name}.{name}"
            slots = isinstance(item, ast.Call) and any(keyword.arg == "slots" for keyword in item.keywords)
            if slots or (name not in _DECORATORS and not self.trust.covers(name, "decorator")):
                return f"{body.full} is decorated with {name or 'something computed'}"
        for keyword in body.node.keywords:
            if keyword.arg == "metaclass":
                name = self.world.qualify(body.module, dotted(keyword.value))
                if name not in _METACLASSES and not self.trust.covers(name, "metaclass"):
                    return f"{body.full} has the metaclass {name or 'of a computed kind'}"
            elif keyword.arg is None:
                return f"{body.full} has computed keywords"
        return ""

    def _base(self, line: Line, body: Body, base: ast.expr) -> None:
        if isinstance(base, ast.Subscript):
            base = base.value
        if isinstance(base, ast.Call):
            name = self.world.qualify(body.module, dotted(base.func))
            if name.endswith("with_metaclass") and base.args:
                meta = self.world.qualify(body.module, dotted(base.args[0]))
                if meta not in _METACLASSES:
                    line.problem = line.problem or f"{body.full} has the metaclass {meta}"
                for item in base.args[1:]:
                    self._base(line, body, item)
                return
            if f"{name}()" in STDLIB:
                line.outside.append(f"{name}()")
                return
            line.problem = line.problem or f"{body.full} has a computed base"
            return
        name = self.world.qualify(body.module, dotted(base))
        found = self.world.definitions(name, "classes")
        if found:
            front = name.rpartition(".")[2]
            if front in found[0].assigned or front in found[0].functions:
                line.problem = line.problem or f"{name} is bound more than once"
            for node in found[1]:
                if isinstance(node, ast.ClassDef):
                    self._follow(line, name, found[0], node)
                    if len(found[1]) > 1:
                        self._also(line, name, found[0], found[1])
                    break
        elif name in STDLIB or name in self.trust.bases:
            line.outside.append(name)
        else:
            line.problem = line.problem or f"base {name or 'computed'} is not known"

    def _also(self, line: Line, name: str, module: Module, nodes: list[ast.stmt]) -> None:
        """Follow the other definitions of a base that stands in several branches: each one counts."""
        for number, node in enumerate(nodes[1:], 2):
            if isinstance(node, ast.ClassDef):
                self._follow(line, f"{name}#{number}", module, node)

    def _inert(self, line: Line, special: str) -> str:
        """Return why `special` is not inert in this line of classes, or an empty text."""
        managed = frozenset(name for body in line.bodies for name in body.managed)
        guarded = any(
            hook in body.members and not self.trust.covers(body.full, hook)
            for body in line.bodies
            for hook in ("__setattr__", "__getattr__", "__getattribute__")
        )
        for body in line.bodies:
            full = body.full.partition("#")[0]
            if special not in body.members:
                continue
            if self.trust.covers(full, special):
                line.read = True
                continue
            for node in body.members[special]:
                reason = why_not(node, managed, guarded=guarded)
                if reason:
                    return f"{special} of {body.full}: {reason}"
        return ""

    def _special(self, line: Line) -> str:
        for special in _LOADED:
            if reason := self._inert(line, special):
                return reason
        if not line.defines("__setstate__") and (reason := self._inert(line, "__getattr__")):
            return reason
        for body in line.bodies:
            for special in _OWN_WAY:
                if special in body.members and not self.trust.covers(body.full, special):
                    return f"{body.full} is pickled in its own way ({special})"
        return ""

    def _reaches(self, line: Line) -> str:
        for body in line.bodies:
            full = body.full.partition("#")[0]
            if self.trust.covers(full, "reach"):
                continue
            found = self.reach.of_class(body.module, body.node)
            if found and not self.trust.covers(full, f"reach {found.partition(':')[0]}"):
                return f"reaches outside in {body.full}.{found}"
        return ""

    @staticmethod
    def _compares(line: Line) -> bool:
        for body in line.bodies:
            if "__eq__" in body.members or "__hash__" in body.members:
                return True
            if any("dataclass" in ast.unparse(item) for item in body.node.decorator_list):
                return True
        return False

    def _object(self, line: Line, *, same: bool) -> tuple[str, str]:
        slots = any("__slots__" in body.members and _filled_slots(body) for body in line.bodies)
        if not slots:
            texts = any(self.trust.covers(body.full, "__getnewargs__") for body in line.bodies)
            how = "-made" if line.made else "-texts" if texts else "-read" if line.read else ""
            return f"object{how}{'-by-value' if same else ''}", ""
        if line.made or line.defines("__setattr__") or any(body.settable for body in line.bodies):
            return "", "its slots are set through code of its own"
        return ("slots-by-value" if same else "slots"), ""

    def _enum(self, line: Line) -> tuple[str, str]:
        reason = self._inert(line, "_missing_") if line.defines("_missing_") else ""
        return ("", reason) if reason else ("enum", "")


def _filled_slots(body: Body) -> bool:
    return any(
        isinstance(item, ast.Assign) and ast.unparse(item.value) not in ("()", "[]")
        for item in body.members["__slots__"]
    )
