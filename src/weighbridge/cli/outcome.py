"""What one scan of one model gave, as the outputs need it; and the exceptions the user made, applied to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import InternalError
from weighbridge.core.finding import Finding, Report, Seen, Verdict

if TYPE_CHECKING:
    from datetime import datetime

    from weighbridge.config import Accept
    from weighbridge.core.errors import WeighbridgeError
    from weighbridge.core.manifest import FileEntry


@dataclass(frozen=True, slots=True)
class Fetched:
    """How much of a remote model came over the network; the rest is explained by headers and was not read."""

    fetched: int
    present: int
    unverified: tuple[str, ...]
    """Files whose announced digest could not be compared, because they were read in parts."""

    def to_json(self) -> dict[str, JSON]:
        """Return what stands beside the report as `remote`."""
        return {
            "bytes_fetched": self.fetched,
            "bytes_present": self.present,
            "unverified": list(self.unverified),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One report and what is known beside it; `folder` is absolute when the files lie on this machine.

    Where nobody asked for digests, there are none: `report` is what was seen, and `files` is empty.
    """

    name: str
    report: Report | Seen
    files: Mapping[str, FileEntry]
    seconds: float = 0.0
    folder: str | None = None
    remote: Fetched | None = None
    cached: bool = False
    accepted: Mapping[str, Accept] = field(default_factory=dict)
    """Fingerprint to the exception that the user made for it."""

    @property
    def identified(self) -> Report:
        """The report with its digests; raises InternalError where they were not asked for."""
        if isinstance(self.report, Report):
            return self.report
        raise InternalError(f"{self.name} was scanned without its identity, and that was asked for now")

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings that nobody accepted, worst first."""
        left = [f for f in self.report.findings if f.fingerprint not in self.accepted]
        return tuple(sorted(left, key=lambda f: (-f.verdict.rank, f.location.path, f.location.offset or 0)))

    @property
    def verdict(self) -> Verdict:
        """The verdict as the user wants to see it: without what was accepted. The report's own stays as it is."""
        if not self.accepted:
            return self.report.verdict
        worst = max((f.verdict for f in self.shown), key=lambda v: v.rank, default=Verdict.CLEAN)
        excused = any(not f.verdict.passes for f in self.report.findings if f.fingerprint in self.accepted)
        if not self.report.coverage.complete and not excused and worst.rank < Verdict.UNREAD.rank:
            return Verdict.UNREAD
        return worst

    def to_json(self) -> dict[str, JSON]:
        """Return the report, and `remote` beside it where it was read in parts."""
        item = self.identified.to_json()
        if self.remote is not None:
            item["remote"] = self.remote.to_json()
        return item


@dataclass(frozen=True, slots=True)
class Failed:
    """A model that could not be scanned at all."""

    name: str
    error: WeighbridgeError


def accepted(
    report: Report, files: Mapping[str, FileEntry], entries: Sequence[Accept], now: datetime
) -> dict[str, Accept]:
    """Return which findings the user has accepted: same rule, same bytes (of the file or the model), not over."""
    current = [entry for entry in entries if now < entry.until]
    found: dict[str, Accept] = {}
    for finding in report.findings:
        for entry in current:
            if entry.rule == finding.rule and entry.digest in _digests(report, finding, files):
                found[finding.fingerprint] = entry
                break
    return found


def _digests(report: Report, finding: Finding, files: Mapping[str, FileEntry]) -> Iterable[str]:
    yield str(report.manifest)
    if (entry := files.get(finding.location.path)) is not None:
        yield str(entry.sha256)


def exit_code(rows: Sequence[Row], failed: Sequence[Failed], *, fail_on: str | None) -> int:
    """Return the worst answer: a definite no wins over could not tell, and both over a mistake in what was typed."""
    codes = {failure.error.exit_code for failure in failed} | {row.verdict.exit_code for row in rows}
    if fail_on == "notes" and any(row.verdict is Verdict.NOTES for row in rows):
        codes.add(1)
    return next((code for code in (1, 3, 2, 4) if code in codes), 0)
