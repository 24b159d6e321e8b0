"""The form of a policy: whether each class's package answers with `allow` and `deny` as it should, and what often goes wrong.

Names and types are `review`'s. Here an error is what makes the answer open or no answer at all; a warning is
what makes a rule weaker than it reads.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from weighbridge.policy.canned import CLASSES
from weighbridge.policy.lint import LITERAL
from weighbridge.policy.review import TESTS, Remark, meant
from weighbridge.policy.shape import Shape, question
from weighbridge.policy.syntax import Module, Rule, kind_of, line_of, nodes, path_of, statements

ANSWER = ("allow", "deny", "warn", "obligations")
HOUSE = "weighbridge"
ROWS = {"rule", "msg", "severity"}
PREDICATES = ("data", HOUSE, "predicates")
_ROW = 'write `deny contains {"rule": "…", "msg": "…"} if …`'
_HIDDEN = frozenset(
    "\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\x85\x0b\x0c"
)


def form(modules: Sequence[Module]) -> tuple[Remark, ...]:
    """Return what is wrong with the form of these modules, tests left out."""
    found: set[Remark] = set()
    rules = [module for module in modules if not module.package.endswith(TESTS)]
    for module in rules:
        found.update(_package(module))
        found.update(_module(module))
    for package in sorted({module.package for module in rules}):
        found.update(_together([module for module in rules if module.package == package]))
    if not {module.package.removeprefix(f"{HOUSE}.") for module in rules} & set(CLASSES):
        text = "no file is in the package of a class of models"
        found.add(Remark("", 0, "error", text, "begin one with `package weighbridge.own`"))
    return tuple(sorted(found))


def hidden(file: str, text: str) -> tuple[Remark, ...]:
    """Return where characters stand that nobody sees, or that are not the letters they look like."""
    code = LITERAL.sub(lambda match: "\n" * match[0].count("\n"), text)
    found = [
        _char(file, line, char, "which is not seen", "write it as \\u…, or take it out")
        for line, row in enumerate(text.replace("\r\n", "\n").split("\n"), 1)
        for char in dict.fromkeys(row)
        if char in _HIDDEN or char == "\r"
    ]
    found += [
        _char(file, line, char, "and names are made of ASCII letters", "it only looks like one: type it anew")
        for line, row in enumerate(code.split("\n"), 1)
        for char in dict.fromkeys(row)
        if not char.isascii() and char not in _HIDDEN
    ]
    return tuple(found)


def _char(file: str, line: int, char: str, why: str, remedy: str) -> Remark:
    return Remark(
        file, line, "error", f"here stands {unicodedata.name(char, 'a control character')}, {why}", remedy
    )


def _package(module: Module) -> Iterator[Remark]:
    name = module.package.rpartition(".")[2]
    if name not in CLASSES and (guess := meant(name, CLASSES)).startswith("did"):
        text = f"the package {module.package} is asked by nobody"
        yield Remark(module.file, 1, "warning", text, guess)


def _together(modules: Sequence[Module]) -> Iterator[Remark]:
    """Look at a package over all its files."""
    rules = [(module, rule) for module in modules for rule in module.rules]
    for name in sorted({rule.name for _, rule in rules}):
        defaults = [(module, rule) for module, rule in rules if rule.name == name and rule.kind == "default"]
        if len(defaults) > 1 and not defaults[0][1].arguments:
            module, rule = defaults[1]
            yield Remark(
                module.file, rule.line, "error", f"{name} has {len(defaults)} defaults", "leave one of them"
            )
        files = sorted({module.file for module, rule in rules if rule.name == name})
        if len(files) > 1 and name not in ANSWER[1:]:
            text = f"{name} of the package {modules[0].package} stands in {' and in '.join(files)}: each widens the other"
            yield Remark(files[1], 0, "error", text, "give your own rules a package of their own")
    if modules[0].package in {f"{HOUSE}.{name}" for name in CLASSES}:
        yield from _answer(modules[0], rules)


def _answer(first: Module, rules: Sequence[tuple[Module, Rule]]) -> Iterator[Remark]:
    by_name = {name: [pair for pair in rules if pair[1].name == name] for name in ANSWER}
    if not any(rule.kind == "default" for _, rule in by_name["allow"]):
        text = "allow has no default: it is undefined where no rule allows, and nobody is told why"
        yield Remark(first.file, 0, "warning", text, "write `default allow := false`")
    if not by_name["deny"]:
        yield Remark(first.file, 0, "error", "nothing is ever denied: there is no rule deny", _ROW)
    for module, rule in rules:
        yield from _row(module, rule)


def _row(module: Module, rule: Rule) -> Iterator[Remark]:
    """Look at one rule of a class's own package."""
    kind, content = kind_of(rule.value)
    if rule.name not in ANSWER and rule.kind != "function":
        guess = meant(rule.name, ANSWER)
        remedy = (
            guess if guess.startswith("did") else "move it to another package, such as weighbridge.helpers"
        )
        yield Remark(module.file, rule.line, "error", f"an answer has no member {rule.name}", remedy)
    elif rule.name == "allow":
        yield from _allow(module, rule, kind, content)
    elif rule.name in ("deny", "warn") and rule.kind != "set" and (rule.kind, kind) != ("value", "Array"):
        yield Remark(
            module.file, rule.line, "error", f"{rule.name} is no set of rows", _ROW.replace("deny", rule.name)
        )
    elif rule.name in ("deny", "warn") and rule.kind == "set":
        yield from _denial(module, rule, kind, content)


def _allow(module: Module, rule: Rule, kind: str, content: Any) -> Iterator[Remark]:
    if rule.kind == "default":
        if (kind, content.get("value")) != ("Bool", False):
            yield Remark(
                module.file,
                rule.line,
                "error",
                "allow is not false by default",
                "write `default allow := false`",
            )
        return
    if rule.kind != "value":
        yield Remark(
            module.file, rule.line, "error", f"allow is a {rule.kind}", "write `allow if count(deny) == 0`"
        )
        return
    if not rule.bodies and (kind, content.get("value") if kind else True) in (("Bool", True), ("", True)):
        yield Remark(
            module.file,
            rule.line,
            "error",
            "allow is true of everything",
            "write `allow if count(deny) == 0`",
        )
    if kind not in ("", "Bool"):
        yield Remark(
            module.file,
            rule.line,
            "error",
            "allow is neither true nor false",
            "write `allow if count(deny) == 0`",
        )
    if rule.bodies and not any(
        name == "Var" and row["value"] == "deny" for name, row in nodes(list(rule.bodies))
    ):
        text = "allow does not look at deny: where both hold, that is no answer"
        yield Remark(module.file, rule.line, "warning", text, "write `allow if count(deny) == 0`")


def _denial(module: Module, rule: Rule, kind: str, content: Any) -> Iterator[Remark]:
    if kind == "Object":
        names = {row[1]["String"]["value"] for row in content["fields"] if kind_of(row[1])[0] == "String"}
        if not {"rule", "msg"} <= names <= ROWS:
            yield Remark(module.file, rule.line, "error", f"a row of {rule.name} is not {{rule, msg}}", _ROW)
    elif kind not in ("Var", "Call", "RefDot", "RefBrack"):
        yield Remark(module.file, rule.line, "error", f"a row of {rule.name} is not {{rule, msg}}", _ROW)
    if rule.name == "deny":
        for body in rule.bodies:
            yield from _weak(module, statements(body))


def _weak(module: Module, rows: Sequence[Mapping[str, Any]]) -> Iterator[Remark]:
    """Remark on conditions of a denial that do not hold either where the evidence is missing."""
    test: Any
    for row in rows:
        kind, content = kind_of(row["literal"])
        inner, test = kind_of(content["expr"]) if kind == "Expr" else ("", {})
        path = _expanded(module, test["fcn"] if inner == "Call" else {inner: test}) if inner else None
        if (
            path is not None
            and path[:3] == PREDICATES
            and len(path) == 4
            and inner in ("Call", "RefDot", "Var")
        ):
            text = f"{path[3]} says what must be true, and here it denies"
            yield Remark(module.file, line_of(content["expr"]), "warning", text, "write `not` in front of it")
        if inner == "BoolExpr" and test["op"] != "Eq":
            for side in (test["lhs"], test["rhs"]):
                path = _expanded(module, side)
                if path is not None and _missing(path):
                    text = f"where {'.'.join(path)} is missing, this denies nothing"
                    remedy = "write what must be true, and deny when it is `not`"
                    yield Remark(module.file, line_of(content["expr"]), "warning", text, remedy)


def _expanded(module: Module, node: Any) -> tuple[str, ...] | None:
    path = path_of(node)
    return None if path is None else (*module.imports.get(path[0], path[:1]), *path[1:])


def _missing(path: Sequence[str]) -> bool:
    """Tell whether evidence may be without this."""
    shape: Shape = question() if path[0] == "input" else {}
    for name in path[1:]:
        shape = shape.get("members", {}).get(name, {})
        if shape.get("maybe") or name == "detail":
            return True
    return False


# ---------------------------------------------------------------- what often goes wrong, in any package


def _module(module: Module) -> Iterator[Remark]:
    for rule in module.rules:
        if any(body.get("is_else") for body in rule.bodies) and rule.name in ANSWER:
            text = "of an else-chain only the first that holds is looked at"
            yield Remark(module.file, rule.line, "warning", text, "write one rule for each condition")
        if rule.name in ("input", "data"):
            text = f"{rule.name} is hidden by a rule of that name"
            yield Remark(module.file, rule.line, "error", text, "give the rule another name")
        calls = [row for kind, row in nodes(list(rule.bodies)) if kind == "Call" and row["params"]]
        counted = any(
            path_of(row["fcn"]) == ("count",) and path_of(row["params"][0]) != ("deny",) for row in calls
        )
        for kind, row in nodes([rule.value, *rule.bodies]):
            yield from _odd(module, kind, row, counted=counted)


def _odd(module: Module, kind: str, row: Any, *, counted: bool) -> Iterator[Remark]:
    line = int(row["span"][0]) if isinstance(row, dict) and row.get("span") else 0
    if kind == "Every" and not counted:
        yield Remark(
            module.file,
            line,
            "warning",
            "`every` is true of nothing at all",
            "ask for `count(…) > 0` beside it",
        )
    if kind == "NotExpr" and kind_of(row["expr"])[0] == "Var" and row["expr"]["Var"]["value"] == "deny":
        yield Remark(
            module.file,
            line,
            "error",
            "deny is a set, and `not` a set is never true",
            "write `count(deny) == 0`",
        )
    if (
        kind == "NotExpr"
        and kind_of(row["expr"])[0] == "Call"
        and path_of(row["expr"]["Call"]["fcn"]) == ("count",)
    ):
        yield Remark(module.file, line, "error", "a count is never false", "write `count(…) == 0`")
    if kind == "BoolExpr" and row["op"] in ("Ge", "Lt") and _counts(row["lhs"]) and _number(row["rhs"]) == 0:
        text = f"a count is {'always' if row['op'] == 'Ge' else 'never'} so"
        yield Remark(module.file, line, "error", text, "compare with 1, or write == 0")
    if (
        kind == "BoolExpr"
        and path_of(row["lhs"]) not in (None, ("_",))
        and path_of(row["lhs"]) == path_of(row["rhs"])
    ):
        yield Remark(
            module.file, line, "error", "something is compared with itself", "compare it with something else"
        )
    if kind == "Call":
        yield from _call(module, row, line)


def _call(module: Module, row: Any, line: int) -> Iterator[Remark]:
    path, parameters = path_of(row["fcn"]), row["params"]
    if path in (("regex", "match"), ("re_match",)) and parameters:
        kind, pattern = kind_of(parameters[0])
        if kind in ("String", "RawString") and not re.fullmatch(r"\^.*\$", pattern["value"], re.DOTALL):
            text = "this pattern is looked for anywhere in the text"
            yield Remark(module.file, line, "warning", text, "begin it with ^ and end it with $")
        elif kind in ("String", "RawString") and _loose(pattern["value"][1:-1]):
            text = "^ and $ hold for the outer alternatives of this pattern only"
            yield Remark(module.file, line, "warning", text, "write ^(?:…|…)$")
    if path == ("glob", "match") and len(parameters) > 1 and kind_of(parameters[1])[0] == "Null":
        text = "without delimiters a * of this pattern reaches over every /"
        yield Remark(module.file, line, "warning", text, 'give the delimiters, ["/"]')


def _loose(pattern: str) -> bool:
    """Tell whether a pattern has an alternative outside of all groups."""
    depth = 0
    for char in re.sub(r"\\.|\[[^\]]*\]", "", pattern):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "|" and depth == 0:
            return True
    return False


def _counts(node: Any) -> bool:
    kind, content = kind_of(node)
    return kind == "Call" and path_of(content["fcn"]) == ("count",)


def _number(node: Any) -> Any:
    kind, content = kind_of(node)
    return content["value"] if kind == "Number" else None


def errors(remarks: Iterable[Remark]) -> tuple[Remark, ...]:
    """Return those that refuse a policy."""
    return tuple(remark for remark in remarks if remark.severity == "error")
