"""Alerts that wait to be told: rows written in the transaction of what they tell of, so that none is lost.

An alert is never what decides: the log and the decisions are. It only says to somebody who does not look
that something happened. A repeat (same kind, severity, project, subjects and sentence) is the same row, with a
count, moved to the end of the queue: receivers that are down for a month find each thing once, with its number,
and nothing was dropped. So a sentence holds no time and no counter; those belong in the facts.

Texts come from files, servers and people: what looks like a secret is struck out, control characters are
escaped, lengths are bounded. Telling is the gate's work (`gate.alerting`), after the transaction.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from weighbridge.core.alert import KINDS, SEVERITIES, Alert
from weighbridge.core.canonical import JSON, MAX_SAFE_INTEGER, canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import InternalError
from weighbridge.core.redact import Redactor
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

__all__ = ["KINDS", "SEVERITIES", "Alert", "alert", "kept", "made", "put", "read", "wrong"]

MAX_SUMMARY = 300
MAX_TEXT = 1000
MAX_ABOUT = 50
MAX_FACTS = 64 * 1024
MAX_DEPTH = 6


def alert(
    connection: sa.Connection,
    registry: Registry,
    kind: str,
    severity: str,
    summary: str,
    *,
    about: Sequence[Digest] = (),
    facts: Mapping[str, JSON] | None = None,
) -> None:
    """Note that somebody is to be told, inside the transaction of what it tells of.

    `kind` is one of KINDS, `severity` one of SEVERITIES, `summary` one sentence for people without times and
    counters (they go into `facts`). Raises InternalError for a kind or severity that there is none of.
    """
    record = registry.record()
    now = registry.clock.now()
    put(
        connection,
        made(
            kind, severity, summary, about=about, facts=facts or {}, project=record["project"],
            actor=record["actor"], now=now,
        ),
    )  # fmt: skip


def made(
    kind: str,
    severity: str,
    summary: str,
    *,
    about: Sequence[Digest] = (),
    facts: Mapping[str, JSON],
    project: str,
    actor: str,
    now: datetime,
) -> Alert:
    """Make an alert that is fit to be shown anywhere; raises InternalError for a kind or severity that there is none of."""
    if kind not in KINDS or severity not in SEVERITIES:
        raise InternalError(f"there is no alert {kind!r} of severity {severity!r}")
    clean = Redactor(os.environ)
    sentence = _line(clean(summary), MAX_SUMMARY)
    subjects = sorted({str(digest) for digest in about})
    detail = _bounded(dict(facts), clean)
    if len(subjects) > MAX_ABOUT:
        detail["more"] = len(subjects) - MAX_ABOUT
    return Alert(
        id=_id(kind, severity, project, sentence, subjects),
        sequence=0,
        kind=kind,
        severity=severity,
        project=project,
        actor=actor,
        summary=sentence,
        about=tuple(subjects[:MAX_ABOUT]),
        facts=detail,
        count=1,
        first=rfc3339(now),
        last=rfc3339(now),
    )


def put(connection: sa.Connection, told: Alert) -> None:
    """Put an alert at the end of the queue, `count` times; one that is there already moves to the end.

    The numbers go up by the count, so that the last one is the sum of all counts: a row that is gone leaves a gap.
    """
    table = schema.alert
    newest = connection.execute(sa.select(sa.func.max(table.c.sequence))).scalar() or 0
    again = {
        "actor": told.actor[:128],
        "sequence": newest + told.count,
        "facts": canonical(told.facts).decode(),
        "last_at": told.last,
    }
    repeat = sa.update(table).where(table.c.id == told.id)
    if connection.execute(repeat.values(**again, count=table.c.count + told.count)).rowcount:
        return
    row = {
        **again,
        "id": told.id,
        "schema_version": schema.SCHEMA_VERSION,
        "project": told.project,
        "created_at": told.first,
        "kind": told.kind,
        "severity": told.severity,
        "summary": told.summary,
        "about": canonical(list[JSON](told.about)).decode(),
        "count": told.count,
    }
    connection.execute(sa.insert(table).values(row))


def wrong(connection: sa.Connection) -> list[str]:
    """Return what shows that alerts were changed or deleted by something else: their ids, and the sum of their counts."""
    table = schema.alert
    rows = [read(row) for row in connection.execute(sa.select(table)).mappings()]
    problems = [
        f"alert {told.sequence} is not what was noted"
        for told in rows
        if "more" not in told.facts
        and told.id != _id(told.kind, told.severity, told.project, told.summary, told.about)
    ]
    last, noted = max((told.sequence for told in rows), default=0), sum(told.count for told in rows)
    return [*problems, *([f"{last} alerts were noted, and {noted} are here"] if last != noted else [])]


def _id(kind: str, severity: str, project: str, sentence: str, subjects: Sequence[str]) -> str:
    return str(Digest.of(canonical([kind, severity, project, sentence, *subjects])))


def kept(
    registry: Registry, *, after: int = 0, most: int | None = None, kinds: Sequence[str] = ()
) -> list[Alert]:
    """Return the alerts beyond a sequence number, in the order in which they are told."""
    table = schema.alert
    query = sa.select(table).where(table.c.sequence > after).order_by(table.c.sequence)
    if kinds:
        query = query.where(table.c.kind.in_(list(kinds)))
    with registry.records.read() as connection:
        return [read(row) for row in connection.execute(query.limit(most)).mappings()]


def read(row: Mapping[Any, Any]) -> Alert:
    """Read a row of the table."""
    about: Any = parse(row["about"].encode())
    facts: Any = parse(row["facts"].encode())
    return Alert(
        id=row["id"],
        sequence=row["sequence"],
        kind=row["kind"],
        severity=row["severity"],
        project=row["project"],
        actor=row["actor"],
        summary=row["summary"],
        about=tuple(about),
        facts=facts,
        count=row["count"],
        first=row["created_at"],
        last=row["last_at"],
    )


def _line(text: str, most: int) -> str:
    """Make one line that a terminal, a log and a label can show as it is."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text[: most * 2]
    )
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _bounded(facts: dict[str, JSON], clean: Redactor) -> dict[str, JSON]:
    """Strike out secrets at every depth and keep the whole small; what is too large is said to be."""
    small = {_line(clean(str(key)), 64): _value(value, clean, 1) for key, value in facts.items()}
    size = 0
    result: dict[str, JSON] = {}
    for key, value in sorted(small.items()):
        size += len(canonical(value))
        if size > MAX_FACTS:
            result["left_out"] = "the facts were longer than an alert may be"
            break
        result[key] = value
    return result


def _value(value: JSON, clean: Redactor, depth: int) -> JSON:
    if isinstance(value, str):
        return _line(clean(value), MAX_TEXT)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_SAFE_INTEGER:
        return value
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {_line(clean(str(key)), 64): _value(inner, clean, depth + 1) for key, inner in value.items()}
    if depth < MAX_DEPTH and isinstance(value, Sequence):
        return [_value(inner, clean, depth + 1) for inner in value]
    return _line(clean(str(value)), MAX_TEXT)
