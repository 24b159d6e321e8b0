"""What lies between two models: the way from one to the other, who signed each step, and how sure the whole is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.predicates import role_of
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed, WeighbridgeError
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.statement import Statement
from weighbridge.core.walks import Ways, shortest_way, ways, weakest
from weighbridge.gate.lineage import MAX_EDGES, Node, both, nodes_of
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle, who_signed


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a way: the edge, who says so, where the log has it, and why it is not believed, if it is not."""

    edge: Parentage
    signer: str
    log_index: int | None
    problem: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the step as it stands in `weighbridge.explanation/1`."""
        return {
            **self.edge.to_json(),
            "signer": self.signer,
            "log_index": self.log_index,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """How two are related. `relation` is descends, ancestor, siblings, same or none, said of the first.

    `shortest` leads from the ancestor down; `surest` is empty where the shortest is as sure as any. For
    siblings there are two ways, from what they have in common down to each.
    """

    first: Digest
    second: Digest
    relation: str
    shortest: tuple[Step, ...]
    surest: tuple[Step, ...]
    other: tuple[Step, ...]
    """For siblings the way to the second; `shortest` is then the way to the first."""
    nodes: tuple[Node, ...]

    @property
    def grade(self) -> Grade | None:
        """The weakest evidence on the surest way; None when nothing is known to relate them."""
        if self.relation == "none":
            return None
        way = [step.edge for step in (*(self.surest or self.shortest), *self.other)]
        return weakest(way)

    @property
    def weakest_step(self) -> Step | None:
        """The step that makes the surest way as weak as it is; None for a way without steps."""
        steps = (*(self.surest or self.shortest), *self.other)
        return max(steps, key=lambda step: weakest([step.edge]).rank, default=None)

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.explanation/1`."""
        return {
            "first": str(self.first),
            "second": str(self.second),
            "relation": self.relation,
            "grade": self.grade.value if self.grade else None,
            "shortest": [step.to_json() for step in self.shortest],
            "surest": [step.to_json() for step in self.surest],
            "other": [step.to_json() for step in self.other],
            "nodes": [node.to_json() for node in self.nodes],
        }


def explain(registry: Registry, first: Digest, second: Digest) -> Explanation:
    """Say how `first` and `second` are related, each step held against its claim now."""
    mine, yours = both(registry, first), both(registry, second)
    if set(mine) & set(yours):
        return _explained(registry, first, second, "same", (), (), ())
    with registry.records.read() as connection:
        above_mine = lineage_index.edges_above(connection, mine, limit=MAX_EDGES)
        above_yours = lineage_index.edges_above(connection, yours, limit=MAX_EDGES)
    for word, edges, starts, end in (
        ("descends", above_mine, yours, first),
        ("ancestor", above_yours, mine, second),
    ):
        found = ways(edges, starts)
        sure, short = found.way(end), shortest_way(found, end)
        if sure is not None and short is not None:
            better = sure if weakest(sure).rank < weakest(short).rank else ()
            return _explained(registry, first, second, word, short, better, ())
    return _siblings(registry, (first, second), (above_mine, above_yours))


def _siblings(
    registry: Registry, ends: tuple[Digest, Digest], edges: tuple[Sequence[Parentage], Sequence[Parentage]]
) -> Explanation:
    """Look for the nearest that both came from."""
    mine, yours = (ways(found, [end], up=True) for end, found in zip(ends, edges, strict=True))
    common = mine.reached() & yours.reached()

    def far(node: Digest) -> tuple[int, int, Digest]:
        there = [*_way(mine, node), *_way(yours, node)]
        return weakest(there).rank, len(there), node

    if not common:
        return _explained(registry, *ends, "none", (), (), ())
    meet = min(common, key=far)
    return _explained(registry, *ends, "siblings", _way(mine, meet), (), _way(yours, meet))


def _way(found: Ways, node: Digest) -> tuple[Parentage, ...]:
    return found.way(node) or ()


def _explained(
    registry: Registry,
    first: Digest,
    second: Digest,
    word: str,
    *parts: Sequence[Parentage],
) -> Explanation:
    shortest, surest, other = (tuple(_step(registry, edge) for edge in part) for part in parts)
    edges = [edge for part in parts for edge in part]
    return Explanation(
        first, second, word, shortest, surest, other, nodes_of(registry, {first, second}, edges)
    )


def _step(registry: Registry, edge: Parentage) -> Step:
    """Hold one step against the bundle that says so."""
    if not edge.source:
        who = "computed from the kept bytes" if edge.relation is Relation.PACKAGING else "seen in the bytes"
        return Step(edge, who, None)
    table = schema.bundle
    query = sa.select(table.c.content, table.c.log_index).where(table.c.digest == edge.source)
    with registry.records.read() as connection:
        row = connection.execute(query).first()
    if row is None:
        return Step(edge, "", None, "the claim is not kept here any more")
    bundle = Bundle.from_json(row.content.encode())
    signer = str(who_signed(bundle, registry.authority))
    try:
        role = role_of(Statement.decode(bundle.envelope.payload))
        if role is None:
            return Step(edge, signer, row.log_index, "a claim of a type that never counts")
        verify_bundle(
            bundle,
            authority=registry.authority,
            project=registry.project,
            role=role,
            now=registry.clock.now(),
        )
    except VerificationFailed as error:
        return Step(edge, signer, row.log_index, error.problem)
    except WeighbridgeError as error:
        return Step(edge, signer, row.log_index, f"it could not be verified: {error.problem}")
    return Step(edge, signer, row.log_index)
