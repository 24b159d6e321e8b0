"""`deploy --from`: register what already runs, and show what each model would need to be trusted."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from weighbridge.cli.options import Shared, opened
from weighbridge.cli.render import emit, safe, say, table
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError
from weighbridge.gate.adoption import SENTENCES, Row, Standing, adopt, counts, found_in, lasts

KINDS = ("k8s", "mlflow", "s3")
MARKS = {
    Standing.PASS: ("✓", "green"),
    Standing.CONVERT: ("→", "yellow"),
    Standing.SIGN: ("→", "yellow"),
    Standing.BLOCKED: ("✗", "red"),
    Standing.CANNOT_TELL: ("?", "yellow"),
}


def adopt_running(shared: Shared, kind: str, place: str | None, *, copy: bool) -> int:
    """Register what `kind` says runs and print a row for each; 1 where something is blocked, 3 where something cannot be told."""
    file = kind if kind not in KINDS and "://" not in kind else ""
    if "://" in kind:
        kind, place = "s3", kind
    if kind != "mlflow" and not file and not place:
        raise UsageError(
            f"--from {kind} needs to know where to look",
            remedy="kubectl get … -A -o json | weighbridge deploy --from k8s -"
            if kind == "k8s"
            else "weighbridge deploy --from s3 s3://bucket/prefix",
        )
    with opened(shared) as registry, tempfile.TemporaryDirectory(prefix="weighbridge-") as folder:
        where = place or ""
        if place == "-":
            where = str(Path(folder) / "standard-input")
            Path(where).write_bytes(sys.stdin.buffer.read())
        running, silent = found_in(registry, "file" if file else kind, file or where, os.environ)

        def told(row: Row) -> None:
            say(shared, f"{row.standing.value:<12} {safe(row.running.target)}  {safe(row.running.reference)}")

        rows = adopt(registry, running, environ=os.environ, in_place=not copy, told=told)
        ends = lasts(registry)
    found = counts(rows)
    items: list[JSON] = [row.to_json() for row in rows]
    emit(shared, "adoption", items, _text(rows, silent, ends.date().isoformat() if ends else ""))
    return 1 if found["blocked"] else 3 if found["cannot-tell"] else 0


def _text(rows: list[Row], silent: int, ends: str) -> str:
    parts = []
    for standing, (mark, colour) in MARKS.items():
        here = [row for row in rows if row.standing is standing]
        if not here:
            continue
        parts.append(click.style(f"{mark} {len(here)} {SENTENCES[standing]}", fg=colour, bold=True))
        head = ("target", "model", "owner", "why", "next")
        parts.append(table([_cells(row) for row in here], head))
    found = counts(rows)
    said = ", ".join(f"{found[standing.value]} {SENTENCES[standing]}" for standing in Standing)
    parts.append(f"{len(rows)} models: {said}")
    if silent:
        parts.append(f"{silent} objects name no model and run no server of models that is known")
    parts.append(
        f"all are legacy: they may go on until {ends}, and are not promoted before they are taken in anew"
        if ends
        else "all are legacy; the policy says no end (legacy.until), so enforce lets none of them go on"
    )
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    model = f"{row.running.reference or '-'}{f' ({row.running.note})' if row.running.note else ''}"
    return (row.running.target, model, row.running.owner or "-", row.why, row.next)
