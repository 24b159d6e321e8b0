"""`--explain`: every check of a decision as expected, found, proof and remedy; floor and policy apart, and what another policy would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.render import check_text, safe

if TYPE_CHECKING:
    from weighbridge.core.decision import Check, Decision
    from weighbridge.gate.promote import Result


def explained(result: Result) -> str:
    """Return a decision with everything that it was made from."""
    decision = result.decision
    told: Any = result.body.get("circumstances", {})
    named = set(told.get("checks", ()))
    asked = [check for check in decision.checks if check.id in named]
    policy = [check for check in decision.checks if check.id.startswith("policy.")]
    floor = [check for check in decision.checks if check not in asked and check not in policy]
    digests = decision.digests
    lines = [_head(decision)]
    lines += _part("where the model stands", asked)
    lines += _part(f"the floor, which nothing switches off ({_short(digests.get('floor'))})", floor)
    title = f"the policy {_short(digests.get('policy'))}, by {digests.get('engine') or 'no engine'}"
    lines += _part(title, policy)
    lines += [click.style("  exceptions", bold=True)] + (
        [f"      {safe(str(one))}" for one in decision.exceptions] or ["      none"]
    )
    acts = "acted on" if decision.enforced else "not acted on"
    lines.append(f"{click.style('  mode', bold=True)} {decision.mode.value}: this answer is {acts}")
    lines += [f"  note: {safe(warning)}" for warning in decision.warnings]
    if result.active is not None:
        lines += _compared(decision, result.active)
    return "\n".join(lines)


def _head(decision: Decision) -> str:
    word = (
        click.style("allowed", fg="green", bold=True)
        if decision.allow
        else click.style("blocked", fg="red", bold=True)
    )
    return f"{decision.action}: {word} ({len(decision.checks)} checks, {len(decision.refusals)} against)"


def _part(title: str, checks: Sequence[Check]) -> Iterator[str]:
    if checks:
        yield click.style(f"  {title}", bold=True)
        yield from (check_text(check) for check in checks)


def _compared(there: Decision, active: Decision) -> Iterator[str]:
    """Yield what these policy files would change, against the active policy, on the same evidence."""
    yield click.style(f"  against the active policy {_short(active.digests.get('policy'))}", bold=True)
    words = {True: "allowed", False: "blocked"}
    turn = (
        "the same answer"
        if there.allow == active.allow
        else f"now {words[active.allow]}, then {words[there.allow]}"
    )
    yield f"      {turn}"
    before = {check.id: check for check in active.checks}
    after = {check.id: check for check in there.checks}
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if old is not None and new is not None and old.outcome is new.outcome:
            continue
        was = old.outcome.value if old else "no objection"
        will = new.outcome.value if new else "no objection"
        yield f"      {name}: {was} → {will}: {safe((new or old).found)}"  # type: ignore[union-attr]  # one of them is there


def _short(digest: str | None) -> str:
    return digest[:19] if digest else "none"
