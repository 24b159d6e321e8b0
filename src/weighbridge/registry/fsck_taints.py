"""Walking from every advisory again: whom the index says that it reaches, held against where the lineage leads.

What an advisory surely reaches is quarantined and shown from what is written down (`taint`). The gate walks by itself and
does not rest on it, so a row that is missing lets nothing pass; but people are shown that table, and models lie by it.
"""

from __future__ import annotations

import sqlalchemy as sa

from weighbridge.core.advisory import Advisory
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Relation
from weighbridge.core.tier import Status
from weighbridge.core.walks import ways, weakest
from weighbridge.registry import advisories
from weighbridge.store import lineage_index, schema
from weighbridge.store.taints import ROOT


def wrong(connection: sa.Connection) -> list[str]:
    """Return whom an advisory surely reaches and the index or a model's status does not say so, and the reverse."""
    written = _written(connection)
    problems = _odd(connection)
    for project in sorted(set(connection.execute(sa.select(schema.advisory.c.project)).scalars())):
        for said in advisories.every(connection, project, standing=True):
            found = written.pop((project, said.id), {})
            reached = _reached(connection, said)
            problems += _differences(said, reached, found)
            problems += _not_quarantined(connection, said, reached)
    for (_, name), rows in sorted(written.items()):
        problems += [
            f"made up: {name} reaches {digest.short}, and it does not stand" for digest in sorted(rows)
        ]
    return problems


def _differences(said: Advisory, reached: dict[Digest, Grade], written: dict[Digest, Grade]) -> list[str]:
    sure = {digest for digest, grade in reached.items() if grade is not Grade.DECLARED}
    noted = {digest for digest, grade in written.items() if grade is not Grade.DECLARED}
    lost = [f"lost: {said.id} reaches {digest.short}" for digest in sorted(sure - noted)]
    more = sorted((noted - sure) | (set(written) - set(reached)))
    return lost + [f"made up: {said.id} reaches {digest.short}" for digest in more]


def _reached(connection: sa.Connection, said: Advisory) -> dict[Digest, Grade]:
    """Return whom an advisory reaches by the lineage alone, each with the grade of the surest way."""
    starts, steps = advisories.beginnings(connection, said)
    begun = sorted({*starts, *(step.child for step in steps)})
    edges = lineage_index.edges_below(connection, begun, relations=said.relations)
    found = ways([*edges, *steps], starts, relations=said.relations)
    return {node: weakest(found.way(node) or ()) for node in found.reached()}


def _odd(connection: sa.Connection) -> list[str]:
    """Name rows that no walk can have written: no relation that leads there, or more steps than there are nodes."""
    table = schema.taint
    nodes = connection.execute(sa.select(sa.func.count()).select_from(schema.artifact)).scalar_one()
    known = {relation.value for relation in Relation}
    query = sa.select(table.c.artifact, table.c.via, table.c.distance).order_by(table.c.artifact)
    return [
        f"node {number} was reached by {via!r} in {distance} steps"
        for number, via, distance in connection.execute(query)
        if (via not in known if distance else via != ROOT) or not 0 <= distance <= nodes + 1
    ]


def _written(connection: sa.Connection) -> dict[tuple[str, str], dict[Digest, Grade]]:
    taint, advisory, node = schema.taint, schema.advisory, schema.artifact
    query = sa.select(advisory.c.project, advisory.c.id, node.c.digest, taint.c.grade).select_from(
        taint.outerjoin(advisory, advisory.c.key == taint.c.advisory).outerjoin(
            node, node.c.id == taint.c.artifact
        )
    )
    found: dict[tuple[str, str], dict[Digest, Grade]] = {}
    for project, identity, digest, grade in connection.execute(query):
        key = (project or "", identity or "an advisory that is not kept")
        found.setdefault(key, {})[Digest.parse(digest or f"wb1:{'0' * 64}")] = Grade.read(grade)
    return found


def _not_quarantined(connection: sa.Connection, said: Advisory, reached: dict[Digest, Grade]) -> list[str]:
    """Name the models of the advisory's project that it surely reaches, and that are active all the same."""
    sure = {str(digest) for digest, grade in reached.items() if grade is not Grade.DECLARED}
    table = schema.model
    query = sa.select(table.c.digest, table.c.weights).where(
        table.c.project == said.project, table.c.status == Status.ACTIVE.value
    )
    return [
        f"{Digest.parse(row.digest).short} is active, and {said.id} reaches it"
        for row in connection.execute(query.order_by(table.c.digest))
        if sure & {row.digest, row.weights}
    ]
