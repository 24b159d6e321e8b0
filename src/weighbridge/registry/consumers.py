"""Consumers: who runs a model that has just fallen, told in the transaction in which it fell.

A deployment names its target and who recorded it; that is all a registry knows of an owner. The models are the
same for everybody who asks; this only says it without being asked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Status
from weighbridge.registry.alerts import alert
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

SHOWN = 100
"""Deployments that an alert lists; it counts them all."""
NAMED = 5
"""Targets that its sentence names."""
KINDS = {
    "revocation": ("revocation", "something was revoked"),
    "distrust": ("revocation", "what a signer said, or what a scan found, counts no longer"),
    "advisory": ("advisory", "an advisory was published"),
    "standing": ("quarantine", "a model does not pass any more"),
    "lineage": ("quarantine", "a link became known that leads below what is withdrawn"),
}
"""Kind of record (or `lineage`): the kind of its alert, and what happened."""


@dataclass(frozen=True, slots=True, order=True)
class Consumer:
    """One running deployment of a model that was active: where, since when, and who recorded it."""

    target: str
    manifest: str
    since: str
    owner: str

    def to_json(self) -> dict[str, JSON]:
        """Return the consumer as it stands in an alert's facts."""
        return {"target": self.target, "model": self.manifest, "since": self.since, "owner": self.owner}


def active(connection: sa.Connection, project: str) -> set[Consumer]:
    """Return what runs now of models that may run."""
    table, model = schema.deployment, schema.model
    query = sa.select(table.c.target, table.c.manifest, table.c.since, table.c.actor).select_from(
        table.join(model, sa.and_(model.c.project == table.c.project, model.c.digest == table.c.manifest))
    )
    query = query.where(
        table.c.project == project, table.c.until.is_(None), model.c.status == Status.ACTIVE.value
    )
    return {Consumer(*row) for row in connection.execute(query)}


def tell(
    registry: Registry,
    connection: sa.Connection,
    record: Record,
    before: Collection[Consumer],
    *,
    kind: str = "",
) -> None:
    """Alert those who run what has just fallen; `before` is what `active` gave before it did."""
    name, happened = KINDS[kind or record.kind]
    fallen = sorted(set(before) - active(connection, record.project))
    about = [digest for digest in record.about if digest.algorithm != "alias"]
    reason = str(record.body.get("reason", ""))
    rows: list[JSON] = [consumer.to_json() for consumer in fallen[:SHOWN]]
    facts: dict[str, JSON] = {
        "record": record.kind,
        "reason": reason,
        "said_by": record.actor,
        "project": record.project,
        "deployments": rows,
        "deployed": len(fallen),
    }
    if "id" in record.body:
        facts["id"] = record.body["id"]
    targets = list(dict.fromkeys(consumer.target for consumer in fallen))
    more = f" and {len(targets) - NAMED} more" if len(targets) > NAMED else ""
    where = f"; it runs at {', '.join(targets[:NAMED])}{more}" if fallen else ""
    models = {Digest.parse(consumer.manifest) for consumer in fallen}
    alert(
        connection,
        registry,
        name,
        "critical" if fallen else "warning",
        f"{happened}{where}: {reason}",
        about=[*about, *sorted(models - set(about))],
        facts=facts,
    )
