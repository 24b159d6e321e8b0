"""Revocations as a registry keeps them: what is revoked, by identity or by another name, and what comes in below it.

A revocation stands for good: the same bytes stay withdrawn in this registry, and nothing lifts it. What is revoked by
another name (`file-sha256:…`) is whatever is surely known by that name, now or when it comes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record, read_event
from weighbridge.core.advisory import parse_target
from weighbridge.core.alias import Alias
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Status
from weighbridge.registry import advisories
from weighbridge.store import lineage_index, schema
from weighbridge.store.aliases import known_by, same_grade
from weighbridge.store.dialect import insert_new
from weighbridge.trust.bundle import Bundle

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause

NAMES = "names"
"""The member of a revocation's body that spells the names its `alias:` subjects stand for."""


@dataclass(frozen=True, slots=True)
class Named:
    """A revocation of whatever is known by one name: why, since when, and which bundle says so."""

    alias: Alias
    reason: str
    since: str
    bundle: str


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Note the revocation; what it names becomes revoked, everything that surely descends from that quarantined."""
    columns = {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
    }
    rows = [
        {
            **columns,
            "target": str(target),
            "reason": record.body["reason"],
            "since": record.body["since"],
            "bundle": str(cause.bundle.digest),
        }
        for target in record.about
    ]
    insert_new(connection, schema.revocation, rows, schema.revocation.c.target)
    names = _names(record)
    lineage_index.stand_for(connection, names, columns)
    hit = [*(target for target in record.about if target.algorithm != "alias"), *known(connection, names)]
    below = lineage_index.descendants(connection, hit, grades=lineage_index.SURE)
    set_status(connection, record.project, below, Status.QUARANTINED)
    set_status(connection, record.project, hit, Status.REVOKED)


def arrived(connection: sa.Connection, identities: Collection[Digest]) -> bool:
    """Withdraw what came in that is revoked, or surely descends from what is; called when a claim was kept.

    Returns whether anything may have fallen.
    """
    wanted = sorted(digest for digest in identities if digest.algorithm != "alias")
    standing = _standing(connection) if wanted else {}
    fell = False
    for project, targets in standing.items():
        revoked = {*targets, *known(connection, [row.alias for row in named(connection, project)])}
        own = [digest for digest in wanted if digest in revoked]
        hit = [digest for digest in wanted if digest not in revoked and _below(connection, digest, revoked)]
        if own or hit:
            below = lineage_index.descendants(connection, [*own, *hit], grades=lineage_index.SURE)
            set_status(connection, project, [*below, *hit], Status.QUARANTINED)
            set_status(connection, project, own, Status.REVOKED)
            fell = True
    return fell


def named(connection: sa.Connection, project: str) -> list[Named]:
    """Return what is revoked in a project by another name, as the signed statements spell it."""
    table, bundle = schema.revocation, schema.bundle
    query = sa.select(table.c.reason, table.c.since, table.c.bundle, bundle.c.content).distinct()
    query = query.join(bundle, bundle.c.digest == table.c.bundle)
    query = query.where(table.c.project == project, table.c.target.startswith("alias:"))
    found = []
    for row in connection.execute(query.order_by(table.c.bundle)):
        record = read_event(Statement.decode(Bundle.from_json(row.content.encode()).envelope.payload))
        names = _names(record) if record is not None else []
        found += [Named(alias, row.reason, row.since, row.bundle) for alias in names]
    return found


def known(connection: sa.Connection, names: Sequence[Alias]) -> list[Digest]:
    """Return what is surely known by any of `names`: a name that somebody only says a thing has revokes nothing."""
    if not names:
        return []
    found = known_by(connection, names)
    return sorted({d for d, alias, grade, _ in found if same_grade(alias, grade) is not Grade.DECLARED})


def set_status(connection: sa.Connection, project: str, digests: Sequence[Digest], status: Status) -> None:
    """Change the status of the models among `digests`, or with one of them as weights; what is revoked stays so."""
    table = schema.model
    held = [str(digest) for digest, _ in advisories.holding(connection, project, digests)]
    for start in range(0, len(held), 500):
        change = sa.update(table).where(
            table.c.project == project,
            table.c.digest.in_(held[start : start + 500]),
            table.c.status != Status.REVOKED.value,
        )
        connection.execute(change.values(status=status.value))


def _names(record: Record) -> list[Alias]:
    """Return the names that a revocation spells, as far as its subjects bear them out."""
    texts: Any = record.body.get(NAMES, [])
    targets = (
        [parse_target(text) for text in texts if isinstance(text, str)] if isinstance(texts, list) else []
    )
    return [target for target in targets if isinstance(target, Alias) and target.node in record.about]


def _standing(connection: sa.Connection) -> Mapping[str, set[Digest]]:
    table = schema.revocation
    found: dict[str, set[Digest]] = {}
    for row in connection.execute(sa.select(table.c.project, table.c.target)):
        found.setdefault(row.project, set()).add(Digest.parse(row.target))
    return found


def _below(connection: sa.Connection, digest: Digest, revoked: Collection[Digest]) -> bool:
    above = lineage_index.ancestors(connection, [digest], grades=lineage_index.SURE)
    return not set(above).isdisjoint(revoked)
