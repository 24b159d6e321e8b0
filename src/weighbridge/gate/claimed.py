"""From a kept bundle to a fact: what it claims, verified now against the authority, or refused with the step that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from weighbridge.bom.cyclonedx import check_bom
from weighbridge.claims.predicates import Claim, read_claim, role_of, stage_of
from weighbridge.core.canonical import JSON
from weighbridge.core.decision import Outcome
from weighbridge.core.distrust import Distrust, check_scan, check_signer
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.evidence import ClaimFact
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage
from weighbridge.trust.authority import Authority
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle, who_signed


def fact_of(
    bundle: Bundle,
    *,
    authority: Authority,
    project: str,
    now: datetime,
    manifest: Manifest | None = None,
    shown: Callable[[Bundle], Bundle] = lambda bundle: bundle,
    distrusts: Sequence[Distrust] = (),
) -> ClaimFact | None:
    """Return the fact that a bundle makes; None when it is no claim of ours.

    `shown` gives the bundle as it is verified (with a cosigned checkpoint, say). A bill of materials is held
    against `manifest` and stands unbound without one. What `distrusts` say counts no longer is refused by name. Raises VerificationFailed(statement.form) for no statement.
    """
    statement = Statement.decode(bundle.envelope.payload)
    stage, role = stage_of(statement), role_of(statement)
    if stage is None or role is None:
        return None
    try:
        proven = verify_bundle(shown(bundle), authority=authority, project=project, role=role, now=now).proven
        check_signer(distrusts, proven)
        claim = read_claim(statement)
        assert claim is not None  # its stage is one of ours
        if stage is Stage.SCAN:
            check_scan(distrusts, str(claim.detail.get("ruleset", "")), proven.logged_at)
        detail = _detail(claim, statement, manifest)
    except VerificationFailed as error:
        reason = f"{error.problem}: {error.cause}" if error.cause else error.problem
        signer = who_signed(bundle, authority)
        return ClaimFact(
            stage, Outcome.FAIL, statement.identities, signer, bundle.digest, reason, error.check
        )
    parents = tuple(parent.digest for parent in claim.parents)
    return ClaimFact(
        stage, Outcome.PASS, claim.about, proven.signer, bundle.digest,
        proof=proven, parents=parents, detail=detail,
    )  # fmt: skip


def _detail(claim: Claim, statement: Statement, manifest: Manifest | None) -> dict[str, JSON]:
    """Return what policies may ask of a claim; a BOM is first held against the manifest."""
    if claim.stage is not Stage.BOM or manifest is None:
        return dict(claim.detail)
    check_bom(dict(statement.predicate), manifest)
    return {**claim.detail, "bound": True}
