"""Distrusts as a registry keeps them: which stand, what is silenced by them, and what a lift gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.distrust import Distrust, Distrusted, read_distrust
from weighbridge.core.errors import NotFound
from weighbridge.core.evidence import Proven
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import insert_new
from weighbridge.trust.authority import EVERY_PROJECT

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause

WITHDRAWS = frozenset({"revocation", "advisory", "distrust", "decision"})
"""Kinds of record that a distrusted signer may still make: they take away, or only tell."""


def every(connection: sa.Connection, project: str, *, standing: bool = False) -> list[Distrust]:
    """Return the distrusts that count in a project, newest first; with `standing` only those that nobody has lifted."""
    table = schema.distrust
    query = sa.select(table).where(table.c.project.in_({project, EVERY_PROJECT}))
    if standing:
        query = query.where(table.c.lifted_at.is_(None))
    rows = connection.execute(query.order_by(table.c.created_at.desc(), table.c.id)).mappings()
    return [_distrust(row) for row in rows]


def standing(registry: Registry) -> list[Distrust]:
    """Return the distrusts that stand in the current project."""
    with registry.records.read() as connection:
        return every(connection, registry.project, standing=True)


def get(connection: sa.Connection, project: str, identity: str) -> Distrust:
    """Return one distrust by its id, or the beginning of it; raises NotFound."""
    found = [said for said in every(connection, project) if identity and said.id.startswith(identity)]
    if len(found) != 1:
        raise NotFound(
            f"there is no distrust {identity!r} in project {project!r}"
            if not found
            else f"{identity!r} means more than one distrust",
            remedy="see them: weighbridge revoke --list",
        )
    return found[0]


def silenced(connection: sa.Connection, record: Record, proven: Proven) -> bool:
    """Tell whether a record takes no effect, because whoever signed it is distrusted; what withdraws is never silenced."""
    if record.kind in WITHDRAWS or (record.kind == "standing" and record.body.get("status") == "quarantined"):
        return False
    return any(said.covers(proven) for said in every(connection, record.project, standing=True))


# ---------------------------------------------------------------- effects: inside the transaction that marks the outbox


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Keep a distrust; the same word again changes nothing, whether it stands or was lifted."""
    said = read_distrust(record.body, record.project)
    row = {
        "id": said.id,
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(cause.logged_at),
        "content": canonical(said.body()).decode(),
        "lifted_at": None,
        "lift_reason": "",
        "bundle": str(cause.bundle.digest),
    }
    insert_new(connection, schema.distrust, [row], schema.distrust.c.id)


def lift(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let what a distrust silenced count again; a second lift changes nothing."""
    table = schema.distrust
    here = (table.c.project == record.project, table.c.id == record.body["id"], table.c.lifted_at.is_(None))
    values = {"lifted_at": rfc3339(cause.logged_at), "lift_reason": str(record.body["reason"])}
    connection.execute(sa.update(table).where(*here).values(**values))


def _distrust(row: Mapping[Any, Any]) -> Distrust:
    body: Any = parse(row["content"].encode())
    values = {("start" if name == "from" else name): value for name, value in body.items() if name != "what"}
    return Distrust(
        what=Distrusted(body["what"]),
        project=row["project"],
        bundle=row["bundle"],
        lifted=row["lifted_at"] or "",
        lift_reason=row["lift_reason"],
        **values,
    )
