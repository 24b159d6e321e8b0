"""Arriving: a claim or a relative became known, and models fall by it; they are taken back and told as by any record.

Whoever publishes an advisory or a revocation sees whom it hits. Whom it hits later, when a link becomes known that leads
below what is withdrawn, nobody would see: so what stood before and after is compared, wherever links are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Status, Tier
from weighbridge.registry import consumers, withdrawing
from weighbridge.registry.consumers import Consumer
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

WHY = "it comes from what is withdrawn or under an advisory, by a link that was not known before"
NAMED = 3


@dataclass(frozen=True, slots=True)
class _Standing:
    """What may be loaded, by project: how many trusted models, and what runs."""

    trusted: dict[str, int]
    running: dict[str, set[Consumer]]


@contextmanager
def arriving(registry: Registry, connection: sa.Connection, about: Collection[Digest]) -> Iterator[None]:
    """Take back and tell, at the end of the block, what fell within it; inside the transaction in which it did.

    `about` is what came in: the identities that a claim speaks of, or the model that was taken in.
    """
    before = _standing(connection) if _anything_withdrawn(connection) else None
    yield
    if before is None:
        return
    after = _standing(connection)
    fallen = [
        project for project in before.trusted if after.trusted.get(project, 0) < before.trusted[project]
    ]
    fallen += [
        project for project in before.running if before.running[project] - after.running.get(project, set())
    ]
    if not fallen:
        return
    withdrawing.withdraw(registry, connection, WHY)
    named = sorted(digest for digest in about if digest.algorithm != "alias")
    came = ", ".join(digest.short for digest in named[:NAMED]) or "a name"
    for project in dict.fromkeys(fallen):
        body = {"reason": f"it came with what is known now of {came}"}
        record = Record("lineage", tuple(named), project, registry.actor, registry.clock.now(), body)
        consumers.tell(registry, connection, record, before.running.get(project, set()))


def _anything_withdrawn(connection: sa.Connection) -> bool:
    """Tell whether any advisory stands, or anything is revoked; else nothing can fall, and nothing is looked at."""
    advisory, revocation = schema.advisory, schema.revocation
    for query in (
        sa.select(sa.literal(1)).select_from(advisory).where(advisory.c.lifted_at.is_(None)),
        sa.select(sa.literal(1)).select_from(revocation),
    ):
        if connection.execute(query.limit(1)).first() is not None:
            return True
    return False


def _standing(connection: sa.Connection) -> _Standing:
    model, deployment = schema.model, schema.deployment
    query = sa.select(model.c.project, sa.func.count()).where(
        model.c.status == Status.ACTIVE.value, model.c.tier == Tier.TRUSTED.value
    )
    trusted = {row[0]: row[1] for row in connection.execute(query.group_by(model.c.project))}
    projects = sa.select(deployment.c.project).where(deployment.c.until.is_(None)).distinct()
    running = {name: consumers.active(connection, name) for name in connection.execute(projects).scalars()}
    return _Standing(trusted, running)
