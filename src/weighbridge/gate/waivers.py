"""Waivers: one unlisted finding, or one about licences, of one model is excused until a day.

What a waiver for an unlisted name is worth the floor decides; what one about licences is worth, the policy.
"""

from __future__ import annotations

from datetime import datetime

from weighbridge.bom.licence_words import Effect
from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, UsageError
from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Role
from weighbridge.gate.licences import licences_of
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, models
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.rebuilding import scan_kept
from weighbridge.registry.wiring import Registry


def waive(
    registry: Registry, digest: Digest, fingerprint: str, *, reason: str, expires: datetime, signer: Signer
) -> dict[str, JSON]:
    """Sign and log a waiver for the finding with `fingerprint`; returns its body.

    Raises NotFound when neither a scan of now nor its licences have such a finding, UsageError when it cannot be
    excused or when the end has passed, Refused when the key may not waive.
    """
    authorities.require(registry, signer, Role.WAIVE)
    if expires <= registry.clock.now():
        raise UsageError("a waiver must end in the future", remedy="name a later day with --until")
    with registry.writing():
        model = models.get(registry, digest)
        rule = _rule(registry, model, fingerprint)
        body: dict[str, JSON] = {
            "rule": rule,
            "fingerprint": fingerprint,
            "reason": reason,
            "expires": rfc3339(expires),
        }
        submit(registry, sign(event("waiver", (digest,), body, **registry.event_facts()), signer))
    return body


def _rule(registry: Registry, model: models.Model, fingerprint: str) -> str:
    """Return the rule of the finding that may be excused: of the scan when it is unlisted, of licences when it blocks."""
    for licence in licences_of(registry, model).composition.findings:
        if licence.fingerprint == fingerprint:
            if licence.effect is Effect.BLOCK:
                return licence.rule
            raise UsageError(
                f"{licence.code} does not block",
                cause="there is nothing to excuse",
                remedy="leave it as it is",
            )
    finding = next(
        (row for row in scan_kept(registry, model).findings if row.fingerprint == fingerprint), None
    )
    if finding is None:
        raise NotFound(
            f"{model.digest.short} has no finding {fingerprint!r}",
            remedy="see its findings: weighbridge scan MODEL --format json, or weighbridge licence MODEL --format json",
        )
    if finding.verdict is not Verdict.UNLISTED:
        raise UsageError(
            f"a finding that is {finding.verdict.value} cannot be excused",
            cause="only names that nobody has vouched for can be",
            remedy="do without this model, or convert it: weighbridge convert",
        )
    return finding.rule
