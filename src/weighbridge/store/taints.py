"""Taints: whom an advisory reaches, written down once so that the gate need not walk.

A taint says three things of a way from what the advisory names: the fewest steps of any way, a relation by
which it came, and the grade of the surest way (the weakest edge on it, as weak as need be). Steps that say
that weights are in a package weaken nothing: they were computed from the kept bytes.

Spreading is one statement a round: it takes the nodes that changed last, gives their children what follows
from them, and returns the children for which that was new or better. A longer way may be surer, so a child
can change more than once; both numbers only ever get better, so it ends, cycles and all, and in whatever order
edges arrive the result is the same. From a name that the advisory itself gives it also goes back along
`same-as`, to whatever is known by that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Relation
from weighbridge.store import schema
from weighbridge.store.dialect import MODELS, insert_new, listed, pack
from weighbridge.store.lineage_walks import digests, only

ROOT = ""
"""What a taint came `via` where the advisory names the thing itself."""

_RECORD = ("schema_version", "project", "actor", "created_at")
_RANK = "CASE {0} WHEN 'attested' THEN 0 WHEN 'observed' THEN 1 ELSE 2 END"
_EDGE_RANK = "CASE WHEN e.relation = 'packaging' THEN 0 WHEN e.grade = 'attested' THEN 0 WHEN e.grade = 'observed' THEN 1 ELSE 2 END"
_SPREAD = (
    "INSERT INTO taint (artifact, advisory, schema_version, project, actor, created_at, distance, via, grade) "
    "SELECT n.child, CAST(:advisory AS INTEGER), CAST(:schema_version AS INTEGER), CAST(:project AS VARCHAR(64)), "
    "CAST(:actor AS VARCHAR(128)), CAST(:created_at AS VARCHAR(20)), n.distance, n.via, "
    "CASE n.grade WHEN 0 THEN 'attested' WHEN 1 THEN 'observed' ELSE 'declared' END FROM ("
    "SELECT s.child AS child, MIN(s.distance) + 1 AS distance, MIN(s.via) AS via, MIN(s.grade) AS grade FROM ("
    "SELECT e.child AS child, t.distance AS distance, e.relation AS via, "
    "CASE WHEN {taint} > {edge} THEN {taint} ELSE {edge} END AS grade FROM taint t "
    "JOIN edge e ON e.parent = t.artifact WHERE t.advisory = :advisory AND t.artifact IN ({nodes}){where} "
    "UNION ALL SELECT e.parent, t.distance, e.relation, {edge} FROM taint t "
    "JOIN edge e ON e.child = t.artifact AND e.relation = 'same-as' "
    "WHERE t.advisory = :advisory AND t.via = '' AND t.artifact IN ({nodes})"
    ") s GROUP BY s.child) n WHERE true "
    "ON CONFLICT (artifact, advisory) DO UPDATE SET "
    "distance = CASE WHEN excluded.distance < taint.distance THEN excluded.distance ELSE taint.distance END, "
    "via = CASE WHEN {new} < {old} THEN excluded.via ELSE taint.via END, "
    "grade = CASE WHEN {new} < {old} THEN excluded.grade ELSE taint.grade END "
    "WHERE excluded.distance < taint.distance OR {new} < {old} "
    "RETURNING artifact"
)
_QUARANTINE = (
    "UPDATE model SET status = 'quarantined' WHERE status = 'active' AND {chosen}("
    "WITH hit AS MATERIALIZED (SELECT a.digest, a.kind FROM taint t JOIN artifact a ON a.id = t.artifact "
    "WHERE t.advisory = :advisory AND t.grade <> 'declared') SELECT {found} "
    # `|| ''` keeps the index over projects out of it, which would find all models of the project first.
    "UNION ALL SELECT {place} FROM hit JOIN model m ON m.weights = hit.digest AND m.project || '' = :project "
    "WHERE hit.kind = 'weights'{end}"
)


@dataclass(frozen=True, slots=True, order=True)
class Taint:
    """One advisory that reaches one thing; `advisory` is the advisory's id within its project."""

    advisory: str
    project: str
    kind: AdvisoryKind
    distance: int
    """Steps from what the advisory names, which has 0."""
    via: str
    """A relation by which it came; empty for what the advisory names."""
    grade: Grade

    @property
    def sure(self) -> bool:
        """Whether it may refuse something: a way that is only declared may not."""
        return self.grade is not Grade.DECLARED


def file_advisory(connection: sa.Connection, row: Mapping[str, Any]) -> int | None:
    """Keep an advisory's row (columns of `schema.advisory` but `key`); returns its key, None when its id is taken."""
    table = schema.advisory
    found = insert_new(connection, table, [row], table.c.key)
    return int(found[0][0]) if found else None


def advisory_key(connection: sa.Connection, project: str, identity: str) -> int | None:
    """Return the key of an advisory by its id, or None."""
    table = schema.advisory
    query = sa.select(table.c.key).where(table.c.project == project, table.c.id == identity)
    return connection.execute(query).scalar()


def start(connection: sa.Connection, advisory: int, roots: Iterable[int], record: Mapping[str, Any]) -> int:
    """Taint `roots` and whom the advisory's kind reaches from them; returns how many are tainted by it."""
    table, nodes = schema.taint, sorted(set(roots))
    rows = [
        {
            **{key: record[key] for key in _RECORD},
            "artifact": node,
            "advisory": advisory,
            "distance": 0,
            "via": ROOT,
            "grade": Grade.ATTESTED.value,
        }
        for node in nodes
    ]
    insert_new(connection, table, rows, table.c.artifact)
    spread(connection, advisory, nodes, record)
    query = sa.select(sa.func.count()).select_from(table).where(table.c.advisory == advisory)
    return int(connection.execute(query).scalar_one())


def untaint(connection: sa.Connection, advisory: int) -> int:
    """Take an advisory's taints away; returns how many there were."""
    table = schema.taint
    return connection.execute(sa.delete(table).where(table.c.advisory == advisory)).rowcount


def tainted(connection: sa.Connection, identities: Sequence[Digest]) -> dict[Digest, list[Taint]]:
    """Return the taints of those of `identities` that have any, by advisories that are not lifted."""
    text = (
        "SELECT r.digest, a.id, a.project, a.kind, t.distance, t.via, t.grade FROM artifact r "  # noqa: S608 (our own words only)
        "JOIN taint t ON t.artifact = r.id JOIN advisory a ON a.key = t.advisory AND a.lifted_at IS NULL "
        f"WHERE r.digest IN ({listed(connection.dialect.name, 'wanted')}) ORDER BY r.digest, a.project, a.id"
    )
    found: dict[Digest, list[Taint]] = {}
    for digest, name, project, kind, distance, via, grade in connection.execute(
        _cached(text), {"wanted": pack(str(digest) for digest in identities)}
    ):
        reach = Taint(name, project, AdvisoryKind(kind), distance, via, Grade.read(grade))
        found.setdefault(Digest.parse(digest), []).append(reach)
    return found


def quarantine(connection: sa.Connection, advisory: int, project: str) -> int:
    """Quarantine the active models of `project` that the advisory surely reaches; returns how many."""
    query = _cached(_QUARANTINE.format_map(MODELS[connection.dialect.name]))
    return connection.execute(query, {"advisory": advisory, "project": project}).rowcount


def pass_on(connection: sa.Connection, ends: Iterable[int], record: Mapping[str, Any]) -> list[Digest]:
    """Let the taints of `ends`, at which there are new edges, travel on; returns whom they newly or better reached."""
    nodes = sorted(set(ends))
    text = (
        "SELECT DISTINCT t.advisory FROM taint t JOIN advisory a ON a.key = t.advisory AND a.lifted_at IS NULL "  # noqa: S608 (our own words only)
        f"WHERE t.artifact IN ({listed(connection.dialect.name, 'nodes', number=True)})"
    )
    hit: set[int] = set()
    for advisory in connection.execute(_cached(text), {"nodes": pack(nodes)}).scalars().all():
        hit.update(spread(connection, advisory, nodes, record))
    return sorted(digests(connection, hit).values())


def spread(
    connection: sa.Connection, advisory: int, nodes: Iterable[int], record: Mapping[str, Any]
) -> set[int]:
    """Let one advisory travel on from `nodes`, tainted already; returns the numbers of whom it newly or better reached."""
    kind = sa.select(schema.advisory.c.kind).where(schema.advisory.c.key == advisory)
    relations = CARRIES[AdvisoryKind(connection.execute(kind).scalar_one())]
    query = _spreading(connection.dialect.name, relations)
    values = {key: record[key] for key in _RECORD}
    reached: set[int] = set()
    work = set(nodes)
    while work:
        found = connection.execute(
            query, {**values, "advisory": advisory, "nodes": pack(sorted(work))}
        ).scalars()
        work = set(found)
        reached |= work
    return reached


@lru_cache(maxsize=32)
def _spreading(dialect: str, relations: frozenset[Relation]) -> sa.TextClause:
    return sa.text(
        _SPREAD.format(
            taint=_RANK.format("t.grade"),
            edge=_EDGE_RANK,
            new=_RANK.format("excluded.grade"),
            old=_RANK.format("taint.grade"),
            nodes=listed(dialect, "nodes", number=True),
            where=only(relations, None),
        )
    )


@lru_cache(maxsize=32)
def _cached(text: str) -> sa.TextClause:
    return sa.text(text)
