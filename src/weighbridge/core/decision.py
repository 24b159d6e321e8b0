"""Checks, decisions and receipts: what the gate concluded, on which evidence, and what the log answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.exceptions import Exception_
from weighbridge.core.tier import Assurance, Mode

DECISION_SCHEMA = "weighbridge.decision/1"
ACTIONS = ("promote", "admit", "reevaluate")
"""What the gate is asked: from intake to trusted; may it run here, now; would it be let in today."""


class Outcome(StrEnum):
    """Of one check. `cannot-tell` counts as fail; `policy.judge` is the one place that says so."""

    PASS = "pass"  # noqa: S105 (not a password)
    FAIL = "fail"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule's outcome: what was expected, what was found, the proof (a digest or log index), the remedy."""

    id: str
    outcome: Outcome
    expected: str
    found: str
    proof: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the check as it stands in `weighbridge.decision/1`."""
        return {
            "id": self.id,
            "outcome": self.outcome.value,
            "expected": self.expected,
            "found": self.found,
            "proof": self.proof,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What the policy engine said, already held against the contract (`policy.contract`).

    `outcome` is PASS only for a well-formed allow without denials, FAIL for denials, CANNOT_TELL for
    undefined, errors, time-outs and wrong shapes; `denials` are (rule, message) pairs.
    """

    outcome: Outcome
    denials: tuple[tuple[str, str], ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    policy: str = ""
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """allow or block, with every check and the digests of all that went into it. Immutable; logged."""

    allow: bool
    mode: Mode
    enforced: bool
    checks: tuple[Check, ...]
    digests: Mapping[str, str]
    """Keys: floor, policy, engine, authority, ruleset, evidence, manifest."""
    time: datetime
    action: str = "promote"
    project: str = "default"
    warnings: tuple[str, ...] = ()
    exceptions: tuple[Exception_, ...] = ()
    """Every waiver and break-glass that was there, with what came of it."""

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The checks that stand in the way, definite failures first."""
        bad = [check for check in self.checks if check.outcome is not Outcome.PASS]
        return tuple(sorted(bad, key=lambda check: check.outcome is not Outcome.FAIL))

    @property
    def exit_code(self) -> int:
        """0 allowed, 1 a definite refusal, 3 only could-not-tell stands in the way."""
        if self.allow:
            return 0
        return 1 if any(check.outcome is Outcome.FAIL for check in self.checks) else 3

    def to_json(self) -> dict[str, JSON]:
        """Return one item of `weighbridge.decision/1`, without the receipt."""
        return {
            "decision": "allow" if self.allow else "block",
            "mode": self.mode.value,
            "enforced": self.enforced,
            "action": self.action,
            "project": self.project,
            "checks": [check.to_json() for check in self.checks],
            "warnings": list(self.warnings),
            "exceptions": [exception.to_json() for exception in self.exceptions],
            "digests": dict(self.digests),
            "time": rfc3339(self.time),
        }


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the log answered: position, proof as the Sigstore bundle carries it, and how much it is worth."""

    log_index: int
    proof: Mapping[str, JSON] = field(default_factory=dict)
    assurance: Assurance = Assurance.SINGLE_OPERATOR

    def to_json(self) -> dict[str, JSON]:
        """Return the receipt that stands beside a decision."""
        return {"log_index": self.log_index, "proof": dict(self.proof), "assurance": self.assurance.value}
