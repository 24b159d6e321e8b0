"""Effects: the state changes that a logged statement brings about, one small function per kind.

What changes is read from the signed statement, never from the outbox: whoever can write the database can
write a row, but not a signature. A statement takes effect once, when its bundle is first kept, and only when
the authority names its signer for that, in the project it speaks of. Anything else is kept and changes
nothing. All of it runs inside the transaction that marks the outbox row done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.records import Record, read_event
from weighbridge.claims.summary import read_vsa
from weighbridge.claims.words import VSA, kind_of
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import is_distrust_id
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.core.tier import Assurance, Role, Status, Tier
from weighbridge.registry import (
    advisories,
    approvals,
    changes,
    consumers,
    decisions,
    distrusts,
    edges,
    excuses,
    project_settings,
    revocations,
    standings,
    tokens,
    withdrawing,
)
from weighbridge.registry.arriving import arriving
from weighbridge.registry.wiring import Registry, read_authority
from weighbridge.registry.witnesses import assurance
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority_file import PAYLOAD_TYPE as AUTHORITY_TYPE
from weighbridge.trust.authority_file import verify_next
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle


@dataclass(frozen=True, slots=True)
class Cause:
    """What brought an effect about: the outbox row (project, actor, time), the bundle, and its place in our log."""

    row: Mapping[Any, Any]
    bundle: Bundle
    log_index: int
    logged_at: datetime
    registry: Registry
    assurance: Assurance = Assurance.SINGLE_OPERATOR
    """What the checkpoint in the bundle is worth; `apply` finds it out."""

    @property
    def record(self) -> dict[str, Any]:
        """Return the record columns as they were when the draft was enqueued."""
        return {key: self.row[key] for key in ("schema_version", "project", "actor", "created_at")}


def apply(registry: Registry, connection: sa.Connection, cause: Cause) -> None:
    """Keep what was logged, and let it take effect when its signer may say such a thing."""
    kind = cause.bundle.envelope.payload_type
    if kind == AUTHORITY_TYPE:
        _authority(registry, connection, cause)
    if kind != PAYLOAD_TYPE:
        return
    try:
        statement = Statement.decode(cause.bundle.envelope.payload)
    except VerificationFailed:
        return  # the log holds it, and that is all that can be said of it
    if not _keep(registry, connection, statement, cause):
        return
    record = _verified(registry, connection, statement, cause)
    if record is not None:
        worth = assurance(registry.log, registry.authority, cause.bundle.entry)
        _act(connection, record, replace(cause, assurance=worth))


def _act(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let a verified record take effect, or wait for as many identities as the authority asks for."""
    if not approvals.due(connection, cause.registry.authority, record, cause):
        return
    before = consumers.active(connection, record.project) if record.kind in WITHDRAWING else ()
    EFFECTS[record.kind][1](connection, record, cause)
    if record.kind in WITHDRAWING:
        _withdraw(cause.registry, connection, record, before)


def _withdraw(
    registry: Registry, connection: sa.Connection, record: Record, before: Collection[consumers.Consumer]
) -> None:
    """Take back what was laid out of what fell, and tell whoever runs it."""
    one = record.about if record.kind == "standing" else None
    withdrawing.withdraw(registry, connection, f"{record.kind}: {record.body['reason']}", only=one)
    if record.body.get("status") != Status.ACTIVE.value:
        consumers.tell(registry, connection, record, before)


def _approval(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Count an approval; with the last one the proposal takes effect, now, as if it had been logged just now."""
    ready = approvals.approve(connection, cause.registry.authority, record, cause)
    if ready is not None:
        proposal, kept = ready
        bundle = Bundle.from_json(kept["content"].encode())
        _act(connection, proposal, replace(cause, row=kept, bundle=bundle, log_index=kept["log_index"]))


def _keep(registry: Registry, connection: sa.Connection, statement: Statement, cause: Cause) -> bool:
    """Keep the bundle, index its identities, draw the lineage it claims; False when it was kept before."""
    row = {
        "digest": str(cause.bundle.digest),
        **cause.record,
        "stage": edges.stage_name(statement),
        "signer": str(edges.signer_of(registry, cause.bundle).key),
        "log_index": cause.log_index,
        "content": cause.bundle.to_json().decode(),
    }
    if not connection.execute(
        upsert(connection, schema.bundle).values(row).on_conflict_do_nothing()
    ).rowcount:
        return False
    for identity in statement.identities:
        subject = {"identity": str(identity), "bundle": row["digest"]}
        connection.execute(upsert(connection, schema.bundle_subject).values(subject).on_conflict_do_nothing())
    with arriving(registry, connection, statement.identities):
        reached = edges.draw(registry, connection, cause.bundle, cause.record)
        advisories.arrived(connection, statement.identities, reached, cause.record)
        if kind_of(statement) is None:
            revocations.arrived(connection, statement.identities)
    return True


def _verified(
    registry: Registry, connection: sa.Connection, statement: Statement, cause: Cause
) -> Record | None:
    """Return what a statement says if it may take effect; None for claims, and for what is not believed.

    Its signer must have been in force when the log took it in, whatever this machine's clock says now.
    """
    bundle, now = cause.bundle, cause.logged_at
    try:
        record = _read(registry, statement)
        if record is None or record.kind not in EFFECTS:
            return None
        role = approvals.role_of(record) if record.kind == "approval" else EFFECTS[record.kind][0]
        proven = verify_bundle(
            bundle, authority=registry.authority, project=record.project, role=role, now=now
        ).proven
    except VerificationFailed:
        return None
    return None if distrusts.silenced(connection, record, proven) else record


def _read(registry: Registry, statement: Statement) -> Record | None:
    """Read an event, a change of policy, or the gate's own summary as the record of an admission."""
    if statement.predicate_type == VSA:
        said = read_vsa(statement)
        if not said.passed or said.tier is not Tier.TRUSTED or said.registry != registry.id:
            return None
        body = {"decision": str(said.decision)}
        return Record("admission", (said.manifest,), said.project, "gate", said.verified_at, body)
    return read_event(statement)


def _row(record: Record) -> dict[str, Any]:
    """Return the record columns as the signed statement has them."""
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
    }


def _admission(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Move a model to the trusted tier, on a decision that took effect, unless it was revoked since."""
    del cause
    decision = Digest.parse(str(record.body["decision"]))
    if not decisions.allowed(connection, decision, project=record.project):
        return
    table = schema.model
    change = sa.update(table).where(
        table.c.project == record.project,
        table.c.digest == str(record.about[0]),
        table.c.status == Status.ACTIVE.value,
    )
    connection.execute(change.values(tier=Tier.TRUSTED.value))


def _name(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let a name point at another manifest; the next number and no other, so that no old move counts again."""
    table, name = schema.name, record.body["name"]
    here = sa.select(sa.func.max(table.c.sequence))
    here = here.where(table.c.project == record.project, table.c.name == name)
    if record.body.get("sequence") != (connection.execute(here).scalar() or 0) + 1:
        return
    row = {
        **_row(record),
        "name": name,
        "sequence": record.body["sequence"],
        "manifest": str(record.about[0]),
        "bundle": str(cause.bundle.digest),
    }
    connection.execute(sa.insert(table).values(row))


def _deployment(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Record what runs where from now on; what ran there before has ended. An older word changes nothing."""
    table, target, now = schema.deployment, record.body["target"], rfc3339(record.at)
    at_target = (table.c.project == record.project, table.c.target == target)
    newest = sa.select(sa.func.max(table.c.last_seen), sa.func.max(table.c.until)).where(*at_target)
    if any(moment is not None and moment > now for moment in connection.execute(newest).one()):
        return
    here = (*at_target, table.c.until.is_(None))
    ended, manifest = bool(record.body.get("ended")), str(record.about[0])
    same = sa.select(table.c.manifest).where(*here, table.c.manifest == manifest)
    if not ended and connection.execute(same).first():
        connection.execute(sa.update(table).where(*here).values(last_seen=now))
        return
    connection.execute(sa.update(table).where(*here).values(until=now))
    if not ended:
        row = {
            **_row(record),
            "target": target,
            "manifest": manifest,
            "since": now,
            "last_seen": now,
            "bundle": str(cause.bundle.digest),
        }
        connection.execute(sa.insert(table).values(row))


def _authority(registry: Registry, connection: sa.Connection, cause: Cause) -> None:
    """Keep the next version of the authority, if a root that the newest kept version names has signed it."""
    content = canonical(cause.bundle.envelope.to_json())
    try:
        authority = verify_next(content, current=read_authority(connection, registry.pin), now=None)
    except VerificationFailed:
        return
    row = {"version": authority.version, "digest": str(authority.digest), "content": content.decode()}
    connection.execute(sa.insert(schema.authority).values(**cause.record, **row))


def _lift(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Take back what a lift names: an advisory, or a distrust."""
    undo = distrusts.lift if is_distrust_id(str(record.body["id"])) else advisories.lift
    undo(connection, record, cause)


Effect = Callable[[sa.Connection, Record, Cause], None]

EFFECTS: Mapping[str, tuple[Role, Effect]] = {
    "decision": (Role.DECIDE, decisions.take_effect),
    "admission": (Role.ADMIT, _admission),
    "revocation": (Role.REVOKE, revocations.take_effect),
    "name": (Role.RECORD, _name),
    "deployment": (Role.RECORD, _deployment),
    "policy": (Role.POLICY, changes.policy),
    "mode": (Role.POLICY, changes.mode),
    "waiver": (Role.WAIVE, excuses.waived),
    "break-glass": (Role.WAIVE, excuses.broken),
    "approval": (Role.POLICY, _approval),  # in truth the role of what it approves
    "advisory": (Role.REVOKE, advisories.take_effect),
    "lift": (Role.REVOKE, _lift),
    "distrust": (Role.REVOKE, distrusts.take_effect),
    "standing": (Role.DECIDE, standings.take_effect),
    "token": (Role.POLICY, tokens.take_effect),
    "setting": (Role.POLICY, project_settings.take_effect),
}
"""Kind of record: the role its signer must hold, and what it brings about."""

WITHDRAWING = ("revocation", "advisory", "distrust", "standing")
"""Kinds after which nothing that fell may be loaded from where it was laid out."""
