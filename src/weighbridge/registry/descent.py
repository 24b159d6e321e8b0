"""The lineage index, read: who is above, who is below, and by which way.

The walks are recursive queries with UNION over integer keys, which visit each node once and end on cycles.
Large answers are worked on as integers; identities are looked up for what is returned only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.store import schema

DOWN_SURE = sa.text(
    "WITH RECURSIVE d(id) AS (SELECT id FROM artifact WHERE digest IN :roots "
    "UNION SELECT e.child FROM edge e JOIN d ON e.parent = d.id WHERE e.grade <> 'declared') "
    "SELECT a.digest FROM d JOIN artifact a ON a.id = d.id ORDER BY a.digest"
).bindparams(sa.bindparam("roots", expanding=True))

UP_EDGES = sa.text(
    "WITH RECURSIVE u(id) AS (SELECT id FROM artifact WHERE digest IN :roots "
    "UNION SELECT e.parent FROM edge e JOIN u ON e.child = u.id) "
    "SELECT p.digest AS parent, c.digest AS child, e.relation, e.grade, e.bundle FROM edge e "
    "JOIN u ON e.child = u.id JOIN artifact p ON p.id = e.parent JOIN artifact c ON c.id = e.child "
    "ORDER BY p.digest, c.digest, e.relation"
).bindparams(sa.bindparam("roots", expanding=True))

DOWN_EDGES = sa.text(
    "WITH RECURSIVE d(id) AS (SELECT id FROM artifact WHERE digest IN :roots "
    "UNION SELECT e.child FROM edge e JOIN d ON e.parent = d.id) "
    "SELECT p.digest AS parent, c.digest AS child, e.relation, e.grade, e.bundle FROM edge e "
    "JOIN d ON e.parent = d.id JOIN artifact p ON p.id = e.parent JOIN artifact c ON c.id = e.child "
    "ORDER BY p.digest, c.digest, e.relation"
).bindparams(sa.bindparam("roots", expanding=True))

UP = sa.text(
    "WITH RECURSIVE u(id) AS (SELECT id FROM artifact WHERE digest IN :roots "
    "UNION SELECT e.parent FROM edge e JOIN u ON e.child = u.id) "
    "SELECT a.digest FROM u JOIN artifact a ON a.id = u.id ORDER BY a.digest"
).bindparams(sa.bindparam("roots", expanding=True))

DOWN = sa.text(
    "WITH RECURSIVE d(id) AS (SELECT id FROM artifact WHERE digest IN :roots "
    "UNION SELECT e.child FROM edge e JOIN d ON e.parent = d.id) "
    "SELECT e.parent, e.child, e.relation, e.bundle, e.grade FROM edge e JOIN d ON e.parent = d.id"
).bindparams(sa.bindparam("roots", expanding=True))

Step = tuple[int, int, str, str, str]
"""parent, child, relation, bundle, grade: an edge as it lies in the table."""
RANKS = {grade.value: grade.rank for grade in Grade}


def descendants(connection: sa.Connection, roots: Sequence[Digest]) -> list[Digest]:
    """Return every identity that surely descends from `roots`, the roots included where they are known.

    Declared edges do not count: anybody may declare, and nobody may quarantine a stranger's model by it.
    """
    found = connection.execute(DOWN_SURE, {"roots": [str(d) for d in roots]}).scalars()
    return [Digest.parse(text) for text in found]


def edges_above(connection: sa.Connection, roots: Sequence[Digest]) -> list[Parentage]:
    """Return every edge met when walking up from `roots`."""
    return _edges(connection.execute(UP_EDGES, {"roots": [str(d) for d in roots]}).mappings())


def edges_below(connection: sa.Connection, roots: Sequence[Digest]) -> list[Parentage]:
    """Return every edge met when walking down from `roots`."""
    return _edges(connection.execute(DOWN_EDGES, {"roots": [str(d) for d in roots]}).mappings())


def _edges(rows: Iterable[Mapping[Any, Any]]) -> list[Parentage]:
    return [
        Parentage(
            Digest.parse(row["parent"]),
            Digest.parse(row["child"]),
            Relation(row["relation"]),
            Grade(row["grade"]),
            row["bundle"],
        )
        for row in rows
    ]


def ancestors(connection: sa.Connection, roots: Sequence[Digest]) -> list[Digest]:
    """Return every identity that any of `roots` may descend from, the roots included where they are known."""
    return [
        Digest.parse(text) for text in connection.execute(UP, {"roots": [str(d) for d in roots]}).scalars()
    ]


def shortest_paths(
    connection: sa.Connection, roots: Sequence[Digest], wanted: Sequence[Digest]
) -> dict[Digest, tuple[Parentage, ...]]:
    """Return, for each of `wanted` that descends from a root, the shortest way to it, surer edges first."""
    starts, ends = _ids(connection, roots), _ids(connection, wanted)
    steps: list[Step] = [tuple(row) for row in connection.execute(DOWN, {"roots": [str(d) for d in roots]})]
    reached = _breadth_first(starts.values(), steps)
    ways = {digest: _way(node, reached) for digest, node in ends.items() if node in reached}
    used = {node for way in ways.values() for step in way for node in step[:2]}
    names = _digests(connection, used)
    return {digest: tuple(_edge(step, names) for step in way) for digest, way in ways.items()}


def _breadth_first(starts: Iterable[int], steps: Sequence[Step]) -> dict[int, Step]:
    children: dict[int, list[Step]] = {}
    for step in sorted(steps, key=lambda step: RANKS[step[4]]):
        children.setdefault(step[0], []).append(step)
    queue = deque(starts)
    reached: dict[int, Step] = {}
    begun = set(queue)
    while queue:
        for step in children.get(queue.popleft(), ()):
            if step[1] not in reached and step[1] not in begun:
                reached[step[1]] = step
                queue.append(step[1])
    return reached


def _way(node: int, reached: Mapping[int, Step]) -> tuple[Step, ...]:
    way: list[Step] = []
    while node in reached:
        way.append(reached[node])
        node = reached[node][0]
    return tuple(reversed(way))


def _edge(step: Step, names: Mapping[int, Digest]) -> Parentage:
    parent, child, relation, bundle, grade = step
    return Parentage(names[parent], names[child], Relation(relation), Grade(grade), bundle)


def _ids(connection: sa.Connection, digests: Sequence[Digest]) -> dict[Digest, int]:
    table = schema.artifact
    found: dict[Digest, int] = {}
    for start in range(0, len(digests), 500):
        part = [str(d) for d in digests[start : start + 500]]
        query = sa.select(table.c.digest, table.c.id).where(table.c.digest.in_(part))
        found |= {Digest.parse(text): int(number) for text, number in connection.execute(query)}
    return found


def _digests(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Digest]:
    table, wanted = schema.artifact, sorted(ids)
    found: dict[int, Digest] = {}
    for start in range(0, len(wanted), 500):
        query = sa.select(table.c.id, table.c.digest).where(table.c.id.in_(wanted[start : start + 500]))
        found |= {int(number): Digest.parse(text) for number, text in connection.execute(query)}
    return found
