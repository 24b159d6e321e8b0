"""Revoke: withdraws a model and its weights, or a base with all that surely descends from it, whatever name it goes by.

There is no way back: a revocation says that these bytes are never to run here again. Who may be wrong publishes an
advisory instead, which can be lifted; a signer or rules that are no longer believed are distrusted (`gate.distrusting`).
"""

from __future__ import annotations

from dataclasses import dataclass

from weighbridge.claims.records import event
from weighbridge.core.advisory import MAX_REASON, Target, node_of
from weighbridge.core.alias import Alias
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, UsageError
from weighbridge.core.tier import Role, Status
from weighbridge.gate.evidence import revocations
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, deployments, models
from weighbridge.registry import revocations as withdrawn
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a revocation hit: the identities withdrawn, the models that descend from them, where they run."""

    targets: tuple[Digest, ...]
    descendants: tuple[Digest, ...]
    """Kept models that surely descend from a target, all of them quarantined."""
    deployed: tuple[Deployment, ...]
    revoked: tuple[Digest, ...] = ()
    """Kept models that are revoked themselves: the targets, and every package of weights among them."""
    waiting: tuple[Alias, ...] = ()
    """Names under which nothing is known here yet: whatever comes by such a name is revoked when it comes."""

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.revocation/1`, without the reason."""
        return {
            "targets": [str(digest) for digest in self.targets],
            "revoked": [str(digest) for digest in self.revoked],
            "descendants": [str(digest) for digest in self.descendants],
            "deployed": [deployment.to_json() for deployment in self.deployed],
            "waiting": [str(alias) for alias in self.waiting],
        }


def revoke(registry: Registry, target: Target, *, reason: str, signer: Signer) -> Withdrawal:
    """Withdraw a target and, for a model, its weights; signed by an identity with the role `revoke`.

    A target is an identity (a model, weights, a dataset), kept here or not, or another name of one: what is surely
    known by that name is revoked, now or when it comes. Raises UsageError, Refused.
    """
    check_reason(reason)
    authorities.require(registry, signer, Role.REVOKE)
    with registry.writing():
        about = _about(registry, target)
        body: dict[str, JSON] = {"reason": reason, "since": rfc3339(registry.clock.now())}
        if isinstance(target, Alias):
            body[withdrawn.NAMES] = [str(target)]
        statement = event("revocation", about, body, **registry.event_facts())
        submit(registry, sign(statement, signer))
    found = _hit(registry, target, about)
    _check(registry, about, found)
    return found


def check_reason(reason: str) -> None:
    """Refuse (UsageError) a reason that says nothing, or too much."""
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"a revocation needs a reason of 1 to {MAX_REASON} characters", remedy='say why with --reason "…"'
        )


def _about(registry: Registry, target: Target) -> tuple[Digest, ...]:
    if isinstance(target, Alias):
        return (node_of(target),)
    model = models.find(registry, target)
    weights = model.manifest.weights if model is not None else None
    return (target,) if weights is None else (target, weights)


def _hit(registry: Registry, target: Target, about: tuple[Digest, ...]) -> Withdrawal:
    names = [target] if isinstance(target, Alias) else []
    with registry.records.read() as connection:
        known = withdrawn.known(connection, names)
        roots = tuple(digest for digest in about if digest.algorithm != "alias") + tuple(known)
        below = lineage_index.descendants(connection, roots, grades=lineage_index.SURE)
    standings = models.standings(registry, sorted({*below, *roots}))
    here = {standing.digest: standing.status for standing in standings.values()}
    revoked = tuple(sorted(digest for digest, status in here.items() if status is Status.REVOKED))
    fallen = tuple(digest for digest in sorted(here) if digest not in revoked)
    running = tuple(d for d in deployments.running(registry) if d.manifest in {*fallen, *revoked})
    return Withdrawal(roots or about, fallen, running, revoked, tuple(name for name in names if not known))


def _check(registry: Registry, about: tuple[Digest, ...], found: Withdrawal) -> None:
    """Refuse to say that something was withdrawn when the registry did not believe it."""
    identities = [digest for digest in about if digest.algorithm != "alias"]
    believed = {row.target for row in revocations(registry, identities)} >= set(identities)
    if believed and (not found.waiting or withdrawn_by_name(registry, found.waiting)):
        return
    raise Refused(
        "the revocation was logged and took no effect",
        cause="the authority does not name this key for the role revoke in this project any more",
        remedy="see who may: weighbridge trust show",
        check="identity.role",
    )


def withdrawn_by_name(registry: Registry, names: tuple[Alias, ...]) -> bool:
    """Tell whether all of `names` are revoked in this project."""
    with registry.records.read() as connection:
        known = {row.alias for row in withdrawn.named(connection, registry.project)}
    return known >= set(names)
