"""Reports and summaries about a model: scans, known vulnerabilities, what a verifier found. None of them makes a model.

Each is written and read here. They describe: a report by anybody is information beside the gate's own scan, and a
summary by anybody is no admission (that needs the gate's extension, see `summary`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from weighbridge.claims.readers import claim_of, mapping, member, moment, only_model, text, texts
from weighbridge.claims.words import ADMISSION, SCAN, SVR, VULNS_COSIGN, Claim
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage, Tier

MAX_FOUND = 10_000
"""Vulnerabilities in one report; policies see all of them."""


def svr_predicate(
    verifier: str, properties: Sequence[str], created: datetime, policies: Sequence[Mapping[str, JSON]] = ()
) -> dict[str, JSON]:
    """Return the predicate of a simple verification result (in-toto, svr v0.2)."""
    return {
        "verifier": {"id": verifier, "policies": [dict(row) for row in policies]},
        "timeCreated": rfc3339(created),
        "properties": list(properties),
    }


def vulns_predicate(
    scanner: Mapping[str, str],
    database: Mapping[str, str],
    found: Mapping[str, Mapping[str, str]],
    *,
    started: datetime,
    finished: datetime,
) -> dict[str, JSON]:
    """Return the predicate of a vulnerability report (in-toto, vulns v0.2).

    `scanner` holds uri and perhaps version, `database` lastUpdate and perhaps uri and version; `found` gives
    for each id its scores by method, for example {"CVE-2026-1": {"nvd": "high"}}.
    """
    result: list[JSON] = [
        {"id": name, "severity": [{"method": method, "score": score} for method, score in scores.items()]}
        for name, scores in found.items()
    ]
    return {
        "scanner": {**scanner, "db": dict(database), "result": result},
        "metadata": {"scanStartedOn": rfc3339(started), "scanFinishedOn": rfc3339(finished)},
    }


def read_scan(statement: Statement) -> Claim:
    """Read somebody's scan report or list of vulnerabilities: information, never the gate's own scan."""
    if statement.predicate_type != SCAN:
        return _read_vulns(statement)
    report = mapping(statement.predicate, "report")
    if text(report, "manifest") not in {str(digest) for digest in statement.identities}:
        raise ValueError("the report is about another model than the claim")
    detail: dict[str, JSON] = {"kind": "scan", "verdict": text(report, "verdict")}
    detail["ruleset"] = text(mapping(report, "ruleset"), "digest")
    return claim_of(Stage.SCAN, statement, (), "", detail)


def _read_vulns(statement: Statement) -> Claim:
    """Read known vulnerabilities: v0.2, v0.1 (where a row may nest them), or cosign's, whose result is the scanner's own."""
    row = statement.predicate
    scanner, times = mapping(row, "scanner"), mapping(row, "metadata")
    started, finished = moment(times, "scanStartedOn"), moment(times, "scanFinishedOn")
    if finished < started:
        raise ValueError("the scan ended before it began")
    cosign = statement.predicate_type == VULNS_COSIGN
    database = mapping(scanner, "db") if not cosign or "db" in scanner else {}
    updated = "" if cosign and not database.get("lastUpdate") else rfc3339(moment(database, "lastUpdate"))
    detail: dict[str, JSON] = {
        "kind": "vulns",
        "scanner": text(scanner, "uri"),
        "version": text(scanner, "version", empty=True) if "version" in scanner else "",
        "database": updated,
        "started": rfc3339(started),
        "finished": rfc3339(finished),
        "found": None if cosign else _vulnerabilities(member(scanner, "result")),
    }
    return claim_of(Stage.SCAN, statement, (), "", detail)


def _vulnerabilities(rows: Any) -> JSON:
    if not isinstance(rows, list) or len(rows) > MAX_FOUND:
        raise TypeError(f"result is no list, or one of more than {MAX_FOUND}")
    found: dict[str, JSON] = {}
    for row in rows:
        inner = mapping(row, "vulnerability") if "vulnerability" in row and "id" not in row else row
        scores = member(inner, "severity")
        scores = [scores] if isinstance(scores, Mapping) else scores
        if not isinstance(scores, list):
            raise TypeError("severity is a list")
        found[text(inner, "id")] = {text(score, "method"): text(score, "score") for score in scores}
    return found


def read_admit(statement: Statement) -> Claim:
    """Read what a verifier says of a model: the gate's admission (`summary.read_vsa` gives all of it), or anybody's.

    Only the gate's carries our extension and so a registry, a project and a tier; a stranger's summary has none of
    these in its detail and admits nothing.
    """
    if statement.predicate_type == SVR:
        return _read_svr(statement)
    row = statement.predicate
    result = text(row, "verificationResult")
    if result not in ("PASSED", "FAILED"):
        raise ValueError("verificationResult is neither PASSED nor FAILED")
    only_model(statement)
    detail: dict[str, JSON] = {
        "kind": "summary",
        "result": result,
        "verifier": text(mapping(row, "verifier"), "id"),
        "resource": text(row, "resourceUri"),
        "levels": texts(member(row, "verifiedLevels"), "verifiedLevels"),
    }
    text(mapping(row, "policy"), "uri")
    if "timeVerified" in row:
        detail["verified_at"] = rfc3339(moment(row, "timeVerified"))
    if ADMISSION in row:
        extension = mapping(row, ADMISSION)
        detail |= {name: text(extension, name) for name in ("registry", "project", "decision")}
        detail["tier"] = Tier(text(extension, "tier")).value
        detail["expires"] = rfc3339(parse_rfc3339(text(extension, "expires")))
    return claim_of(Stage.ADMIT, statement, (), "", detail)


def _read_svr(statement: Statement) -> Claim:
    """Read a simple verification result: who found which properties, under which policies, when."""
    row = statement.predicate
    verifier = mapping(row, "verifier")
    policies = member(verifier, "policies")
    if not isinstance(policies, list) or not all(isinstance(one, Mapping) for one in policies):
        raise TypeError("policies are a list of objects")
    only_model(statement)
    detail: dict[str, JSON] = {
        "kind": "result",
        "verifier": text(verifier, "id"),
        "policies": [dict(one) for one in policies],
        "properties": texts(member(row, "properties"), "properties"),
        "verified_at": rfc3339(moment(row, "timeCreated")),
    }
    return claim_of(Stage.ADMIT, statement, (), "", detail)
