"""The lineage index, read: who is above, who is below, and by which way.

The walks are recursive queries with UNION over integer keys, which visit each node once and end on cycles
(UNION ALL would not). A question about one model walks up, where few are; only an exploration walks down.
Large answers are worked on as integers; identities are looked up for what is returned only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import sqlalchemy as sa

from weighbridge.core.digest import HEX_LENGTH, Digest
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.store.dialect import among, identified, joined, listed, pack

SURE = frozenset({Grade.ATTESTED, Grade.OBSERVED})
"""The grades that count where something is refused: anybody may declare."""

Relations = frozenset[Relation] | None
Grades = frozenset[Grade] | None
Step = tuple[int, int, str, str, str]
"""parent, child, relation, grade, bundle: an edge as it lies in the table."""

_RANKS = {grade.value: grade.rank for grade in Grade}

_AFFECTED = (
    "WITH RECURSIVE u(id) AS (SELECT id FROM artifact WHERE digest = :node "
    "UNION SELECT e.parent FROM u JOIN edge e ON e.child = u.id{where}) "
    "SELECT EXISTS (SELECT 1 FROM u WHERE id IN (SELECT id FROM artifact WHERE digest IN ({by})))"
)
_UP = (
    "WITH RECURSIVE w(id) AS (SELECT id FROM artifact WHERE digest IN ({roots}) "
    "UNION SELECT e.parent FROM w JOIN edge e ON e.child = w.id{where}) "
)
_DOWN = (
    "WITH RECURSIVE w(id) AS (SELECT id FROM artifact WHERE digest IN ({roots}) "
    "UNION SELECT e.child FROM w JOIN edge e ON e.parent = w.id{where}) "
)
_NODES = "SELECT {digests} FROM artifact WHERE id {among}"
_UP_BY_NUMBER = (
    "WITH RECURSIVE n(id) AS ({numbers}), w(parent, child) AS "
    "(SELECT e.parent, e.child FROM n JOIN edge e ON e.child = n.id{where} "
    "UNION SELECT e.parent, e.child FROM w JOIN edge e ON e.child = w.parent{where}) SELECT {pairs} FROM w"
)
"""Walks edges and not nodes, so that each edge is looked up once."""
_STEPS = "SELECT e.parent, e.child, e.relation, e.grade, e.bundle FROM w JOIN edge e ON e.{end} = w.id{where}"
_EDGES = (
    "SELECT p.digest, c.digest, e.relation, e.grade, e.bundle FROM w JOIN edge e ON e.{end} = w.id{where} "
    "JOIN artifact p ON p.id = e.parent JOIN artifact c ON c.id = e.child "
    "ORDER BY p.digest, c.digest, e.relation, e.bundle LIMIT :limit"
)
_EVERYTHING = 2**62
_ALGORITHMS = sorted(HEX_LENGTH.items(), key=lambda row: f"{row[0]}:")
_HEX = b"0123456789abcdef"
_new = object.__new__
_SET_ALGORITHM: Any = Digest.__dict__["algorithm"].__set__
_SET_HEX: Any = Digest.__dict__["hex"].__set__
"""A frozen Digest is made through its slots here, after its text was looked at."""


def affected(
    connection: sa.Connection,
    node: Digest,
    by: Digest | Sequence[Digest],
    *,
    relations: Relations = None,
    grades: Grades = None,
) -> bool:
    """Tell whether `node` is, or descends from, (one of) `by` along these relations and grades (None: any)."""
    query = _query(connection.dialect.name, _AFFECTED, relations, grades)
    return bool(connection.execute(query, {"node": str(node), "by": _packed(by)}).scalar())


def affected_among(
    connection: sa.Connection,
    nodes: Sequence[Digest],
    by: Digest | Sequence[Digest],
    *,
    relations: Relations = None,
    grades: Grades = None,
) -> list[Digest]:
    """Return those of `nodes` that are, or descend from, (one of) `by`, in their order: one walk up from all of them."""
    ends = numbers(connection, nodes)
    reached = set(numbers(connection, [by] if isinstance(by, Digest) else by).values())
    query = _query(connection.dialect.name, _UP_BY_NUMBER, relations, grades)
    found = connection.execute(query, {"numbers": pack(sorted(set(ends.values())))}).scalar()
    children: dict[int, list[int]] = {}
    flat = iter(map(int, (found or "").split()))
    for parent, child in zip(flat, flat, strict=True):
        children.setdefault(parent, []).append(child)
    work = list(reached)
    while work:
        for child in children.get(work.pop(), ()):
            if child not in reached:
                reached.add(child)
                work.append(child)
    return [node for node in nodes if ends.get(node) in reached]


def descendants(
    connection: sa.Connection, roots: Sequence[Digest], *, relations: Relations = None, grades: Grades = None
) -> list[Digest]:
    """Return every identity that descends from `roots`, the roots included where they are known, sorted."""
    return _nodes(connection, _DOWN, roots, relations, grades)


def ancestors(
    connection: sa.Connection, roots: Sequence[Digest], *, relations: Relations = None, grades: Grades = None
) -> list[Digest]:
    """Return every identity that any of `roots` may descend from, the roots included where they are known, sorted."""
    return _nodes(connection, _UP, roots, relations, grades)


def edges_above(
    connection: sa.Connection,
    roots: Sequence[Digest],
    *,
    limit: int | None = None,
    relations: Relations = None,
) -> list[Parentage]:
    """Return the edges met when walking up from `roots`, sorted; the first `limit` of them where one is given."""
    return _edges(connection, _UP + _EDGES.replace("{end}", "child"), roots, limit, relations)


def edges_below(
    connection: sa.Connection,
    roots: Sequence[Digest],
    *,
    limit: int | None = None,
    relations: Relations = None,
) -> list[Parentage]:
    """Return the edges met when walking down from `roots`, sorted; the first `limit` of them where one is given."""
    return _edges(connection, _DOWN + _EDGES.replace("{end}", "parent"), roots, limit, relations)


def shortest_paths(
    connection: sa.Connection,
    roots: Sequence[Digest],
    wanted: Sequence[Digest],
    *,
    relations: Relations = None,
) -> dict[Digest, tuple[Parentage, ...]]:
    """Return, for each of `wanted` that descends from a root, the shortest way to it, surer edges first.

    It walks up from the wanted, so that a root with many descendants costs no more than one with few.
    """
    starts, ends = numbers(connection, roots), numbers(connection, wanted)
    query = _query(connection.dialect.name, _UP + _STEPS.replace("{end}", "child"), relations, None)
    steps: list[Step] = [tuple(row) for row in connection.execute(query, {"roots": _packed(wanted)})]
    reached = _breadth_first(starts.values(), steps)
    ways = {digest: _way(node, reached) for digest, node in ends.items() if node in reached}
    names = digests(connection, {node for way in ways.values() for step in way for node in step[:2]})
    return {digest: tuple(_edge(step, names) for step in way) for digest, way in ways.items()}


def numbers(connection: sa.Connection, identities: Iterable[Digest]) -> dict[Digest, int]:
    """Return the number of each identity that the index knows."""
    wanted = {str(digest): digest for digest in identities}
    return {wanted[text]: number for text, number in text_numbers(connection, wanted).items()}


def text_numbers(connection: sa.Connection, texts: Iterable[str]) -> dict[str, int]:
    """Do what `numbers` does for identities that are text already."""
    wanted = pack(texts)
    if wanted == "[]":
        return {}
    inside = listed(connection.dialect.name, "wanted")
    query = f"SELECT digest, id FROM artifact WHERE digest IN ({inside})"  # noqa: S608 (our own words only)
    return {text: number for text, number in connection.execute(_text(query), {"wanted": wanted})}  # noqa: C416 (rows are no tuples to type checkers)


def digests(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Digest]:
    """Return the identity behind each number."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    inside = listed(connection.dialect.name, "wanted", number=True)
    text = f"SELECT id, digest FROM artifact WHERE id IN ({inside})"  # noqa: S608 (our own words only)
    return {
        n: Digest.parse(digest) for n, digest in connection.execute(_text(text), {"wanted": pack(wanted)})
    }


def only(relations: Relations, grades: Grades) -> str:
    """Return the condition on the edge `e`, to be put after a join's own."""
    parts = (
        (column, chosen)
        for column, chosen in (("relation", relations), ("grade", grades))
        if chosen is not None
    )
    return "".join(
        f" AND e.{column} IN ({', '.join(repr(word.value) for word in sorted(chosen)) or 'NULL'})"
        for column, chosen in parts
    )


@lru_cache(maxsize=512)
def _query(dialect: str, text: str, relations: Relations, grades: Grades) -> sa.TextClause:
    parts = {"roots": identified(dialect, "roots"), "by": listed(dialect, "by")}
    parts["numbers"] = listed(dialect, "numbers", number=True)
    parts["digests"] = joined(dialect, "digest")
    parts["among"] = among(dialect, "SELECT id FROM w ORDER BY id")
    parts["pairs"] = joined(dialect, "parent || ' ' || child")
    return sa.text(text.format(where=only(relations, grades), **parts))


@lru_cache(maxsize=64)
def _text(text: str) -> sa.TextClause:
    return sa.text(text)


def _packed(identities: Digest | Iterable[Digest]) -> str:
    return pack(
        [str(identities)] if isinstance(identities, Digest) else [str(digest) for digest in identities]
    )


def _nodes(
    connection: sa.Connection, walk: str, roots: Sequence[Digest], relations: Relations, grades: Grades
) -> list[Digest]:
    query = _query(connection.dialect.name, walk + _NODES, relations, grades)
    found = connection.execute(query, {"roots": _packed(roots)}).scalar()
    return _digests(found or "")


def _digests(text: str) -> list[Digest]:
    """Do what Digest.parse does for each word of a text, sorted, in a third of the time: a walk may return a hundred thousand."""
    words = sorted(text.split())
    found: list[Digest] = []
    for algorithm, length in _ALGORITHMS:
        first, last = bisect_left(words, f"{algorithm}:"), bisect_left(words, f"{algorithm};")
        values = [word[len(algorithm) + 1 :] for word in words[first:last]]
        if set(map(len, values)) - {length} or "".join(values).encode().translate(None, _HEX):
            break  # one of them is no digest; parse says which
        made = [_new(Digest) for _ in values]
        deque(map(_SET_ALGORITHM, made, repeat(algorithm)), 0)
        deque(map(_SET_HEX, made, values), 0)
        found += made
    return found if len(found) == len(words) else [Digest.parse(word) for word in words]


def _edges(
    connection: sa.Connection, text: str, roots: Sequence[Digest], limit: int | None, relations: Relations
) -> list[Parentage]:
    query = _query(connection.dialect.name, text, relations, None)
    rows = connection.execute(
        query, {"roots": _packed(roots), "limit": _EVERYTHING if limit is None else limit}
    )
    return [
        Parentage(Digest.parse(parent), Digest.parse(child), Relation(relation), Grade.read(grade), bundle)
        for parent, child, relation, grade, bundle in rows
    ]


def _breadth_first(starts: Iterable[int], steps: Sequence[Step]) -> dict[int, Step]:
    children: dict[int, list[Step]] = {}
    for step in sorted(steps, key=lambda step: (_RANKS[step[3]], step)):
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
    parent, child, relation, grade, bundle = step
    return Parentage(names[parent], names[child], Relation(relation), Grade.read(grade), bundle)
