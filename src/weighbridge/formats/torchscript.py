"""Read the source that a TorchScript archive carries: what it defines, and which operators it would run.

The language is the subset of Python that torch's printer writes (torch/csrc/jit/serialization/python_print.cpp).
A construct that the printer never writes is noted, for torch's own parser may read it in another way than this
one does. Nothing is compiled or run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from weighbridge.core.errors import OutOfBudget

MAX_PIECE = 1024 * 1024
"""Bytes of one class or function; a parse tree takes about a hundred times as much."""
MAX_NOTES = 50

_BUILTIN = frozenset((
    "annotate", "unchecked_cast", "uninitialized", "fork", "awaitable", "getattr", "hasattr", "isinstance", "tuple",
    "int", "float", "bool", "complex", "str", "range", "rangelist", "zip", "enumerate", "len", "min", "max", "abs",
    "all", "any", "divmod", "sum", "list", "dict", "ord", "chr", "bin", "pow", "sorted", "hex", "oct", "round",
    "print", "hash", "id", "super",
))  # fmt: skip
_STATEMENTS = (
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.If, ast.For, ast.While, ast.Return, ast.Pass, ast.Break,
    ast.Continue, ast.With, ast.Assert, ast.Raise, ast.FunctionDef, ast.ClassDef, ast.Module, ast.Delete,
)  # fmt: skip
_EXPRESSIONS = (
    ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.Subscript, ast.Slice,
    ast.Constant, ast.Name, ast.Attribute, ast.Call, ast.Starred, ast.keyword, ast.arguments, ast.arg, ast.withitem,
    ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
_TOP = re.compile(r"^(?=class |def )", re.MULTILINE)
_ROOTS = ("torch", "ops")


@dataclass(slots=True)
class Program:
    """What the sources of one archive say, member by member."""

    defined: set[str] = field(default_factory=set)
    """Names of methods and functions."""
    operators: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Operator (`aten::add`) to the member and line where it stands first."""
    methods: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Names called on values, to where they stand first; each must be defined in the archive."""
    attributes: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Names of attributes that are read or written."""
    classes: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Classes of native libraries (`quantized.LinearPackedParamsBase`), to where they stand first."""
    odd: list[tuple[str, str, int]] = field(default_factory=list)
    """(what, member, line) for constructs that torch's printer does not write."""

    def note(self, what: str, member: str, line: int) -> None:
        """Note a construct, not more of them than anybody reads."""
        if len(self.odd) < MAX_NOTES:
            self.odd.append((what, member, line))


def read_source(text: str, member: str, program: Program) -> None:
    """Add to `program` what one source member says; raises OutOfBudget for a piece that is too long to parse."""
    if any(char < " " and char not in "\n\t" for char in text) or not text.isascii():
        program.note("control characters or letters outside of ASCII", member, 1)
    line = 0
    for piece in _TOP.split(text):
        if len(piece) > MAX_PIECE:
            raise OutOfBudget(
                f"a class or function of {member} has more than {MAX_PIECE} bytes",
                remedy="split the model where you trust it, or use its safetensors",
                check="torchscript.budget",
            )
        try:
            tree = ast.parse(piece)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            program.note("source that cannot be parsed", member, line + 1)
        else:
            try:
                _Piece(program, member, line).top(tree)
            except RecursionError:
                program.note("source that is nested too deeply", member, line + 1)
        if "#" in piece and "#" in re.sub(r'"(?:[^"\\\n]|\\.)*"', "", piece):
            program.note("a comment", member, line + 1)
        line += piece.count("\n")


class _Piece:
    """Walks over one class or function."""

    def __init__(self, program: Program, member: str, line: int) -> None:
        self.program = program
        self.member = member
        self.line = line
        self.functions: set[str] = set()
        """Local names that stand for functions of the archive."""

    def place(self, node: ast.AST) -> tuple[str, int]:
        return self.member, self.line + int(getattr(node, "lineno", 1))

    def odd(self, what: str, node: ast.AST) -> None:
        member, line = self.place(node)
        self.program.note(what, member, line)

    def top(self, tree: ast.Module) -> None:
        """Read the definitions of a piece."""
        for statement in tree.body:
            if not isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                self.odd("a statement outside of classes and functions", statement)
            self.visit(statement)

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self.definition(node)
        elif isinstance(node, ast.Call):
            self.call(node)
        elif isinstance(node, ast.Attribute):
            self.attribute(node)
        elif isinstance(node, ast.Name):
            if node.id in _ROOTS or node.id == "__import__":
                self.odd(f"the name {node.id} as a value", node)
        elif isinstance(node, ast.Assign):
            self.assignment(node)
        elif not isinstance(node, (*_STATEMENTS, *_EXPRESSIONS)):
            self.odd(f"the construct {type(node).__name__}", node)
        else:
            self.children(node)

    def children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        if node.decorator_list:
            self.odd("a decorator", node)
        if isinstance(node, ast.FunctionDef):
            self.program.defined.add(node.name)
            self.functions = {
                target.id
                for inner in ast.walk(node)
                if isinstance(inner, ast.Assign) and _chain(inner.value)[:1] == ["__torch__"]
                for target in inner.targets
                if isinstance(target, ast.Name)
            }
        self.children(node)

    def assignment(self, node: ast.Assign) -> None:
        self.children(node)
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if any(name in self.functions for name in names) and _chain(node.value)[:1] != ["__torch__"]:
            self.odd("a name that stands for a function and for something else", node)

    def call(self, node: ast.Call) -> None:
        """Note what is called: an operator, something the archive defines, or a builtin."""
        function = node.func
        if isinstance(function, ast.Name):
            if function.id == "getattr":
                self.literal_attribute(node)
            elif function.id not in _BUILTIN and function.id not in self.functions:
                self.odd(f"a call of {function.id[:80]}", node)
        elif isinstance(function, ast.Attribute):
            chain = _chain(function)
            if chain[:1] in (["torch"], ["ops"], ["__torch__"]):
                self.attribute(function)
            else:
                self.program.methods.setdefault(function.attr, self.place(node))
                self.visit(function.value)
        else:
            self.odd("a call of something computed", node)
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def literal_attribute(self, node: ast.Call) -> None:
        name = node.args[1] if len(node.args) > 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            self.program.attributes.setdefault(name.value, self.place(node))
        else:
            self.odd("getattr with a computed name", node)

    def attribute(self, node: ast.Attribute) -> None:
        chain = _chain(node)
        if chain[:1] == ["torch"] and len(chain) == 2:
            self.program.operators.setdefault(f"aten::{chain[1]}", self.place(node))
        elif chain[:1] == ["ops"] and len(chain) == 3:
            self.program.operators.setdefault(f"{chain[1]}::{chain[2]}", self.place(node))
        elif chain[:1] in (["torch"], ["ops"]):
            self.odd(f"the name {'.'.join(chain)[:80]}", node)
        elif chain[:3] == ["__torch__", "torch", "classes"]:
            self.program.classes.setdefault(".".join(chain[3:5]), self.place(node))
        elif chain[:1] not in (["__torch__"], ["CONSTANTS"]):
            self.program.attributes.setdefault(node.attr, self.place(node))
            self.visit(node.value)


def _chain(node: ast.AST) -> list[str]:
    """Return the names of `a.b.c`, or nothing when it does not begin with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def operators_in(text: str) -> Iterator[str]:
    """Yield every spelling of an operator in raw text, comments and strings included."""
    for match in re.finditer(r"\b(torch|ops\s*\.\s*\w+)\s*\.\s*(\w+)", text):
        space = re.sub(r"\s", "", match.group(1)).removeprefix("ops.")
        yield f"{'aten' if space == 'torch' else space}::{match.group(2)}"
