"""The judge: joins the floor's checks with the policy engine's answer into one Decision.

It is pure: the same checks, answer and time give the same Decision, byte for byte. So dry-run, replay,
explanation and "what was enforced on that date" are this function with other inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from weighbridge.core.decision import Check, Decision, EngineAnswer, Outcome
from weighbridge.core.exceptions import Exception_
from weighbridge.core.tier import Mode
from weighbridge.policy.exceptions import weigh
from weighbridge.policy.floor import FLOOR_IDS, STAGES


def judge(
    checks: Sequence[Check],
    answer: EngineAnswer,
    now: datetime,
    *,
    mode: Mode,
    digests: Mapping[str, str],
    action: str = "promote",
    project: str = "default",
    exceptions: Sequence[Exception_] = (),
) -> Decision:
    """Return allow only when the whole floor passes and the engine allows without a denial.

    `checks` are what `floor` returned. `mode` changes what is done with the answer (`enforced`), never the
    answer: `enforce` acts on it, `warn` acts on allow and only warns of block, `observe` and `off` do neither.
    `exceptions` (`policy.exceptions.exceptions_of`) answer for what the policy says, never for a check in `checks`.
    """
    answered, came = weigh(answer, exceptions, now)
    everything = (*checks, *_complete(checks), *answered)
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
        exceptions=came,
    )


def stands(checks: Sequence[Check]) -> bool:
    """Tell whether every check passes. Here, and nowhere else, cannot-tell counts as fail."""
    return bool(checks) and all(check.outcome is Outcome.PASS for check in checks)


def _complete(checks: Sequence[Check]) -> list[Check]:
    """Hold the floor's checks against its table and the stages it names, so that a floor with a hole never allows."""
    named = [check.found for check in checks if check.id == STAGES and check.outcome is Outcome.PASS]
    stages = {f"claims.{stage}" for found in named for stage in found.split(", ")}
    missing = sorted((FLOOR_IDS | stages) - {check.id for check in checks})
    if not missing:
        return []
    found = f"not checked: {', '.join(missing)}"
    return [Check("floor.complete", Outcome.CANNOT_TELL, "every condition of the floor is checked", found)]
