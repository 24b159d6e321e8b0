"""Read Jinja chat templates as syntax trees, never rendering or compiling them, and say what they would reach.

What is allowed is written down by exact name: filters, tests, functions, methods, kinds of statement. A
field of the caller's data (`message.role`) may have any name that Python does not use for its internals.
Everything else is remarked: `DANGEROUS` for the known roads into Python, `UNLISTED` for what nobody listed.
The templates are judged as if they ran without a sandbox, because some programs run them so (CVE-2024-34359).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from string import Formatter

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Verdict
from weighbridge.formats.jinja_flow import Flow

MAX_SOURCE = 1024 * 1024
"""Characters of one template; the largest published ones are below 64 KiB."""
MAX_NODES = 100_000

FILTERS = frozenset({
    "abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat",
    "first", "float", "forceescape", "format", "from_json", "fromjson", "groupby", "indent", "int", "items", "join", "last", "length", "list",
    "lower", "map", "max", "min", "pprint", "random", "reject", "rejectattr", "replace", "reverse", "round", "safe",
    "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate",
    "unique", "upper", "urlencode", "wordcount", "wordwrap",
})  # fmt: skip
TESTS = frozenset({
    "!=", "<", "<=", "==", ">", ">=", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "escaped",
    "even", "false", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt",
    "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "true", "undefined", "upper",
})  # fmt: skip
FUNCTIONS = frozenset({"caller", "dict", "loop", "namespace", "raise_exception", "range", "strftime_now"})
METHODS = frozenset({
    "append", "capitalize", "center", "copy", "count", "endswith", "extend", "find", "get", "index", "insert",
    "isalnum", "isalpha", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "items",
    "join", "keys", "ljust", "lower", "lstrip", "partition", "pop", "removeprefix", "removesuffix", "replace", "rfind",
    "rindex", "rjust", "rpartition", "rsplit", "rstrip", "setdefault", "split", "splitlines", "startswith", "strip",
    "swapcase", "title", "update", "upper", "values", "zfill",
})  # fmt: skip
LOOP_METHODS = frozenset({"changed", "cycle"})
GLOBALS_REFUSED = frozenset(
    {"cycler", "get_flashed_messages", "joiner", "lipsum", "request", "self", "url_for"}
)
"""Objects of Jinja and of web frameworks that carry Python internals and that no chat template needs."""
INTERNALS = frozenset({
    "ag_await", "ag_code", "ag_frame", "co_code", "co_consts", "cr_await", "cr_code", "cr_frame", "f_back",
    "f_builtins", "f_code", "f_globals", "f_locals", "func_code", "func_globals", "gi_code", "gi_frame",
    "gi_yieldfrom", "im_class", "im_func", "im_self", "mro", "tb_frame", "tb_next",
})  # fmt: skip
"""Attributes without leading underscores through which generators, frames and old functions show internals."""
INTERNAL_PREFIXES = ("_", "ag_", "co_", "cr_", "f_", "func_", "gi_", "im_", "tb_")
STATEMENTS = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.With,
    nodes.FilterBlock, nodes.Block, nodes.ExprStmt, nodes.Assign, nodes.AssignBlock, nodes.Scope, nodes.Continue,
    nodes.Break, nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword,
    nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice, nodes.Concat,
    nodes.Compare, nodes.Operand, nodes.BinExpr, nodes.UnaryExpr,
)  # fmt: skip

_DUNDER = re.compile(r"__[A-Za-z]\w*__")


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing a template would do that is not plainly harmless."""

    verdict: Verdict
    line: int
    subject: str
    """Stable name of the thing: `attribute __class__`, `filter attr`, `function foo`."""
    message: str


class _Generation(Extension):
    """The `{% generation %}` block with which training marks the assistant's words; only its body matters."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the statements inside the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def read_template(source: str) -> nodes.Template:
    """Parse a template; Refused(jinja.syntax) when it is none, OutOfBudget(jinja.budget) when it is too large."""
    if len(source) > MAX_SOURCE:
        raise _spent(f"the template is longer than {MAX_SOURCE} characters")
    # Only `parse` is ever called: nothing is compiled, no code is generated, no loader exists.
    environment = jinja2.Environment(extensions=[LoopControlExtension, _Generation], autoescape=True)
    try:
        tree = environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise Refused(
            "this is not a Jinja template",
            cause=f"line {error.lineno}: {error.message}"[:200],
            remedy="ask the publisher for a template that parses; nothing can render this one",
            check="jinja.syntax",
        ) from error
    except RecursionError as error:
        raise _spent("the template is nested too deeply to be read") from error
    except (ValueError, OverflowError, ArithmeticError, TypeError) as error:
        raise Refused(
            "this template cannot be read",
            cause=str(error)[:200],
            remedy="ask the publisher",
            check="jinja.syntax",
        ) from error
    return tree


def examine_template(source: str) -> tuple[Remark, ...]:
    """Return what a template would reach beyond the allowed names, each once, in the order of its lines.

    Raises Refused(jinja.syntax) and OutOfBudget(jinja.budget) as `read_template` does.
    """
    tree = read_template(source)
    try:
        remarks = _Examination(Flow.of(tree)).run(tree)
    except RecursionError as error:
        raise _spent("the template is nested too deeply to be judged") from error
    first: dict[tuple[Verdict, str], Remark] = {}
    for remark in sorted(remarks, key=lambda remark: remark.line):
        first.setdefault((remark.verdict, remark.subject), remark)
    return tuple(first.values())


class _Examination:
    """One walk over one tree."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.rules: dict[type[nodes.Node], Callable[[nodes.Node], Iterator[Remark]]] = {
            nodes.Getattr: self._getattr,
            nodes.Getitem: self._getitem,
            nodes.Call: self._call,
            nodes.Filter: self._filter,
            nodes.Test: self._test,
            nodes.Name: self._name,
            nodes.Const: self._const,
        }

    def run(self, tree: nodes.Template) -> list[Remark]:
        """Visit every node once; OutOfBudget beyond MAX_NODES nodes."""
        remarks: list[Remark] = []
        work: list[nodes.Node] = [tree]
        count = 0
        while work:
            node = work.pop()
            count += 1
            if count > MAX_NODES:
                raise _spent(f"the template has more than {MAX_NODES} parts")
            if not isinstance(node, STATEMENTS):
                kind = type(node).__name__.lower()
                remarks.append(
                    _unlisted(node, f"statement {kind}", f"the template uses {kind}, which is not listed")
                )
            rule = self.rules.get(type(node))
            if rule:
                remarks.extend(rule(node))
            work.extend(node.iter_child_nodes())
        return remarks

    def _attribute(self, node: nodes.Node, name: str) -> Iterator[Remark]:
        """Judge one attribute name, wherever it was spelled."""
        if "__" in name or name in INTERNALS:
            yield _dangerous(
                node, f"attribute {name}", f"the template reaches for {name!r}, a door into Python itself"
            )
        elif name.startswith(INTERNAL_PREFIXES):
            yield _unlisted(
                node,
                f"attribute {name}",
                f"the template reads {name!r}, a name that Python keeps for internals",
            )

    def _key(self, node: nodes.Node, key: nodes.Expr, what: str) -> Iterator[Remark]:
        """Judge an expression that is used as the name of an attribute."""
        sources = self.flow.sources(key)
        for constant in sorted(sources.constants):
            for part in constant.split(".") if what != "subscript" else [constant]:
                yield from self._attribute(node, part)
        if sources.built:
            yield _unlisted(
                node, f"computed {what}", f"the template builds the name of a {what} while it runs"
            )

    def _getattr(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Getattr)
        yield from self._attribute(node, node.attr)

    def _getitem(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Getitem)
        if not isinstance(node.arg, nodes.Slice):
            yield from self._key(node, node.arg, "subscript")

    def _call(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Call)
        target = node.node
        if isinstance(target, nodes.Name):
            bound = target.name in self.flow.names or target.name in GLOBALS_REFUSED
            if not (target.name in self.flow.macros or (target.name in FUNCTIONS and not bound)):
                yield _unlisted(
                    node,
                    f"function {target.name}",
                    f"the template calls {target.name!r}, which is not listed",
                )
        elif isinstance(target, nodes.Getattr):
            yield from self._method(node, target)
        else:
            yield _unlisted(
                node, "function computed", "the template calls something it looked up while running"
            )

    def _method(self, node: nodes.Call, target: nodes.Getattr) -> Iterator[Remark]:
        on_loop = isinstance(target.node, nodes.Name) and target.node.name == "loop"
        if target.attr in METHODS or (on_loop and target.attr in LOOP_METHODS):
            return
        if (
            target.attr == "format"
            and isinstance(target.node, nodes.Const)
            and _plain_format(target.node.value)
        ):
            return
        yield _unlisted(
            node,
            f"method {target.attr}",
            f"the template calls the method {target.attr!r}, which is not listed",
        )

    def _filter(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Filter)
        yield from _filter_name(node, node.name)
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            yield _unlisted(
                node, f"filter {node.name} spread", f"the filter {node.name!r} gets arguments from a list"
            )
        named: dict[str, nodes.Expr] = {str(pair.key): pair.value for pair in node.kwargs}
        position = {"map": None, "groupby": 0, "selectattr": 0, "rejectattr": 0, "sum": 0, "join": 1, "unique": 1,
                    "min": 1, "max": 1, "sort": 2}.get(node.name)  # fmt: skip
        attribute = named.get("attribute")
        if attribute is None and position is not None and len(node.args) > position:
            attribute = node.args[position]
        if attribute is not None:
            yield from self._key(node, attribute, "attribute of a filter")
        tests = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}.get(node.name)
        if node.name == "map" and node.args:
            yield from _named(node, node.args[0], "filter")
        if node.name == "map" and len(node.args) > 1:
            # map('sum', 'x') and the like hand their arguments to a filter that may take an attribute.
            for argument in node.args[1:]:
                yield from self._key(node, argument, "attribute of a filter")
        if tests is not None and len(node.args) > tests:
            yield from _named(node, node.args[tests], "test")

    def _test(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Test)
        yield from _test_name(node, node.name)

    def _name(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Name)
        if node.ctx == "load" and node.name not in self.flow.names and node.name in GLOBALS_REFUSED:
            yield _unlisted(
                node, f"name {node.name}", f"the template uses {node.name!r}, which carries Python internals"
            )
        if "__" in node.name and _DUNDER.fullmatch(node.name):
            yield _dangerous(
                node, f"name {node.name}", f"the template names {node.name!r}, a door into Python itself"
            )

    def _const(self, node: nodes.Node) -> Iterator[Remark]:
        assert isinstance(node, nodes.Const)
        if isinstance(node.value, str) and node.value in _KNOWN_GADGETS:
            yield _dangerous(
                node, f"attribute {node.value}", f"the template holds the name {node.value!r} as a constant"
            )


_KNOWN_GADGETS = frozenset({
    "__base__", "__bases__", "__builtins__", "__class__", "__closure__", "__code__", "__dict__", "__func__",
    "__getattribute__", "__globals__", "__import__", "__init__", "__loader__", "__module__", "__mro__", "__reduce__",
    "__reduce_ex__", "__self__", "__spec__", "__subclasses__", "__wrapped__",
})  # fmt: skip


def _filter_name(node: nodes.Node, name: str) -> Iterator[Remark]:
    if name == "attr":
        yield _dangerous(node, "filter attr", "the template uses |attr, which reads any attribute by name")
    elif name not in FILTERS:
        yield _unlisted(node, f"filter {name}", f"the template uses the filter {name!r}, which is not listed")


def _test_name(node: nodes.Node, name: str) -> Iterator[Remark]:
    if name not in TESTS:
        yield _unlisted(node, f"test {name}", f"the template uses the test {name!r}, which is not listed")


def _named(node: nodes.Node, expr: nodes.Expr, what: str) -> Iterator[Remark]:
    """Judge a filter or test that is handed over by its name."""
    if isinstance(expr, nodes.Const) and isinstance(expr.value, str):
        yield from _filter_name(node, expr.value) if what == "filter" else _test_name(node, expr.value)
    else:
        yield _unlisted(node, f"{what} computed", f"the template chooses a {what} while it runs")


def _plain_format(value: object) -> bool:
    """Whether a format string only places its arguments: no attribute, no subscript, no nested field."""
    if not isinstance(value, str):
        return False
    try:
        fields = list(Formatter().parse(value))
    except ValueError:
        return False
    return all(
        name is None or (not set(name) & set(".[_") and "{" not in (spec or ""))
        for _, name, spec, _ in fields
    )


def _dangerous(node: nodes.Node, subject: str, message: str) -> Remark:
    return Remark(Verdict.DANGEROUS, node.lineno or 0, subject, message)


def _unlisted(node: nodes.Node, subject: str, message: str) -> Remark:
    return Remark(Verdict.UNLISTED, node.lineno or 0, subject, message)


def _spent(problem: str) -> OutOfBudget:
    return OutOfBudget(
        problem,
        cause="a chat template is a few kilobytes; this one asks for more work than a scan spends on one",
        remedy="look at the template by hand, or remove it",
        check="jinja.budget",
    )
