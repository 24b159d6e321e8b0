"""Deployments: which manifest runs at which target since when: what "deployed" means."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, NotFound
from weighbridge.registry import tally
from weighbridge.registry.outbox import Draft, sign
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

MAX_TARGET = 256


@dataclass(frozen=True, slots=True)
class Deployment:
    """Target (free text such as `prod/chat`), manifest, first and last time it was said to run there."""

    target: str
    manifest: Digest
    since: str
    last_seen: str

    def to_json(self) -> dict[str, JSON]:
        """Return the deployment as JSON."""
        return {
            "target": self.target,
            "manifest": str(self.manifest),
            "since": self.since,
            "last_seen": self.last_seen,
        }


def deploy(registry: Registry, digest: Digest | None, target: str) -> Draft:
    """Return the signed draft that records `digest` as running at `target` (None: nothing runs there now)."""
    if not target or len(target) > MAX_TARGET or not target.isprintable():
        raise BadReference(
            f"{target!r} cannot be a deployment target",
            cause=f"it needs 1 to {MAX_TARGET} printable characters",
            remedy="name it like prod/chat",
        )
    body: dict[str, JSON] = {"target": target, "ended": digest is None}
    about = (digest,) if digest else tuple(d.manifest for d in running(registry) if d.target == target)
    if not about:
        raise NotFound(
            f"nothing is recorded as running at {target!r}", remedy="see what runs: weighbridge deploy"
        )
    return sign(event("deployment", about, body, **registry.event_facts()), registry.gate_key)


def running(registry: Registry, *, project: str | None = None) -> list[Deployment]:
    """Return what runs now, by target; the records are first held against their tally."""
    tally.check(registry)
    with registry.records.read() as connection:
        return listed(connection, project or registry.project)


def listed(connection: sa.Connection, project: str) -> list[Deployment]:
    """Do what `running` does, for whoever has held the records against their tally."""
    table = schema.deployment
    query = sa.select(table).where(table.c.until.is_(None), table.c.project == project)
    rows = connection.execute(query.order_by(table.c.target)).mappings().all()
    return [
        Deployment(row["target"], Digest.parse(row["manifest"]), row["since"], row["last_seen"])
        for row in rows
    ]
