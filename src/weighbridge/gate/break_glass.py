"""Break-glass: two people let the policy be passed over for one model, for hours; it never answers for the floor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.exceptions import MAX_HOURS
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import approvals, authorities, models
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry

MAX_REASON = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """Break-glass that was asked for and waits for others: the proposal, for which model, why, until when."""

    proposal: Proposal
    manifest: Digest
    reason: str
    expires: datetime

    @property
    def missing(self) -> int:
        """How many more identities it takes."""
        return max(self.proposal.needed - len(self.proposal.identities), 0)

    def to_json(self) -> dict[str, JSON]:
        """Return what was asked for and what it waits for."""
        return {
            "id": str(self.proposal.bundle),
            "manifest": str(self.manifest),
            "reason": self.reason,
            "expires": rfc3339(self.expires),
            "state": self.proposal.state,
            "signers": [identity.to_json() for identity in self.proposal.identities],
            "needed": self.proposal.needed,
        }


def break_glass(registry: Registry, digest: Digest, *, reason: str, hours: int, signer: Signer) -> Asked:
    """Ask for the policy to be passed over for a model in the registry's project; it counts once others approved.

    The hours run from now, not from the approval. Raises UsageError for no reason or for longer than 72 hours,
    NotFound for a model that is not here, Refused for a key that may not waive.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"break-glass needs a reason of at most {MAX_REASON} characters",
            remedy='say why with --reason "…"',
        )
    if not 1 <= hours <= MAX_HOURS:
        raise UsageError(
            f"break-glass lasts from 1 to {MAX_HOURS} hours, not {hours}",
            cause="it is for an emergency; what has to last is a waiver, or another policy",
            remedy=f"name fewer hours; or weighbridge waive {digest.short} policy.RULE --reason … --until …",
        )
    authorities.require(registry, signer, Role.WAIVE)
    with registry.writing():
        models.get(registry, digest)
        expires = registry.clock.now() + timedelta(hours=hours)
        body: dict[str, JSON] = {"reason": reason, "expires": rfc3339(expires)}
        draft = sign(event("break-glass", (digest,), body, **registry.event_facts()), signer)
        submit(registry, draft)
        proposal = approvals.find(registry, str(draft.envelope.digest))
    return Asked(proposal, digest, reason, expires)
