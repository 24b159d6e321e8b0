"""Waivers: one unlisted finding, one about licences, or one rule of the policy is excused for one model until a day.

What a waiver for an unlisted name is worth the floor decides; what one about licences is worth, the policy; what
one for a rule of the policy is worth, the judge (`policy.exceptions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.bom.licence_words import Effect
from weighbridge.claims.records import Record, event, read_event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.decision import ACTIONS, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, Refused, UsageError, VerificationFailed
from weighbridge.core.exceptions import POLICY
from weighbridge.core.finding import Verdict
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role
from weighbridge.gate.evidence import gather
from weighbridge.gate.excuses import KINDS
from weighbridge.gate.judging import judge_model, read_active
from weighbridge.gate.licences import licences_of
from weighbridge.keys.ports import Signer
from weighbridge.policy.exceptions import EVERYTHING, NEVER_WAIVED
from weighbridge.registry import approvals, authorities, models
from weighbridge.registry.approvals import Proposal
from weighbridge.registry.outbox import sign, submit
from weighbridge.registry.rebuilding import scan_kept
from weighbridge.registry.separation import check_other
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

MAX_REASON = 1000
STANDING, EXPIRED, WAITING, REFUSED = "standing", "expired", "waiting", "refused"


def waive(
    registry: Registry, digest: Digest, what: str, *, reason: str, expires: datetime, signer: Signer
) -> dict[str, JSON]:
    """Sign and log a waiver for a finding's fingerprint or a rule `policy.<rule>`; returns its body.

    Raises NotFound when neither a scan of now nor its licences have such a finding, or the policy does not now deny by
    that rule; UsageError when it cannot be excused, or for no reason, or when the end has passed; Refused when the key
    may not waive, its holder handed the model in where another is asked for, or the policy allows no waivers; CannotTell when the policy gives no answer.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"a waiver needs a reason of at most {MAX_REASON} characters", remedy='say why with --reason "…"'
        )
    authorities.require(registry, signer, Role.WAIVE)
    if expires <= registry.clock.now():
        raise UsageError("a waiver must end in the future", remedy="name a later day with --until")
    with registry.writing():
        model = models.get(registry, digest)
        check_other(registry, digest, signer=signer)
        of_policy = what.startswith(POLICY)
        rule = _of_policy(registry, model, what, expires) if of_policy else _rule(registry, model, what)
        body: dict[str, JSON] = {
            "rule": rule,
            "fingerprint": Digest.of(rule.encode()).hex[:32] if of_policy else what,
            "reason": reason,
            "expires": rfc3339(expires),
        }
        submit(registry, sign(event("waiver", (digest,), body, **registry.event_facts()), signer))
    return body


def _of_policy(registry: Registry, model: models.Model, rule: str, expires: datetime) -> str:
    """Return a rule of the policy that denies this model now, whatever is asked for, and that a waiver may answer for."""
    if rule in NEVER_WAIVED or rule == EVERYTHING:
        raise UsageError(
            f"no waiver answers for {rule}",
            cause="a waiver is for one rule by which the policy denies",
            remedy="in an emergency: weighbridge break-glass MODEL --reason WHY --hours N",
        )
    _check_settings(registry, expires)
    denied = _denied(registry, model)
    if rule in denied:
        return rule
    raise NotFound(
        f"the policy does not deny {model.digest.short} by {rule}",
        cause=f"it denies by {', '.join(denied)}" if denied else "it denies nothing about it",
        remedy="see every check: weighbridge promote MODEL --dry-run --explain",
    )


def _denied(registry: Registry, model: models.Model) -> list[str]:
    """Return by which rules the policy denies a model now, those that are excused included; raises CannotTell."""
    evidence, found = gather(registry, model, keep_scan=False), set()
    for action in ACTIONS:
        for check in judge_model(registry, evidence, action=action).decision.checks:
            if check.id == "policy.engine" and check.outcome is Outcome.CANNOT_TELL:
                raise CannotTell(
                    "the policy gives no answer about this model",
                    cause=check.found,
                    remedy="weighbridge doctor; if it cannot wait: weighbridge break-glass MODEL --reason WHY --hours N",
                    check="policy.engine",
                )
            if check.id.startswith(POLICY):
                found.add(check.id)
    return sorted(found - NEVER_WAIVED)


def _check_settings(registry: Registry, expires: datetime) -> None:
    """Refuse what the policy's own settings would not let count."""
    rows: Any = read_active(registry).settings["waivers"]
    if rows["allowed"] is not True:
        raise Refused(
            "the policy allows no waivers",
            cause="waivers.allowed is false in policy.toml",
            remedy="put it right; in an emergency: weighbridge break-glass MODEL --reason WHY --hours N",
            check="policy.waiver",
        )
    latest = registry.clock.now() + timedelta(days=rows["max_valid_days"])
    if expires > latest:
        raise UsageError(
            f"a waiver may reach until {rfc3339(latest)}",
            cause=f"waivers.max_valid_days is {rows['max_valid_days']} in policy.toml",
            remedy="name an earlier day with --until",
        )


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
            remedy="see its findings: weighbridge scan MODEL --format json, or weighbridge licence MODEL --format json; "
            "a rule of the policy is named policy.RULE",
        )
    if finding.verdict is not Verdict.UNLISTED:
        raise UsageError(
            f"a finding that is {finding.verdict.value} cannot be excused",
            cause="only names that nobody has vouched for can be",
            remedy="do without this model, or convert it: weighbridge convert",
        )
    return finding.rule


# ---------------------------------------------------------------- what there is


@dataclass(frozen=True, slots=True)
class Kept:
    """An exception as it is kept: what it excuses for which model, who signed it, until when, and how it stands.

    `state` is `standing`, `expired`, `waiting` (for somebody's approval) or `refused` (by whom nobody may, any more).
    """

    kind: str
    rule: str
    manifest: Digest
    reason: str
    signers: tuple[str, ...]
    expires: datetime
    bundle: Digest
    state: str

    def __str__(self) -> str:
        """Return it as a line for people."""
        what = f"{self.kind} for {self.rule}" if self.kind == "waiver" else self.kind
        ends = "ended" if self.state == EXPIRED else f"{self.state}, until"
        return f"{what} by {' and '.join(self.signers) or 'nobody named'}, {ends} {rfc3339(self.expires)}: {self.reason}"

    def to_json(self) -> dict[str, JSON]:
        """Return it as one item of `weighbridge.waiver/1`."""
        return {
            "kind": self.kind,
            "rule": self.rule,
            "manifest": str(self.manifest),
            "reason": self.reason,
            "signers": list(self.signers),
            "expires": rfc3339(self.expires),
            "bundle": str(self.bundle),
            "state": self.state,
        }


def kept(registry: Registry) -> list[Kept]:
    """Return every waiver and break-glass of the current project, in the order in which they were logged."""
    table = schema.bundle
    query = sa.select(table.c.content).where(table.c.stage.in_(KINDS))
    with registry.records.read() as connection:
        texts = connection.execute(query.order_by(table.c.log_index, table.c.digest)).scalars().all()
    return list(_read_all(registry, [Bundle.from_json(text.encode()) for text in texts]))


def standing(registry: Registry) -> dict[Digest, tuple[str, ...]]:
    """Return which models have exceptions that stand now, each with what they excuse."""
    found: dict[Digest, tuple[str, ...]] = {}
    for row in kept(registry):
        if row.state == STANDING:
            what = row.rule if row.kind == "waiver" else row.kind
            found[row.manifest] = tuple(dict.fromkeys((*found.get(row.manifest, ()), what)))
    return found


def _read_all(registry: Registry, found: list[Bundle]) -> Iterator[Kept]:
    proposals = {row.bundle: row for row in approvals.every(registry)}
    now = registry.clock.now()
    for bundle in found:
        try:
            record = read_event(Statement.decode(bundle.envelope.payload))
        except VerificationFailed:
            continue
        if record is None or record.kind not in KINDS or record.project != registry.project:
            continue
        proposal, who = proposals.get(bundle.digest), _signer(registry, bundle)
        named = tuple(one.name or str(one) for one in proposal.identities) if proposal else ()
        expires = parse_rfc3339(str(record.body["expires"]))
        yield Kept(
            record.kind,
            str(record.body.get("rule", EVERYTHING)),
            record.about[0],
            str(record.body["reason"]),
            named or ((who,) if who else ()),
            expires,
            bundle.digest,
            EXPIRED if now >= expires else _state(registry, record, proposal, who),
        )


def _state(registry: Registry, record: Record, proposal: Proposal | None, who: str) -> str:
    """Say how an exception that has not ended stands: by whom it is signed, and who approved it."""
    if proposal is None:
        return STANDING if who else REFUSED
    if proposal.state == approvals.WAITING:
        return WAITING
    enough = len(proposal.identities) >= registry.authority.needed(record.kind, record.project)
    return STANDING if who and enough and proposal.state == approvals.DONE else REFUSED


def _signer(registry: Registry, bundle: Bundle) -> str:
    """Return who signed, if the authority names them for it now; else empty."""
    now = registry.clock.now()
    try:
        proven = verify_bundle(
            bundle, authority=registry.authority, project=registry.project, role=Role.WAIVE, now=now
        ).proven
    except VerificationFailed:
        return ""
    return proven.signer.name
