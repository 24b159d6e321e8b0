"""Review a policy's rules: every name that they use is held against what there is, and every comparison against its type.

A member that evidence does not have is undefined, so a rule that asks for it never holds: a denial that never
denies. What is certainly wrong is an error and refuses the policy; what is only likely to be is a warning.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.policy.settings import read_settings
from weighbridge.policy.shape import ANY, DETAILS, NUMBER, TEXT, Shape, of_value, question
from weighbridge.policy.syntax import Module, Node, Rule, kind_of, line_of, path_of, statements

Scope = dict[str, Shape]
TESTS = "_test"
_KNOWN_DATA = ("weighbridge", "settings", "weight_suffixes")


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """One thing that a look at a policy found: where, how bad (`error` refuses it), what, and what to write instead."""

    file: str
    line: int
    severity: str
    text: str
    remedy: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the remark as JSON."""
        return {
            "file": self.file, "line": self.line, "severity": self.severity, "text": self.text, "remedy": self.remedy,
        }  # fmt: skip

    def __str__(self) -> str:
        """Return it as one line."""
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{where}{self.text}" + (f" ({self.remedy})" if self.remedy else "")


def review(modules: Iterable[Module]) -> tuple[Remark, ...]:
    """Return what is wrong with the names and types in these modules, tests left out."""
    looking = _Looking([module for module in modules if not module.package.endswith(TESTS)])
    for module in looking.modules:
        for name, path in module.imports.items():
            looking.reference(module, module.lines[name], path)
        for rule in module.rules:
            looking.rule(module, rule)
    return tuple(sorted(looking.found))


class _Looking:
    def __init__(self, modules: list[Module]) -> None:
        self.modules = modules
        self.found: set[Remark] = set()
        self.packages: dict[str, dict[str, list[tuple[Module, Rule]]]] = {}
        for module in modules:
            rows = self.packages.setdefault(module.package, {})
            for rule in module.rules:
                rows.setdefault(rule.name.partition(".")[0], []).append((module, rule))
        self._input, self._settings = question(), of_value(read_settings(""), "data.settings")
        self._module = modules[0] if modules else None
        self._open: set[tuple[str, str]] = set()
        self._quiet = 0
        self._negated = False

    def say(self, line: int, text: str, remedy: str = "", *, error: bool = True) -> None:
        if not self._quiet and self._module is not None:
            self.found.add(Remark(self._module.file, line, "error" if error else "warning", text, remedy))

    def rule(self, module: Module, rule: Rule) -> None:
        """Look at one definition, body after body."""
        self._module = module
        scope: Scope = {}
        for argument in rule.arguments:
            self.bind(argument, ANY, scope)
        for body in rule.bodies or ({"query": {"stmts": []}},):
            inner = self.query(statements(body), scope)
            if rule.value is not None:
                self.visit(rule.value, inner)
            if body.get("assign"):
                self.visit(body["assign"]["value"], inner)

    def query(self, rows: list[Mapping[str, Any]], scope: Scope) -> Scope:
        """Look at statements in their order; return what is known of each variable after them."""
        inner = dict(scope)
        for row in rows:
            kind, content = kind_of(row["literal"])
            for changed in row.get("with_mods", ()):
                self.say(
                    int(changed["span"][0]), "`with` puts something else in the place of what was asked",
                    "only tests may do that: in a file named like own_test.rego",
                )  # fmt: skip
            self.literal(kind, content, inner)
        return inner

    def literal(self, kind: str, content: Any, scope: Scope) -> None:
        if kind in ("Expr", "NotExpr"):
            before, self._negated = self._negated, kind == "NotExpr"
            self.visit(content["expr"], scope if kind == "Expr" else dict(scope))
            self._negated = before
        elif kind == "SomeIn":
            row = self.visit(content["collection"], scope)
            self.collection(row, line_of(content["collection"]))
            self.bind(content["value"], element(row), scope)
            if content.get("key"):
                self.bind(content["key"], NUMBER if "items" in row else ANY, scope)
        elif kind == "SomeVars" and self._module is not None:
            for span in content["vars"]:
                scope[self._module.text(span)] = {"unbound": True}
        elif kind == "Every" and self._module is not None:
            row = self.visit(content["domain"], scope)
            inner = dict(scope)
            inner[self._module.text(content["value"])] = element(row)
            if content.get("key"):
                inner[self._module.text(content["key"])] = ANY
            self.query(statements(content), inner)

    def collection(self, shape: Shape, line: int) -> None:
        """Refuse to look through something that holds nothing."""
        if scalar(shape):
            self.say(
                line,
                f"this is {words(shape)}, and `in` looks through lists, sets and objects",
                "compare with ==",
            )

    def bind(self, node: Node, shape: Shape, scope: Scope) -> None:
        """Note what a pattern binds."""
        kind, content = kind_of(node)
        if kind == "Var":
            name = content["value"]
            if name in ("input", "data"):
                self.say(
                    line_of(node),
                    f"{name} is hidden by a variable of that name",
                    "give the variable another name",
                )
            elif name not in scope or scope[name].get("unbound"):
                scope[name] = shape
        elif kind == "Array":
            for item in content["items"]:
                self.bind(item, element(shape), scope)
        elif kind == "Object":
            for row in content["fields"]:
                self.bind(row[2], ANY, scope)

    # ------------------------------------------------------------ expressions

    def visit(self, node: Node, scope: Scope) -> Shape:
        """Return the shape of an expression, and remark on what is wrong inside of it."""
        kind, content = kind_of(node)
        look: Callable[[Any, Scope], Shape] | None = getattr(self, f"_{kind.lower()}", None) if kind else None
        if look is not None:
            return look(content, scope)
        for child in (
            content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
        ):
            self._deep(child, scope)
        return {"String": TEXT, "RawString": TEXT, "Number": NUMBER}.get(kind, ANY)

    def _deep(self, child: Any, scope: Scope) -> None:
        if isinstance(child, list):
            for item in child:
                self._deep(item, scope)
        elif isinstance(child, dict) and kind_of(child)[0][:1].isupper():
            self.visit(child, scope)

    def _var(self, content: Any, scope: Scope) -> Shape:
        name, module = content["value"], self._module
        if name in scope:
            return scope[name]
        if name == "input":
            return self._input
        if name == "data":
            return {"data": ()}
        if module is None:
            return ANY
        if name in module.imports:
            return self.reference(module, int(content["span"][0]), module.imports[name])
        return self.value(module.package, name)

    def _refdot(self, content: Any, scope: Scope) -> Shape:
        return self.member(
            self.visit(content["refr"], scope), content["field"][1], int(content["field"][0][0])
        )

    def _refbrack(self, content: Any, scope: Scope) -> Shape:
        row = self.visit(content["refr"], scope)
        kind, index = kind_of(content["index"])
        line = int(content["span"][0])
        if kind in ("String", "RawString"):
            return self.member(row, index["value"], line)
        if "data" in row:
            if len(row["data"]) < 2 or row["data"][0] != "weighbridge":
                self.say(
                    line, "data is looked through by a name that is not written here", "name what you mean"
                )
            return ANY
        if kind == "Var" and (index["value"] not in scope or scope[index["value"]].get("unbound")):
            if self._negated and index["value"] != "_" and not self._rule(index["value"]):
                text = f"{index['value']} has no value here, so this is not asked of each"
                self.say(line, text, "write `some one in …` in a line before, then `not one.…`")
            scope[index["value"]] = NUMBER if "items" in row else ANY
        else:
            self.visit(content["index"], scope)
        return element(row)

    def _rule(self, name: str) -> bool:
        module = self._module
        return module is not None and (
            name in module.imports or name in self.packages.get(module.package, {})
        )

    def _call(self, content: Any, scope: Scope) -> Shape:
        for parameter in content["params"]:
            self.visit(parameter, scope)
        path = path_of(content["fcn"])
        if path is None or self._module is None:
            return ANY
        if path[0] in self._module.imports:
            path = (*self._module.imports[path[0]], *path[1:])
        if path[:2] == ("data", "weighbridge"):
            return self.reference(self._module, int(content["span"][0]), path)
        return self.value(self._module.package, path[0]) if len(path) == 1 else ANY

    def _assignexpr(self, content: Any, scope: Scope) -> Shape:
        row = self.visit(content["rhs"], scope)
        if content["op"] == "Eq" and kind_of(content["lhs"])[0] not in ("Var", "Array", "Object"):
            row = self.visit(content["lhs"], scope)
        if content["op"] == "Eq":
            self.say(
                int(content["span"][0]), "`=` unifies: it compares what is known and assigns what is not",
                "write == to compare, := to assign", error=False,
            )  # fmt: skip
            self.compare("Eq", content, scope)
        self.bind(content["lhs"], row, scope)
        return ANY

    def _boolexpr(self, content: Any, scope: Scope) -> Shape:
        self.compare(content["op"], content, scope)
        return {"flag": True}

    def compare(self, op: str, content: Any, scope: Scope) -> None:
        """Hold both sides of a comparison against each other."""
        left, right = self.visit(content["lhs"], scope), self.visit(content["rhs"], scope)
        line = int(content["span"][0])
        for node, other in ((content["rhs"], left), (content["lhs"], right)):
            self.word(node, other, line)
        pair = {base(left), base(right)}
        if None not in pair and len(pair) == 2:
            text = f"{words(left)} is compared with {words(right)}: they are never the same"
            self.say(line, text, "compare values of one type")
        elif pair == {"text"} and op in ("Lt", "Le", "Gt", "Ge"):
            self.say(
                line, "texts are compared letter by letter",
                "compare times as time.parse_rfc3339_ns(…), numbers as to_number(…)", error=False,
            )  # fmt: skip

    def word(self, node: Node, shape: Shape, line: int) -> None:
        """Refuse a text that a member of few words never has."""
        kind, content = kind_of(node)
        known = shape.get("text")
        if kind in ("String", "RawString") and isinstance(known, list) and content["value"] not in known:
            self.say(line, f"this is never {content['value']!r}", meant(content["value"], known))

    def _membership(self, content: Any, scope: Scope) -> Shape:
        value, row = self.visit(content["value"], scope), self.visit(content["collection"], scope)
        line = int(content["span"][0])
        self.collection(row, line)
        self.word(content["value"], element(row), line)
        kind, items = kind_of(content["collection"])
        for item in items.get("items", ()) if kind in ("Set", "Array") else ():
            self.word(item, value, line)
        inner = element(row)
        if None not in (base(value), base(inner)) and base(value) != base(inner):
            self.say(
                line,
                f"{words(value)} is looked for among values that are {words(inner)}",
                "compare values of one type",
            )
        return {"flag": True}

    def _listed(self, content: Any, scope: Scope) -> Shape:
        inner = self.query(statements(content), scope)
        return {"items": self.visit(content["term"], inner)}

    _setcompr = _arraycompr = _listed

    def _objectcompr(self, content: Any, scope: Scope) -> Shape:
        inner = self.query(statements(content), scope)
        self.visit(content["key"], inner)
        return {"values": self.visit(content["value"], inner)}

    def _binexpr(self, content: Any, scope: Scope) -> Shape:
        self.visit(content["rhs"], scope)
        return self.visit(content["lhs"], scope)

    def _object(self, content: Any, scope: Scope) -> Shape:
        for row in content["fields"]:
            self.visit(row[1], scope)
            self.visit(row[2], scope)
        return ANY

    # ------------------------------------------------------------ names

    def reference(self, module: Module, line: int, path: tuple[str, ...]) -> Shape:
        """Return the shape of `data.…` or `input.…`."""
        if path[0] not in ("data", "input"):
            return ANY
        before, self._module = self._module, module
        row: Shape = self._input if path[0] == "input" else {"data": ()}
        for name in path[1:]:
            row = self.member(row, name, line)
        self._module = before
        return row

    def member(self, shape: Shape, name: str, line: int) -> Shape:
        """Return the shape of one member; remark when there is none."""
        if "data" in shape:
            return self.named((*shape["data"], name), line)
        if "members" in shape:
            if name in shape["members"]:
                inner: Shape = shape["members"][name]
                return {**inner, "details": True} if name == "detail" else inner
            self.say(
                line, f"{shape.get('called', 'evidence')} has no member {name}", meant(name, shape["members"])
            )
        elif "items" in shape and not name.isdigit():
            self.say(line, f"a list has no member {name}", f"take each: `some one in …; one.{name}`")
        elif shape.get("details") and name not in DETAILS:
            self.say(line, f"no claim of ours says {name}", meant(name, DETAILS), error=False)
        elif scalar(shape):
            self.say(
                line,
                f"{words(shape)} has no member {name}",
                "an index is a place, not what stands there: use `some … in …`",
            )
        held: Shape = shape.get("values", ANY)
        return held

    def named(self, path: tuple[str, ...], line: int) -> Shape:
        """Return the shape of `data.` and these names."""
        if path[0] not in _KNOWN_DATA:
            self.say(line, f"there is no data.{path[0]}", meant(path[0], _KNOWN_DATA))
            return ANY
        if path[0] != "weighbridge":
            return self._settings if path == ("settings",) else {"items": TEXT} if len(path) == 1 else ANY
        package = f"{'.'.join(path[:-1])}"
        if ".".join(path) in self.packages or any(
            name.startswith(f"{'.'.join(path)}.") for name in self.packages
        ):
            return {"data": path}
        if package in self.packages:
            return self.value(package, path[-1], line)
        known = [name.partition(".")[2] for name in self.packages]
        self.say(line, f"there is no package {'.'.join(path)}", meant(path[-1], known))
        return ANY

    def value(self, package: str, name: str, line: int = 0) -> Shape:
        """Return the shape of a rule's value, as far as its definitions agree."""
        rows = self.packages.get(package, {}).get(name)
        if rows is None:
            if line:
                self.say(
                    line, f"the package {package} has no rule {name}", meant(name, self.packages[package])
                )
            return ANY
        if (package, name) in self._open or any(rule.kind == "object" for _, rule in rows):
            return ANY
        self._open.add((package, name))
        before, self._quiet = self._module, self._quiet + 1
        shapes = [self._shape(module, rule) for module, rule in rows if rule.kind != "default"]
        self._module, self._quiet = before, self._quiet - 1
        self._open.discard((package, name))
        return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else ANY

    def _shape(self, module: Module, rule: Rule) -> Shape:
        if rule.value is None:
            return {"flag": True} if rule.kind in ("value", "function") else ANY
        self._module = module
        scope: Scope = {}
        for argument in rule.arguments:
            self.bind(argument, ANY, scope)
        inner = self.query(statements(rule.bodies[0]), scope) if rule.bodies else scope
        row = self.visit(rule.value, inner)
        return {"items": row} if rule.kind == "set" else row


def element(shape: Shape) -> Shape:
    """Return the shape of what stands in a collection."""
    inner: Shape = shape.get("items") or shape.get("values") or ANY
    return inner


def scalar(shape: Shape) -> bool:
    """Tell whether this is surely a single value."""
    return any(name in shape for name in ("text", "number", "flag"))


def base(shape: Shape) -> str | None:
    """Return text, number, flag, list or object; None for what may be anything or null."""
    if shape.get("maybe"):
        return None
    return next((name for name in ("text", "number", "flag", "items", "members") if name in shape), None)


def words(shape: Shape) -> str:
    """Return what a shape is, in words."""
    named = {
        "text": "a text",
        "number": "a number",
        "flag": "true or false",
        "items": "a list",
        "members": "an object",
    }
    return next((said for name, said in named.items() if name in shape), "something")


def meant(name: str, known: Iterable[str]) -> str:
    """Return what may have been meant, else what there is."""
    names = sorted(map(str, known))
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names[:30])}"
