"""Other names of things, read: who is known by a name, and by what else a thing is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import sqlalchemy as sa

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade
from weighbridge.store import schema
from weighbridge.store.dialect import listed, pack


def find(connection: sa.Connection, alias: Alias) -> list[tuple[Digest, Grade]]:
    """Return what is known by an alias, the surest first: how sure it is that this is its name."""
    found: dict[Digest, Grade] = {}
    for digest, _, grade, _ in known_by(connection, [alias]):
        if digest not in found or grade.rank < found[digest].rank:
            found[digest] = grade
    return sorted(found.items(), key=lambda row: (row[1].rank, row[0]))


def known_as(connection: sa.Connection, digest: Digest) -> list[Alias]:
    """Return the other names of a thing, sorted."""
    table, node = schema.alias, schema.artifact
    query = sa.select(table.c.scheme, table.c.value).distinct()
    query = query.join(node, node.c.id == table.c.artifact).where(node.c.digest == str(digest))
    return sorted(Alias(Scheme(scheme), value) for scheme, value in connection.execute(query))


def node_text(alias: Alias) -> str:
    """Return what `str(alias.node)` does, at a third of its price: a batch of models has thousands of names."""
    return f"alias:{hashlib.sha256(f'{alias.scheme.value}:{alias.value}'.encode()).hexdigest()}"


def same_grade(alias: Alias, grade: Grade) -> Grade:
    """Return how sure a binding by this name is: an exact one was seen in the bytes, one in words was only said."""
    return Grade.OBSERVED if alias.scheme.exact and grade is not Grade.DECLARED else Grade.DECLARED


def known_by(connection: sa.Connection, names: Sequence[Alias]) -> list[tuple[Digest, Alias, Grade, str]]:
    """Return each thing that is known by one of `names`, with the name, how sure that is, and the bundle that says so."""
    inside = listed(connection.dialect.name, "wanted")
    text = (
        "SELECT r.digest, l.value, l.grade, l.bundle FROM alias l JOIN artifact r ON r.id = l.artifact "  # noqa: S608 (our own words only)
        f"WHERE l.scheme = :scheme AND l.value IN ({inside}) ORDER BY r.digest, l.value, l.bundle"
    )
    found = []
    for scheme in sorted({alias.scheme for alias in names}):
        values = {"scheme": scheme.value, "wanted": pack(a.value for a in names if a.scheme is scheme)}
        for digest, value, grade, bundle in connection.execute(sa.text(text), values):
            found.append((Digest.parse(digest), Alias(scheme, value), Grade.read(grade), bundle))
    return found
