"""Records as they stand in signed statements, and the chain of decisions, for an auditor who has nothing of this project.

Part of the verification script (`verify_pack`): standard library and `pack_formats`, nothing else may be imported here.
"""

from __future__ import annotations

import re
from typing import Any

from weighbridge.gate.pack_formats import Wrong, canonical, sha256

RECORD = re.compile(r"https://weighbridge\.dev/attestation/([a-z-]+)/v0\.1")
RESULT = "https://in-toto.io/attestation/svr/v0.2"
DECISION = "https://weighbridge.dev/attestation/decision/v0.1"


def record_in(statement: Any) -> tuple[str, Any]:
    """Return the kind of record that a statement is or carries, and the record; nothing for a claim.

    A decision is carried by a verification result; what that says must be what follows from the decision.
    """
    outer = statement["predicate"]
    if statement["predicateType"] == RESULT and DECISION in outer:
        inner = outer[DECISION]
        if {**outer, DECISION: None} != {**result_of(inner, outer["verifier"]["id"]), DECISION: None}:
            raise Wrong("the verification result around the decision says something else")
        return "decision", inner
    kind = RECORD.fullmatch(statement["predicateType"])
    return (kind[1], outer) if kind is not None else ("", None)


def result_of(record: Any, verifier: str) -> dict[str, Any]:
    """Return what a verification result says of a decision: who, when, under which policy, and what was found to hold."""
    body = record["body"]
    algorithm, _, value = str(body.get("digests", {}).get("policy", "")).partition(":")
    policies = (
        [{"uri": f"weighbridge:policy/{record['project']}", "digest": {algorithm: value}}]
        if algorithm
        else []
    )
    rows = [row for row in body.get("checks", ()) if not row["id"].startswith("policy.")]
    names = {row["id"].upper() for row in rows if row["outcome"] == "pass"}
    held = sorted({"WEIGHBRIDGE_CHECK_" + "".join(c if c.isalnum() else "_" for c in name) for name in names})
    if body.get("decision") == "allow" and body.get("enforced") is True:
        held.insert(0, f"WEIGHBRIDGE_ALLOWED_{str(body.get('action')).upper()}")
    return {
        "verifier": {"id": verifier, "policies": policies},
        "timeCreated": record["at"],
        "properties": held,
    }


class Chain:
    """The chain of decisions: each has the next number, and names the decision before it by the digest of its body."""

    def __init__(self) -> None:
        self._last: tuple[int, str] | None = None
        """Number and id of the last decision; None while nothing is known of the one before."""

    def begin(self) -> None:
        """Begin where a registry began: the next decision is the first."""
        self._last = 0, ""

    def forget(self) -> None:
        """Forget the last decision: the next one may follow another that is not here."""
        self._last = None

    def refusal(self, body: Any) -> str:
        """Say why a decision has no place in the chain, or take it; one without a number comes before all that have one."""
        sequence, previous = body.get("sequence"), body.get("previous")
        if sequence is None and previous is None:
            begun = self._last is not None and self._last[0] > 0
            return "it has no place in the chain of decisions" if begun else ""
        if type(sequence) is not int or sequence < 1 or type(previous) is not str:
            raise Wrong("its place in the chain cannot be read")
        if self._last is not None and (sequence - 1, previous) != self._last:
            return f"it is number {sequence} in the chain of decisions, and number {self._last[0] + 1} comes next"
        self._last = sequence, sha256(canonical(body))
        return ""
