"""Findings, coverage, verdict and the report that holds them: what a scan says about one manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest

REPORT_SCHEMA = "weighbridge.report/1"


class Severity(StrEnum):
    """How bad, if true. `note` never blocks; the others name the verdict they lead to."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Confidence(StrEnum):
    """How sure the rule is that what it saw is what it says."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Verdict(StrEnum):
    """What a report comes to; ordered from best to worst by `rank`. Only clean and notes may pass."""

    CLEAN = "clean"
    NOTES = "notes"
    UNREAD = "unread"
    UNLISTED = "unlisted"
    BROKEN = "broken"
    DANGEROUS = "dangerous"

    @property
    def rank(self) -> int:
        """Position in the lattice clean < notes < unread < unlisted < broken < dangerous: a definite refusal wins."""
        return list(Verdict).index(self)

    @property
    def passes(self) -> bool:
        """Only clean and notes pass."""
        return self in (Verdict.CLEAN, Verdict.NOTES)

    @property
    def exit_code(self) -> int:
        """0 passes, 1 blocked, 3 could not tell (docs/reference/exit-codes.md)."""
        if self.passes:
            return 0
        return 3 if self is Verdict.UNREAD else 1


@dataclass(frozen=True, slots=True)
class Location:
    """Where: file path in the manifest, member names from outer to inner archive, byte offset in the innermost."""

    path: str
    members: tuple[str, ...] = ()
    offset: int | None = None

    def to_json(self) -> dict[str, JSON]:
        """Return the location as it stands in a report."""
        return {"path": self.path, "members": list(self.members), "offset": self.offset}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a rule saw.

    `verdict` is what this finding alone makes of the file. `evidence` is a short excerpt for people
    (opcodes, a line of code), never raw untrusted bytes: escape control characters before storing.
    """

    rule: str
    verdict: Verdict
    severity: Severity
    location: Location
    message: str
    why: str = ""
    help: str = ""
    confidence: Confidence = Confidence.HIGH
    evidence: tuple[str, ...] = ()
    subject: str = ""
    """What the fingerprint is about beside rule and place, for example the global's full name."""

    @property
    def fingerprint(self) -> str:
        """Stable across runs, offsets and rewording: rule, path, members and subject."""
        identity: JSON = [self.rule, self.location.path, list(self.location.members), self.subject]
        return hashlib.sha256(canonical(identity)).hexdigest()[:32]

    def to_json(self) -> dict[str, JSON]:
        """Return the finding as it stands in `weighbridge.report/1`."""
        return {
            "rule": self.rule,
            "verdict": self.verdict.value,
            "severity": self.severity.value,
            "confidence": self.confidence.value,
            "fingerprint": self.fingerprint,
            "location": self.location.to_json(),
            "message": self.message,
            "why": self.why,
            "help": self.help,
            "evidence": list(self.evidence),
            "subject": self.subject,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """Bytes and archive members read against those present; unread bytes are never clean."""

    bytes_present: int = 0
    bytes_read: int = 0
    members_present: int = 0
    members_read: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything present was read."""
        return self.bytes_read == self.bytes_present and self.members_read == self.members_present

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.bytes_present + other.bytes_present,
            self.bytes_read + other.bytes_read,
            self.members_present + other.members_present,
            self.members_read + other.members_read,
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the four counts."""
        return {
            "bytes_present": self.bytes_present,
            "bytes_read": self.bytes_read,
            "members_present": self.members_present,
            "members_read": self.members_read,
        }


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Version and digest of everything that can influence a verdict: rules, profiles, reader versions."""

    version: str
    digest: Digest

    def to_json(self) -> dict[str, JSON]:
        """Return version and digest."""
        return {"version": self.version, "digest": str(self.digest)}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scan saw in files that nobody has identified: all of a report but the digests it is bound to.

    It is good for showing to people. Nothing may keep, sign or pass it on before it is `identified`.
    """

    model: str
    findings: tuple[Finding, ...]
    coverage: Coverage
    formats: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """As the report's."""
        return _verdict(self.findings, self.coverage)

    def identified(self, manifest: Digest, ruleset: Ruleset) -> Report:
        """Return the report, once it is known which bytes were scanned by which rules."""
        return Report(self.model, manifest, self.findings, self.coverage, ruleset, self.formats)


def _verdict(findings: tuple[Finding, ...], coverage: Coverage) -> Verdict:
    worst = max((f.verdict for f in findings), key=lambda v: v.rank, default=Verdict.CLEAN)
    if not coverage.complete and worst.rank < Verdict.UNREAD.rank:
        return Verdict.UNREAD
    return worst


@dataclass(frozen=True, slots=True)
class Report:
    """Findings, coverage and ruleset for one manifest; the verdict is derived, never stored by hand."""

    model: str
    manifest: Digest
    findings: tuple[Finding, ...]
    coverage: Coverage
    ruleset: Ruleset
    formats: Mapping[str, str] = field(default_factory=dict)
    """Path to the format its content was recognised as (`safetensors`, `torch-zip`, `pickle`, …)."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of any finding; `unread` at least when coverage is incomplete."""
        return _verdict(self.findings, self.coverage)

    @property
    def seen(self) -> Seen:
        """The same without its digests, for a reader who did not ask for them."""
        return Seen(self.model, self.findings, self.coverage, self.formats)

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.report/1`."""
        return {
            "model": self.model,
            "manifest": str(self.manifest),
            "verdict": self.verdict.value,
            "findings": [finding.to_json() for finding in self.findings],
            "coverage": self.coverage.to_json(),
            "ruleset": self.ruleset.to_json(),
            "formats": dict(self.formats),
        }
