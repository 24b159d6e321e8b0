"""Settling: a judgement becomes a decision with a place in the chain, is recorded, signed and logged, and then counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.claims.results import decided
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.gate import alarms
from weighbridge.gate.judging import Judgement
from weighbridge.registry import decisions, excuses
from weighbridge.registry.outbox import Draft, check_clock, drain, enqueue, sign
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.bundle import Bundle

Follow = Callable[[Digest], Sequence[Draft]]


def nothing(_decision: Digest) -> Sequence[Draft]:
    """Let nothing follow from a decision."""
    return ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A judgement to be settled, about which model, and what is signed with it: `follow` is given the decision's id."""

    manifest: Digest
    judgement: Judgement
    follow: Follow = nothing


@dataclass(frozen=True, slots=True)
class Settled:
    """A decision that counts: its id, what was signed, what the log answered, and what was logged with it."""

    id: Digest
    body: Mapping[str, JSON]
    receipt: Mapping[str, JSON]
    bundles: tuple[Bundle, ...]
    """The decision's own statement, then those that followed from it."""


def settle(registry: Registry, wanted: Sequence[Wanted]) -> list[Settled]:
    """Record decisions in one transaction, log them in one group, and let them take effect; while `registry.writing()`.

    Raises CannotTell when they could not be recorded (nothing was decided then), or were recorded and could not be
    logged (whoever next writes finishes that), or when the clock cannot be right; Refused when they were logged and do
    not count.
    """
    check_clock(registry)
    groups: list[list[Draft]] = []
    bodies: list[dict[str, JSON]] = []
    try:
        _finish(registry)
        with registry.records.write() as connection:
            end = decisions.end(connection)
            for one in wanted:
                body = end.numbered(one.judgement.body)
                end = end.after(body)
                bodies.append(body)
                groups.append([_draft(registry, one.manifest, body), *one.follow(Digest.parse(end.id))])
                _record(registry, connection, one, body, end.id)
                alarms.decided(connection, registry, one.judgement.decision, one.manifest, end.id)
                enqueue(registry, connection, groups[-1])
    except (CannotTell, OSError) as error:
        raise _failed("no decision could be recorded", error, "nothing was decided or changed") from error
    try:
        logged = {bundle.digest: bundle for bundle in drain(registry, [d for group in groups for d in group])}
    except (CannotTell, OSError) as error:
        after = "it is not in force yet: the next command that writes logs it and lets it count"
        raise _failed("the decision was recorded and could not be logged", error, after) from error
    return [
        _settled(registry, body, [logged[draft.envelope.digest] for draft in group])
        for body, group in zip(bodies, groups, strict=True)
    ]


def _finish(registry: Registry) -> None:
    """Log what an attempt before this one left waiting: it may be a decision, and then it comes first."""
    table = schema.outbox
    with registry.records.read() as connection:
        waiting = connection.execute(sa.select(table.c.id).where(table.c.done_at.is_(None)).limit(1)).first()
    if waiting is not None:
        drain(registry)


def _draft(registry: Registry, manifest: Digest, body: Mapping[str, JSON]) -> Draft:
    facts = registry.event_facts()
    return sign(decided(event("decision", (manifest,), body, **facts), registry.id), registry.gate_key)


def _record(
    registry: Registry, connection: sa.Connection, one: Wanted, body: Mapping[str, JSON], identity: str
) -> None:
    """Write down what was decided and the evidence for it; it counts only once it took effect."""
    record, basis = registry.record(), one.judgement.basis
    row = {
        **record,
        "id": identity,
        "manifest": str(one.manifest),
        "action": one.judgement.decision.action,
        "answer": "allow" if one.judgement.decision.allow else "block",
        "content": canonical(body).decode(),
        "evidence": decisions.keep_evidence(connection, basis.text, record) if basis else "",
    }
    connection.execute(upsert(connection, schema.decision).values(row).on_conflict_do_nothing())
    excuses.used(connection, registry, one.manifest, Digest.parse(identity), one.judgement.decision)


def _settled(registry: Registry, body: Mapping[str, JSON], bundles: Sequence[Bundle]) -> Settled:
    identity = Digest.parse(decisions.id_of(body))
    found = receipt(registry, identity)
    if not isinstance(found, Mapping):
        raise Refused(
            "the decision was logged and does not count",
            cause="the authority does not name the gate's key for the role decide in this project, or not at this machine's time",
            remedy="look at the clock; or give the role back with the root key: weighbridge trust show",
            check="identity.role",
        )
    return Settled(identity, body, found, tuple(bundles))


def receipt(registry: Registry, decision: Digest) -> object | None:
    """Return the receipt of a decision, or None while the log has not answered."""
    with registry.records.read() as connection:
        query = sa.select(schema.decision.c.receipt).where(schema.decision.c.id == str(decision))
        text = connection.execute(query).scalar()
    return parse(text) if text else None


def _failed(problem: str, error: Exception, after: str) -> CannotTell:
    cause = (
        f"{error.problem}{f': {error.cause}' if error.cause else ''}"
        if isinstance(error, CannotTell)
        else str(error)
    )
    return CannotTell(
        problem, cause=f"{cause}; {after}", remedy="weighbridge doctor", check="decision.logged"
    )
