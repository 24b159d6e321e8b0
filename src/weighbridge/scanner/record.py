"""Findings, parts and reports from the JSON they were written as, read strictly: what is odd raises ValueError."""

from __future__ import annotations

from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import (
    Confidence,
    Coverage,
    Finding,
    Location,
    Report,
    Ruleset,
    Severity,
    Verdict,
)
from weighbridge.scanner.file import Part


def part_to_json(part: Part) -> dict[str, JSON]:
    """Return what came of one file as JSON."""
    return {
        "findings": [finding.to_json() for finding in part.findings],
        "coverage": part.coverage.to_json(),
        "kind": part.kind,
    }


def part_from_json(value: Any) -> Part:
    """Read what `part_to_json` wrote; raises ValueError."""
    try:
        findings = tuple(_finding(row) for row in value["findings"])
        return Part(findings, _coverage(value["coverage"]), _text(value["kind"]))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("this is not what came of a file") from error


def report_from_json(value: Any) -> Report:
    """Read what `Report.to_json` wrote; raises ValueError, also when its verdict is not what its findings give."""
    try:
        report = Report(
            _text(value["model"]),
            Digest.parse(value["manifest"]),
            tuple(_finding(row) for row in value["findings"]),
            _coverage(value["coverage"]),
            Ruleset(_text(value["ruleset"]["version"]), Digest.parse(value["ruleset"]["digest"])),
            {_text(path): _text(kind) for path, kind in value["formats"].items()},
        )
    except (TypeError, KeyError, AttributeError, WeighbridgeError) as error:
        raise ValueError("this is not a report") from error
    if report.to_json() != value:
        raise ValueError("this is not a report as it is written")
    return report


def _finding(row: Any) -> Finding:
    place = row["location"]
    found = Finding(
        rule=_text(row["rule"]),
        verdict=Verdict(row["verdict"]),
        severity=Severity(row["severity"]),
        location=Location(
            _text(place["path"]),
            tuple(_text(name) for name in place["members"]),
            None if place["offset"] is None else _count(place["offset"]),
        ),
        message=_text(row["message"]),
        why=_text(row["why"]),
        help=_text(row["help"]),
        confidence=Confidence(row["confidence"]),
        evidence=tuple(_text(line) for line in row["evidence"]),
        subject=_text(row["subject"]),
    )
    if found.fingerprint != row["fingerprint"]:
        raise ValueError("the fingerprint is not the finding's")
    return found


def _coverage(row: Any) -> Coverage:
    return Coverage(
        _count(row["bytes_present"]),
        _count(row["bytes_read"]),
        _count(row["members_present"]),
        _count(row["members_read"]),
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("a text was due")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count was due")
    return value
