"""Effects: the state changes that a logged statement brings about, one small function per kind.

Each is idempotent and runs inside the transaction that marks its outbox row done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Receipt
from weighbridge.core.digest import Digest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Assurance, Status, Tier
from weighbridge.registry import edges
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Cause:
    """What brought an effect about: the outbox row (project, actor, time), the bundle, its log index."""

    row: Mapping[Any, Any]
    bundle: Bundle
    log_index: int

    @property
    def record(self) -> dict[str, Any]:
        """Return the record columns as they were when the draft was enqueued."""
        return {key: self.row[key] for key in ("schema_version", "project", "actor", "created_at")}

    @property
    def statement(self) -> Statement:
        """Return the statement that was logged."""
        return Statement.decode(self.bundle.envelope.payload)


def apply(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Apply one effect; an unknown kind is our own mistake and raises KeyError."""
    EFFECTS[effect["kind"]](registry, connection, effect, cause)


def _bundle(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Keep the bundle, index the identities it is about, and draw the lineage edges it claims."""
    del effect
    statement = cause.statement
    signer = edges.signer_of(registry, cause.bundle)
    row = {
        "digest": str(cause.bundle.digest),
        **cause.record,
        "stage": edges.stage_name(statement),
        "signer": str(signer.key),
        "log_index": cause.log_index,
        "content": cause.bundle.to_json().decode(),
    }
    connection.execute(upsert(schema.bundle).values(row).on_conflict_do_nothing())
    for identity in statement.identities:
        subject = {"identity": str(identity), "bundle": row["digest"]}
        connection.execute(upsert(schema.bundle_subject).values(subject).on_conflict_do_nothing())
    edges.draw(registry, connection, cause.bundle, cause.record)


def _decision(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Put the log's answer beside the decision."""
    del registry
    entry = cause.bundle.entry
    proof = entry.to_json() if entry else {}
    receipt = Receipt(cause.log_index, proof, Assurance.SINGLE_OPERATOR)
    change = sa.update(schema.decision).where(schema.decision.c.id == effect["id"])
    connection.execute(change.values(receipt=canonical(receipt.to_json()).decode()))


def _promote(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Move a model to the trusted tier, unless it was revoked since the decision."""
    del registry
    table = schema.model
    change = sa.update(table).where(
        table.c.project == cause.record["project"],
        table.c.digest == effect["manifest"],
        table.c.status == Status.ACTIVE.value,
    )
    connection.execute(change.values(tier=Tier.TRUSTED.value))


def _revoke(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Note the revocation; the model itself becomes revoked, everything that descends from it quarantined."""
    del registry
    for target in effect["targets"]:
        row = {
            **cause.record,
            "target": target,
            "reason": effect["reason"],
            "since": cause.record["created_at"],
            "bundle": str(cause.bundle.digest),
        }
        connection.execute(upsert(schema.revocation).values(row).on_conflict_do_nothing())
    targets = [Digest.parse(target) for target in effect["targets"]]
    hit = edges.descendants(connection, targets)
    _set_status(connection, cause, [str(d) for d in hit], Status.QUARANTINED)
    _set_status(connection, cause, list(effect["targets"]), Status.REVOKED)


def _set_status(connection: sa.Connection, cause: Cause, digests: list[str], status: Status) -> None:
    table = schema.model
    for start in range(0, len(digests), 500):
        part = digests[start : start + 500]
        change = sa.update(table).where(
            table.c.project == cause.record["project"],
            sa.or_(table.c.digest.in_(part), table.c.weights.in_(part)),
            table.c.status != Status.REVOKED.value,
        )
        connection.execute(change.values(status=status.value))


def _name(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Let a name point at another manifest; sequence numbers only grow."""
    del registry
    row = {
        **cause.record,
        "name": effect["name"],
        "sequence": effect["sequence"],
        "manifest": effect["manifest"],
        "bundle": str(cause.bundle.digest),
    }
    connection.execute(upsert(schema.name).values(row).on_conflict_do_nothing())


def _deploy(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Record what runs where from now on; what ran there before has ended."""
    del registry
    table, now = schema.deployment, cause.record["created_at"]
    here = (
        table.c.project == cause.record["project"],
        table.c.target == effect["target"],
        table.c.until.is_(None),
    )
    same = sa.select(table.c.manifest).where(*here, table.c.manifest == effect["manifest"])
    if connection.execute(same).first():
        connection.execute(sa.update(table).where(*here).values(last_seen=now))
        return
    connection.execute(sa.update(table).where(*here).values(until=now))
    if effect["manifest"]:
        row = {
            **cause.record,
            "target": effect["target"],
            "manifest": effect["manifest"],
            "since": now,
            "last_seen": now,
            "bundle": str(cause.bundle.digest),
        }
        connection.execute(sa.insert(table).values(row))


def _authority(
    registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause
) -> None:
    """Keep a new version of the authority."""
    del registry
    row = {
        **cause.record,
        "version": effect["version"],
        "digest": effect["digest"],
        "content": effect["content"],
    }
    connection.execute(upsert(schema.authority).values(row).on_conflict_do_nothing())


def _setting(registry: Registry, connection: sa.Connection, effect: Mapping[str, Any], cause: Cause) -> None:
    """Change a setting of a project (the digest of its active policy, its mode)."""
    del registry
    row = {**cause.record, "project": effect["project"], "key": effect["key"], "value": effect["value"]}
    statement = upsert(schema.setting).values(row)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["project", "key"], set_={"value": effect["value"]})
    )


EFFECTS: Mapping[str, Callable[[Registry, sa.Connection, Mapping[str, Any], Cause], None]] = {
    "bundle": _bundle,
    "decision": _decision,
    "promote": _promote,
    "revoke": _revoke,
    "name": _name,
    "deploy": _deploy,
    "authority": _authority,
    "setting": _setting,
}
