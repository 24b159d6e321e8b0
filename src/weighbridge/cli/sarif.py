"""Reports as SARIF 2.1.0, for code scanning: one run, every finding a result, what was not read a notification.

Source: OASIS SARIF 2.1.0 with errata 01, sections 3.14 (run), 3.20 (invocation), 3.24 (artifact; members of
archives are artifacts with a `parentIndex`), 3.27 (result), 3.30 (region). What code scanning services take
beyond the standard is kept to: at most 25,000 results a run, relative addresses for files below the working
folder, a line for every location (`startLine` 1: the files are mostly binary), a `security-severity`.
The exact place, inside archives too, is the first related location.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from weighbridge.cli.outcome import Failed, Row
from weighbridge.core.canonical import JSON
from weighbridge.core.envelope import VERSION
from weighbridge.core.finding import Finding, Report, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_RESULTS = 25_000
ROOT = "SRCROOT"
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
SCORES = {
    Verdict.DANGEROUS: "9.5",
    Verdict.BROKEN: "8.0",
    Verdict.UNLISTED: "7.0",
    Verdict.UNREAD: "5.0",
    Verdict.NOTES: "2.0",
    Verdict.CLEAN: "0.0",
}
"""`security-severity` by verdict, on the scale of CVSS; it sorts alerts and decides nothing here."""


def sarif(rows: Sequence[Row], failed: Sequence[Failed], *, exit_code: int, here: Path) -> dict[str, JSON]:
    """Return one SARIF log of everything that was scanned; `here` is what relative addresses are relative to."""
    run = _Run(here)
    found = [(row, finding) for row in rows for finding in row.report.findings]
    found.sort(key=lambda pair: -pair[1].verdict.rank)
    for row, finding in found[:MAX_RESULTS]:
        run.add(row, finding)
    if len(found) > MAX_RESULTS:
        run.notify("findings-cut", f"{len(found) - MAX_RESULTS} more findings are not in this file")
    for row in rows:
        if not row.report.coverage.complete and row.report.verdict is Verdict.UNREAD:
            run.notify("unread-file", f"{row.report.model} was not read completely")
    for failure in failed:
        run.notify(failure.error.kind, f"{failure.name}: {failure.error.problem}")
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [run.to_json([row.identified for row in rows], exit_code)],
    }


@dataclass(slots=True)
class _Run:
    here: Path
    artifacts: list[JSON] = field(default_factory=list)
    results: list[JSON] = field(default_factory=list)
    notifications: list[JSON] = field(default_factory=list)
    _index: dict[tuple[str, ...], int] = field(default_factory=dict)
    _rules: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row, finding: Finding) -> None:
        """Add one finding as a result, and as a notification when it says that something was not read."""
        place = finding.location
        base = address(row, self.here)
        outer = self._artifact((base, place.path), row)
        inner = outer
        for depth in range(1, len(place.members) + 1):
            inner = self._artifact((base, place.path, *place.members[:depth]), row, parent=inner)
        location = self._location(outer, {"startLine": 1})
        if place.members:
            full = "!".join((place.path, *place.members))
            location["logicalLocations"] = [
                {"fullyQualifiedName": full, "name": place.members[-1], "kind": "member"}
            ]
        exact = self._location(inner, None if place.offset is None else {"byteOffset": place.offset})
        exact |= {"id": 0, "message": {"text": _plain(where(finding))}}
        result: dict[str, JSON] = {
            "ruleId": finding.rule,
            "ruleIndex": self._rules.setdefault(finding.rule, len(self._rules)),
            "level": finding.severity.value,
            "message": {"text": _plain(_sentence(finding))},
            "locations": [location],
            "relatedLocations": [exact],
            "partialFingerprints": {
                "weighbridgeFingerprint/v1": finding.fingerprint,
                "primaryLocationLineHash": f"{finding.fingerprint}:1",
            },
            "properties": {
                "verdict": finding.verdict.value,
                "confidence": finding.confidence.value,
                "subject": finding.subject,
                "manifest": str(row.identified.manifest),
                "evidence": list(finding.evidence),
            },
        }
        if (accepted := row.accepted.get(finding.fingerprint)) is not None:
            result["suppressions"] = [
                {"kind": "external", "status": "accepted", "justification": accepted.reason}
            ]
        self.results.append(result)
        if finding.verdict is Verdict.UNREAD:
            self.notify(finding.rule, _sentence(finding), self._location(outer, None))

    def notify(self, what: str, text: str, location: dict[str, JSON] | None = None) -> None:
        """Say that something was not read; such a run has not succeeded."""
        row: dict[str, JSON] = {
            "descriptor": {"id": what},
            "level": "error",
            "message": {"text": _plain(text)},
        }
        if location is not None:
            row["locations"] = [location]
        self.notifications.append(row)

    def _artifact(self, key: tuple[str, ...], row: Row, parent: int | None = None) -> int:
        if key in self._index:
            return self._index[key]
        base, path, *members = key
        entry: dict[str, JSON]
        if parent is None:
            entry = {"location": _address(base, path), "roles": ["analysisTarget"]}
            if (kept := row.files.get(path)) is not None:
                entry |= {"length": kept.size, "hashes": {"sha-256": kept.sha256.hex}}
        else:
            entry = {"location": {"uri": quote(members[-1])}, "parentIndex": parent}
        self._index[key] = len(self.artifacts)
        self.artifacts.append(entry)
        return self._index[key]

    def _location(self, artifact: int, region: dict[str, JSON] | None) -> dict[str, JSON]:
        described = self.artifacts[artifact]
        assert isinstance(described, dict)
        shown = described["location"]
        assert isinstance(shown, dict)
        physical: dict[str, JSON] = {"artifactLocation": {**shown, "index": artifact}}
        if region is not None:
            physical["region"] = dict(region)
        return {"physicalLocation": physical}

    def to_json(self, reports: Sequence[Report], exit_code: int) -> dict[str, JSON]:
        """Return the run."""
        return {
            "tool": {
                "driver": {"name": "weighbridge", "semanticVersion": VERSION, "rules": self._described()}
            },
            "automationDetails": {"id": "weighbridge/"},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {ROOT: {"description": {"text": "the folder the scan was started in"}}},
            "invocations": [
                {
                    "executionSuccessful": not self.notifications,
                    "exitCode": exit_code,
                    "toolExecutionNotifications": self.notifications,
                }
            ],
            "artifacts": self.artifacts,
            "results": self.results,
            "properties": {
                "reports": [
                    {
                        key: value
                        for key, value in report.to_json().items()
                        if key not in ("findings", "formats")
                    }
                    for report in reports
                ]
            },
        }

    def _described(self) -> list[JSON]:
        from weighbridge.scanner.explain import explain, rule_table

        known = {info.id: info for info in rule_table()}
        rules: list[JSON] = []
        for rule in self._rules:
            info, page = known[rule], _LINK.sub(r"\1", explain(rule))  # its links lead nowhere there
            body = [line for line in page.splitlines()[1:] if line]
            rules.append(
                {
                    "id": rule,
                    "name": "".join(part.title() for part in rule.split("-")),
                    "shortDescription": {"text": info.title},
                    "fullDescription": {"text": body[0] if body else info.title},
                    "help": {"text": page, "markdown": page},
                    "defaultConfiguration": {"level": "warning" if info.verdict.passes else "error"},
                    "properties": {"tags": ["security"], "security-severity": SCORES[info.verdict]},
                }
            )
        return rules


def _sentence(finding: Finding) -> str:
    parts = [finding.message, finding.why, finding.help]
    return ". ".join(part[:1].upper() + part[1:] for part in parts if part) + "."


def _plain(text: str) -> str:
    """Return a message in which nothing is a link (section 3.11.6): names in it are not ours."""
    return re.sub(r"([\\\[\]])", r"\\\1", text)


def where(finding: Finding) -> str:
    """Return `file ! member : byte 14`."""
    place = " ! ".join((finding.location.path, *finding.location.members))
    return place if finding.location.offset is None else f"{place} : byte {finding.location.offset}"


def address(row: Row, here: Path) -> str:
    """Return what the paths of a model's files are put behind: empty or `folder/` below `here`, else an address."""
    if row.folder is None:
        return f"{row.name}/" if "://" in row.name else ""
    folder = Path(row.folder)
    if not folder.is_relative_to(here):
        return folder.as_uri() + "/"
    below = folder.relative_to(here).as_posix()
    return "" if below == "." else f"{below}/"


def _address(base: str, path: str) -> dict[str, JSON]:
    if "://" in base:
        return {"uri": quote(base, safe="/:@%") + quote(path)}
    return {"uri": quote(base + path), "uriBaseId": ROOT}
