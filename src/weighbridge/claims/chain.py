"""Walk from a model up through its parents, and say where that ends: at data, at an accepted origin, or broken.

The walk has three steps. `_discover` follows every verified claim, also past a break, so that all
ancestors are known and revocation can be looked up over them. `_cycle` looks for something that
descends from itself: identities are digests, so one of the claims on a cycle is false. `_prove` then
asks of each node, parents first, whether its beginnings are proven.

What proves a node:

- a dataset: a verified data claim about it, and all datasets it was made of proven;
- a model or weights: a verified accepted origin; or a verified conversion with proven equivalence, whose
  source is proven; or a verified training claim all of whose parents are proven;
- a tokenizer: any of these.

An evaluation is about a model and makes none. A refused claim proves nothing and is not followed (a
stranger could otherwise taint any model), but its reason is what a break says.

Accepted origin and conversion speak of exact files, so they count only for the identity that is asked
about: for a model named by `wb1:` they must name that. Training speaks of weights, so it also counts for a model
that a packaging, conversion or origin claim ties to these weights. A parent named by its weights stands
for every model known to carry them: all of those are visited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import Ancestry, ClaimFact
from weighbridge.core.lineage import Relation
from weighbridge.core.tier import Stage

MAX_NODES = 10_000
MAX_LINKS = 100_000
MAX_DEPTH = 256

DATA, ORIGIN, BROKEN = "data", "origin", "broken"

_TYING = (Stage.PACKAGE, Stage.CONVERT, Stage.ORIGIN)
_DESCENT = (Stage.TRAIN, Stage.ORIGIN, Stage.CONVERT, Stage.PACKAGE)
_KIND_BY_RELATION = {Relation.DATASET.value: "dataset", Relation.TOKENIZER.value: "tokenizer"}
_WORDS = {
    Stage.DATA: "data",
    Stage.TRAIN: "training",
    Stage.CONVERT: "conversion",
    Stage.ORIGIN: "accepted origin",
}


@dataclass(frozen=True, slots=True)
class _Node:
    """One identity in one part it can play: the same files may be a dataset here and a model there."""

    digest: Digest
    kind: str
    """model, dataset or tokenizer."""


@dataclass(slots=True)
class _Way:
    """One claim that could prove a node, and the parents it then needs proven."""

    fact: ClaimFact
    parents: tuple[_Node, ...]
    ends: str = ""
    """`data` or `origin` when the claim itself is an end."""
    problem: str = ""


@dataclass(slots=True)
class _Graph:
    """What was discovered; nodes are in the order they were met, the model itself first."""

    ways: dict[_Node, list[_Way]] = field(default_factory=dict)
    carried: dict[_Node, tuple[Digest, ...]] = field(default_factory=dict)
    """The weights of each node that is named as a whole, as far as they are known."""
    links: dict[tuple[Digest, Digest, str], None] = field(default_factory=dict)
    visited: dict[Digest, None] = field(default_factory=dict)
    problem: str = ""
    problem_at: Digest | None = None


def walk(manifest: Digest, weights: Digest | None, facts: Sequence[ClaimFact]) -> Ancestry:
    """Return the ancestry of the model `manifest` (`wb1:`) whose weights are `weights` (`wbw1:`).

    `facts` are the claims about it and about anything it may descend from, in any order; only those whose
    outcome is PASS and that carry their proof are believed. Never raises; what is too large is broken.
    """
    index = _Index(facts)
    root = _Node(manifest, "model")
    graph = _discover(root, weights, index)
    if graph.problem:
        return _broken(graph, graph.problem_at, graph.problem)
    cycle = _cycle(graph)
    if cycle is not None:
        text = f"{cycle.short} descends from itself, so one of the claims about it is false"
        return _broken(graph, cycle, text)
    proven = _prove(graph)
    if proven[root] is None:
        at, reason = _where(root, graph, proven, index)
        return _broken(graph, at, reason)
    origins = _origins(root, proven)
    return Ancestry(
        end=ORIGIN if origins else DATA,
        visited=tuple(graph.visited),
        links=tuple(graph.links),
        origins=origins,
    )


class _Index:
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


def _discover(root: _Node, weights: Digest | None, index: _Index) -> _Graph:
    """Follow every verified claim from the root, breadth first, within the budget."""
    graph = _Graph()
    level, depth = [root], 0
    graph.carried[root] = () if weights is None else (weights,)
    graph.visited.update(dict.fromkeys([root.digest] if weights is None else [root.digest, weights]))
    while level:
        graph.visited.update(dict.fromkeys(node.digest for node in level))
        graph.problem = _spent(graph, depth)
        if graph.problem:
            graph.problem_at = level[0].digest
            return graph
        later: dict[_Node, None] = {}
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


def _spent(graph: _Graph, depth: int) -> str:
    if depth >= MAX_DEPTH:
        return f"the ancestry is deeper than {MAX_DEPTH} generations"
    if len(graph.ways) >= MAX_NODES or len(graph.links) >= MAX_LINKS:
        return f"the ancestry has more than {MAX_NODES} members or {MAX_LINKS} links"
    return ""


def _weights_of(node: _Node, index: _Index) -> tuple[Digest, ...]:
    """Return the weights that verified claims give to an ancestor that is named as a whole."""
    return index.tied(node.digest) if node.digest.algorithm == "wb1" else ()


def _ways(node: _Node, carried: tuple[Digest, ...], index: _Index) -> list[_Way]:
    """All verified claims that could prove this node, each with what it needs."""
    ways: list[_Way] = []
    if node.kind in ("dataset", "tokenizer"):
        claims = _verified(index.about([node.digest], Stage.DATA))
        ways += [_Way(fact, _parents(fact), ends=DATA) for fact in claims]
    if node.kind == "dataset":
        return ways
    ways += [_Way(fact, (), ends=ORIGIN) for fact in _verified(index.about([node.digest], Stage.ORIGIN))]
    for fact in _verified(index.about([node.digest], Stage.CONVERT)):
        proven = fact.detail.get("equivalence") == "proven"
        problem = "" if proven else "its conversion does not prove that both hold the same tensors"
        ways.append(_Way(fact, _parents(fact), problem=problem))
    for fact in _verified(index.about((*carried, node.digest), Stage.TRAIN)):
        if carried and not set(carried) & set(fact.about):
            continue  # it names this model, but not the weights that this model has
        parents = _parents(fact)
        ways.append(_Way(fact, parents, problem="" if parents else "its training claim names no parent"))
    return ways


def _verified(facts: Iterable[ClaimFact]) -> list[ClaimFact]:
    return [fact for fact in facts if fact.verified]


def _relation(fact: ClaimFact, parent: Digest) -> str:
    if fact.stage is Stage.CONVERT:
        return Relation.CONVERSION.value
    if fact.stage is Stage.DATA:
        return Relation.DATASET.value
    relations = fact.detail.get("relations")
    relation = relations.get(str(parent)) if isinstance(relations, Mapping) else None
    return relation if isinstance(relation, str) else ""


def _parents(fact: ClaimFact) -> tuple[_Node, ...]:
    kinds = (_KIND_BY_RELATION.get(_relation(fact, parent), "model") for parent in fact.parents)
    return tuple(dict.fromkeys(_Node(p, kind) for p, kind in zip(fact.parents, kinds, strict=True)))


def _link(graph: _Graph, child: _Node, way: _Way) -> None:
    for parent in way.parents:
        graph.links[parent.digest, child.digest, _relation(way.fact, parent.digest)] = None


def _cycle(graph: _Graph) -> Digest | None:
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


def _prove(graph: _Graph) -> dict[_Node, _Way | None]:
    """For each node, the first way that proves it; None when there is none. The graph has no cycles."""
    proven: dict[_Node, _Way | None] = {}
    stack = list(graph.ways)
    while stack:
        node = stack[-1]
        missing = [p for way in graph.ways[node] for p in way.parents if p not in proven]
        if not missing:
            stack.pop()
            ways = graph.ways[node]
            good = (w for w in ways if not w.problem and all(proven[p] is not None for p in w.parents))
            proven.setdefault(node, next(good, None))
        else:
            stack.extend(missing)
    return proven


def _origins(root: _Node, proven: dict[_Node, _Way | None]) -> tuple[Digest, ...]:
    """Return the accepted origins that the proof of the root rests on."""
    origins: dict[Digest, None] = {}
    stack, seen = [root], {root}
    while stack:
        node = stack.pop()
        way = proven[node]
        assert way is not None  # what proves a proven node is proven
        if way.ends == ORIGIN:
            origins[node.digest] = None
        fresh = [parent for parent in way.parents if parent not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return tuple(origins)


def _where(root: _Node, graph: _Graph, proven: dict[_Node, _Way | None], index: _Index) -> tuple[Digest, str]:
    """Descend from the root to the first node that has no proof although its parents would not help."""
    node = root
    while True:
        ways = graph.ways[node]
        for way in ways:
            if way.problem:
                return node.digest, f"{node.digest.short}: {way.problem} (signed by {way.fact.signer})"
        unproven = next((p for way in ways for p in way.parents if proven[p] is None), None)
        if unproven is None:
            return node.digest, _missing(node, (node.digest, *graph.carried[node]), index)
        node = unproven


def _missing(node: _Node, asked: Sequence[Digest], index: _Index) -> str:
    """Say which claim is missing or was refused, and who signed the refused one."""
    for stage in (Stage.DATA,) if node.kind == "dataset" else _DESCENT:
        for fact in index.about(asked, stage):
            if not fact.verified:
                return refusal(fact, next(digest for digest in asked if digest in fact.about))
    if node.kind in ("dataset", "tokenizer"):
        return f"nobody claims where the {node.kind} {node.digest.short} comes from"
    return f"nobody claims how {node.digest.short} came to be: no accepted origin, no training claim about its weights"


def refusal(fact: ClaimFact, about: Digest) -> str:
    """Return one sentence on a claim that is not believed: which, who signed it, why."""
    word = _WORDS.get(fact.stage, fact.stage.value)
    signed = f"is signed by {fact.signer}" if fact.signer else "has a signature nobody can read"
    verb = "could not be judged" if fact.outcome is Outcome.CANNOT_TELL else "was refused"
    reason = fact.reason or "no reason is recorded"
    return f"the {word} claim about {about.short} {signed} and {verb}: {reason}"


def _broken(graph: _Graph, at: Digest | None, reason: str) -> Ancestry:
    return Ancestry(
        end=BROKEN,
        visited=tuple(graph.visited),
        links=tuple(graph.links),
        broken_at=at,
        reason=reason,
    )
