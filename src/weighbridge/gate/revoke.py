"""Revoke: withdraws a model and its weights; what surely descends from them is quarantined."""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.claims.records import event
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, deployments, models
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a revocation hit: the identities withdrawn, the models that descend from them, where they run."""

    targets: tuple[Digest, ...]
    descendants: tuple[Digest, ...]
    deployed: tuple[Deployment, ...]


def revoke(registry: Registry, digest: Digest, *, reason: str, signer: Signer) -> Withdrawal:
    """Withdraw `digest` and, for a model, its weights; signed by an identity with the role `revoke`."""
    if not reason.strip():
        raise UsageError("a revocation needs a reason", remedy='say why with --reason "…"')
    authorities.require(registry, signer, Role.REVOKE)
    with registry.writing():
        model = models.find(registry, digest)
        targets = (
            (digest,) if model is None or model.manifest.weights is None else (digest, model.manifest.weights)
        )
        body = {"reason": reason, "since": rfc3339(registry.clock.now())}
        statement = event("revocation", targets, body, **registry.event_facts())
        submit(registry, sign(statement, signer))
    return _hit(registry, targets)


def _hit(registry: Registry, targets: tuple[Digest, ...]) -> Withdrawal:
    with registry.records.read() as connection:
        below = lineage_index.descendants(connection, targets, grades=lineage_index.SURE)
    known = models.standings(registry, below)
    models_below = {standing.digest for standing in known.values()}
    descendants = tuple(d for d in below if d in models_below and d not in targets)
    running = tuple(d for d in deployments.running(registry) if d.manifest in {*descendants, *targets})
    return Withdrawal(targets, descendants, running)
