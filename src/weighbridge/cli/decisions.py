"""`decisions`: what the gate decided, each held against what was signed; and what was enforced for a model on a date."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common_with, end_of_day, opened
from weighbridge.cli.render import emit, safe
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.gate.decisions import Kept
    from weighbridge.registry.wiring import Registry


@click.command()
@click.argument("model", required=False)
@click.option("--since", metavar="DATE", help="Only decisions from this day or time on.")
@click.option(
    "--on", "on", metavar="DATE", help="What was enforced for MODEL at the end of this day, or at a time."
)
@click.option(
    "--input", "whole", is_flag=True, help="With --format opa: the evidence itself, not its digest."
)
@click.option("--all-projects", is_flag=True, help="Of every project, not of the current one only.")
@common_with("opa")
def decisions(
    shared: Shared, model: str | None, *, since: str | None, on: str | None, whole: bool, all_projects: bool
) -> int:
    """List what the gate decided; each row is held against its signed statement and its evidence first.

    Exits with 1 when a decision is not what was signed. `--format opa` writes one event of OPA's decision log a line.
    """
    from weighbridge.registry.models import resolve

    if on is not None and (model is None or since is not None or shared.format == "opa"):
        raise UsageError(
            "--on is about one model on one date", remedy="weighbridge decisions MODEL --on DATE"
        )
    if whole and shared.format != "opa":
        raise UsageError("--input belongs to --format opa", remedy="add --format opa")
    with opened(shared) as registry:
        from weighbridge.gate.decisions import kept

        digest = resolve(registry, model) if model is not None else None
        if on is not None:
            assert digest is not None
            return _enforced(shared, registry, digest, moment(on, end=True))
        project = "" if all_projects else registry.project
        found = kept(registry, manifest=digest, project=project, since=moment(since) if since else None)
        return _list(shared, registry, found, whole=whole)


def moment(text: str, *, end: bool = False) -> datetime:
    """Read a day (its beginning, or its `end`) or a time; raises UsageError."""
    try:
        if "T" in text or ":" in text:
            return parse_rfc3339(text)
        return end_of_day(text) if end else datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (ValueError, UsageError) as error:
        raise UsageError(
            f"{text!r} is no date", remedy="write it as 2026-11-23 or 2026-11-23T12:00:00Z"
        ) from error


def _list(shared: Shared, registry: Registry, found: Iterator[Kept], *, whole: bool) -> int:
    """Print decisions as they are read, a line each where the format allows it."""
    from weighbridge.gate.decision_log import item, opa_event

    bad = 0
    if shared.format == "json":
        rows = []
        for one in found:
            bad += bool(one.problem)
            rows.append(item(one))
        emit(shared, "decision", rows, "")
        return 1 if bad else 0
    number = 0
    with _lines(shared) as write:
        for one in found:
            number += 1
            bad += bool(one.problem)
            if shared.format == "opa":
                write(json.dumps(opa_event(one, registry.id, whole=whole), ensure_ascii=False))
            elif shared.format == "jsonl":
                write(json.dumps(item(one), ensure_ascii=False))
            else:
                write(_line(one))
        if shared.format == "text":
            said = f", {bad} not what was signed" if bad else ", each as it was signed"
            write(f"{number} decisions{said}" if number else "nothing was decided")
    return 1 if bad else 0


@contextmanager
def _lines(shared: Shared) -> Iterator[Callable[[str], None]]:
    """Give what writes a line: to standard output, or to a file that is there when all of it is written."""
    if shared.output is None:
        yield click.echo
        return
    temporary = shared.output.with_name(f".{shared.output.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            yield lambda line: _put(stream, line)
        temporary.replace(shared.output)
    finally:
        temporary.unlink(missing_ok=True)


def _put(stream: IO[str], line: str) -> None:
    """Write a line without colours."""
    stream.write(click.unstyle(line) + "\n")


def _line(one: Kept) -> str:
    if one.problem:
        return f"{one.sequence or '-':>6}  {click.style('tampered', fg='red', bold=True)}  {one.id.short}  {safe(one.problem)}"
    body = one.body
    against = [row["id"] for row in body["checks"] if row["outcome"] != "pass"]
    word = click.style("allow", fg="green") if one.allow else click.style("block", fg="red")
    why = "" if one.allow else f"  {', '.join(against[:3])}{' …' if len(against) > 3 else ''}"
    mode = "" if body["enforced"] else f" (mode {body['mode']}, not enforced)"
    used = [row["kind"] for row in body.get("exceptions", ()) if row["state"] == "used"]
    excused = f"  by {', '.join(sorted(set(used)))}" if used else ""
    return (
        f"{one.sequence or '-':>6}  {body['time']}  {body['action']:<8}{word}{mode}  {one.manifest[:16]}"
        f"  {one.id.short}  by {safe(one.asked_by)}{excused}{why}"
    )


def _enforced(shared: Shared, registry: Registry, digest: Any, when: datetime) -> int:
    from weighbridge.gate.enforced import enforced_on

    answer = enforced_on(registry, digest, when)
    emit(shared, "enforcement", [answer], _enforced_text(answer))
    return 0


def _enforced_text(answer: Any) -> str:
    one = answer["decision"]
    lines = [f"{answer['model'][:16]} in project {answer['project']}, at {answer['on']}"]
    if one is not None:
        word = one["decision"] if one["enforced"] else f"{one['decision']}, not enforced"
        lines += [
            f"  in force:  {word} ({one['action']}), decision {one['id'][:19]}, number {one.get('sequence', '-')}",
            f"  decided:   {one['time']}, logged {one['logged_at']}",
            f"  logged as: entry {one['receipt']['log_index']} ({one['receipt']['assurance']})",
            f"  asked by:  {safe(one['asked_by'])}",
            f"  mode:      {one['mode']}",
            f"  policy:    {answer['policy']['digest']}",
            f"  commit:    {answer['policy']['commit'] or 'none named'}",
            f"  authority: version {answer['authority']['version']} ({answer['authority']['digest'][:19]})",
            f"  evidence:  {one['digests']['evidence'] or 'none could be gathered'}",
            f"  proof:     bundle {one['bundle']} (--format json prints it whole)",
        ]
        against = [row for row in one["checks"] if row["outcome"] != "pass"]
        lines += [f"  against:   {row['id']}: {safe(row['found'])}" for row in against]
        if answer["admission"]:
            admission = answer["admission"]
            word = "good then" if admission["good"] else "no longer good then"
            lines.append(f"  admission: from {admission['from']} until {admission['until']}, {word}")
        lines += [
            f"  later:     {row['logged_at']} {row['kind']}: {safe(row['says'])}" for row in answer["later"]
        ]
    lines += [f"  unknown:   {text}" for text in answer["unknown"]]
    return "\n".join(lines)
