"""Distrusting: from a moment on a signer is believed no longer, or scans under some rules are not; and taking that back.

It needs the role `revoke` and no root key, so it can be done at night by whoever is on duty. `weighbridge trust end` is
the root key's way: it ends an identity for good, everywhere, and for what withdraws as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from weighbridge.claims.records import event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import Distrust, Distrusted
from weighbridge.core.errors import BadReference, NotFound, Refused, UsageError
from weighbridge.core.tier import Role
from weighbridge.gate import due
from weighbridge.gate.revoke import check_reason
from weighbridge.keys.ports import Signer
from weighbridge.registry import approvals, authorities, deployments, distrusts, tally
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.deployments import Deployment
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.wiring import Registry
from weighbridge.trust.authority import EVERY_PROJECT


@dataclass(frozen=True, slots=True)
class Doubt:
    """A distrust and what rests on what it took away: models to be judged again, and which of them run."""

    distrust: Distrust
    models: tuple[Digest, ...]
    """Trusted models of this project that the gate has to look at again."""
    deployed: tuple[Deployment, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.distrust/1`."""
        return {
            **self.distrust.to_json(),
            "models": [str(digest) for digest in self.models],
            "deployed": [deployment.to_json() for deployment in self.deployed],
        }


@dataclass(frozen=True, slots=True)
class Lifted:
    """What a lift came to: the distrust as it is now, and the proposal that waits where one identity is not enough."""

    distrust: Distrust
    waiting: Proposal | None = None


def distrust_signer(
    registry: Registry,
    who: str,
    start: datetime,
    *,
    issuer: str = "",
    everywhere: bool = True,
    reason: str,
    signer: Signer,
) -> Doubt:
    """Believe nothing that `who` has signed from `start` on; what a log proves to be older stays.

    `who` is a name of the authority, a key id (`sha256:…`), or the subject of certificates, perhaps of one `issuer`
    only. Raises UsageError, NotFound, Refused.
    """
    now = registry.clock.now()
    if start > now:
        raise UsageError(
            "a signer is distrusted from a moment that has come",
            cause=f"--from says {rfc3339(start)}, and it is {rfc3339(now)}",
            remedy=f"say --from {rfc3339(now)}, or end the identity later: weighbridge trust end",
        )
    key, name, subject = _signer(registry, who, issuer)
    said = Distrust(
        Distrusted.SIGNER, reason.strip(), rfc3339(now), _project(registry, everywhere=everywhere),
        key=key, name=name, issuer=issuer, subject=subject, start=rfc3339(start),
    )  # fmt: skip
    return _say(registry, said, signer)


def distrust_ruleset(
    registry: Registry, ruleset: Digest, *, everywhere: bool = True, reason: str, signer: Signer
) -> Doubt:
    """Let no scan under this ruleset count; the gate scans again, under another one."""
    project = _project(registry, everywhere=everywhere)
    now = rfc3339(registry.clock.now())
    said = Distrust(Distrusted.RULESET, reason.strip(), now, project, ruleset=str(ruleset))
    return _say(registry, said, signer)


def distrust_scans(
    registry: Registry, before: datetime, *, everywhere: bool = True, reason: str, signer: Signer
) -> Doubt:
    """Let no scan made before a moment count, whatever its rules; raises UsageError for a moment that has not come."""
    now = registry.clock.now()
    if before > now:
        raise UsageError(
            "scans are distrusted that were made before a moment that has come",
            cause=f"--before says {rfc3339(before)}, and it is {rfc3339(now)}; every scan would be refused until then",
            remedy="name an earlier moment, or the ruleset: --ruleset DIGEST",
        )
    project = _project(registry, everywhere=everywhere)
    said = Distrust(Distrusted.SCANS, reason.strip(), rfc3339(now), project, before=rfc3339(before))
    return _say(registry, said, signer)


def lift(registry: Registry, identity: str, *, reason: str, signer: Signer) -> Lifted:
    """Take a distrust back: what it silenced counts again. Models quarantined meanwhile are restored when judged again.

    Where the authority asks for more identities than one, it stands until they approved: the proposal is returned. Raises
    NotFound, Refused, and UsageError for one that is lifted, or proposed to be.
    """
    check_reason(reason)
    with registry.records.read() as connection:
        said = distrusts.get(connection, registry.project, identity)
    authorities.require(registry, signer, Role.REVOKE, project=said.project)
    with registry.writing():
        with registry.records.read() as connection:
            said = distrusts.get(connection, registry.project, said.id)
        _check_liftable(registry, said)
        body: dict[str, JSON] = {
            "id": said.id,
            "reason": reason.strip(),
            "since": rfc3339(registry.clock.now()),
        }
        facts = {**registry.event_facts(), "project": said.project}
        submit(registry, sign(event("lift", (said.digest,), body, **facts), signer))  # type: ignore[arg-type]
    with registry.records.read() as connection:
        found = distrusts.get(connection, registry.project, said.id)
    waiting = approvals.lifts_waiting(registry).get(said.id)
    if found.stands and waiting is None:
        raise _refused(f"{said.id} still stands")
    return Lifted(found, waiting)


def every(registry: Registry, *, standing: bool = False) -> list[Distrust]:
    """Return the distrusts that count in this project, newest first."""
    tally.check(registry)
    with registry.records.read() as connection:
        return distrusts.every(connection, registry.project, standing=standing)


def show(registry: Registry, said: Distrust) -> Doubt:
    """Return a distrust with the trusted models that are to be judged again because of it, and which of them run."""
    hit = tuple(sorted(row.digest for row in due.trusted(registry) if said.id in row.said_by))
    running = tuple(d for d in deployments.running(registry) if d.manifest in set(hit))
    return Doubt(said, hit, running)


def _signer(registry: Registry, who: str, issuer: str) -> tuple[str, str, str]:
    """Return key, name and subject of whom a person means; raises NotFound for nobody the authority could know."""
    authority = registry.authority
    for identity in authority.identities:
        if not issuer and who in (identity.name, str(identity.key)):
            return str(identity.key), identity.name, ""
    if who.startswith("sha256:"):
        try:
            return str(Digest.parse(who)), "", ""
        except BadReference as error:
            raise UsageError(
                f"{who!r} is no key id", remedy="copy it whole: weighbridge trust show"
            ) from error
    if issuer or "@" in who or "://" in who:
        return "", "", who
    raise NotFound(
        f"the authority names no {who!r}",
        cause=f"known are {', '.join(identity.name for identity in authority.identities)}",
        remedy="name one of them, a key id (sha256:…), or the subject of certificates with --issuer",
    )


def _project(registry: Registry, *, everywhere: bool) -> str:
    return EVERY_PROJECT if everywhere else registry.project


def _say(registry: Registry, said: Distrust, signer: Signer) -> Doubt:
    check_reason(said.reason)
    authorities.require(registry, signer, Role.REVOKE, project=said.project)
    with registry.writing():
        body: dict[str, JSON] = {"id": said.id, **said.body()}
        facts = {**registry.event_facts(), "project": said.project}
        submit(registry, sign(event("distrust", (said.digest,), body, **facts), signer))  # type: ignore[arg-type]
    with registry.records.read() as connection:
        found = [
            row for row in distrusts.every(connection, registry.project, standing=True) if row.id == said.id
        ]
    if not found:
        raise _refused("nobody is distrusted by this")
    return show(registry, replace(found[0]))


def _check_liftable(registry: Registry, said: Distrust) -> None:
    if not said.stands:
        raise UsageError(
            f"{said.id} was lifted already, {said.lifted}",
            remedy="distrust again if there is need: weighbridge revoke",
        )
    approvals.check_lift(registry, said.id)


def _refused(problem: str) -> Refused:
    return Refused(
        problem,
        cause="the authority does not name this key for the role revoke any more, or its holder is distrusted",
        remedy="see who may: weighbridge trust show; weighbridge revoke --list",
        check="identity.role",
    )
