"""The syntax trees of a policy as the engine gives them (`RegorusEngine.look`): modules, rules, and what a rule's head says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Node = Any
"""A part of a tree: an object of one member, whose name is its kind, or a list, or a plain value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition of a rule: `kind` is default, value, set, function or object."""

    name: str
    kind: str
    line: int
    arguments: tuple[Node, ...]
    value: Node
    """What it is when it holds; None where that is not said (then it is true)."""
    bodies: tuple[Mapping[str, Any], ...]
    end: int = 0
    """The last line of it."""


class Module:
    """One file of a policy."""

    def __init__(self, file: str, text: str, tree: Mapping[str, Any]) -> None:
        self.file = file
        self._bytes = text.encode()
        self.package = ".".join(path_of(tree["package"]["refr"]) or ())
        self.imports: dict[str, tuple[str, ...]] = {}
        self.lines: dict[str, int] = {}
        for row in tree["imports"]:
            path = path_of(row["refr"])
            if path:
                name = self.text(row["as"]) if row.get("as") else path[-1]
                self.imports[name] = path
                self.lines[name] = int(row["span"][0])
        self.rules = [rule for node in tree["rules"] if (rule := self._rule(node)) is not None]

    def text(self, span: list[int]) -> str:
        """Return the text of a span `[line, column, first byte, end]`."""
        return self._bytes[span[2] : span[3]].decode("utf-8", "replace")

    def _rule(self, node: Node) -> Rule | None:
        kind, content = next(iter(node.items()))
        if kind == "Default":
            name = ".".join(path_of(content["refr"]) or ("?",))
            return Rule(
                name,
                "default",
                content["span"][0],
                tuple(content["args"]),
                content["value"],
                (),
                self._end(content["span"]),
            )
        shape, head = next(iter(content["head"].items()))
        path = path_of(head["refr"])
        assign = head.get("assign")
        value = head["key"] if shape == "Set" else assign["value"] if assign else None
        named = {"Set": "set", "Func": "function"}.get(shape, "value")
        if path is None or (shape == "Compr" and len(path) > 1):
            named, path = "object", path_of(root_of(head["refr"])) or ("?",)
        bodies = tuple(content["bodies"])
        return Rule(
            ".".join(path),
            named,
            content["span"][0],
            tuple(head.get("args", ())),
            value,
            bodies,
            self._end(content["span"]),
        )

    def _end(self, span: list[int]) -> int:
        return int(span[0]) + self.text(span).count("\n")


def kind_of(node: Node) -> tuple[str, Any]:
    """Return the kind of a node and what it holds; empty for what is no node."""
    if isinstance(node, dict) and len(node) == 1:
        return next(iter(node.items()))
    return "", node


def line_of(node: Node) -> int:
    """Return the line that a node begins on; 0 where none is said."""
    _, content = kind_of(node)
    span = content.get("span") if isinstance(content, dict) else None
    return int(span[0]) if span else 0


def path_of(node: Node) -> tuple[str, ...] | None:
    """Return the names of a reference that is made of names and texts alone; None for any other."""
    kind, content = kind_of(node)
    if kind == "Var":
        return (content["value"],)
    if kind == "RefDot":
        above = path_of(content["refr"])
        return None if above is None else (*above, content["field"][1])
    if kind == "RefBrack":
        above, (inner, index) = path_of(content["refr"]), kind_of(content["index"])
        return None if above is None or inner not in ("String", "RawString") else (*above, index["value"])
    return None


def root_of(node: Node) -> Node:
    """Return what a reference begins with."""
    kind, content = kind_of(node)
    return root_of(content["refr"]) if kind in ("RefDot", "RefBrack") else node


def nodes(tree: Node) -> Iterator[tuple[str, Any]]:
    """Yield every node below, its kind and what it holds."""
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item)
    elif isinstance(tree, dict):
        for name, item in tree.items():
            if name[:1].isupper():
                yield name, item
            yield from nodes(item)


def statements(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the statements of a body or of a query."""
    query = body.get("query", body)
    rows: list[Mapping[str, Any]] = query["stmts"] if isinstance(query, dict) else []
    return rows
