"""Follow the paths in a TensorFlow graph: what saves, restores or fills a table may only get them from its caller.

Each honest SavedModel holds functions that write and read checkpoints. They are told from hostile ones by where
their path comes from: through a few operators that join text, from an argument of the function or a placeholder.
A function that does so is itself such an operator wherever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from weighbridge.formats.tf_graph import Graph, Node
from weighbridge.scanner.tensorflow_ops import CARRIERS, HANDLES, PATHS

_HARMLESS = re.compile(rb"(?!.*\.\.)(?:[A-Za-z0-9_.-]{0,100}/){0,2}[A-Za-z0-9_.-]{0,100}", re.DOTALL)
_ROOTED = frozenset({b"/part"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
MAX_STEPS = 200_000


def strange_paths(graph: Graph) -> Iterator[tuple[str, Node, str]]:
    """Yield (function, node, reason) for each operator whose path the graph itself decides."""
    assets = frozenset(tensor.rpartition(":")[0] for tensor, _ in graph.assets)
    named = {name: {node.name: node for node in nodes} for name, nodes in graph.bodies.items()}
    taking: dict[str, set[str]] = {}
    """Function to the arguments that become paths in it."""
    told: set[tuple[str, str]] = set()
    again, steps = True, 0
    while again:
        again = False
        for body, nodes in graph.bodies.items():
            for node in nodes:
                inputs = _path_inputs(node, graph, taking)
                if not inputs:
                    continue
                steps += 1
                reason, arguments = _follow(
                    inputs, named[body], frozenset() if body else assets, inside=bool(body)
                )
                if steps > MAX_STEPS:
                    reason = "there are too many functions to follow"
                if reason and (body, node.name) not in told:
                    told.add((body, node.name))
                    yield body, node, reason
                if arguments - taking.get(body, set()):
                    taking.setdefault(body, set()).update(arguments)
                    again = steps <= MAX_STEPS


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


def _follow(
    inputs: tuple[str, ...], nodes: Mapping[str, Node], assets: frozenset[str], *, inside: bool
) -> tuple[str, set[str]]:
    """Return why a path does not come from the caller, or an empty text, and the arguments that it comes from."""
    work = list(inputs)
    seen: set[str] = set()
    arguments: set[str] = set()
    while work:
        name = work.pop().partition(":")[0]
        if name in seen or name.startswith("^") or name in assets:
            continue
        seen.add(name)
        node = nodes.get(name)
        if node is None:
            if not inside:
                return f"its path comes from {name!r}, which is not there", arguments
            arguments.add(name)
        elif node.op in CARRIERS:
            work += node.inputs
        elif node.op == "Const":
            bad = next((text for key, text in node.texts if key == "value" and not _plain(text)), None)
            if bad is not None:
                return f"its path is {bad[:80].decode('latin-1')!r}", arguments
        elif node.op not in HANDLES:
            return f"its path comes from the operator {node.op}", arguments
    return "", arguments


def _plain(text: bytes) -> bool:
    return text in _ROOTED or (_HARMLESS.fullmatch(text) is not None and not text.startswith(b"/"))
