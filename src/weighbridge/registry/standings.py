"""Standings: models that the gate quarantined when it judged them again, and that it restores when they pass.

A statement counts only on the newest decision about its model, and only with the answer that fits it. So an old one that
somebody hands in again changes nothing, in either direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Status
from weighbridge.registry import advisories
from weighbridge.store import schema
from weighbridge.store.dialect import insert_new

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause

ACTION = "reevaluate"
"""The action of the decisions on which a standing rests."""


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Quarantine a model, or restore one that nothing but such a quarantine held."""
    model, decision = record.about[0], str(record.body["decision"])
    restored = record.body["status"] == Status.ACTIVE.value
    if _newest(connection, record.project, model) != (decision, ACTION, "allow" if restored else "block"):
        return
    table = schema.standing
    here = (table.c.project == record.project, table.c.digest == str(model))
    if restored:
        if connection.execute(sa.delete(table).where(*here)).rowcount:
            advisories.release(connection, record.project, [model])
        return
    row = {
        "digest": str(model),
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
        "decision": decision,
        "reason": str(record.body["reason"]),
        "since": rfc3339(cause.logged_at),
        "bundle": str(cause.bundle.digest),
    }
    connection.execute(sa.delete(table).where(*here))  # the newest reason is the one that stands
    insert_new(connection, table, [row], table.c.digest)
    change = sa.update(schema.model).where(
        schema.model.c.project == record.project,
        schema.model.c.digest == str(model),
        schema.model.c.status == Status.ACTIVE.value,
    )
    connection.execute(change.values(status=Status.QUARANTINED.value))


def held(connection: sa.Connection, project: str) -> dict[Digest, str]:
    """Return the models that the gate itself has quarantined, each with the reason."""
    table = schema.standing
    query = sa.select(table.c.digest, table.c.reason).where(table.c.project == project)
    return {Digest.parse(row.digest): row.reason for row in connection.execute(query)}


def _newest(connection: sa.Connection, project: str, model: Digest) -> tuple[str, str, str] | None:
    table = schema.decision
    query = sa.select(table.c.id, table.c.action, table.c.answer).where(
        table.c.manifest == str(model), table.c.project == project, table.c.sequence.is_not(None)
    )
    row = connection.execute(query.order_by(table.c.sequence.desc()).limit(1)).first()
    return (row.id, row.action, row.answer) if row is not None else None
