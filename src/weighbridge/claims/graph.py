"""What verified claims tell of a model's ancestors, as a graph: which claim could prove which identity, from which parents.

Every verified claim is followed, also past a break, so that all ancestors are known and revocation can be looked up
over them. A refused claim is not followed: a stranger could otherwise taint any model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weighbridge.core.digest import Digest
from weighbridge.core.evidence import ClaimFact
from weighbridge.core.lineage import Relation
from weighbridge.core.tier import Stage

MAX_NODES = 10_000
MAX_LINKS = 100_000
MAX_DEPTH = 256

DATA, ORIGIN = "data", "origin"

_TYING = (Stage.PACKAGE, Stage.CONVERT, Stage.ORIGIN)
_KIND_BY_RELATION = {Relation.DATASET.value: "dataset", Relation.TOKENIZER.value: "tokenizer"}


@dataclass(frozen=True, slots=True)
class Node:
    """One identity in one part it can play: the same files may be a dataset here and a model there."""

    digest: Digest
    kind: str
    """model, dataset or tokenizer."""


@dataclass(slots=True)
class Way:
    """One claim that could prove a node, and the parents it then needs proven."""

    fact: ClaimFact
    parents: tuple[Node, ...]
    ends: str = ""
    """`data` or `origin` when the claim itself is an end."""
    problem: str = ""
    check: str = ""


@dataclass(slots=True)
class Graph:
    """What was discovered; nodes are in the order they were met, the model itself first."""

    ways: dict[Node, list[Way]] = field(default_factory=dict)
    carried: dict[Node, tuple[Digest, ...]] = field(default_factory=dict)
    """The weights of each node that is named as a whole, as far as they are known."""
    links: dict[tuple[Digest, Digest, str], None] = field(default_factory=dict)
    visited: dict[Digest, None] = field(default_factory=dict)
    problem: str = ""
    problem_at: Digest | None = None


class Index:
    """The facts by the identity they are about, and the weights that models are tied to."""

    def __init__(self, facts: Iterable[ClaimFact]) -> None:
        self._about: dict[Digest, list[ClaimFact]] = {}
        self._tied: dict[Digest, dict[Digest, None]] = {}
        for fact in facts:
            for digest in fact.about:
                self._about.setdefault(digest, []).append(fact)
            if fact.verified and fact.stage in _TYING:
                self._tie(fact.about)

    def _tie(self, about: Sequence[Digest]) -> None:
        for digest in about:
            others = (other for other in about if other.algorithm != digest.algorithm)
            self._tied.setdefault(digest, {}).update(dict.fromkeys(others))

    def tied(self, digest: Digest) -> tuple[Digest, ...]:
        """Return the weights of a model, or the models that carry weights, as far as verified claims tell."""
        return tuple(self._tied.get(digest, ()))

    def about(self, digests: Iterable[Digest], stage: Stage) -> list[ClaimFact]:
        """Facts of one stage about any of `digests`, each once."""
        found: dict[int, ClaimFact] = {}
        for digest in digests:
            for fact in self._about.get(digest, ()):
                if fact.stage is stage:
                    found[id(fact)] = fact
        return list(found.values())


def discover(root: Node, weights: Digest | None, index: Index) -> Graph:
    """Follow every verified claim from the root, breadth first, within the budget."""
    graph = Graph()
    level, depth = [root], 0
    graph.carried[root] = () if weights is None else (weights,)
    graph.visited.update(dict.fromkeys([root.digest] if weights is None else [root.digest, weights]))
    while level:
        graph.visited.update(dict.fromkeys(node.digest for node in level))
        graph.problem = _spent(graph, depth)
        if graph.problem:
            graph.problem_at = level[0].digest
            return graph
        later: dict[Node, None] = {}
        for node in level:
            if node in graph.ways:
                continue
            if node != root:
                graph.carried[node] = _weights_of(node, index)
                graph.visited.update(dict.fromkeys(index.tied(node.digest)))
            graph.ways[node] = _ways(node, graph.carried[node], index)
            for way in graph.ways[node]:
                _link(graph, node, way)
                later.update(dict.fromkeys(way.parents))
        level, depth = list(later), depth + 1
    return graph


def _spent(graph: Graph, depth: int) -> str:
    if depth >= MAX_DEPTH:
        return f"the ancestry is deeper than {MAX_DEPTH} generations"
    if len(graph.ways) >= MAX_NODES or len(graph.links) >= MAX_LINKS:
        return f"the ancestry has more than {MAX_NODES} members or {MAX_LINKS} links"
    return ""


def _weights_of(node: Node, index: Index) -> tuple[Digest, ...]:
    """Return the weights that verified claims give to an ancestor that is named as a whole."""
    return index.tied(node.digest) if node.digest.algorithm == "wb1" else ()


def _ways(node: Node, carried: tuple[Digest, ...], index: Index) -> list[Way]:
    """All verified claims that could prove this node, each with what it needs."""
    ways: list[Way] = []
    if node.kind in ("dataset", "tokenizer"):
        claims = _verified(index.about([node.digest], Stage.DATA))
        ways += [Way(fact, _parents(fact), ends=DATA) for fact in claims]
    if node.kind == "dataset":
        return ways
    ways += [Way(fact, (), ends=ORIGIN) for fact in _verified(index.about([node.digest], Stage.ORIGIN))]
    for fact in _verified(index.about([node.digest], Stage.CONVERT)):
        ways.append(_converted(fact))
    for fact in _verified(index.about((*carried, node.digest), Stage.TRAIN)):
        if carried and not set(carried) & set(fact.about):
            continue  # it names this model, but not the weights that this model has
        parents = _parents(fact)
        ways.append(Way(fact, parents) if parents else _parentless(fact))
    return ways


def _parentless(fact: ClaimFact) -> Way:
    return Way(fact, (), problem="its training claim names no parent", check="chain.no-parent")


def _converted(fact: ClaimFact) -> Way:
    if proven_same(fact):
        return Way(fact, _parents(fact))
    problem = "its conversion does not prove that both hold the same tensors"
    return Way(fact, _parents(fact), problem=problem, check="chain.unproven-conversion")


def proven_same(fact: ClaimFact) -> bool:
    """Tell whether a conversion proves that its source and its output hold the same tensors."""
    return fact.detail.get("equivalence") == "proven"


def _verified(facts: Iterable[ClaimFact]) -> list[ClaimFact]:
    return [fact for fact in facts if fact.verified]


def relation_of(fact: ClaimFact, parent: Digest) -> str:
    """Return how a claim says that its subject came from a parent; empty when it does not say."""
    if fact.stage is Stage.CONVERT:
        return Relation.CONVERSION.value
    if fact.stage is Stage.DATA:
        return Relation.DATASET.value
    relations = fact.detail.get("relations")
    relation = relations.get(str(parent)) if isinstance(relations, Mapping) else None
    return relation if isinstance(relation, str) else ""


def _parents(fact: ClaimFact) -> tuple[Node, ...]:
    kinds = (_KIND_BY_RELATION.get(relation_of(fact, parent), "model") for parent in fact.parents)
    return tuple(dict.fromkeys(Node(p, kind) for p, kind in zip(fact.parents, kinds, strict=True)))


def _link(graph: Graph, child: Node, way: Way) -> None:
    for parent in way.parents:
        graph.links[parent.digest, child.digest, relation_of(way.fact, parent.digest)] = None


def find_cycle(graph: Graph) -> Digest | None:
    """Return an identity that is among its own ancestors, or None (Kahn's algorithm: what cannot be peeled off)."""
    waiting: dict[Digest, set[Digest]] = {}
    children: dict[Digest, list[Digest]] = {}
    for parent, child, _ in graph.links:
        waiting.setdefault(parent, set())
        if parent not in waiting.setdefault(child, set()):
            waiting[child].add(parent)
            children.setdefault(parent, []).append(child)
    free = [digest for digest, parents in waiting.items() if not parents]
    while free:
        done = free.pop()
        del waiting[done]
        for child in children.get(done, ()):
            waiting[child].discard(done)
            if not waiting[child]:
                free.append(child)
    return _on_cycle(waiting) if waiting else None


def _on_cycle(waiting: dict[Digest, set[Digest]]) -> Digest:
    """Walk up among what is left until an identity comes round again: that one is on a cycle."""
    seen: set[Digest] = set()
    here = next(iter(waiting))
    while here not in seen:
        seen.add(here)
        here = min(waiting[here])
    return here
