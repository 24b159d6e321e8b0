"""`policy replay`: past decisions computed again, by their own policy or by another; which would change, and why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe

if TYPE_CHECKING:
    from weighbridge.gate.replay import Replayed, Summary

SHOWN = 50
"""Rows that are shown as text; `--format json` and `jsonl` give all of them."""


@click.command("replay")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Judge by these policy files instead of each decision's own.",
)
@click.option("--since", metavar="DATE", help="Only decisions from this day or time on.")
@click.option("--all-projects", is_flag=True, help="Of every project, not of the current one only.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Processes (default: one for each core).")
@common
def replay(
    shared: Shared, *, policy: Path | None, since: str | None, all_projects: bool, jobs: int | None
) -> int:
    """Compute past decisions again from their kept evidence; nothing is decided, changed or logged.

    Without --policy each is judged by the policy it was made by and must come out to the byte. Exits with 0 when no
    answer changes, 1 when one does or something is not what was signed, 3 when something could not be computed again.
    """
    from weighbridge.cli.decisions import moment
    from weighbridge.gate.judging import read_policy
    from weighbridge.gate.replay import Came, Range, Summary, replay_parallel

    bundle = read_policy(policy) if policy is not None else None
    with opened(shared) as registry:
        within = Range("" if all_projects else registry.project, moment(since) if since else None)
        summary = Summary(str(bundle.digest) if bundle else "each decision's own")
        rows = []
        found = replay_parallel(registry, jobs=jobs or os.cpu_count() or 1, policy=bundle, within=within)
        for row in found:
            summary.add(row)
            if row.came != Came.IDENTICAL and (row.came != Came.SAME or row.note or row.differences):
                rows.append(row)
    more = {"jsonl": lambda: _jsonl(rows, summary)}
    report = {**summary.to_json(), "rows": [row.to_json() for row in rows]}
    emit(shared, "replay", [report], _text(rows, summary), more=more)
    return summary.exit_code


def _jsonl(rows: list[Replayed], summary: Summary) -> str:
    return "\n".join(
        json.dumps(row, ensure_ascii=False) for row in [*(one.to_json() for one in rows), summary.to_json()]
    )


def _text(rows: list[Replayed], summary: Summary) -> str:
    lines = []
    for row in sorted(rows, key=lambda row: ("changed", "tampered", "cannot-tell", "same").index(row.came))[
        :SHOWN
    ]:
        lines += _row_text(row)
    if len(rows) > SHOWN:
        lines.append(f"  … and {len(rows) - SHOWN} more (--format jsonl)")
    counts = summary.to_json()
    outages = f", {counts['outages']} with no answer of the policy then" if counts["outages"] else ""
    lines.append(
        f"{counts['decisions']} decisions by {summary.policy}: {counts['identical']} identical, {counts['same']} with the "
        f"same answer, {counts['changed']} would change ({counts['to_block']} to block, {counts['to_allow']} to allow), "
        f"{counts['tampered']} not what was signed, {counts['cannot-tell']} could not be computed again{outages}"
    )
    return "\n".join(lines)


def _row_text(row: Replayed) -> list[str]:
    mark = {"changed": "✗", "tampered": "✗", "cannot-tell": "?"}.get(row.came, "·")
    turn = f"{row.before} → {row.now}" if row.came == "changed" else row.came
    lines = [f"  {mark} {row.sequence or '-'}  {row.time}  {row.action}  {row.model[:16]}  {turn}"]
    lines += [f"      {safe(row.note)}"] if row.note else []
    for one in row.differences:
        lines.append(f"      {one.check}: {one.before or 'not asked'} → {one.now or 'not asked'}")
        lines += [f"        expected: {safe(one.expected)}", f"        found:    {safe(one.found)}"]
    return lines
