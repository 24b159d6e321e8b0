"""Effects: the state changes that a logged statement brings about, one small function per kind.

What changes is read from the signed statement, never from the outbox: whoever can write the database can
write a row, but not a signature. A statement takes effect once, when its bundle is first kept, and only when
the authority names its signer for that, in the project it speaks of. Anything else is kept and changes
nothing. All of it runs inside the transaction that marks the outbox row done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from weighbridge.claims.records import Record, read_event
from weighbridge.claims.summary import read_vsa
from weighbridge.claims.words import VSA, record_type
from weighbridge.core.canonical import canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.decision import Receipt
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import PAYLOAD_TYPE, Statement
from weighbridge.core.tier import Assurance, Role, Status, Tier
from weighbridge.registry import advisories, edges, withdrawing
from weighbridge.registry.wiring import Registry, read_authority
from weighbridge.registry.witnesses import assurance
from weighbridge.store import lineage_index, schema
from weighbridge.trust.authority import EVERY_PROJECT
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
    record = _verified(registry, statement, cause)
    if record is not None:
        worth = assurance(registry.log, registry.authority, cause.bundle.entry)
        EFFECTS[record.kind][1](connection, record, replace(cause, assurance=worth))
        if record.kind in WITHDRAWING:
            withdrawing.withdraw(registry, connection, f"{record.kind}: {record.body['reason']}")


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
    if not connection.execute(upsert(schema.bundle).values(row).on_conflict_do_nothing()).rowcount:
        return False
    for identity in statement.identities:
        subject = {"identity": str(identity), "bundle": row["digest"]}
        connection.execute(upsert(schema.bundle_subject).values(subject).on_conflict_do_nothing())
    reached = edges.draw(registry, connection, cause.bundle, cause.record)
    advisories.arrived(connection, statement.identities, reached, cause.record)
    if reached:
        withdrawing.withdraw(
            registry, connection, "an advisory reaches it, by a link that was not known before"
        )
    return True


def _verified(registry: Registry, statement: Statement, cause: Cause) -> Record | None:
    """Return what a statement says if it may take effect; None for claims, and for what is not believed.

    Its signer must have been in force when the log took it in, whatever this machine's clock says now.
    """
    bundle, now = cause.bundle, cause.logged_at
    try:
        record = _read(registry, statement)
        if record is None or record.kind not in EFFECTS:
            return None
        role = EFFECTS[record.kind][0]
        verify_bundle(bundle, authority=registry.authority, project=record.project, role=role, now=now)
    except VerificationFailed:
        return None
    return record


def _read(registry: Registry, statement: Statement) -> Record | None:
    """Read an event, a change of policy, or the gate's own summary as the record of an admission."""
    if statement.predicate_type == VSA:
        said = read_vsa(statement)
        if not said.passed or said.tier is not Tier.TRUSTED or said.registry != registry.id:
            return None
        return Record("admission", (said.manifest,), said.project, "gate", said.verified_at, {})
    if statement.predicate_type == record_type("policy"):
        return _read_policy(statement)
    return read_event(statement)


def _read_policy(statement: Statement) -> Record:
    row: Any = statement.predicate
    try:
        body = {"digest": str(Digest.parse(row["body"]["digest"])), "previous": row["body"]["previous"]}
        at, actor = parse_rfc3339(row["at"]), str(row["actor"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationFailed(
            "this change of policy is not well-formed", cause=str(error), check="record.form"
        ) from error
    return Record("policy", (), EVERY_PROJECT, actor, at, body)


def _row(record: Record) -> dict[str, Any]:
    """Return the record columns as the signed statement has them."""
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
    }


def _decision(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Put the log's answer beside the decision."""
    entry = cause.bundle.entry
    receipt = Receipt(cause.log_index, entry.to_json() if entry else {}, cause.assurance)
    identity = str(Digest.of(canonical(dict(record.body))))
    change = sa.update(schema.decision).where(schema.decision.c.id == identity)
    connection.execute(change.values(receipt=canonical(receipt.to_json()).decode()))


def _admission(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Move a model to the trusted tier, unless it was revoked since the decision."""
    del cause
    table = schema.model
    change = sa.update(table).where(
        table.c.project == record.project,
        table.c.digest == str(record.about[0]),
        table.c.status == Status.ACTIVE.value,
    )
    connection.execute(change.values(tier=Tier.TRUSTED.value))


def _revocation(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Note the revocation; the model itself becomes revoked, everything that descends from it quarantined."""
    for target in record.about:
        row = {
            **_row(record),
            "target": str(target),
            "reason": record.body["reason"],
            "since": record.body["since"],
            "bundle": str(cause.bundle.digest),
        }
        connection.execute(upsert(schema.revocation).values(row).on_conflict_do_nothing())
    hit = lineage_index.descendants(connection, record.about, grades=lineage_index.SURE)
    _set_status(connection, record.project, hit, Status.QUARANTINED)
    _set_status(connection, record.project, record.about, Status.REVOKED)


def _set_status(
    connection: sa.Connection, project: str, digests: list[Digest] | tuple[Digest, ...], status: Status
) -> None:
    table = schema.model
    held = [str(digest) for digest, _ in advisories.holding(connection, project, digests)]
    for start in range(0, len(held), 500):
        change = sa.update(table).where(
            table.c.project == project,
            table.c.digest.in_(held[start : start + 500]),
            table.c.status != Status.REVOKED.value,
        )
        connection.execute(change.values(status=status.value))


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


def _policy(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Pin another policy; a change counts only from the policy that its signer meant to change."""
    del cause
    table = schema.setting
    here = (table.c.project == EVERY_PROJECT, table.c.key == "policy")
    before = connection.execute(sa.select(table.c.value, table.c.created_at).where(*here)).one()
    if before.value != record.body["previous"] or before.created_at > rfc3339(record.at):
        return
    connection.execute(sa.update(table).where(*here).values(**_row(record), value=record.body["digest"]))


def _authority(registry: Registry, connection: sa.Connection, cause: Cause) -> None:
    """Keep the next version of the authority, if a root that the newest kept version names has signed it."""
    content = canonical(cause.bundle.envelope.to_json())
    try:
        authority = verify_next(content, current=read_authority(connection, registry.pin), now=None)
    except VerificationFailed:
        return
    row = {"version": authority.version, "digest": str(authority.digest), "content": content.decode()}
    connection.execute(sa.insert(schema.authority).values(**cause.record, **row))


Effect = Callable[[sa.Connection, Record, Cause], None]

EFFECTS: Mapping[str, tuple[Role, Effect]] = {
    "decision": (Role.DECIDE, _decision),
    "admission": (Role.ADMIT, _admission),
    "revocation": (Role.REVOKE, _revocation),
    "name": (Role.RECORD, _name),
    "deployment": (Role.RECORD, _deployment),
    "policy": (Role.POLICY, _policy),
    "advisory": (Role.REVOKE, advisories.take_effect),
    "lift": (Role.REVOKE, advisories.lift),
}
"""Kind of record: the role its signer must hold, and what it brings about."""

WITHDRAWING = ("revocation", "advisory")
"""Kinds after which nothing that fell may be loaded from where it was laid out."""
