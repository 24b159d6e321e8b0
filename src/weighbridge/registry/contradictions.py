"""Hold what is said about where weights came from against what their tensors show.

Nothing is kept: each answer is read from the edges as they stand, so that a base that arrives late, or a claim that is added,
changes it on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.store import lineage_index

_BASES = frozenset({
    Relation.FINE_TUNE, Relation.CONTINUED_PRETRAINING, Relation.MERGE, Relation.ADAPTER, Relation.QUANTIZATION,
    Relation.PRUNING, Relation.CONVERSION, Relation.SHARED_TENSORS,
})  # fmt: skip
_NAMES = frozenset({Relation.SAME_AS, Relation.PACKAGING})


class Contradiction(StrEnum):
    """What is said beside what is seen."""

    UNDECLARED = "undeclared-base"
    OTHER = "other-base"
    UNCONFIRMED = "unconfirmed-base"
    SCRATCH = "not-from-scratch"


@dataclass(frozen=True, slots=True)
class Contradicted:
    """One contradiction about `weights`: `seen` are the weights that theirs come from or share, `declared` what is said."""

    kind: Contradiction
    weights: Digest
    seen: Digest
    relation: Relation
    declared: tuple[Digest, ...]
    message: str

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in documents."""
        return {
            "kind": self.kind.value,
            "weights": str(self.weights),
            "seen": str(self.seen),
            "relation": self.relation.value,
            "declared": [str(digest) for digest in self.declared],
            "message": self.message,
        }


def contradictions(connection: sa.Connection, weights: Digest) -> tuple[Contradicted, ...]:
    """Return what the tensors of `weights` show and nobody says, or somebody says otherwise.

    A base is accounted for when what is declared or attested leads to it, or both lead to one origin. Weights taken
    in before their base are answered too: the edge between them then counts for both.
    """
    above = lineage_index.edges_above(connection, [weights, *_carriers(connection, weights)])
    below = lineage_index.edges_below(connection, [weights], limit=None)
    about = {weights, *_carriers(connection, weights)}
    said = [edge for edge in above if edge.child in about and _is_said(edge) and edge.relation in _BASES]
    trained = any(edge.child in about and edge.relation is Relation.DATASET for edge in above)
    known = _reached(above, {edge.parent for edge in said})
    found = []
    for edge in (*above, *below):
        seen = _other_side(edge, weights)
        if seen is None or seen in known or _leads_here(connection, seen, weights):
            continue
        if known & _reached(lineage_index.edges_above(connection, [seen]), {seen}):
            continue
        found.append(_worded(connection, weights, seen, edge, said, trained=trained))
    return tuple(dict.fromkeys(found))


def _is_said(edge: Parentage) -> bool:
    return edge.grade is not Grade.OBSERVED


def _other_side(edge: Parentage, weights: Digest) -> Digest | None:
    """Return the parent that was seen; of `shared-tensors` the other side, whoever was here first."""
    if edge.grade is not Grade.OBSERVED or edge.relation not in _BASES:
        return None
    if edge.child == weights:
        return edge.parent
    both = edge.relation is Relation.SHARED_TENSORS and edge.parent == weights
    return edge.child if both else None


def _leads_here(connection: sa.Connection, seen: Digest, weights: Digest) -> bool:
    """Tell whether it is said that the other side came from these weights, which accounts for what they share."""
    nodes = {seen, *_carriers(connection, seen)}
    ours = {weights, *_carriers(connection, weights)}
    above = lineage_index.edges_above(connection, sorted(nodes))
    first = {
        edge.parent for edge in above if edge.child in nodes and _is_said(edge) and edge.relation in _BASES
    }
    return bool(_reached(above, first) & ours)


def _reached(edges: Sequence[Parentage], starts: Iterable[Digest]) -> set[Digest]:
    """Return what is met walking up from `starts` along said edges, other names, and edges whose direction is known."""
    parents: dict[Digest, set[Digest]] = {}
    for edge in edges:
        if edge.relation is not Relation.SHARED_TENSORS and (
            edge.relation in _BASES or edge.relation in _NAMES
        ):
            parents.setdefault(edge.child, set()).add(edge.parent)
    seen = set(starts)
    waiting = list(seen)
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return seen


def _carriers(connection: sa.Connection, weights: Digest) -> list[Digest]:
    """Return the models that carry these weights."""
    below = lineage_index.edges_below(connection, [weights], relations=frozenset({Relation.PACKAGING}))
    return sorted({edge.child for edge in below if edge.parent == weights})


def _worded(
    connection: sa.Connection,
    weights: Digest,
    seen: Digest,
    edge: Parentage,
    said: Sequence[Parentage],
    *,
    trained: bool,
) -> Contradicted:
    declared = tuple(sorted({parent.parent for parent in said}))
    what = f"their tensors are tied to {seen.short} ({edge.relation.value}, observed)"
    if not declared:
        kind = Contradiction.SCRATCH if trained else Contradiction.UNDECLARED
        claim = "they are said to be trained from data, with no base" if trained else "no base is declared"
    elif any(digest.algorithm == "alias" and not _bound(connection, digest) for digest in declared):
        kind, claim = Contradiction.UNCONFIRMED, "the base that is declared was never seen here"
    else:
        kind, claim = Contradiction.OTHER, "another base is declared"
    return Contradicted(kind, weights, seen, edge.relation, declared, f"{claim}, and {what}")


def _bound(connection: sa.Connection, name: Digest) -> bool:
    return bool(
        lineage_index.edges_above(connection, [name], relations=frozenset({Relation.SAME_AS}), limit=1)
    )
