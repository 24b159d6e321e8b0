"""`scan`: look through models without a registry; with no argument, through the hub cache of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common_with
from weighbridge.cli.outcome import Failed, Row, accepted, exit_code
from weighbridge.cli.render import emit, report_text, say, total_text
from weighbridge.core.errors import NotFound, WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.source.cache import CachedModel


@click.command()
@click.argument("model", nargs=-1)
@click.option("--fail-on", type=click.Choice(["notes"]), help="Also fail (exit 1) when there are notes.")
@click.option("--remote", is_flag=True, help="Read large files on a hub in parts, only as far as needed.")
@click.option(
    "--jobs", type=click.IntRange(1, 256), metavar="N", help="Processes to scan in (default: as many as pay)."
)
@click.option("--identity", is_flag=True, help="Hash every byte as well, and print the model's digest.")
@click.option("--no-cache", is_flag=True, help="Scan again what was scanned before by the same rules.")
@common_with("sarif", "markdown")
def scan(
    shared: Shared,
    model: tuple[str, ...],
    *,
    fail_on: str | None,
    remote: bool,
    jobs: int | None,
    identity: bool,
    no_cache: bool,
) -> int:
    """Look through models (paths, hf:// references) for anything that could run or that cannot be told.

    Without an argument: every model in this machine's hub cache, read in place, worst first.
    """
    from weighbridge.cli.scan_run import How, run

    if model:
        found = dict.fromkeys(model, "")
    else:
        found = {str(kept.path): f"hf://{kept.repository}@{kept.commit}" for kept in _cached(shared)}
    needed = identity or shared.format != "text" or bool(shared.config.accept)
    how = How(jobs=jobs, cache=not no_cache, remote=remote, identity=needed)
    rows: list[Row] = []
    failed: list[Failed] = []
    for reference, name in found.items():
        try:
            rows.append(_excused(shared, run(shared, reference, name or reference, how)))
        except WeighbridgeError as error:
            if len(found) == 1 and shared.format != "sarif":
                raise
            failed.append(
                Failed(name or reference, error)
            )  # one that cannot be scanned hides none of the others
            say(shared, f"{name or reference}: {error}")
    if not model:
        rows.sort(key=lambda row: -row.verdict.rank)
    code = exit_code(rows, failed, fail_on=fail_on)
    _show(shared, rows, failed, code)
    if not model and rows:
        say(shared, _next(rows[0]))
    return code


def _show(shared: Shared, rows: list[Row], failed: list[Failed], code: int) -> None:
    def as_sarif() -> str:
        import json

        from weighbridge.cli.sarif import sarif

        return json.dumps(sarif(rows, failed, exit_code=code, here=Path.cwd()), indent=1)

    def as_markdown() -> str:
        from weighbridge.cli.markdown import markdown

        return markdown(rows, failed)

    text = "\n\n".join(report_text(row) for row in rows)
    if len(rows) > 1:
        text += f"\n\n{total_text(rows)}"
    more = {"sarif": as_sarif, "markdown": as_markdown}
    items = [row.to_json() for row in rows] if shared.format in ("json", "jsonl") else []
    emit(shared, "report", items, text, more=more)


def _excused(shared: Shared, row: Row) -> Row:
    """Apply the exceptions of the user's own configuration to what is shown, never to the report."""
    if not shared.config.accept:
        return row
    from dataclasses import replace
    from datetime import UTC, datetime

    found = accepted(row.identified, row.files, shared.config.accept, datetime.now(UTC))
    return replace(row, accepted=found)


def _next(worst: Row) -> str:
    """Return the one command that leads on."""
    if worst.verdict.passes:
        return f"next: weighbridge pull {worst.name}"
    finding = max(worst.shown, key=lambda row: row.verdict.rank, default=None)
    return f"next: weighbridge rule {finding.rule}" if finding else "next: weighbridge rule"


def _cached(shared: Shared) -> list[CachedModel]:
    from weighbridge.source.cache import cached_models, default_cache

    root = default_cache(os.environ)
    found = cached_models(root) if root is not None and root.is_dir() else []
    if not found:
        raise NotFound(
            "there is no model in this machine's hub cache",
            cause=f"looked in {root}",
            remedy="give a path: weighbridge scan ./model",
        )
    say(shared, f"{len(found)} models in {root}")
    return found
