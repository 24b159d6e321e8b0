"""A decision as others can read it: one statement that is a simple verification result and carries the decision whole.

The outer members are those of in-toto's SVR (https://in-toto.io/attestation/svr/v0.2): who verified, under which policy,
when, and which properties were found to hold. The decision stands in our member, under its own predicate type. There is one
signature over both, and whoever reads the decision holds the outer members against it: the two cannot contradict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.claims.reports import svr_predicate
from weighbridge.claims.words import DECIDED, SVR
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.statement import Statement

VERIFIER = "https://weighbridge.dev/gate/"


def decided(record: Statement, registry: str) -> Statement:
    """Wrap the record of a decision as a simple verification result by the gate of `registry`."""
    return Statement(
        record.subjects, SVR, {**_result(record.predicate, registry), DECIDED: dict(record.predicate)}
    )


def unwrapped(statement: Statement) -> Statement:
    """Return the record that a statement carries, or the statement itself; raises VerificationFailed(record.form).

    The first decisions were signed as bare records and are read as they are.
    """
    if statement.predicate_type != SVR or DECIDED not in statement.predicate:
        return statement
    try:
        inner: Any = statement.predicate[DECIDED]
        registry = str(statement.predicate["verifier"]["id"]).removeprefix(VERIFIER)  # type: ignore[index,call-overload]
        rest = {name: value for name, value in statement.predicate.items() if name != DECIDED}
        if canonical(rest) != canonical(_result(inner, registry)):
            raise ValueError("the verification result around it says something else")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VerificationFailed(
            "this decision is not well-formed", cause=str(error), check="record.form"
        ) from error
    return Statement(statement.subjects, DECIDED, dict(inner))


def properties_of(body: Mapping[str, Any]) -> list[str]:
    """Return what a decision found to hold: each check of the floor that passed, and for an allow that is enforced the allow.

    `bytes.match` is written `WEIGHBRIDGE_CHECK_BYTES_MATCH`. What a policy has no objection to, or is excused from, is no
    property; a block never has a property `WEIGHBRIDGE_ALLOWED_…`.
    """
    rows = [row for row in body.get("checks", ()) if not row["id"].startswith("policy.")]
    passed = sorted({_name(row["id"]) for row in rows if row["outcome"] == "pass"})
    allowed = body.get("decision") == "allow" and body.get("enforced") is True
    return [f"WEIGHBRIDGE_ALLOWED_{str(body.get('action')).upper()}", *passed] if allowed else passed


def _name(check: str) -> str:
    return "WEIGHBRIDGE_CHECK_" + "".join(char if char.isalnum() else "_" for char in check.upper())


def _result(predicate: Mapping[str, Any], registry: str) -> dict[str, JSON]:
    body: Mapping[str, Any] = predicate["body"]
    policy = str(body.get("digests", {}).get("policy", ""))
    policies: list[Mapping[str, JSON]] = []
    if policy:
        algorithm, _, value = policy.partition(":")
        policies.append({"uri": f"weighbridge:policy/{predicate['project']}", "digest": {algorithm: value}})
    at = parse_rfc3339(str(predicate["at"]))
    return svr_predicate(f"{VERIFIER}{registry}", properties_of(body), at, policies)
