"""Past decisions as tests of a policy: the question that was asked, and what was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.errors import BadReference, NotFound, VerificationFailed
from weighbridge.gate.decisions import Kept, kept
from weighbridge.registry.wiring import Registry

LEAST_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """The question of one decision, the class of model that it was about, and whether the policy let it pass."""

    id: str
    package: str
    question: dict[str, JSON]
    allow: bool


def asked(registry: Registry, decision: str) -> Asked:
    """Return the question of the decision whose id begins with `decision`; it is verified like any that is read.

    Raises NotFound, BadReference for one that names several, VerificationFailed for one that was changed or rests on nothing.
    """
    wanted = decision.removeprefix("sha256:").lower()
    if len(wanted) < LEAST_DIGITS:
        raise BadReference(
            f"{decision!r} is too short", remedy=f"give at least {LEAST_DIGITS} digits of its id"
        )
    found = [one for one in kept(registry) if one.id.hex.startswith(wanted)]
    if not found:
        raise NotFound(f"there is no decision {decision}", remedy="weighbridge decisions lists them")
    if len({one.id for one in found}) > 1:
        raise BadReference(f"{decision} begins {len(found)} ids", remedy="give more digits of it")
    return _asked(found[0])


def _asked(one: Kept) -> Asked:
    if one.problem:
        raise VerificationFailed(
            "this decision is not what was signed",
            cause=one.problem,
            remedy="weighbridge doctor",
            check="records.decision",
        )
    if not one.text:
        raise NotFound(
            "this decision rests on no evidence", remedy="take one about a model that could be read"
        )
    evidence: Any = parse(one.text)
    checks: Any = one.body["checks"]
    engine = next((row for row in checks if row["id"] == "policy.engine"), None)
    question: dict[str, JSON] = {
        "action": one.body["action"],
        "evaluated_at": one.body["time"],
        "evidence": evidence,
        "floor": [
            row for row in checks if not row["id"].startswith("policy.") and row["id"] != "floor.complete"
        ],
    }
    package = str(evidence["origin"]).replace("-", "_")
    excused = any(
        row["state"] == "used" and row["rule"].startswith("policy.") for row in one.body.get("exceptions", ())
    )
    passed = engine is not None and engine["outcome"] == "pass" and not excused
    return Asked(str(one.id), package, question, passed)
