"""Follow the paths in a TensorFlow graph: what saves, restores or fills a table may only get them from its caller.

Each honest SavedModel holds functions that write and read checkpoints. They are told from hostile ones by where
their path comes from: through a few operators that join text, from an argument of the function or a placeholder.
A function that does so is itself such an operator wherever it is called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

from weighbridge.formats.tf_graph import Graph, Node
from weighbridge.scanner.tensorflow_ops import CARRIERS, HANDLES, PATHS

_PARTS = re.compile(rb"[./]?part|_temp(?:_[0-9a-f]{1,64})?/part|[A-Za-z0-9_-]{0,64}")
"""What TensorFlow itself adds to the path of a checkpoint, and plain names."""
_VARIABLE_USERS = frozenset({"AssignVariableOp", "ReadVariableOp", "VarIsInitializedOp"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
MAX_STEPS = 200_000


class _Body:
    """The nodes of one function, or of the graph itself when `name` is empty."""

    def __init__(self, name: str, nodes: list[Node], variables: Counter[str]) -> None:
        self.inside = bool(name)
        self.nodes = {node.name: node for node in nodes}
        self.variables = variables
        self.all = nodes

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """Node to those that take something from it, or wait for it."""
        found: dict[str, list[Node]] = {}
        for user in self.all:
            for name in user.inputs:
                found.setdefault(name.lstrip("^").partition(":")[0], []).append(user)
        return found

    def only_begins(self, node: Node) -> bool:
        """Tell whether a node is only run to begin with: the asset's own path stands in its place then, not later."""
        work, seen = [node.name], {node.name}
        while work:
            for user in self.users.get(work.pop(), ()):
                if user.op != "NoOp":
                    return False
                if user.name not in seen:
                    seen.add(user.name)
                    work.append(user.name)
        return True

    def assigned(self, read: Node) -> list[str]:
        """Return what a variable is set to that nothing but this body can set; nothing when others might."""
        handle = self.nodes.get(read.inputs[0].partition(":")[0]) if read.inputs else None
        if handle is None or handle.op != "VarHandleOp" or self.variables[_variable(handle)] != 1:
            return []
        users = self.users.get(handle.name, [])
        if any(user.op not in _VARIABLE_USERS for user in users):
            return []
        return [user.inputs[1] for user in users if user.op == "AssignVariableOp" and len(user.inputs) > 1]

    def follow(self, inputs: tuple[str, ...], assets: frozenset[str]) -> tuple[str, set[str]]:
        """Return why a path does not come from the caller, or an empty text, and the arguments that it comes from."""
        work = list(inputs)
        seen: set[str] = set()
        arguments: set[str] = set()
        while work:
            name = work.pop().partition(":")[0]
            if name in seen or name.startswith("^") or name in assets:
                continue
            seen.add(name)
            node = self.nodes.get(name)
            if node is None:
                if not self.inside:
                    return f"its path comes from {name!r}, which is not there", arguments
                arguments.add(name)
            elif node.op in CARRIERS:
                work += node.inputs
            elif node.op == "ReadVariableOp" and (values := self.assigned(node)):
                work += values
            elif node.op == "Const":
                bad = next((text for key, text in node.texts if key == "value" and not _plain(text)), None)
                if bad is not None:
                    return f"its path is {bad[:80].decode('latin-1')!r}", arguments
            elif node.op not in HANDLES:
                return f"its path comes from the operator {node.op}", arguments
        return "", arguments


def _variable(handle: Node) -> str:
    shared = next((text.decode("latin-1") for key, text in handle.texts if key == "shared_name"), "")
    return shared or handle.name


def strange_paths(graph: Graph) -> Iterator[tuple[str, Node, str]]:
    """Yield (function, node, reason) for each operator whose path the graph itself decides."""
    assets = frozenset(tensor.rpartition(":")[0] for tensor, _ in graph.assets)
    variables = Counter(
        _variable(node) for nodes in graph.bodies.values() for node in nodes if node.op == "VarHandleOp"
    )
    bodies = {name: _Body(name, nodes, variables) for name, nodes in graph.bodies.items()}
    taking: dict[str, set[str]] = {}
    """Function to the arguments that become paths in it."""
    told: set[tuple[str, str]] = set()
    again, steps = True, 0
    while again:
        again = False
        for name, body in bodies.items():
            for node in body.all:
                inputs = _path_inputs(node, graph, taking)
                if not inputs:
                    continue
                steps += 1
                reason, arguments = _judge(node, body, inputs, assets)
                if steps > MAX_STEPS:
                    reason = "there are too many functions to follow"
                if reason and (name, node.name) not in told:
                    told.add((name, node.name))
                    yield name, node, reason
                if arguments - taking.get(name, set()):
                    taking.setdefault(name, set()).update(arguments)
                    again = steps <= MAX_STEPS


def _judge(node: Node, body: _Body, inputs: tuple[str, ...], assets: frozenset[str]) -> tuple[str, set[str]]:
    """Follow the paths of one node; the path of an asset may fill a table when the model is loaded, and nothing else."""
    reason, arguments = body.follow(inputs, frozenset())
    fills = node.op not in PATHS or node.op.startswith("InitializeTable")
    if not reason or body.inside or not fills:
        return reason, arguments
    if body.follow(inputs, assets)[0]:
        return reason, arguments
    return ("" if body.only_begins(node) else "an asset is read again by what the model computes"), arguments


def _path_inputs(node: Node, graph: Graph, taking: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Return the inputs of a node that are, or may become, paths."""
    places = PATHS.get(node.op)
    if places is not None:
        return tuple(node.inputs[place] for place in places if place < len(node.inputs))
    found: list[str] = []
    for name in (node.op, *node.calls):
        if name not in taking:
            continue
        inputs = tuple(text for text in node.inputs if not text.startswith("^"))
        order = graph.arguments.get(name, ())
        if (node.op == name or node.op in _CALLS) and len(order) == len(inputs):
            found += [text for text, argument in zip(inputs, order, strict=True) if argument in taking[name]]
        else:
            found += inputs
    return tuple(found)


def _plain(text: bytes) -> bool:
    return _PARTS.fullmatch(text) is not None
