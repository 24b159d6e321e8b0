"""The floor: what must hold before a model may be trusted, whatever a policy, an engine, a waiver or a mode says.

This file is a specification. Each row of `FLOOR` names a condition, the invariant it keeps and the attack it
stops, and points at one small function from evidence and time to what was found. Every condition is
checked every time and in the same order; one that does not apply says so and passes. Nothing here reads
a file, asks a clock or can be configured. docs/reference/floor.md is the proof table: each condition has a
test that fails when the condition is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.decision import Check, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import ClaimFact, Evidence, Waiver
from weighbridge.core.finding import Finding, Verdict
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.core.lineage import Relation
from weighbridge.core.tier import Origin, Stage

PASS, FAIL, CANNOT_TELL = Outcome.PASS, Outcome.FAIL, Outcome.CANNOT_TELL
STAGES = "stages.needed"
"""The condition whose check names the stages, so that `judge` knows which checks must be there."""

LEAST_STAGES = {
    Origin.OWN: (Stage.TRAIN, Stage.PACKAGE),
    Origin.THIRD_PARTY: (Stage.ORIGIN,),
    Origin.LEGACY: (),
}
"""Needed even when an authority asks for less: how the weights came to be and who put the files together."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one condition came to: the outcome, what was found, its proof and what to do about it."""

    outcome: Outcome
    found: str
    proof: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the floor."""

    id: str
    test: Callable[[Evidence, datetime], Found]
    invariant: str
    attack: str


def floor(evidence: Evidence, now: datetime) -> tuple[Check, ...]:
    """Hold the evidence against every condition; one check for each, and one for each stage that is needed."""
    checks = [_check(row.id, row.invariant, row.test(evidence, now)) for row in FLOOR]
    for stage in needed(evidence):
        expected = f"a {stage.value} claim by an identity that the authority names for {stage.value}"
        checks.append(_check(f"claims.{stage.value}", expected, _stage(evidence, stage)))
    return tuple(checks)


def needed(evidence: Evidence) -> tuple[Stage, ...]:
    """Return the stages this model needs: the authority's, and never less than the floor's own."""
    return tuple(dict.fromkeys((*evidence.authority.required, *LEAST_STAGES[evidence.origin])))


def _check(name: str, expected: str, found: Found) -> Check:
    return Check(name, found.outcome, expected, found.found, found.proof, found.remedy)


# ---------------------------------------------------------------- authority and evidence


def _authority(evidence: Evidence, now: datetime) -> Found:
    authority = evidence.authority
    proof = str(authority.digest)
    if authority.outcome is not PASS:
        return Found(authority.outcome, authority.found, proof, "weighbridge trust show")
    if now >= authority.expires:
        return Found(
            FAIL, f"it expired {rfc3339(authority.expires)}", proof, "sign a new one: weighbridge trust renew"
        )
    return Found(PASS, f"version {authority.version}, valid until {rfc3339(authority.expires)}", proof)


def _established(evidence: Evidence, _now: datetime) -> Found:
    if evidence.problems:
        return Found(CANNOT_TELL, "; ".join(evidence.problems), remedy="weighbridge doctor")
    return Found(PASS, "every record could be read")


def _vouched(evidence: Evidence, _now: datetime) -> Found:
    if evidence.authority.demonstration:
        return Found(PASS, "does not apply: this registry is a demonstration")
    for fact in evidence.claims:
        if fact.verified and fact.signer is not None and fact.signer.issuer == DEVELOPMENT_ISSUER:
            return Found(
                FAIL,
                f"the {fact.stage.value} claim is by {fact.signer.subject!r}, for whom only a machine's own user vouches",
                str(fact.bundle),
                "have it signed with a key, or by somebody a real issuer vouches for",
            )
    return Found(PASS, "nobody is vouched for by a development issuer")


def _class(evidence: Evidence, _now: datetime) -> Found:
    if evidence.origin is Origin.LEGACY:
        found = "it was taken in as already running (legacy), and such a model is never promoted"
        return Found(
            FAIL,
            found,
            remedy="take it in again: weighbridge intake, or weighbridge pull --accept for a stranger's",
        )
    return Found(PASS, f"its origin is {evidence.origin.value}")


def _bytes(evidence: Evidence, _now: datetime) -> Found:
    fact = evidence.bytes
    remedy = "" if fact.outcome is PASS else "take the model in again: weighbridge intake"
    return Found(fact.outcome, fact.found, str(evidence.manifest), remedy)


# ---------------------------------------------------------------- the scan

_RENEW = "install another version of weighbridge, then ask the gate again: weighbridge promote"
_RESCAN = "ask the gate again: weighbridge promote, which scans what is kept"


def _scan_present(evidence: Evidence, _now: datetime) -> Found:
    if evidence.scan is None:
        return Found(CANNOT_TELL, "it was not scanned", remedy=_RESCAN)
    if evidence.scan.distrusted:
        found = f"its scan does not count: {evidence.scan.distrusted}"
        return Found(CANNOT_TELL, found, str(evidence.scan.ruleset), _RENEW)
    return Found(PASS, f"scanned {rfc3339(evidence.scan.scanned_at)}", str(evidence.scan.ruleset))


def _scan_own(evidence: Evidence, _now: datetime) -> Found:
    scan = evidence.scan
    if scan is None:
        return Found(CANNOT_TELL, "it was not scanned", remedy=_RESCAN)
    if not scan.by_gate:
        return Found(FAIL, f"the scan is by {scan.scanner}, not by this gate", remedy=_RESCAN)
    return Found(PASS, f"by this gate, {scan.scanner}")


def _scan_bound(evidence: Evidence, _now: datetime) -> Found:
    scan = evidence.scan
    if scan is None:
        return Found(CANNOT_TELL, "it was not scanned", remedy=_RESCAN)
    if scan.manifest != evidence.manifest:
        return Found(FAIL, f"the scan is of {scan.manifest.short}", remedy=_RESCAN)
    return Found(PASS, f"of {scan.manifest.short}", str(scan.manifest))


def _scan_complete(evidence: Evidence, _now: datetime) -> Found:
    if evidence.scan is None:
        return Found(CANNOT_TELL, "it was not scanned", remedy=_RESCAN)
    if not evidence.scan.complete:
        return Found(CANNOT_TELL, "some bytes were not read", remedy=_RESCAN)
    return Found(PASS, "every byte was read")


def _scan_verdict(evidence: Evidence, now: datetime) -> Found:
    scan = evidence.scan
    if scan is None:
        return Found(CANNOT_TELL, "it was not scanned", remedy=_RESCAN)
    bad = [finding for finding in scan.findings if not finding.verdict.passes]
    left = [finding for finding in bad if not _waived(finding, evidence, now)]
    # The stated verdict is never taken for better than its findings, nor explained away without them.
    if scan.verdict.rank > max((finding.verdict.rank for finding in bad), default=Verdict.NOTES.rank):
        outcome = CANNOT_TELL if scan.verdict is Verdict.UNREAD else FAIL
        return Found(outcome, f"{scan.verdict.value}, and no finding says why", str(scan.ruleset), _RESCAN)
    if not left:
        waived = f", {len(bad)} finding(s) waived" if bad else ""
        return Found(PASS, f"{scan.verdict.value}{waived}", str(scan.ruleset))
    worst = max(left, key=lambda finding: finding.verdict.rank)
    outcome = CANNOT_TELL if worst.verdict is Verdict.UNREAD else FAIL
    said = f"{_say(worst, len(left))}{_over(worst, evidence)}"
    return Found(outcome, said, str(scan.ruleset), f"weighbridge rule {worst.rule}")


def _say(finding: Finding, count: int) -> str:
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{finding.verdict.value}: {finding.location.path}: {finding.message} [{finding.rule}]{more}"


def _waived(finding: Finding, evidence: Evidence, now: datetime) -> bool:
    """Tell whether a waiver stands: only for an unlisted name, in this model, of this rule, not yet ended."""
    return any(now < waiver.expires for waiver in _waivers(finding, evidence))


def _over(finding: Finding, evidence: Evidence) -> str:
    """Name the waivers of a finding that was not waived: all of them have ended."""
    return "".join(
        f"; the waiver by {waiver.signer.name} ended {rfc3339(waiver.expires)}"
        for waiver in _waivers(finding, evidence)
    )


def _waivers(finding: Finding, evidence: Evidence) -> list[Waiver]:
    if finding.verdict is not Verdict.UNLISTED:
        return []
    return [
        waiver
        for waiver in evidence.waivers
        if waiver.manifest == evidence.manifest
        and waiver.rule == finding.rule
        and waiver.fingerprint == finding.fingerprint
    ]


# ---------------------------------------------------------------- the bill of materials


def _bom_signed(evidence: Evidence, _now: datetime) -> Found:
    return _first_verified(evidence.about_model(Stage.BOM), "no bill of materials", "weighbridge intake")


def _bom_bound(evidence: Evidence, _now: datetime) -> Found:
    boms = [fact for fact in evidence.about_model(Stage.BOM) if fact.verified]
    for fact in boms:
        if evidence.manifest in fact.about and fact.detail.get("bound") is True:
            return Found(PASS, "it lists the files of this manifest", str(fact.bundle))
    found = "it does not list the files of this manifest" if boms else "no verified bill of materials"
    return Found(FAIL, found, remedy="take the model in again: weighbridge intake")


# ---------------------------------------------------------------- ancestry


def _ancestry_own(evidence: Evidence, _now: datetime) -> Found:
    visited = set(evidence.ancestry.visited)
    if not _own(evidence) <= visited:
        return Found(FAIL, "the ancestry is that of another model", remedy="weighbridge lineage")
    return Found(PASS, f"{len(visited)} identities, this model's own among them")


def _ancestry_ends(evidence: Evidence, _now: datetime) -> Found:
    ancestry = evidence.ancestry
    if ancestry.end in ("data", "origin"):
        ends = {"data": "attested data", "origin": "an accepted origin"}[ancestry.end]
        return Found(PASS, f"it ends at {ends}")
    at = str(ancestry.broken_at or "")
    return Found(FAIL, ancestry.reason or "it ends nowhere", at, "weighbridge lineage")


def _origin_accepted(evidence: Evidence, now: datetime) -> Found:
    origins = evidence.ancestry.origins
    if not origins:
        if evidence.origin is Origin.THIRD_PARTY or evidence.ancestry.end == "origin":
            return Found(
                FAIL,
                "nobody has accepted its origin",
                remedy="look at it, then: weighbridge pull MODEL --accept REASON",
            )
        return Found(PASS, "does not apply: it comes from attested data alone")
    refusals = [reason for reason in (_not_accepted(digest, evidence, now) for digest in origins) if reason]
    if refusals:
        return Found(
            FAIL, "; ".join(refusals), remedy="look at it again, then: weighbridge pull MODEL --accept REASON"
        )
    return Found(PASS, f"accepted: {', '.join(digest.short for digest in origins)}")


def _not_accepted(digest: Digest, evidence: Evidence, now: datetime) -> str:
    """Say why the accepted origin of `digest` does not stand now; empty when one does."""
    claims = [
        fact
        for fact in evidence.claims
        if fact.stage is Stage.ORIGIN and digest in fact.about and fact.verified
    ]
    reasons = [_origin_problem(fact, now) for fact in claims]
    if not claims:
        return f"no verified acceptance of {digest.short}"
    return "" if "" in reasons else f"the acceptance of {digest.short} {reasons[0]}"


def _origin_problem(fact: ClaimFact, now: datetime) -> str:
    if fact.detail.get("matches_announced") is not True:
        return "does not say that the bytes are what the hub announced"
    try:
        expires = parse_rfc3339(str(fact.detail.get("expires")))
    except ValueError:
        return "has no readable end"
    return "" if now < expires else f"ended {rfc3339(expires)}"


def _conversion(evidence: Evidence, _now: datetime) -> Found:
    visited = set(evidence.ancestry.visited)
    converted = {
        child for _, child, relation in evidence.ancestry.links if relation == Relation.CONVERSION.value
    }
    claims = [fact for fact in _verified(evidence.claims, Stage.CONVERT) if visited & set(fact.about)]
    for fact in claims:
        if fact.detail.get("equivalence") != "proven":
            found = f"the conversion to {fact.about[0].short} does not prove that the tensors are the same"
            return Found(FAIL, found, str(fact.bundle), "weighbridge convert")
    known = {digest for fact in claims for digest in fact.about}
    if not converted <= known:
        return Found(FAIL, "a conversion in its ancestry has no verified claim", remedy="weighbridge convert")
    return Found(PASS, "proven" if claims else "does not apply: nothing was converted")


# ---------------------------------------------------------------- revocation


def _model_unrevoked(evidence: Evidence, _now: datetime) -> Found:
    for revocation in evidence.revocations:
        if revocation.target in _own(evidence):
            return Found(FAIL, f"revoked: {revocation.reason}", str(revocation.bundle), "weighbridge lineage")
    return Found(PASS, "not revoked")


def _ancestry_unrevoked(evidence: Evidence, _now: datetime) -> Found:
    for revocation in evidence.revocations:
        if revocation.target not in _own(evidence):
            found = f"it descends from {revocation.target.short}, revoked: {revocation.reason}"
            return Found(FAIL, found, str(revocation.bundle), "weighbridge lineage")
    return Found(PASS, "no ancestor is revoked")


def _unadvised(evidence: Evidence, _now: datetime) -> Found:
    if not evidence.advisories:
        return Found(PASS, "no advisory reaches it")
    first, *more = evidence.advisories
    advisory = first.advisory
    also = f" (and {', '.join(advised.advisory.id for advised in more)})" if more else ""
    found = f"{advisory.id} ({advisory.severity.value}, {advisory.kind.value}): {advisory.reason}; by way of {first}{also}"
    return Found(FAIL, found, advisory.bundle, f"weighbridge advisory show {advisory.id}")


# ---------------------------------------------------------------- the stages


def _needed(evidence: Evidence, _now: datetime) -> Found:
    stages = ", ".join(stage.value for stage in needed(evidence))
    if not stages:
        return Found(FAIL, "no claim at all is asked for", remedy="weighbridge trust show")
    return Found(PASS, stages, str(evidence.authority.digest))


_REMEDIES = {
    Stage.DATA: "weighbridge attest DATASET --stage data",
    Stage.TRAIN: "weighbridge attest MODEL --stage train",
    Stage.EVALUATE: "weighbridge attest MODEL --stage evaluate",
    Stage.PACKAGE: "weighbridge sign MODEL",
    Stage.ORIGIN: "look at it, then: weighbridge pull MODEL --accept REASON",
}


def _stage(evidence: Evidence, stage: Stage) -> Found:
    """Look for a verified claim of a stage that binds to this very model."""
    remedy = _REMEDIES.get(stage, "take the model in again: weighbridge intake")
    facts = [fact for fact in evidence.claims if fact.stage is stage and _binds(fact, evidence)]
    return _first_verified(facts, f"nobody has made a {stage.value} claim", remedy)


def _binds(fact: ClaimFact, evidence: Evidence) -> bool:
    """Tell whether a claim speaks of what its stage must speak of.

    Data is about a dataset this model descends from; training about its weights; an accepted origin about
    where its ancestry ended; an evaluation about the whole, the weights, or weights whose tensors these were
    proven to be; the rest about the whole.
    """
    about = set(fact.about)
    if fact.stage is Stage.DATA:
        links = evidence.ancestry.links
        return bool(about & {parent for parent, _, relation in links if relation == Relation.DATASET.value})
    if fact.stage is Stage.TRAIN:
        return (evidence.weights or evidence.manifest) in about
    if fact.stage is Stage.ORIGIN:
        return bool(about & set(evidence.ancestry.origins))
    if fact.stage is Stage.EVALUATE:
        return bool(about & (_own(evidence) | set(evidence.ancestry.equal)))
    return evidence.manifest in about


def _first_verified(facts: Iterable[ClaimFact], missing: str, remedy: str) -> Found:
    """Pass on the first verified fact; else say who signed what was refused, or that nothing is there."""
    refused = Found(FAIL, missing, remedy=remedy)
    for fact in facts:
        if fact.verified:
            return Found(PASS, f"signed by {fact.signer}", str(fact.bundle))
        who = f"signed by {fact.signer}" if fact.signer else "with a signature nobody can read"
        outcome = CANNOT_TELL if fact.outcome is CANNOT_TELL else FAIL
        reason = fact.reason or "it carries no proof of who signed it"
        refused = Found(outcome, f"{who}, and not believed: {reason}", str(fact.bundle), remedy)
    return refused


def _verified(facts: Iterable[ClaimFact], stage: Stage) -> list[ClaimFact]:
    return [fact for fact in facts if fact.stage is stage and fact.verified]


def _own(evidence: Evidence) -> set[Digest]:
    """Return this model's own identities: the manifest, and its weights where it has any."""
    return {evidence.manifest} if evidence.weights is None else {evidence.manifest, evidence.weights}


# fmt: off
FLOOR: tuple[Condition, ...] = (
    Condition("authority.current", _authority,
        "the authority is signed by the pinned root, not rolled back and not expired",
        "an old authority that still names a signer who was removed"),
    Condition("evidence.established", _established,
        "every record and service that the evidence needs could be read",
        "making a record unreadable so that what it says is not counted"),
    Condition("signers.vouched", _vouched,
        "no claim rests on the development issuer, outside of a demonstration",
        "vouching for oneself at one's own machine"),
    Condition("origin.class", _class,
        "the model is own or third-party",
        "calling a model legacy so that it needs no claims"),
    Condition("bytes.match", _bytes,
        "the bytes kept are the bytes of the manifest, hashed now",
        "changing a byte in the store after everything was signed"),
    Condition("scan.present", _scan_present,
        "there is a scan, under rules that still count",
        "bringing a model that nobody looked into, or looked into with rules known to miss something"),
    Condition("scan.own", _scan_own,
        "the scan is this gate's own",
        "bringing a clean scan report from elsewhere"),
    Condition("scan.bound", _scan_bound,
        "the scan is of this very manifest",
        "showing the clean scan of another model"),
    Condition("scan.complete", _scan_complete,
        "the scan read every byte",
        "hiding code where the scanner did not look"),
    Condition("scan.verdict", _scan_verdict,
        "the scan found nothing dangerous, broken or unread; unlisted names are waived for this model",
        "code that runs when the model is loaded"),
    Condition("bom.signed", _bom_signed,
        "a bill of materials signed by an identity that the authority names for it",
        "a bill of materials that anybody may have written"),
    Condition("bom.bound", _bom_bound,
        "the bill of materials is about this manifest and lists its files",
        "the signed bill of materials of another model"),
    Condition("ancestry.own", _ancestry_own,
        "the ancestry is that of this model and of these weights",
        "the sound ancestry of another model"),
    Condition("ancestry.ends", _ancestry_ends,
        "the ancestry ends at attested data or at an accepted origin",
        "a base model that came from nowhere"),
    Condition("origin.accepted", _origin_accepted,
        "every origin it rests on is accepted by us, still, for the bytes that the hub announced",
        "a stranger's model that nobody reviewed, or whose review has ended"),
    Condition("conversion.proven", _conversion,
        "every conversion in its ancestry proves that the tensors are the same",
        "weights exchanged while they were converted"),
    Condition("model.unrevoked", _model_unrevoked,
        "neither this model nor its weights are revoked",
        "promoting again what was withdrawn"),
    Condition("ancestry.unrevoked", _ancestry_unrevoked,
        "nothing it descends from is revoked",
        "a fine-tune of a base that was withdrawn"),
    Condition("advisory.clear", _unadvised,
        "no advisory that stands reaches it, by what is attested or observed",
        "what came from poisoned weights or data, under another name"),
    Condition(STAGES, _needed,
        "the stages that are needed are named, and there is a check for each",
        "asking for no claim at all, or leaving out the check of one"),
)
# fmt: on

FLOOR_IDS = frozenset(row.id for row in FLOOR)
"""The ids of the conditions that are always checked; `judge` blocks when one is missing."""
