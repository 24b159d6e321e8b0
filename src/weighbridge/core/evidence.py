"""Evidence: every verified fact about one manifest, ready to be judged. Built only by `gate/evidence.py`.

Facts say what was established, not what was claimed. A claim that did not verify is kept as a refused
fact with its reason, because "signed by a stranger" is a better answer than "missing".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from weighbridge.core.advisory import Advised
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import rfc3339
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.exceptions import BreakGlass
from weighbridge.core.finding import Finding, Verdict
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Assurance, Origin, Stage

EVIDENCE_SCHEMA = "weighbridge.evidence/1"


@dataclass(frozen=True, slots=True)
class Proven:
    """What `trust.verify` established about one bundle: this signer said this, logged here, at that time."""

    signer: Identity
    bundle: Digest
    predicate_type: str
    log_index: int | None
    logged_at: datetime | None
    assurance: Assurance | None
    certificate: Mapping[str, str] = field(default_factory=dict)
    """What the signer's certificate claims beside issuer and subject, by name (`trust.expect.CLAIMS`); empty for a key."""

    def to_json(self) -> dict[str, JSON]:
        """Return the proof as JSON."""
        return {
            "signer": self.signer.to_json(),
            "bundle": str(self.bundle),
            "predicate_type": self.predicate_type,
            "log_index": self.log_index,
            "logged_at": rfc3339(self.logged_at) if self.logged_at else None,
            "assurance": self.assurance.value if self.assurance else None,
            "certificate": dict(self.certificate),
        }


@dataclass(frozen=True, slots=True)
class ClaimFact:
    """One claim of one stage: verified (PASS), refused (FAIL) or not to be judged (CANNOT_TELL).

    `about` are the model and weights identities it names, `parents` those it descends from. `signer` is
    None when not even the signature could be read. `detail` holds what policies ask for (metrics,
    licence, method, …); for a refused claim it is empty.
    """

    stage: Stage
    outcome: Outcome
    about: tuple[Digest, ...]
    signer: Identity | None
    bundle: Digest
    reason: str = ""
    check: str = ""
    proof: Proven | None = None
    parents: tuple[Digest, ...] = ()
    detail: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def verified(self) -> bool:
        """Whether this may be believed: passed, and its own proof says the same named identity signed it."""
        return (
            self.outcome is Outcome.PASS
            and self.proof is not None
            and self.proof.bundle == self.bundle
            and self.proof.signer == self.signer
            and self.proof.signer.name != ""
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "stage": self.stage.value,
            "outcome": self.outcome.value,
            "about": [str(d) for d in self.about],
            "parents": [str(d) for d in self.parents],
            "signer": self.signer.to_json() if self.signer else None,
            "bundle": str(self.bundle),
            "reason": self.reason,
            "check": self.check,
            "proof": self.proof.to_json() if self.proof else None,
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class BytesFact:
    """Whether the bytes kept equal the manifest: re-hashed now, not remembered."""

    outcome: Outcome
    found: str
    files: int = 0
    size: int = 0

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {"outcome": self.outcome.value, "found": self.found, "files": self.files, "size": self.size}


@dataclass(frozen=True, slots=True)
class ScanFact:
    """The gate's own scan of the kept bytes. `scanner` is whose scan it was; floor demands the gate's."""

    scanner: Identity
    by_gate: bool
    manifest: Digest
    verdict: Verdict
    complete: bool
    ruleset: Digest
    scanned_at: datetime
    findings: tuple[Finding, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    ruleset_version: str = ""
    """The number that the makers of the rules gave them; `ruleset` says exactly which they were."""
    distrusted: str = ""
    """Why a scan under this ruleset, or of this time, counts no longer; empty where it does."""

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "scanner": self.scanner.to_json(),
            "by_gate": self.by_gate,
            "manifest": str(self.manifest),
            "verdict": self.verdict.value,
            "complete": self.complete,
            "ruleset": str(self.ruleset),
            "ruleset_version": self.ruleset_version,
            "scanned_at": rfc3339(self.scanned_at),
            "findings": [finding.to_json() for finding in self.findings],
            "formats": dict(self.formats),
            "distrusted": self.distrusted,
        }


@dataclass(frozen=True, slots=True)
class Ancestry:
    """Where the walk up from this model ended (`claims.chain`).

    `end` is `data` (attested datasets all the way), `origin` (an accepted origin) or `broken`; then
    `broken_at` is the identity whose link is missing, `reason` says which claim and why, and `check` names it.
    `visited` are all identities met, this model's own included: revocation is looked up over them. `equal` are
    those whose evaluations speak of this model: its own, and weights of which it was proven to hold the tensors.
    """

    end: str
    visited: tuple[Digest, ...]
    links: tuple[tuple[Digest, Digest, str], ...] = ()
    """(parent, child, relation) for every link walked."""
    broken_at: Digest | None = None
    reason: str = ""
    origins: tuple[Digest, ...] = ()
    """The identities at which the walk ended in an accepted origin."""
    check: str = ""
    equal: tuple[Digest, ...] = ()
    depth: int = 0
    """Steps on the longest way up from this model, along `links`."""

    def to_json(self) -> dict[str, JSON]:
        """Return the ancestry as JSON."""
        return {
            "end": self.end,
            "visited": [str(d) for d in self.visited],
            "links": [[str(parent), str(child), relation] for parent, child, relation in self.links],
            "broken_at": str(self.broken_at) if self.broken_at else None,
            "reason": self.reason,
            "origins": [str(d) for d in self.origins],
            "check": self.check,
            "equal": [str(d) for d in self.equal],
            "depth": self.depth,
        }


@dataclass(frozen=True, slots=True)
class Revocation:
    """A signed, logged withdrawal of one identity (a model, its weights, a dataset)."""

    target: Digest
    reason: str
    since: datetime
    bundle: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return the revocation as JSON."""
        return {
            "target": str(self.target),
            "reason": self.reason,
            "since": rfc3339(self.since),
            "bundle": str(self.bundle),
        }


@dataclass(frozen=True, slots=True)
class Waiver:
    """A verified, signed exception for one finding of one manifest, or for one rule of its policy, with an end."""

    rule: str
    fingerprint: str
    manifest: Digest
    reason: str
    signer: Identity
    expires: datetime
    bundle: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return the waiver as JSON."""
        return {
            "rule": self.rule,
            "fingerprint": self.fingerprint,
            "manifest": str(self.manifest),
            "reason": self.reason,
            "signer": self.signer.to_json(),
            "expires": rfc3339(self.expires),
            "bundle": str(self.bundle),
        }


@dataclass(frozen=True, slots=True)
class AuthorityFact:
    """Which authority the facts were established under. `outcome` is FAIL when expired or rolled back."""

    version: int
    digest: Digest
    expires: datetime
    outcome: Outcome
    found: str
    required: tuple[Stage, ...]
    """The stages that a model of this origin needs in this project."""
    demonstration: bool = False
    """Whether the registry was made to try things out, so that its development issuer counts."""

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "version": self.version,
            "digest": str(self.digest),
            "expires": rfc3339(self.expires),
            "outcome": self.outcome.value,
            "found": self.found,
            "required": [stage.value for stage in self.required],
            "demonstration": self.demonstration,
        }


@dataclass(frozen=True, slots=True)
class LicenceFact:
    """Under which licences a model stands, what they ask for, and what does not fit (`gate.licences`).

    `duties` are the kinds of `obligations`, each once. `knowledge` is the digest of what was known of licences.
    """

    declared: str
    concluded: str
    inherited: tuple[str, ...]
    duties: tuple[str, ...]
    obligations: tuple[Mapping[str, JSON], ...]
    findings: tuple[Mapping[str, JSON], ...]
    knowledge: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "declared": self.declared,
            "concluded": self.concluded,
            "inherited": list(self.inherited),
            "duties": list(self.duties),
            "obligations": [dict(row) for row in self.obligations],
            "findings": [dict(row) for row in self.findings],
            "knowledge": str(self.knowledge),
        }


@dataclass(frozen=True, slots=True)
class BomFact:
    """What the verified bill of materials of this model has (`gate.described`): of each profile, and of what it depends on.

    `profiles` holds by profile how many elements are `asked`, `present` and `attested`; `libraries` counts the
    software that it names, `unhashed` names what of it has no hash, at most the first twenty.
    """

    bundle: Digest
    spec_version: str
    profiles: Mapping[str, Mapping[str, JSON]]
    libraries: int
    hashed: int
    unhashed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {
            "bundle": str(self.bundle),
            "spec_version": self.spec_version,
            "profiles": {name: dict(counts) for name, counts in self.profiles.items()},
            "libraries": self.libraries,
            "hashed": self.hashed,
            "unhashed": list(self.unhashed),
        }


@dataclass(frozen=True, slots=True)
class BuildFact:
    """Which SLSA build level the evidence shows, and what the next one lacks (`gate.builds`).

    It rests on the builders that the policy trusted when the evidence was gathered; their names stand in it.
    """

    level: int
    missing: tuple[str, ...]
    builders: tuple[str, ...]

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {"level": self.level, "missing": list(self.missing), "builders": list(self.builders)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts about one manifest in one project at one moment."""

    manifest: Digest
    weights: Digest | None
    project: str
    origin: Origin
    authority: AuthorityFact
    bytes: BytesFact
    scan: ScanFact | None
    claims: tuple[ClaimFact, ...]
    """Claims about this model, its weights and its ancestors; BOM, scan and origin claims included."""
    ancestry: Ancestry
    revocations: tuple[Revocation, ...] = ()
    """Only those that hit an identity in `ancestry.visited` (or this manifest)."""
    waivers: tuple[Waiver, ...] = ()
    problems: tuple[str, ...] = ()
    """What could not be established at all (an unreadable record, a service that did not answer)."""
    advisories: tuple[Advised, ...] = ()
    """Only those that stand and surely reach this model, each with the way on which it does."""
    licence: LicenceFact | None = None
    """None when nobody looked."""
    contradictions: tuple[Mapping[str, JSON], ...] = ()
    """What its tensors show of where it came from and nobody says, or somebody says otherwise (`registry.contradictions`)."""
    break_glass: tuple[BreakGlass, ...] = ()
    """Every break-glass for this model in this project that took effect, those that have ended included."""

    bom: BomFact | None = None
    """None when no verified bill of materials is bound to this model."""
    build: BuildFact | None = None
    """None when nobody looked."""

    def about_model(self, stage: Stage) -> tuple[ClaimFact, ...]:
        """Return this model's own claims of one stage, verified ones first."""
        own = {self.manifest} if self.weights is None else {self.manifest, self.weights}
        facts = [fact for fact in self.claims if fact.stage is stage and own & set(fact.about)]
        return tuple(sorted(facts, key=lambda fact: fact.outcome is not Outcome.PASS))

    def to_json(self) -> dict[str, JSON]:
        """Return `weighbridge.evidence/1`: the input document of policies."""
        return {
            "schema": EVIDENCE_SCHEMA,
            "manifest": str(self.manifest),
            "weights": str(self.weights) if self.weights else None,
            "project": self.project,
            "origin": self.origin.value,
            "authority": self.authority.to_json(),
            "bytes": self.bytes.to_json(),
            "scan": self.scan.to_json() if self.scan else None,
            "claims": [fact.to_json() for fact in self.claims],
            "ancestry": self.ancestry.to_json(),
            "revocations": [revocation.to_json() for revocation in self.revocations],
            "advisories": [advised.to_json() for advised in self.advisories],
            "waivers": [waiver.to_json() for waiver in self.waivers],
            "licence": self.licence.to_json() if self.licence else None,
            "contradictions": [dict(row) for row in self.contradictions],
            "break_glass": [row.to_json() for row in self.break_glass],
            "bom": self.bom.to_json() if self.bom else None,
            "build": self.build.to_json() if self.build else None,
            "problems": list(self.problems),
        }

    @classmethod
    def from_json(cls, value: JSON) -> Evidence:
        """Read `weighbridge.evidence/1` back, strictly; raises ValueError.

        What `to_json` wrote comes back to the byte. Evidence of an older version, which lacks a member that has a
        default, is read as well; its canonical form is then another one.
        """
        from weighbridge.core.evidence_json import read  # it needs the facts above

        if not isinstance(value, Mapping) or value.get("schema") != EVIDENCE_SCHEMA:
            raise ValueError(f"this is not {EVIDENCE_SCHEMA}")
        evidence: Evidence = read(cls, {name: item for name, item in value.items() if name != "schema"})
        return evidence

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON of the evidence."""
        return Digest("sha256", hashlib.sha256(canonical(self.to_json())).hexdigest())
