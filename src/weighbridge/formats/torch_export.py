"""Read the program of an archive of torch.export: the operators of its graphs, and the texts that loading evaluates.

Source: torch/_export/serde/schema.py and serialize.py. Loading looks operators up by dotted name from torch,
operator and math; it hands symbolic expressions to sympy, and guards to exec. So expressions are parsed here, and
only arithmetic over symbols is known. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from weighbridge.core.errors import Unreadable

_FUNCTIONS = frozenset((
    "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "Max", "Min", "Abs", "Pow", "PowByNatural", "FloatPow",
    "IntTrueDiv", "FloatTrueDiv", "CeilToInt", "FloorToInt", "TruncToInt", "TruncToFloat", "RoundToInt", "RoundDecimal",
    "ToFloat", "ModularIndexing", "Where", "Identity", "Eq", "Ne", "Le", "Lt", "Ge", "Gt", "And", "Or", "Not", "LShift",
    "RShift", "Integer", "Float", "Rational", "Add", "Mul", "floor", "ceiling", "sqrt", "log2", "OpaqueUnaryFn_sqrt",
    "OpaqueUnaryFn_log2", "BitwiseFn_bitwise_and", "BitwiseFn_bitwise_or", "Symbol",
))  # fmt: skip
_SYMBOL = re.compile(r"z?[suf][a-z]{0,3}_?[0-9]{1,6}|oo|int_oo|zoo|nan|true|false")
_VIEWS = frozenset(("size", "stride", "storage_offset", "dim", "shape", "numel"))
_NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Load, ast.operator, ast.unaryop,
    ast.cmpop, ast.boolop, ast.Tuple,
)  # fmt: skip
_TREE = re.compile(r"default_factory_module|__enum__")
_PLAIN_FACTORY = re.compile(r'default_factory_module[\\"]*: *[\\"]*builtins[\\"]')


def read_document(data: bytes) -> Any:
    """Parse the JSON of a program; raises Unreadable."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            "the program is no JSON", remedy="export the model again", check="torch-export.json"
        ) from error


def facts(document: Any) -> Iterator[tuple[str, str]]:
    """Yield (`operator`, `expression`, `guard`, `tree`) and the text for all that loading looks up or evaluates."""
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from _of_key(str(key), item, value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and _TREE.search(value):
            yield "tree", value


def _of_key(key: str, item: Any, owner: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if (key == "target" and isinstance(item, str) and "inputs" in owner) or key == "as_operator":
        yield "operator", str(item)
    elif key == "expr_str":
        yield "expression", str(item)
    elif key == "guards_code":
        for guard in item if isinstance(item, list) else [item]:
            yield "guard", str(guard)
    elif _TREE.search(key):
        yield "tree", f"{key}: {item!r}"


def operator_of(target: str) -> str:
    """Return the operator that a target names (`aten::add`, `higher_order::cond`, `operator::add`), or an empty text."""
    match = re.fullmatch(r"torch\.ops\.(\w+)\.(\w+)(?:\.\w+)?", target)
    if match:
        return f"{match.group(1)}::{match.group(2)}"
    match = re.fullmatch(r"(_operator|math)\.(\w+)", target) or re.fullmatch(r"(torch)\.(_?sym_\w+)", target)
    return f"{match.group(1).lstrip('_')}::{match.group(2)}" if match else ""


def is_arithmetic(text: str) -> bool:
    """Tell whether an expression is arithmetic over symbols, so that sympy computes with it and does nothing else."""
    return _all_known(text, _of_expression)


def is_guard(text: str) -> bool:
    """Tell whether a guard compares sizes of inputs, and does nothing else."""
    return _all_known(text, _of_guard)


def is_plain_tree(text: str) -> bool:
    """Tell whether a description of nested containers names nothing that loading would import."""
    return "__enum__" not in text and not _TREE.search(_PLAIN_FACTORY.sub("", text))


def _all_known(text: str, known: Any) -> bool:
    if len(text) > 100_000:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return all(isinstance(node, _NODES) or known(node) for node in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _of_expression(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        # A text is handed to sympy once more, so it may only be the name of a symbol.
        return not isinstance(node.value, (str, bytes)) or bool(_SYMBOL.fullmatch(str(node.value)))
    if isinstance(node, ast.Name):
        return bool(_SYMBOL.fullmatch(node.id)) or node.id in _FUNCTIONS
    if isinstance(node, ast.keyword):
        return node.arg in ("evaluate", "integer", "positive", "nonnegative")
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS


def _of_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id == "L"
    if isinstance(node, ast.Attribute):
        return node.attr in _VIEWS
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in _VIEWS and not node.keywords
    return isinstance(node, ast.Subscript)
