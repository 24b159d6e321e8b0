"""The lineage index, written: nodes, other names of them, edges; and what follows at once from a new one.

A parent that is known by name only is a node of its own (`Alias.node`), a placeholder. When something known by
that name is here, an edge `same-as` is drawn from it to the placeholder: binding late is one insert, and a
walk needs to know nothing of names. A child of something tainted is tainted in the same transaction.

Nothing can descend from itself, so edges that close a cycle prove a false claim among them. The one that comes
last is kept as declared only, unless an edge that is itself only declared is in that cycle; it is returned
as disputed in any case. `shared-tensors` says nothing of who came first and closes none.

Reading is in `store.lineage_walks`, taints are in `store.taints`; both are handed on here, so that this is the one door.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from weighbridge.core.alias import Alias
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.store import schema, taints
from weighbridge.store.aliases import find, known_as, known_by, node_text, same_grade
from weighbridge.store.dialect import insert_new, listed, pack
from weighbridge.store.lineage_walks import (
    SURE,
    affected,
    affected_among,
    ancestors,
    descendants,
    edges_above,
    edges_below,
    numbers,
    shortest_paths,
    text_numbers,
)
from weighbridge.store.taints import Taint, advisory_key, file_advisory, quarantine, tainted, untaint

__all__ = [
    "SURE", "Batch", "Drawn", "Node", "Taint", "add_aliases", "add_edges", "advisory_key", "affected", "affected_among",
    "ancestors", "descendants", "edges_above", "edges_below", "file_advisory", "find", "known_as", "numbers",
    "publish", "quarantine", "shortest_paths", "stand_for", "taint", "tainted", "untaint",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in the lineage: `kind` is model, weights, dataset or alias; the label is for people."""

    digest: Digest
    kind: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is published together: things, other names of things, edges."""

    nodes: Sequence[Node] = ()
    """Optional: whatever aliases and edges speak of is there in any case."""
    aliases: Sequence[tuple[Digest, Alias, Grade]] = ()
    edges: Sequence[Parentage] = ()
    names: Sequence[Alias] = ()
    """What the `alias:` nodes among the edges stand for; a node cannot be turned back into its name."""
    bundle: str = ""
    """The bundle that says by what else things are known; empty: this registry computed it."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What publishing changed."""

    edges: int = 0
    """Edges that are new; those between a thing and another name of it count."""
    bound: tuple[Alias, ...] = ()
    """Names that somebody waited for and something known now answers to."""
    disputed: tuple[Parentage, ...] = ()
    """Edges that close a cycle, as they were kept."""
    tainted: tuple[Digest, ...] = ()
    """What advisories that were here before now reach, or reach more surely."""


def publish(connection: sa.Connection, batch: Batch, record: Mapping[str, Any]) -> Drawn:
    """Write a batch; publishing anything again changes nothing. `record` has the columns of every record."""
    ids = _number(connection, batch, record)
    _name(connection, batch, ids, record)
    same = _same(connection, batch, ids)
    for node in {edge.child for edge, _ in same}:
        _answered(connection, node)
    edges = _unique([*batch.edges, *(edge for edge, _ in same)])
    kept, disputed = _check(connection, edges, ids)
    table = schema.edge
    rows = [_edge_row(edge, ids, record) for edge in kept]
    new = insert_new(connection, table, rows, table.c.parent)
    ends = {parent for (parent,) in new} | {ids[edge.child] for edge, _ in same}
    hit = taints.pass_on(connection, ends, record) if new else []
    names = tuple(sorted({alias for _, alias in same}))
    return Drawn(len(new), names, tuple(disputed), tuple(hit))


def add_edges(
    connection: sa.Connection,
    edges: Sequence[Parentage],
    record: Mapping[str, Any],
    *,
    names: Sequence[Alias] = (),
) -> Drawn:
    """Add edges; `names` are what the `alias:` nodes among them stand for."""
    return publish(connection, Batch(edges=edges, names=names), record)


def add_aliases(
    connection: sa.Connection,
    digest: Digest,
    aliases: Sequence[tuple[Alias, Grade]],
    record: Mapping[str, Any],
    *,
    bundle: str = "",
) -> Drawn:
    """Note by what else `digest` is known; `bound` says which of these names somebody waited for."""
    rows = [(digest, alias, grade) for alias, grade in aliases]
    return publish(connection, Batch(aliases=rows, bundle=bundle), record)


def stand_for(connection: sa.Connection, names: Sequence[Alias], record: Mapping[str, Any]) -> Drawn:
    """Make the nodes that stand for `names`, and bind them to what is known by them."""
    return publish(connection, Batch(names=names), record)


def taint(
    connection: sa.Connection, advisory: int, roots: Sequence[Digest | Alias], record: Mapping[str, Any]
) -> int:
    """Taint `roots` and whomever the advisory's kind reaches from them; returns how many are tainted by it.

    A root that is an alias stands for everything known by it, now or later. `advisory` is the key of its row; raises
    InternalError where there is none.
    """
    table = schema.advisory
    if connection.execute(sa.select(table.c.key).where(table.c.key == advisory)).first() is None:
        raise InternalError(f"there is no advisory with the key {advisory}")
    names = [root for root in roots if isinstance(root, Alias)]
    stand_for(connection, names, record)
    ids = numbers(connection, [root.node if isinstance(root, Alias) else root for root in roots])
    return taints.start(connection, advisory, ids.values(), record)


def _number(connection: sa.Connection, batch: Batch, record: Mapping[str, Any]) -> dict[Digest, int]:
    """Return the number of everything the batch speaks of, making the nodes that are not there."""
    wanted = {node.digest: node for node in batch.nodes}
    labels = {alias.node: str(alias) for alias in batch.names}
    for name, label in labels.items():
        wanted[name] = Node(name, "alias", label)
    for edge in batch.edges:
        kind = "dataset" if edge.relation is Relation.DATASET else "model"
        wanted.setdefault(edge.parent, Node(edge.parent, _kind(edge.parent, kind)))
        wanted.setdefault(edge.child, Node(edge.child, _kind(edge.child, "model")))
    for digest, _, _ in batch.aliases:
        wanted.setdefault(digest, Node(digest, _kind(digest, "model")))
    ids = numbers(connection, wanted)
    missing = [node for digest, node in wanted.items() if digest not in ids]
    for node in missing:
        if node.kind == "alias" and node.digest not in labels:
            raise InternalError(f"nobody said what {node.digest.short} stands for")
    table = schema.artifact
    rows = [
        {
            **record,
            "digest": str(node.digest),
            "kind": node.kind,
            "label": node.label[:256],
            "state": "placeholder" if node.kind == "alias" else "known",
        }
        for node in missing
    ]
    made = insert_new(connection, table, rows, table.c.digest, table.c.id)
    by_text = {str(node.digest): node.digest for node in missing}
    return ids | {by_text[digest]: number for digest, number in made}


def _kind(digest: Digest, otherwise: str) -> str:
    return {"wbw1": "weights", "alias": "alias"}.get(digest.algorithm, otherwise)


def _name(
    connection: sa.Connection, batch: Batch, ids: Mapping[Digest, int], record: Mapping[str, Any]
) -> None:
    rows = {
        (digest, alias): {
            **record,
            "scheme": alias.scheme.value,
            "value": alias.value,
            "artifact": ids[digest],
            "bundle": batch.bundle,
            "grade": grade.value,
        }
        for digest, alias, grade in batch.aliases
    }
    insert_new(connection, schema.alias, list(rows.values()), schema.alias.c.artifact)


def _same(connection: sa.Connection, batch: Batch, ids: dict[Digest, int]) -> list[tuple[Parentage, Alias]]:
    """Return the edges from known things to the placeholders that wait for one of their names."""
    texts = {node_text(alias): alias for _, alias, _ in batch.aliases}
    waiting = {texts[text]: number for text, number in text_numbers(connection, texts).items()}
    ids.update({alias.node: number for alias, number in waiting.items()})
    rows = [(*row, batch.bundle) for row in batch.aliases if row[1] in waiting]
    known = known_by(connection, batch.names)
    ids.update(numbers(connection, {digest for digest, _, _, _ in known}))
    return [
        (Parentage(digest, alias.node, Relation.SAME_AS, same_grade(alias, grade), bundle), alias)
        for digest, alias, grade, bundle in (*rows, *known)
    ]


def _answered(connection: sa.Connection, node: Digest) -> None:
    table = schema.artifact
    connection.execute(sa.update(table).where(table.c.digest == str(node)).values(state="known"))


def _unique(edges: Iterable[Parentage]) -> list[Parentage]:
    """Return the edges without repetitions and without those from a thing to itself, the surest word of one bundle first."""
    unique: dict[tuple[Digest, Digest, Relation, str], Parentage] = {}
    for edge in edges:
        key = (edge.parent, edge.child, edge.relation, edge.source)
        if edge.parent != edge.child and (key not in unique or edge.grade.rank < unique[key].grade.rank):
            unique[key] = edge
    return list(unique.values())


def _check(
    connection: sa.Connection, edges: Sequence[Parentage], ids: Mapping[Digest, int]
) -> tuple[list[Parentage], list[Parentage]]:
    """Return the edges as they are to be kept, and those among them that close a cycle."""
    pairs = [(ids[edge.parent], ids[edge.child]) for edge in edges]
    parents = {parent for parent, _ in pairs} | _having_children(connection, {child for _, child in pairs})
    if not any(child in parents for _, child in pairs):
        return list(edges), []  # whoever has no children cannot be anybody's ancestor
    above = _above(connection, {parent for parent, _ in pairs})
    kept, disputed = [], []
    for edge, (parent, child) in zip(edges, pairs, strict=True):
        found = edge
        if edge.relation is not Relation.SHARED_TENSORS:
            if child in parents and _reaches(above, parent, child, Grade.DECLARED.rank):
                if _reaches(above, parent, child, Grade.OBSERVED.rank):
                    found = replace(edge, grade=Grade.DECLARED)
                disputed.append(found)
            above.setdefault(child, []).append((parent, found.grade.rank))
        kept.append(found)
    return kept, disputed


def _having_children(connection: sa.Connection, nodes: set[int]) -> set[int]:
    inside = listed(connection.dialect.name, "nodes", number=True)
    text = f"SELECT DISTINCT parent FROM edge WHERE parent IN ({inside})"  # noqa: S608 (our own words only)
    return set(connection.execute(sa.text(text), {"nodes": pack(sorted(nodes))}).scalars())


def _above(connection: sa.Connection, nodes: set[int]) -> dict[int, list[tuple[int, int]]]:
    """Return child → (parent, rank) for every edge that says who came first, walking up from `nodes`."""
    inside = listed(connection.dialect.name, "nodes", number=True)
    text = (
        f"WITH RECURSIVE w(id) AS ({inside} "  # noqa: S608 (our own words only)
        "UNION SELECT e.parent FROM w JOIN edge e ON e.child = w.id AND e.relation <> 'shared-tensors') "
        "SELECT e.parent, e.child, e.grade FROM w JOIN edge e ON e.child = w.id AND e.relation <> 'shared-tensors'"
    )
    above: dict[int, list[tuple[int, int]]] = {}
    for parent, child, grade in connection.execute(sa.text(text), {"nodes": pack(sorted(nodes))}):
        above.setdefault(child, []).append((parent, Grade.read(grade).rank))
    return above


def _reaches(above: Mapping[int, Sequence[tuple[int, int]]], start: int, wanted: int, rank: int) -> bool:
    """Tell whether `wanted` is above `start` by edges that are as sure as `rank`, or surer."""
    seen, work = {start}, [start]
    while work:
        node = work.pop()
        if node == wanted:
            return True
        for parent, weakness in above.get(node, ()):
            if weakness <= rank and parent not in seen:
                seen.add(parent)
                work.append(parent)
    return False


def _edge_row(edge: Parentage, ids: Mapping[Digest, int], record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **record,
        "parent": ids[edge.parent],
        "child": ids[edge.child],
        "relation": edge.relation.value,
        "bundle": edge.source,
        "grade": edge.grade.value,
    }
