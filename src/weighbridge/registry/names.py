"""Names: a name points at a manifest; each move is signed, logged and numbered, and only moves forward."""

from __future__ import annotations

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.reference import is_name
from weighbridge.registry import tally
from weighbridge.registry.new_names import Differs, check_new
from weighbridge.registry.outbox import Draft, sign
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema


def check_name(name: str) -> None:
    """Refuse what cannot be a registry name."""
    if not is_name(name):
        raise BadReference(
            f"{name!r} cannot be a registry name",
            cause="a name has 1 to 64 lower-case letters, digits, '.', '_' or '-', and starts and ends with a letter or digit",
            remedy="choose another name",
        )


def current(registry: Registry, name: str) -> tuple[int, Digest] | None:
    """Return sequence number and manifest of a name, or None."""
    table = schema.name
    with registry.records.read() as connection:
        query = sa.select(table.c.sequence, table.c.manifest)
        query = query.where(table.c.project == registry.project, table.c.name == name)
        row = connection.execute(query.order_by(table.c.sequence.desc()).limit(1)).first()
    return (row[0], Digest.parse(row[1])) if row else None


def resolve(registry: Registry, name: str) -> Digest | None:
    """Return what a name points at, or None; the records are first held against their tally."""
    tally.check(registry)
    found = current(registry, name)
    return found[1] if found else None


def pointing(registry: Registry, digest: Digest | None = None) -> dict[Digest, tuple[str, ...]]:
    """Return the names that point at each manifest now (or only those at `digest`)."""
    table, newer = schema.name, schema.name.alias()
    newest = sa.select(sa.func.max(newer.c.sequence)).where(
        newer.c.project == table.c.project, newer.c.name == table.c.name
    )
    query = sa.select(table.c.manifest, table.c.name).where(
        table.c.project == registry.project, table.c.sequence == newest.scalar_subquery()
    )
    if digest is not None:
        query = query.where(table.c.manifest == str(digest))
    found: dict[Digest, tuple[str, ...]] = {}
    with registry.records.read() as connection:
        for row in connection.execute(query.order_by(table.c.name)):
            manifest = Digest.parse(row.manifest)
            found[manifest] = (*found.get(manifest, ()), row.name)
    return found


def names_of(registry: Registry, digest: Digest) -> tuple[str, ...]:
    """Return the names that point at a manifest now."""
    return pointing(registry, digest).get(digest, ())


def move(registry: Registry, name: str, digest: Digest, *, differs: Differs | None = None) -> Draft | None:
    """Return the signed draft that lets `name` point at `digest`; None when it already does.

    Raises Refused(name.alike) for a new name that could be taken for another one.
    """
    check_name(name)
    check_new(registry, name, digest, differs)
    before = current(registry, name)
    if before and before[1] == digest:
        return None
    sequence = before[0] + 1 if before else 1
    body: dict[str, JSON] = {
        "name": name,
        "sequence": sequence,
        "previous": str(before[1]) if before else None,
        **(differs.body() if differs is not None and before is None else {}),
    }
    return sign(event("name", (digest,), body, **registry.event_facts()), registry.gate_key)
