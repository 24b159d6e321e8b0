"""The judge: joins the floor's checks with the policy engine's answer into one Decision.

It is pure: the same checks, answer and time give the same Decision, byte for byte. So dry-run, replay,
explanation and "what was enforced on that date" are this function with other inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from weighbridge.core.decision import Check, Decision, EngineAnswer, Outcome
from weighbridge.core.tier import Mode
from weighbridge.policy.floor import FLOOR_IDS


def judge(
    checks: Sequence[Check],
    answer: EngineAnswer,
    now: datetime,
    *,
    mode: Mode,
    digests: Mapping[str, str],
    action: str = "promote",
    project: str = "default",
) -> Decision:
    """Return allow only when the whole floor passes and the engine allows without a denial.

    `checks` are what `floor` returned. `mode` changes what is done with the answer (`enforced`), never the
    answer: `enforce` acts on it, `warn` acts on allow and only warns of block, `observe` and `off` do neither.
    """
    everything = (*checks, *_complete(checks), *_answered(answer))
    allow = stands(everything)
    return Decision(
        allow=allow,
        mode=mode,
        enforced=mode is Mode.ENFORCE or (mode is Mode.WARN and allow),
        checks=everything,
        digests=dict(digests),
        time=now,
        action=action,
        project=project,
        warnings=tuple(f"{rule}: {message}" for rule, message in answer.warnings),
    )


def stands(checks: Sequence[Check]) -> bool:
    """Tell whether every check passes. Here, and nowhere else, cannot-tell counts as fail."""
    return bool(checks) and all(check.outcome is Outcome.PASS for check in checks)


def _complete(checks: Sequence[Check]) -> list[Check]:
    """Hold the floor's checks against its table, so that a floor that was not run never allows."""
    known = {check.id for check in checks}
    missing = sorted(FLOOR_IDS - known)
    if not any(name.startswith("claims.") for name in known):
        missing.append("claims.*")
    if not missing:
        return []
    found = f"not checked: {', '.join(missing)}"
    return [Check("floor.complete", Outcome.CANNOT_TELL, "every condition of the floor is checked", found)]


def _answered(answer: EngineAnswer) -> list[Check]:
    """Write the engine's answer as checks: one for the answer as a whole, one for each denial."""
    expected = "the policy allows it and denies nothing"
    engine = Check("policy.engine", answer.outcome, expected, _found(answer), answer.policy)
    denials = [
        Check(f"policy.{rule}", Outcome.FAIL, "the policy has no objection", message, answer.policy)
        for rule, message in answer.denials
    ]
    return [engine, *denials]


def _found(answer: EngineAnswer) -> str:
    if answer.problem:
        return answer.problem
    if answer.denials:
        return f"denied by {len(answer.denials)} rule(s)"
    return "allowed" if answer.outcome is Outcome.PASS else "not allowed, and no rule says why"
