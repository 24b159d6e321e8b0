"""The gate's short-lived word that a model was admitted: an SLSA verification summary with an expiry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weighbridge.claims import readers
from weighbridge.claims.words import ADMISSION, VSA
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, VerificationFailed
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement, subjects_of
from weighbridge.core.tier import Tier


@dataclass(frozen=True, slots=True)
class Summary:
    """What a verification summary says: this model, in this tier of this registry, until then."""

    manifest: Digest
    weights: Digest | None
    registry: str
    project: str
    tier: Tier
    passed: bool
    policy: Digest
    decision: Digest
    verified_at: datetime
    expires: datetime
    exceptions: tuple[Digest, ...] = ()
    """The waivers and the break-glass on which the admission rests, by bundle."""


def build_vsa(
    registry: str,
    tier: Tier,
    manifest: Manifest,
    *,
    project: str,
    policy_digest: Digest,
    decision_digest: Digest,
    now: datetime,
    expires: datetime,
    exceptions: Sequence[Digest] = (),
) -> Statement:
    """Make the summary of one admission (https://slsa.dev/verification_summary/v1).

    `policy_digest` and `decision_digest` are `sha256:` of the pinned policy and of the decision, `exceptions` the
    bundles of the waivers and break-glass on which it rests. Expiry and exceptions stand in our extension member,
    for the specification has none.
    """
    excused: dict[str, JSON] = {"exceptions": [str(bundle) for bundle in exceptions]} if exceptions else {}
    predicate: dict[str, JSON] = {
        "verifier": {"id": f"https://weighbridge.dev/gate/{registry}"},
        "timeVerified": rfc3339(now),
        "resourceUri": _resource(registry, tier, manifest.digest),
        "policy": {"uri": f"weighbridge:policy/{project}", "digest": {"sha256": policy_digest.hex}},
        "inputAttestations": [{"digest": {"sha256": decision_digest.hex}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["WEIGHBRIDGE_ADMITTED"],
        "slsaVersion": "1.1",
        ADMISSION: {
            "registry": registry,
            "project": project,
            "tier": tier.value,
            "decision": str(decision_digest),
            "expires": rfc3339(expires),
            **excused,
        },
    }
    statement = Statement(subjects_of(manifest), VSA, predicate)
    read_vsa(statement)
    return statement


def read_vsa(statement: Statement) -> Summary:
    """Read a summary; raises VerificationFailed(summary.form). Whether it is current, the caller judges."""
    try:
        if statement.predicate_type != VSA:
            raise ValueError(f"its type is {statement.predicate_type}")
        readers.check_subjects(statement)
        return _read(statement)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, BadReference) as error:
        raise VerificationFailed(
            "this is not the gate's word about a model", cause=str(error), check="summary.form"
        ) from error


def _read(statement: Statement) -> Summary:
    row: Any = statement.predicate
    extension = readers.mapping(row, ADMISSION)
    about = {digest.algorithm: digest for digest in statement.identities}
    manifest: Digest = readers.member(about, "wb1")
    registry, tier = readers.text(extension, "registry"), Tier(readers.text(extension, "tier"))
    if row["resourceUri"] != _resource(registry, tier, manifest):
        raise ValueError("resourceUri, registry, tier and subject do not agree")
    result = readers.text(row, "verificationResult")
    if result not in ("PASSED", "FAILED"):
        raise ValueError("verificationResult is neither PASSED nor FAILED")
    policy = readers.mapping(readers.mapping(row, "policy"), "digest")
    decision = Digest.parse(readers.text(extension, "decision"))
    inputs = [readers.mapping(item, "digest").get("sha256") for item in row["inputAttestations"]]
    if inputs != [decision.hex]:
        raise ValueError("inputAttestations are not the decision")
    verified_at = parse_rfc3339(readers.text(row, "timeVerified"))
    expires = parse_rfc3339(readers.text(extension, "expires"))
    if expires <= verified_at:
        raise ValueError("it ends before it begins")
    return Summary(
        manifest=manifest,
        weights=about.get("wbw1"),
        registry=registry,
        project=readers.text(extension, "project"),
        tier=tier,
        passed=result == "PASSED",
        policy=Digest("sha256", readers.text(policy, "sha256")),
        decision=decision,
        verified_at=verified_at,
        expires=expires,
        exceptions=tuple(_bundle(item) for item in extension.get("exceptions", [])),
    )


def _bundle(value: Any) -> Digest:
    digest = Digest.parse(value)
    if digest.algorithm != "sha256":
        raise ValueError("an exception is named by the SHA-256 of its bundle")
    return digest


def _resource(registry: str, tier: Tier, manifest: Digest) -> str:
    return f"weighbridge:{registry}/{tier.value}/{manifest}"
