"""Changes that wait for a second identity: kept as proposals, counted by who signed, and acted on when enough did.

A proposal is the ordinary signed, logged record; where the authority asks for more identities than one, it takes effect
when enough `approval` records that name its bundle are logged within seven days, each by another identity that holds the
same role. Who somebody is, is the key, or issuer and subject of the certificate: never the name.

What decides is counted again from the kept signatures whenever it is asked, under the authority of that moment:
somebody who has lost the role or came to an end since no longer counts, and a proposal whose own signer did is dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record, read_event
from weighbridge.claims.words import RECORD_ROLES
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import check_signer
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.core.identity import Identity
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.registry import changes, distrusts, tally
from weighbridge.registry.alerts import alert
from weighbridge.store import schema
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle, who_signed

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause
    from weighbridge.registry.wiring import Registry

WINDOW = timedelta(days=7)
"""How long after a proposal was logged an approval still counts."""
WAITING, DONE, DEAD = "waiting", "done", "dead"
ALERTS = {"policy": "policy-change", "mode": "mode-change", "break-glass": "break-glass", "lift": "advisory", "waiver": "waiver"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that waits, or waited: what was signed, who stands behind it by now, and how many it takes."""

    bundle: Digest
    record: Record
    logged_at: datetime
    state: str
    """`waiting`, `done` or `dead`."""
    reason: str
    """Why it is dead."""
    needed: int
    identities: tuple[Identity, ...]
    """Who counts now, the proposer first; nobody when the proposer no longer counts."""
    ended_at: datetime | None = None

    @property
    def until(self) -> datetime:
        """Return the last moment at which an approval counts."""
        return self.logged_at + WINDOW


def due(connection: sa.Connection, registry_authority: Authority, record: Record, cause: Cause) -> bool:
    """Tell whether a logged change takes effect now; one that has to wait is kept as a proposal.

    `effects.apply` asks this before every effect, and again when the last approval is there. It may be asked any
    number of times.
    """
    number = takes(connection, registry_authority, record)
    if number <= 1:
        return True
    row = _row(connection, str(cause.bundle.digest))
    if row is None:
        row = _propose(connection, record, cause)
        _tell(connection, cause, record, number)
    return len(_who(connection, registry_authority, row, cause.logged_at)) >= number


def takes(connection: sa.Connection, authority: Authority, record: Record) -> int:
    """Return how many identities a change takes now; tightening the gate never waits."""
    if record.kind == "mode" and not changes.loosens(connection, record):
        return 1
    return authority.needed(record.kind, record.project)


def role_of(record: Record) -> Role:
    """Return the role that an approval takes: that of the kind it says it approves."""
    return RECORD_ROLES[str(record.body["kind"])]


def approve(
    connection: sa.Connection, authority: Authority, record: Record, cause: Cause
) -> tuple[Record, Mapping[str, Any]] | None:
    """Count an approval; returns the proposal's record and its kept bundle when it is now to take effect.

    An approval that comes too late, names another kind or project, or adds nobody, changes nothing.
    """
    row = _row(connection, str(record.body["bundle"]))
    if row is None or row["state"] != WAITING:
        return None
    if row["kind"] != record.body["kind"] or row["project"] != record.project:
        return None
    now, kept = cause.logged_at, _kept(connection, row["bundle"])
    proposal = _record(kept)
    if reason := _death(connection, authority, row, proposal, now):
        _end(connection, row, DEAD, reason, now)
        return None
    before = _who(connection, authority, row, now)
    grown = {**row, "approvals": _with(row["approvals"], str(cause.bundle.digest), now)}
    after = _who(connection, authority, grown, now)
    if len(after) > len(before):
        _change(connection, row, approvals=grown["approvals"])
    if len(after) < takes(connection, authority, proposal):
        return None
    _end(connection, row, DONE, "", now)
    return proposal, kept


def stands(connection: sa.Connection, authority: Authority, record: Record, bundle: Bundle) -> bool:
    """Tell whether a kept and verified record that is read where it counts (a waiver) has the approvals it takes."""
    number = takes(connection, authority, record)
    if number <= 1:
        return True
    row = _row(connection, str(bundle.digest))
    if row is None or row["state"] != DONE:
        return False
    return len(_who(connection, authority, row, parse_rfc3339(row["ended_at"]))) >= number


def pending(registry: Registry) -> list[Proposal]:
    """Return what waits, oldest first, with what has expired or can no longer take effect, each saying so."""
    return [row for row in every(registry) if row.state == WAITING or row.reason]


def every(registry: Registry) -> list[Proposal]:
    """Return all proposals that are kept, oldest first, as they stand now; raises VerificationFailed(records.tally)."""
    tally.check(registry)
    table = schema.proposal
    now = registry.clock.now()
    with registry.records.read() as connection:
        rows = (
            connection.execute(sa.select(table).order_by(table.c.logged_at, table.c.bundle)).mappings().all()
        )
        return [_proposal(connection, registry.authority, dict(row), now) for row in rows]


def lifts_waiting(registry: Registry) -> dict[str, Proposal]:
    """Return the lifts that wait for another identity, by the id of the advisory or distrust that each is to take back."""
    rows = [row for row in every(registry) if row.record.kind == "lift" and row.state == WAITING]
    return {str(row.record.body["id"]): row for row in reversed(rows)}


def check_lift(registry: Registry, identity: str) -> None:
    """Refuse (UsageError) another lift of what waits to be lifted: whoever agrees approves the one that waits."""
    if (waiting := lifts_waiting(registry).get(identity)) is not None:
        raise UsageError(
            f"{identity} waits to be lifted already",
            cause=f"proposal {waiting.bundle.short} takes {waiting.needed} identities",
            remedy=f"agree to it: weighbridge policy approve {waiting.bundle.hex[:12]} --key KEY",
        )


def find(registry: Registry, text: str) -> Proposal:
    """Return a proposal by its id or the beginning of it; raises NotFound."""
    wanted = text.removeprefix("sha256:")
    found = [row for row in every(registry) if wanted and row.bundle.hex.startswith(wanted)]
    if len(found) != 1:
        raise NotFound(
            f"{text!r} means more than one proposal" if found else f"there is no proposal {text!r}",
            remedy="see what waits: weighbridge policy show",
        )
    return found[0]


def may_join(registry: Registry, proposal: Proposal) -> list[str]:
    """Return by the names of the authority who could still stand behind a proposal: in force, with the role, not behind it yet."""
    authority, now = registry.authority, registry.clock.now()
    role, project = RECORD_ROLES[proposal.record.kind], proposal.record.project
    behind = {one.name for one in proposal.identities}
    return [
        one.name
        for one in authority.identities
        if one.name not in behind
        and authority.may(one.name, role, project)
        and one.valid_from <= now
        and (one.valid_until is None or now <= one.valid_until)
    ]


def person(identity: Identity) -> tuple[str, str]:
    """Return who somebody is, however they are called: issuer and subject where a certificate says so, else the key."""
    return (identity.issuer, identity.subject) if identity.issuer else ("", str(identity.key))


def without_effect(kind: str) -> Refused:
    """Return the error for a change that was logged, waits for nobody, and changed nothing."""
    return Refused(
        f"the change of {kind} was logged, and does not count",
        cause="when the log took it in, its signer was not in force, or something else had been changed meanwhile",
        remedy="check the clock of this machine and the authority (weighbridge trust show), then say it again",
        check="record.effect",
    )


def signers(connection: sa.Connection, authority: Authority, bundle: str) -> list[str]:
    """Return who stood behind a change that took effect, by name where the authority has one, else by key."""
    row = _row(connection, bundle)
    signed = _signed(row) if row is not None else [(bundle, "")]
    found = []
    for digest, _ in signed:
        one = who_signed(Bundle.from_json(_kept(connection, digest)["content"].encode()), authority)
        found.append(one.subject or one.name or one.key.short)
    return found


# ---------------------------------------------------------------- rows


def _row(connection: sa.Connection, bundle: str) -> dict[str, Any] | None:
    table = schema.proposal
    found = connection.execute(sa.select(table).where(table.c.bundle == bundle)).mappings().first()
    return dict(found) if found is not None else None


def _propose(connection: sa.Connection, record: Record, cause: Cause) -> dict[str, Any]:
    row = {
        **cause.record,
        "project": record.project,
        "actor": record.actor[:128],
        "bundle": str(cause.bundle.digest),
        "kind": record.kind,
        "logged_at": rfc3339(cause.logged_at),
        "approvals": "[]",
        "state": WAITING,
        "reason": "",
        "ended_at": None,
    }
    connection.execute(sa.insert(schema.proposal).values(row))
    return row


def _change(connection: sa.Connection, row: Mapping[str, Any], **values: Any) -> None:
    table = schema.proposal
    connection.execute(sa.update(table).where(table.c.bundle == row["bundle"]).values(**values))


def _end(connection: sa.Connection, row: Mapping[str, Any], state: str, reason: str, now: datetime) -> None:
    _change(connection, row, state=state, reason=reason, ended_at=rfc3339(now))


def _with(text: str, bundle: str, now: datetime) -> str:
    rows: Any = parse(text.encode())
    return canonical([*rows, [bundle, rfc3339(now)]]).decode()


def _kept(connection: sa.Connection, bundle: str) -> Mapping[str, Any]:
    table = schema.bundle
    row = connection.execute(sa.select(table).where(table.c.digest == bundle)).mappings().first()
    if row is None or str(Bundle.from_json(row["content"].encode()).digest) != bundle:
        raise VerificationFailed(
            "a kept proposal or approval was exchanged or removed",
            cause=f"{bundle} is not what it was",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.bundle",
        )
    return dict(row)


def _record(kept: Mapping[str, Any]) -> Record:
    record = read_event(Statement.decode(Bundle.from_json(kept["content"].encode()).envelope.payload))
    assert record is not None
    return record


def _proposal(
    connection: sa.Connection, authority: Authority, row: dict[str, Any], now: datetime
) -> Proposal:
    record = _record(_kept(connection, row["bundle"]))
    state, reason = row["state"], row["reason"]
    if state == WAITING and (reason := _death(connection, authority, row, record, now)):
        state = DEAD
    ended = parse_rfc3339(row["ended_at"]) if row["ended_at"] else None
    return Proposal(
        Digest.parse(row["bundle"]),
        record,
        parse_rfc3339(row["logged_at"]),
        state,
        reason,
        takes(connection, authority, record) if state != DONE else len(_signed(row)),
        tuple(_who(connection, authority, row, ended or now).values()),
        ended,
    )


def _death(
    connection: sa.Connection, authority: Authority, row: Mapping[str, Any], record: Record, now: datetime
) -> str:
    """Say why a proposal that waits can no longer take effect; empty while it can."""
    until = parse_rfc3339(row["logged_at"]) + WINDOW
    if now > until:
        return f"expired: not enough approvals came until {rfc3339(until)}"
    if reason := changes.stale(connection, record):
        return f"overtaken: {reason}"
    if not _who(connection, authority, row, now):
        return "who proposed it no longer holds the role"
    return ""


def _signed(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the bundles that stand behind a proposal and when each was logged, its own first."""
    rows: Any = parse(row["approvals"].encode())
    return [(row["bundle"], row["logged_at"]), *((bundle, at) for bundle, at in rows)]


def _who(
    connection: sa.Connection, authority: Authority, row: Mapping[str, Any], now: datetime
) -> dict[tuple[str, str], Identity]:
    """Return who stands behind a proposal at a moment, each person once; nobody when its own signer does not count."""
    found: dict[tuple[str, str], Identity] = {}
    role, standing = RECORD_ROLES[row["kind"]], distrusts.every(connection, row["project"], standing=True)
    for bundle, at in _signed(row):
        try:
            content = Bundle.from_json(_kept(connection, bundle)["content"].encode())
            proven = verify_bundle(
                content, authority=authority, project=row["project"], role=role, now=parse_rfc3339(at)
            ).proven
            check_signer(standing, proven)
            signer = proven.signer
        except VerificationFailed:
            signer = None
        if signer is not None and _in_force(authority, signer, now):
            found.setdefault(person(signer), signer)
        elif bundle == row["bundle"]:
            return {}
    return found


def _in_force(authority: Authority, signer: Identity, now: datetime) -> bool:
    named = (one for one in authority.identities if one.name == signer.name)
    return any(one.valid_until is None or now <= one.valid_until for one in named)


def _tell(connection: sa.Connection, cause: Cause, record: Record, number: int) -> None:
    facts: dict[str, JSON] = {
        "bundle": str(cause.bundle.digest),
        "needed": number,
        "project": record.project,
        "asked_by": record.actor,
    }
    summary = (
        f"a change of kind {record.kind} is proposed in {record.project!r} and waits for {number - 1} more"
    )
    alert(
        connection, cause.registry, ALERTS[record.kind], "warning", summary,
        about=[cause.bundle.digest], facts={**facts, "until": rfc3339(cause.logged_at + WINDOW)},
    )  # fmt: skip
