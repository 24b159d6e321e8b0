"""How things look: JSON envelopes, findings that teach, decisions as expected / found, tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared
from weighbridge.core.canonical import JSON
from weighbridge.core.envelope import envelope

if TYPE_CHECKING:
    from weighbridge.cli.outcome import Row
    from weighbridge.core.decision import Check, Decision
    from weighbridge.core.finding import Finding

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}
"""How severe a finding is, by its value: findings cost their import only where there are any."""
MARKS = {"pass": ("✓", "green"), "fail": ("✗", "red"), "cannot-tell": ("?", "yellow")}
"""How the outcome of a check looks, by its value."""
SENTENCES = {
    "clean": "clean: nothing in it can run",
    "notes": "notes: nothing stands in the way",
    "unread": "unread: it could not be told, so it is blocked",
    "unlisted": "unlisted: it holds names that nobody has vouched for, so it is blocked",
    "broken": "broken: it is not what it says it is, so it is blocked",
    "dangerous": "dangerous: loading it would run code, so it is blocked",
}


def emit(
    shared: Shared,
    kind: str,
    items: Sequence[JSON],
    text: str,
    *,
    more: Mapping[str, Callable[[], str]] | None = None,
) -> None:
    """Print data as asked: one JSON envelope, one item a line, or text; `more` makes further formats."""
    if more is not None and shared.format in more:
        data = more[shared.format]()
    elif shared.format == "json":
        data = json.dumps(envelope(kind, items), indent=2, ensure_ascii=False)
    elif shared.format == "jsonl":
        data = "\n".join(json.dumps(item, ensure_ascii=False) for item in items)
    else:
        data = text
    if shared.output is not None:
        _write(shared.output, click.unstyle(data) + "\n")
    elif data:
        click.echo(data)


def print_json(value: JSON) -> None:
    """Print one JSON object on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(shared: Shared, text: str) -> None:
    """Tell people something on standard error."""
    if not shared.quiet:
        click.echo(text, err=True)


def safe(text: str) -> str:
    """Make text from a model harmless on a terminal: control and formatting characters are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def report_text(row: Row) -> str:
    """Return findings, worst first, what was accepted, and the line that says what was read."""
    report = row.report
    parts = [finding_text(finding) for finding in row.shown]
    parts += [
        _accepted_text(finding, row) for finding in report.findings if finding.fingerprint in row.accepted
    ]
    line = f"{safe(report.model)}: {count(len(report.formats), 'file')}, {_read_text(row)}, {counts(row)}"
    line += f", {row.seconds:.1f} s" + (", from cache" if row.cached else "")
    verdict = row.verdict
    colour = "green" if verdict.passes else "yellow" if verdict.value == "unread" else "red"
    sentence = SENTENCES[verdict]
    if verdict is not report.verdict:
        sentence += f" (the report says {report.verdict.value}; you accepted the rest)"
    parts.append(f"{line}\n{click.style(sentence, fg=colour, bold=True)}")
    from weighbridge.core.finding import Report

    if isinstance(report, Report):  # else nobody asked which bytes these are
        parts.append(str(report.manifest))
    return "\n".join(parts)


def _read_text(row: Row) -> str:
    """Say what was read of what is there; for a remote model also how much of that was fetched at all."""
    coverage = row.report.coverage
    percent = 100 if not coverage.bytes_present else int(100 * coverage.bytes_read / coverage.bytes_present)
    if row.remote is None:
        return f"{size(coverage.bytes_read)} read of {size(coverage.bytes_present)} ({percent} %)"
    return (
        f"{size(row.remote.fetched)} fetched of {size(row.remote.present)}, "
        f"{percent} % read or explained by headers"
    )


def counts(row: Row) -> str:
    """Return `1 error, 0 warnings`, and how many findings were accepted where any were."""
    errors = sum(finding.severity.value == "error" for finding in row.shown)
    warnings = sum(finding.severity.value == "warning" for finding in row.shown)
    text = f"{count(errors, 'error')}, {count(warnings, 'warning')}"
    return text + (f", {len(row.report.findings) - len(row.shown)} accepted" if row.accepted else "")


def total_text(rows: Sequence[Row]) -> str:
    """Return the line below several reports."""
    present = sum(row.report.coverage.bytes_present for row in rows)
    files = sum(len(row.report.formats) for row in rows)
    blocked = sum(not row.verdict.passes for row in rows)
    seconds = sum(row.seconds for row in rows)
    return f"{count(len(rows), 'model')}, {count(files, 'file')}, {size(present)}, {blocked} blocked, {seconds:.1f} s"


def _accepted_text(finding: Finding, row: Row) -> str:
    from datetime import timedelta

    entry = row.accepted[finding.fingerprint]
    last = (entry.until - timedelta(seconds=1)).date().isoformat()
    return f"accepted[{finding.rule}]: {safe(finding.message)} (until {last}: {safe(entry.reason)})"


def count(number: int, word: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def finding_text(finding: Finding) -> str:
    """Return one finding: what, where, the evidence, why it matters, what to do."""
    place = " ! ".join(safe(part) for part in (finding.location.path, *finding.location.members))
    if finding.location.offset is not None:
        place += f" : byte {finding.location.offset}"
    head = click.style(f"{finding.severity.value}[{finding.rule}]", fg=COLOURS[finding.severity], bold=True)
    lines = [f"{head}: {safe(finding.message)}", f"  --> {place}"]
    lines += [f"   |  {safe(line)}" for line in finding.evidence]
    if finding.why:
        lines.append(f"   = why: {safe(finding.why)}")
    if finding.help:
        lines.append(f"   = help: {safe(finding.help)}")
    return "\n".join(lines)


def decision_text(decision: Decision) -> str:
    """Return a decision: the answer, and what stands in its way (`cli.explaining` shows all)."""
    from weighbridge.core.decision import Outcome

    answer = (
        click.style("allowed", fg="green", bold=True)
        if decision.allow
        else click.style("blocked", fg="red", bold=True)
    )
    lines = [f"{decision.action}: {answer} ({len(decision.checks)} checks, {len(decision.refusals)} against)"]
    failed = [check for check in decision.refusals if check.outcome is Outcome.FAIL]
    untold = [check for check in decision.refusals if check.outcome is Outcome.CANNOT_TELL]
    lines += [check_text(check) for check in failed or untold]
    if failed and untold:
        lines.append(
            f"  ? could not be told: {', '.join(check.id for check in untold)} (--explain shows all)"
        )
    lines += [f"  note: {safe(warning)}" for warning in decision.warnings]
    lines += [f"  exception: {safe(str(exception))}" for exception in decision.exceptions]
    return "\n".join(lines)


def check_text(check: Check) -> str:
    """Return one check as expected / found / proof / help."""
    from weighbridge.core.decision import Outcome

    mark, colour = MARKS[check.outcome.value]
    lines = [f"  {click.style(mark, fg=colour)} {check.id}"]
    lines += [f"      expected: {safe(check.expected)}", f"      found:    {safe(check.found)}"]
    if check.proof:
        lines.append(f"      proof:    {safe(check.proof)}")
    if check.remedy and check.outcome is not Outcome.PASS:
        lines.append(f"      help:     {safe(check.remedy)}")
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    """Return rows as columns under a head, separated by two spaces."""
    everything = [tuple(head), *[tuple(safe(cell) for cell in row) for row in rows]]
    widths = [max(len(row[column]) for row in everything) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
    return "\n".join([click.style(lines[0], bold=True), *lines[1:]])


def size(count: int) -> str:
    """Return a byte count for people: 438 MB."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
