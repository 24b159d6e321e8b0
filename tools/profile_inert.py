"""Say whether a special method is provably inert: each of its statements has one of a few harmless forms.

A method is read with two names in mind: its instance, and the state it is given, which is a plain dict
(a profile allows no other). Reading and writing plain attributes, the items of that dict and constants
is allowed; calling methods of values, comparing them, printing them or testing their truth is not, since
each may be an object of the pickle's choice.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from profile_source import FUNCTIONS, dotted

_MAKERS = frozenset({"dict", "list", "set", "tuple", "OrderedDict", "collections.OrderedDict"})
_COPIES = frozenset({"copy.copy", "copy", "dict"})
_STATE_METHODS = frozenset({"pop", "get", "copy", "setdefault", "update"})
_WARNINGS = frozenset({"warnings.warn", "warn"})


@dataclass(slots=True)
class Method:
    """One method under the rule: its special name, the name of its instance, the names that hold the state."""

    special: str
    instance: str
    states: set[str] = field(default_factory=set)
    managed: frozenset[str] = frozenset()
    """Attributes of the class that are properties: reading or writing them runs code."""
    guarded: bool = False
    """Whether reading or writing an attribute runs a `__getattr__` or `__setattr__` that nobody accepted."""
    local: set[str] = field(default_factory=set)


def why_not(node: ast.stmt, managed: frozenset[str], *, guarded: bool) -> str:
    """Return an empty text when the method is inert, else the first statement that is not."""
    if not isinstance(node, FUNCTIONS) or isinstance(node, ast.AsyncFunctionDef):
        return "it is not a plain method"
    if node.decorator_list and [dotted(item) for item in node.decorator_list] != ["staticmethod"]:
        return "it is decorated"
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    if not names:
        return "it takes no arguments by name"
    method = Method(node.name, names[0], set(names[1:2]), managed, guarded)
    for statement in node.body:
        if not _statement(statement, method):
            return f"line {statement.lineno}: {ast.unparse(statement)[:90]}"
    return ""


def _all(body: list[ast.stmt], method: Method) -> bool:
    return all(_statement(statement, method) for statement in body)


def _statement(node: ast.stmt, method: Method) -> bool:
    if isinstance(node, ast.Pass | ast.Import | ast.ImportFrom):
        return isinstance(node, ast.Pass) or _warns(node)
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _value(node.value, method)
    if isinstance(node, ast.Return):
        return node.value is None or _value(node.value, method)
    if isinstance(node, ast.If):
        if method.special == "__getattr__" and _other_name(node.test, method):
            return _all(node.orelse, method)
        return _test(node.test, method) and _all(node.body + node.orelse, method)
    if isinstance(node, ast.Try):
        handlers = [statement for handler in node.handlers for statement in handler.body]
        return _all(node.body + handlers + node.orelse + node.finalbody, method)
    if isinstance(node, ast.Delete):
        return all(_item(target, method) for target in node.targets)
    if isinstance(node, ast.Assign):
        return _value(node.value, method) and all(_target(item, node.value, method) for item in node.targets)
    if isinstance(node, ast.AnnAssign):
        return (
            node.value is not None and _value(node.value, method) and _target(node.target, node.value, method)
        )
    return False


def _other_name(node: ast.expr, method: Method) -> bool:
    """`name == "T"` in a __getattr__: loading looks up special names only, so it never takes this branch."""
    if not (
        isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id in method.states
    ):
        return False
    asked = node.comparators[0]
    words = asked.elts if isinstance(asked, ast.Tuple | ast.List | ast.Set) else [asked]
    plain = all(isinstance(word, ast.Constant) and not _dunder(str(word.value)) for word in words)
    return plain and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq | ast.In)


def _warns(node: ast.Import | ast.ImportFrom) -> bool:
    return [alias.name for alias in node.names] == ["warnings"]


def _target(node: ast.expr, value: ast.expr, method: Method) -> bool:
    if isinstance(node, ast.Name):
        still = _is_state(value, method)
        method.states.discard(node.id)
        if still:
            method.states.add(node.id)
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Attribute)
            and value.func.attr == "__new__"
        ):
            method.local.add(node.id)
        return True
    if isinstance(node, ast.Attribute):
        plain = isinstance(node.value, ast.Name) and node.value.id in (method.instance, *method.local)
        if node.attr == "__dict__":
            return plain and _is_state(value, method)
        return plain and not method.guarded and node.attr not in method.managed and not _dunder(node.attr)
    return _item(node, method)


def _is_state(value: ast.expr, method: Method) -> bool:
    if isinstance(value, ast.Name):
        return value.id in method.states
    if isinstance(value, ast.Call) and not value.keywords:
        if len(value.args) == 1 and dotted(value.func) in _COPIES:
            return _is_state(value.args[0], method)
        return (
            isinstance(value.func, ast.Attribute)
            and value.func.attr == "copy"
            and _is_state(value.func.value, method)
        )
    return False


def _item(node: ast.expr, method: Method) -> bool:
    """Tell whether this is an item of the state or of the instance's dict, under a literal key."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and not (isinstance(node.slice.value, str) and _dunder(node.slice.value))
        and (_is_state(node.value, method) or _is_own_dict(node.value, method))
    )


def _dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_own_dict(node: ast.expr, method: Method) -> bool:
    return dotted(node) == f"{method.instance}.__dict__"


def _test(node: ast.expr, method: Method) -> bool:
    """Tell a condition that asks nothing of a value the pickle may choose."""
    if isinstance(node, ast.BoolOp):
        return all(_test(value, method) for value in node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _test(node.operand, method)
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = node.left, node.comparators[0]
        if isinstance(node.ops[0], ast.Is | ast.IsNot):
            return _value(left, method) and _value(right, method)
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            return isinstance(left, ast.Constant) and (
                _is_state(right, method) or _is_own_dict(right, method)
            )
        if method.special == "__getattr__" and isinstance(left, ast.Name) and left.id in method.states:
            return isinstance(right, ast.Constant)
        return False
    if isinstance(node, ast.Call) and not node.keywords:
        name = dotted(node.func)
        if name == "isinstance":
            return len(node.args) == 2 and all(_value(argument, method) for argument in node.args)
        return name == "hasattr" and not method.guarded and _own_attribute(node, method)
    return False


def _own_attribute(node: ast.Call, method: Method) -> bool:
    match node.args:
        case [ast.Name(id=name), ast.Constant(value=str(attribute)), *rest]:
            plain = name == method.instance and attribute not in method.managed
            return plain and all(_value(argument, method) for argument in rest)
    return False


def _value(node: ast.expr, method: Method) -> bool:
    if isinstance(node, ast.Constant | ast.Name):
        return True
    if isinstance(node, ast.Tuple | ast.List):
        return all(_value(item, method) for item in node.elts)
    if isinstance(node, ast.Dict):
        return all(isinstance(key, ast.Constant) for key in node.keys) and all(
            _value(value, method) for value in node.values
        )
    if isinstance(node, ast.Attribute):
        plain = isinstance(node.value, ast.Name) and node.value.id == method.instance
        return (plain and node.attr not in method.managed) or dotted(node).startswith("torch.")
    if isinstance(node, ast.Subscript):
        return _item(node, method)
    if isinstance(node, ast.IfExp):
        return _test(node.test, method) and _value(node.body, method) and _value(node.orelse, method)
    if isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
        return _test(node, method)
    if isinstance(node, ast.JoinedStr):
        return all(isinstance(part, ast.Constant) or _class_name(part, method) for part in node.values)
    return isinstance(node, ast.Call) and _call(node, method)


def _class_name(node: ast.expr, method: Method) -> bool:
    text = ast.unparse(node.value) if isinstance(node, ast.FormattedValue) else ""
    return text in (f"{method.instance}.__class__.__name__", f"type({method.instance}).__name__")


def _call(node: ast.Call, method: Method) -> bool:
    name = dotted(node.func)
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    if any(keyword.arg is None for keyword in node.keywords) or not all(_value(v, method) for v in values):
        return False
    if name in _MAKERS:
        return not values or (len(values) == 1 and _is_state(values[0], method))
    if name == "getattr":
        return not method.guarded and _own_attribute(node, method)
    if name in _WARNINGS:
        return all(_worded(value) for value in values)
    if name in ("type", "isinstance", "hasattr"):
        return name == "type" or _test(node, method)
    if _is_state(node, method):
        return True
    if not isinstance(node.func, ast.Attribute):
        return False
    owner, called = node.func.value, node.func.attr
    if called == "update" and (_is_own_dict(owner, method) or _is_state(owner, method)):
        return len(values) == 1 and (_is_state(values[0], method) or isinstance(values[0], ast.Dict))
    if called in _STATE_METHODS and (_is_state(owner, method) or _is_own_dict(owner, method)):
        return bool(node.args) and isinstance(node.args[0], ast.Constant)
    return called == method.special and _upward(owner, node, method)


def _worded(node: ast.expr) -> bool:
    """Only what the source spells out is printed: printing a value of the pickle's choice runs its code."""
    return isinstance(node, ast.Constant | ast.JoinedStr) or dotted(node).rpartition(".")[2][:1].isupper()


def _upward(owner: ast.expr, node: ast.Call, method: Method) -> bool:
    """`super().__setstate__(state)`, `Base.__setstate__(self, state)`: the bases are judged by themselves."""
    if isinstance(owner, ast.Call) and dotted(owner.func) == "super":
        return True
    return bool(dotted(owner)) and bool(node.args) and ast.unparse(node.args[0]) == method.instance
