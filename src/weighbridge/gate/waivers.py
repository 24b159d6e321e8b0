"""Waivers: one unlisted finding of one model is excused until a day; the floor decides what that is worth."""

from __future__ import annotations

from datetime import datetime

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, UsageError
from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import authorities, models
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.rebuilding import scan_kept
from weighbridge.registry.wiring import Registry


def waive(
    registry: Registry, digest: Digest, fingerprint: str, *, reason: str, expires: datetime, signer: Signer
) -> dict[str, JSON]:
    """Sign and log a waiver for the finding with `fingerprint`; returns its body.

    Raises NotFound when a scan of now has no such finding, UsageError when it is anything but unlisted or when
    the end has passed, Refused when the key may not waive.
    """
    authorities.require(registry, signer, Role.WAIVE)
    if expires <= registry.clock.now():
        raise UsageError("a waiver must end in the future", remedy="name a later day with --until")
    with registry.writing():
        model = models.get(registry, digest)
        finding = next(
            (row for row in scan_kept(registry, model).findings if row.fingerprint == fingerprint), None
        )
        if finding is None:
            raise NotFound(
                f"{digest.short} has no finding {fingerprint!r}",
                remedy="see its findings: weighbridge scan MODEL --format json",
            )
        if finding.verdict is not Verdict.UNLISTED:
            raise UsageError(
                f"a finding that is {finding.verdict.value} cannot be excused",
                cause="only names that nobody has vouched for can be",
                remedy="do without this model, or convert it: weighbridge convert",
            )
        body: dict[str, JSON] = {
            "rule": finding.rule,
            "fingerprint": fingerprint,
            "reason": reason,
            "expires": rfc3339(expires),
        }
        submit(registry, sign(event("waiver", (digest,), body, **registry.event_facts()), signer))
    return body
