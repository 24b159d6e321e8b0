"""Walks over a lineage: the surest way between two, the weakest evidence on it, and where an ancestry has a gap.

Pure functions over edges that somebody else has read. Each walk visits a node once, so cycles end it.

A way is as sure as its weakest step. `ways` therefore looks for ways of attested steps first, then for
those that observation completes, and takes declared steps only where nothing better leads; among equally
sure ways it takes the shortest. That weights lie in a package was computed from bytes that are kept: such a
step weakens nothing.

An ancestry has a gap where the walk up stops at something that nobody vouches for. Only without a gap is
"it does not descend from X" more than "nobody has said so".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation


class Answer(StrEnum):
    """Whether something is hit: surely, perhaps (only somebody's word leads there), no, or nobody can tell."""

    AFFECTED = "affected"
    POSSIBLY = "possibly"
    NOT_AFFECTED = "not-affected"
    CANNOT_TELL = "cannot-tell"


class GapReason(StrEnum):
    """Why an ancestry cannot be walked to its beginning.

    `name-only`: a parent is known by a name, its bytes never came here. `unclaimed`: nobody the authority
    names has said how it came to be. `unattested`: it was only declared or observed, by nobody whom the authority names
    for that. `cycle`: it descends from itself, so one of the claims is false. `unread`: the walk was cut off.
    """

    NAME_ONLY = "name-only"
    UNCLAIMED = "unclaimed"
    UNATTESTED = "unattested"
    CYCLE = "cycle"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class Gap:
    """Where an ancestry breaks off, why, and the way from there down to the model that was asked about."""

    at: Digest
    reason: GapReason
    way: tuple[Parentage, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the gap as it stands in the answers of `weighbridge.lineage/1`."""
        return {
            "at": str(self.at),
            "reason": self.reason.value,
            "edges": [edge.to_json() for edge in self.way],
        }


def rank(edge: Parentage) -> int:
    """Return how much an edge weakens a way: 0 for what is attested, 2 for a mere word."""
    if edge.relation is Relation.PACKAGING and edge.grade is not Grade.DECLARED:
        return 0
    return edge.grade.rank


def explains(edge: Parentage) -> bool:
    """Tell whether an edge answers for how its child came to be, so that the walk may go on from the parent alone.

    A claim by whoever may make it names all parents. An observation names one, and not that there is no other; but
    which weights a model carries, and whose bytes a name stands for, leave nothing open.
    """
    if edge.relation in (Relation.PACKAGING, Relation.SAME_AS):
        return edge.grade is not Grade.DECLARED
    return edge.grade is Grade.ATTESTED


def weakest(way: Iterable[Parentage]) -> Grade:
    """Return the weakest evidence on a way; attested for a way without steps: it is the thing itself."""
    worst = max(map(rank, way), default=0)
    return list(Grade)[worst]


@dataclass(frozen=True, slots=True)
class Ways:
    """What was reached from some starts; `trees` hold the last step to each node, one tree for each sureness."""

    starts: frozenset[Digest]
    trees: tuple[Mapping[Digest, Parentage], ...]
    up: bool

    def __contains__(self, node: Digest) -> bool:
        return node in self.starts or node in self.trees[-1]

    def reached(self) -> set[Digest]:
        """Return every node that was reached, the starts included."""
        return {*self.starts, *self.trees[-1]}

    def way(self, node: Digest) -> tuple[Parentage, ...] | None:
        """Return the surest, then shortest way between a start and `node`, parents first; None when there is none."""
        if node in self.starts:
            return ()
        tree = next((tree for tree in self.trees if node in tree), None)
        if tree is None:
            return None
        steps: list[Parentage] = []
        while node not in self.starts:
            steps.append(tree[node])
            node = tree[node].child if self.up else tree[node].parent
        return tuple(steps if self.up else reversed(steps))


def ways(
    edges: Iterable[Parentage],
    starts: Iterable[Digest],
    *,
    up: bool = False,
    relations: Collection[Relation] | None = None,
) -> Ways:
    """Walk down from `starts` (or up), along `relations` or all of them."""
    follow: dict[Digest, list[Parentage]] = {}
    for edge in edges:
        if relations is None or edge.relation in relations:
            follow.setdefault(edge.child if up else edge.parent, []).append(edge)
    for steps in follow.values():
        steps.sort(key=lambda edge: (rank(edge), edge))
    begun = frozenset(starts)
    trees = tuple(_breadth_first(follow, begun, limit, up=up) for limit in range(len(Grade)))
    return Ways(begun, trees, up)


def shortest_way(found: Ways, node: Digest) -> tuple[Parentage, ...] | None:
    """Return the shortest way to `node` whatever its grades; None when there is none."""
    return Ways(found.starts, found.trees[-1:], found.up).way(node)


def _breadth_first(
    follow: Mapping[Digest, Sequence[Parentage]], starts: frozenset[Digest], limit: int, *, up: bool
) -> dict[Digest, Parentage]:
    tree: dict[Digest, Parentage] = {}
    queue = deque(sorted(starts))
    while queue:
        for edge in follow.get(queue.popleft(), ()):
            there = edge.parent if up else edge.child
            if rank(edge) <= limit and there not in tree and there not in starts:
                tree[there] = edge
                queue.append(there)
    return tree


def gaps(
    edges: Sequence[Parentage],
    asked: Iterable[Digest],
    rooted: Collection[Digest],
    *,
    relations: Collection[Relation] | None = None,
    cut: Collection[Digest] = (),
) -> dict[Digest, Gap]:
    """Return, for each of `asked` whose ancestry does not reach known roots on every branch, the nearest gap.

    `edges` are all edges above `asked`; `rooted` are the identities with a verified dataset claim or accepted
    origin; `cut` those above which nothing was read. With `relations` only branches along these are
    walked: what a dataset is made of says nothing about whose weights these are. A declared branch counts as a
    branch, and explains nothing: a base that a model card names and nobody has seen is a gap.
    """
    wanted = sorted(set(asked))
    walked = [edge for edge in edges if relations is None or edge.relation in relations]
    walked = [edge for edge in walked if not (edge.relation is Relation.PACKAGING and edge.child in rooted)]
    met = ways(walked, wanted, up=True).reached()
    reasons = _own_gaps(edges, met, rooted, cut)
    below = ways(walked, reasons)
    found: dict[Digest, Gap] = {}
    for digest in wanted:
        way = below.way(digest)
        if way is not None:
            at = way[0].parent if way else digest
            found[digest] = Gap(at, reasons[at], way)
    return found


def _own_gaps(
    edges: Sequence[Parentage], met: set[Digest], rooted: Collection[Digest], cut: Collection[Digest]
) -> dict[Digest, GapReason]:
    explained: set[Digest] = set()
    said: set[Digest] = set()
    for edge in edges:
        said.add(edge.child)
        if explains(edge):
            explained.add(edge.child)
    unread, vouched, turning = frozenset(cut), frozenset(rooted), _on_cycles(edges)
    reasons: dict[Digest, GapReason] = {}
    for node in met:
        if node in unread:
            reasons[node] = GapReason.UNREAD
        elif node in turning:
            reasons[node] = GapReason.CYCLE
        elif node not in vouched and node not in explained:
            reasons[node] = _why(node, told=node in said)
    return reasons


def _why(node: Digest, *, told: bool) -> GapReason:
    if node.algorithm == "alias":
        return GapReason.NAME_ONLY
    return GapReason.UNATTESTED if told else GapReason.UNCLAIMED


def _on_cycles(edges: Iterable[Parentage]) -> set[Digest]:
    """Return what is its own ancestor by believed steps: what is left when beginnings and ends are peeled off."""
    believed = {(edge.parent, edge.child) for edge in edges if explains(edge)}
    left = _peeled(believed)
    inner = {(child, parent) for parent, child in believed if parent in left and child in left}
    return _peeled(inner)


def _peeled(pairs: Collection[tuple[Digest, Digest]]) -> set[Digest]:
    """Return what cannot be peeled off from the beginnings of (before, after) pairs (Kahn)."""
    waiting: dict[Digest, int] = {}
    follow: dict[Digest, list[Digest]] = {}
    for before, after in pairs:
        waiting.setdefault(before, 0)
        waiting[after] = waiting.get(after, 0) + 1
        follow.setdefault(before, []).append(after)
    free = [node for node, number in waiting.items() if not number]
    while free:
        done = free.pop()
        del waiting[done]
        for after in follow.get(done, ()):
            waiting[after] -= 1
            if not waiting[after]:
                free.append(after)
    return set(waiting)


def answer(way: tuple[Parentage, ...] | None, gap: Gap | None) -> Answer:
    """Judge one model: by the surest way that leads to it, and by the gap in its ancestry where no way does."""
    if way is not None:
        return Answer.POSSIBLY if weakest(way) is Grade.DECLARED else Answer.AFFECTED
    return Answer.CANNOT_TELL if gap is not None else Answer.NOT_AFFECTED
