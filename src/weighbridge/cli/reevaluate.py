"""`reevaluate`: judge trusted models again with what is known today, once or until stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, say
from weighbridge.core.errors import UsageError, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.gate.reevaluate import Round, Wish
    from weighbridge.registry.wiring import Registry


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--due", "due_only", is_flag=True, help="Only what something has changed for (the default).")
@click.option("--all", "every", is_flag=True, help="Every trusted model, changed or not.")
@click.option(
    "--every", "seconds", type=click.IntRange(1, 30 * 86400), help="Again and again, so many seconds apart."
)
@click.option("--dry-run", is_flag=True, help="Judge, but change and log nothing.")
@click.option(
    "--most", type=click.IntRange(0), help="Quarantine at most so many (default: 10, or a fifth if more)."
)
@common
def reevaluate(
    shared: Shared,
    models: tuple[str, ...],
    *,
    due_only: bool,
    every: bool,
    seconds: int | None,
    dry_run: bool,
    most: int | None,
) -> int:
    """Judge trusted models again with what is known today; what no longer passes is quarantined.

    Without MODEL: those that something has changed for since they were judged (rules, policy, authority, claims,
    revocations, advisories, ended exceptions), and those judged too long ago. What was quarantined by this and passes
    again is restored.
    """
    from weighbridge.gate.reevaluate import Wish
    from weighbridge.gate.reevaluate import reevaluate as judge_again
    from weighbridge.registry.models import resolve

    if due_only + every + bool(models) > 1:
        raise UsageError(
            "give models, --due or --all",
            cause="each says by itself what is looked at",
            remedy="leave out the others",
        )
    if seconds is not None and (models or dry_run):
        raise UsageError("--every goes on with what is due", remedy="leave MODEL and --dry-run out")
    with opened(shared) as registry:
        only = tuple(resolve(registry, text) for text in models)
        wish = Wish(only, every, dry_run, most)
        if seconds is not None:
            return _keep_on(shared, registry, wish, seconds)
        done = judge_again(registry, wish)
        _show(shared, done)
    return done.exit_code


def _keep_on(shared: Shared, registry: Registry, wish: Wish, seconds: int) -> int:
    """Go round after round until somebody says stop; the model under way is finished."""
    import signal
    import threading

    from weighbridge.cli.beating import once
    from weighbridge.cli.main import show_error
    from weighbridge.gate.reevaluate import Round, keep_on

    over = threading.Event()
    before = {one: signal.signal(one, lambda *_: over.set()) for one in (signal.SIGINT, signal.SIGTERM)}

    def told(result: Round | WeighbridgeError) -> None:
        if isinstance(result, Round):
            _show(shared, result)
        else:
            show_error(result, [])
        once(
            shared, seconds
        )  # a sign of life if the gate could decide, an alarm if not, and what waits to be told

    try:
        keep_on(registry, wish, wait=lambda: over.wait(seconds), told=told, over=over.is_set)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    say(shared, "stopped; what was judged is in the log")
    return 0


def _show(shared: Shared, done: Round) -> None:
    passing = {"passes", "restored"}
    lines = []
    for row in done.seen:
        because = ", ".join(reason.value for reason in row.reasons) or "asked for"
        if row.outcome.value == "passes":
            continue
        lines.append(f"{row.outcome.value}: {row.digest.short} (looked at because: {because})")
        if row.outcome.value not in passing:
            lines += [f"  {check.id}: {safe(check.found)}" for check in row.against[:3]]
            lines += [
                f"  runs at {safe(deployment.target)} since {deployment.since}" for deployment in row.deployed
            ]
    lines += [f"soon over, {end.to_json()['ends']}: {safe(str(end))}" for end in done.expiring]
    if done.stopped:
        lines.append(f"ended early, a part of the gate does not answer: {safe(done.stopped)}")
    counts = ", ".join(f"{n} {name}" for name, n in done.to_json()["counts"].items() if n)  # type: ignore[union-attr]
    lines.append(
        f"{len(done.seen)} of {done.trusted} trusted models looked at, {done.due} were due: {counts or 'nothing to do'}"
    )
    if any(row.outcome.value == "restored" for row in done.seen):
        lines.append("restored is not admitted yet: weighbridge admit MODEL")
    if any(row.outcome.value == "held-back" for row in done.seen):
        lines.append(
            f"a round quarantines at most {done.most}; let it go further: weighbridge reevaluate --most NUMBER"
        )
    if done.mode.value != "enforce":
        lines.append(f"mode {done.mode.value}: nothing is quarantined")
    if done.dry_run:
        lines.append("dry run: nothing was changed or logged")
    emit(shared, "reevaluation", [done.to_json()], "\n".join(lines))
