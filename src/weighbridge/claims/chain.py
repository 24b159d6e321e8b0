"""Walk from a model up through its parents, and say where that ends: at data, at an accepted origin, or broken.

`graph.discover` follows every verified claim. `graph.find_cycle` looks for something that descends from itself:
identities are digests, so one of the claims on a cycle is false. `prove` then asks of each node, parents first,
whether its beginnings are proven.

What proves a node:

- a dataset: a verified data claim about it, and all datasets it was made of proven;
- a model or weights: a verified accepted origin; or a verified conversion with proven equivalence, whose
  source is proven; or a verified training claim all of whose parents are proven;
- a tokenizer: any of these.

An evaluation is about a model and makes none. What was evaluated are weights or a whole model: an evaluation of
weights speaks of every model that holds these tensors, which packaging shows for the same files and a conversion with
proven equivalence for others. `equal_to` follows these; a conversion without proof hands on nothing.

Accepted origin and conversion speak of exact files, so they count only for the identity that is asked
about: for a model named by `wb1:` they must name that. Training speaks of weights, so it also counts for a model
that a packaging, conversion or origin claim ties to these weights. A parent named by its weights stands
for every model known to carry them: all of those are visited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weighbridge.claims.graph import (
    DATA,
    MAX_NODES,
    ORIGIN,
    Graph,
    Index,
    Node,
    Way,
    discover,
    find_cycle,
    proven_same,
)
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import Ancestry, ClaimFact
from weighbridge.core.tier import Stage

BROKEN = "broken"
CHECKS = {
    "chain.missing": "somebody claims how each link came to be",
    "chain.refused": "each of these claims is believed",
    "chain.no-parent": "a training names what it started from",
    "chain.unproven-conversion": "a conversion proves that both sides hold the same tensors",
    "chain.cycle": "nothing descends from itself",
    "chain.budget": "the ancestry is of a size that can be walked",
}
"""What can be wrong with a link; a claim that was refused names the step of its verification instead."""

_DESCENT = (Stage.TRAIN, Stage.ORIGIN, Stage.CONVERT, Stage.PACKAGE)
_WORDS = {
    Stage.DATA: "data",
    Stage.TRAIN: "training",
    Stage.CONVERT: "conversion",
    Stage.ORIGIN: "accepted origin",
}


def walk(manifest: Digest, weights: Digest | None, facts: Sequence[ClaimFact]) -> Ancestry:
    """Return the ancestry of the model `manifest` (`wb1:`) whose weights are `weights` (`wbw1:`).

    `facts` are the claims about it and about anything it may descend from, in any order; only those whose
    outcome is PASS and that carry their proof are believed. Never raises; what is too large is broken.
    """
    index = Index(facts)
    return walk_graph(discover(Node(manifest, "model"), weights, index), index)[0]


def walk_graph(graph: Graph, index: Index) -> tuple[Ancestry, dict[Node, Way | None]]:
    """Judge a graph that was discovered; return the ancestry of its first node, and what proves each node.

    The second is empty where a cycle or the budget leaves nothing to prove.
    """
    root = next(iter(graph.ways), None)
    own = tuple(graph.visited)[:1] if root is None else (root.digest, *graph.carried[root])
    if graph.problem:
        return _broken(graph, graph.problem_at, graph.problem, "chain.budget", own), {}
    assert root is not None  # without a problem the root was looked at
    cycle = find_cycle(graph)
    if cycle is not None:
        text = f"{cycle.short} descends from itself, so one of the claims about it is false"
        return _broken(graph, cycle, text, "chain.cycle", own), {}
    proven = prove(graph)
    equal = equal_to(root.digest, graph.carried[root], index)
    if proven[root] is None:
        at, reason, check = where(root, graph, proven, index)
        return _broken(graph, at, reason, check, equal), proven
    origins = _origins(root, proven)
    found = Ancestry(
        end=ORIGIN if origins else DATA,
        visited=tuple(graph.visited),
        links=tuple(graph.links),
        origins=origins,
        equal=equal,
        depth=_depth(graph.links),
    )
    return found, proven


def _depth(links: Iterable[tuple[Digest, Digest, str]]) -> int:
    """Return how many links the longest way has; there must be no cycle."""
    parents: dict[Digest, set[Digest]] = {}
    for parent, child, _ in links:
        parents.setdefault(child, set()).add(parent)
        parents.setdefault(parent, set())
    depths: dict[Digest, int] = {}
    stack = list(parents)
    while stack:
        above = parents[stack[-1]]
        missing = [parent for parent in above if parent not in depths]
        if missing:
            stack.extend(missing)
        else:
            depths[stack.pop()] = max((depths[parent] + 1 for parent in above), default=0)
    return max(depths.values(), default=0)


def equal_to(manifest: Digest, weights: Sequence[Digest], index: Index) -> tuple[Digest, ...]:
    """Return whose evaluations speak of a model: itself, its weights, and weights of which it holds the tensors.

    Sources of conversions are whole models; what lies beside their weights was not converted, so evaluations of
    these as a whole are left out.
    """
    found = dict.fromkeys([manifest, *weights])
    asked: list[Digest] = list(found)
    seen = set(asked)
    while asked and len(seen) < MAX_NODES:
        facts = [fact for fact in index.about(asked, Stage.CONVERT) if fact.verified and proven_same(fact)]
        sources = {source for fact in facts for source in fact.parents}
        held = {other for source in sources for other in index.tied(source) if other.algorithm == "wbw1"}
        found.update(dict.fromkeys(sorted(held)))
        asked = sorted((sources | held) - seen)
        seen |= set(asked)
    return tuple(found)


def prove(graph: Graph) -> dict[Node, Way | None]:
    """For each node, the first way that proves it; None when there is none. The graph must have no cycles."""
    proven: dict[Node, Way | None] = {}
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


def _origins(root: Node, proven: dict[Node, Way | None]) -> tuple[Digest, ...]:
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


def where(root: Node, graph: Graph, proven: dict[Node, Way | None], index: Index) -> tuple[Digest, str, str]:
    """Descend from the root to the first node without a proof of its own; return it, the reason and the check."""
    node = root
    while True:
        for way in graph.ways[node]:
            if way.problem:
                text = f"{node.digest.short}: {way.problem} (signed by {way.fact.signer})"
                return node.digest, text, way.check
        parents = (parent for way in graph.ways[node] for parent in way.parents)
        unproven = next((parent for parent in parents if proven[parent] is None), None)
        if unproven is None:
            return node.digest, *missing(node, graph.carried[node], index)
        node = unproven


def missing(node: Node, carried: Sequence[Digest], index: Index) -> tuple[str, str]:
    """Say which claim a node lacks, or who signed the refused one, and which check that is."""
    asked = (node.digest, *carried)
    for stage in (Stage.DATA,) if node.kind == "dataset" else _DESCENT:
        for fact in index.about(asked, stage):
            if not fact.verified:
                about = next(digest for digest in asked if digest in fact.about)
                return refusal(fact, about), fact.check or "chain.refused"
    if node.kind in ("dataset", "tokenizer"):
        return f"nobody claims where the {node.kind} {node.digest.short} comes from", "chain.missing"
    text = f"nobody claims how {node.digest.short} came to be: no accepted origin, no training claim about its weights"
    return text, "chain.missing"


def refusal(fact: ClaimFact, about: Digest) -> str:
    """Return one sentence on a claim that is not believed: which, who signed it, why."""
    word = _WORDS.get(fact.stage, fact.stage.value)
    signed = f"is signed by {fact.signer}" if fact.signer else "has a signature nobody can read"
    verb = "could not be judged" if fact.outcome is Outcome.CANNOT_TELL else "was refused"
    reason = fact.reason or "no reason is recorded"
    return f"the {word} claim about {about.short} {signed} and {verb}: {reason}"


def _broken(graph: Graph, at: Digest | None, reason: str, check: str, equal: tuple[Digest, ...]) -> Ancestry:
    return Ancestry(
        end=BROKEN,
        visited=tuple(graph.visited),
        links=tuple(graph.links),
        broken_at=at,
        reason=reason,
        check=check,
        equal=equal,
    )
