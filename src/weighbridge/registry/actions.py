"""Actions: who asked for what and what came of it, for people to read; kept for a time and believed in nothing.

What was decided and signed stands in the log, for good. Here stands also what was refused and what was only asked, by
whom, when: personal data with an end (`action-days`). A note that cannot be written keeps nobody from anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import Refused, UsageError, WeighbridgeError
from weighbridge.core.redact import Redactor
from weighbridge.registry.project_settings import number_in
from weighbridge.store import schema

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

DONE, REFUSED, FAILED = "done", "refused", "failed"
OUTCOMES = (DONE, REFUSED, FAILED)
PRUNE_EVERY = 256
"""After so many notes somebody looks which are too old."""
AGAIN = timedelta(minutes=1)
MOST_REFUSED = 1024
_REFUSED: dict[tuple[str, ...], datetime] = {}
_STRIKE = Redactor({})


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody asked for."""

    at: str
    project: str
    actor: str
    kind: str
    subject: str
    outcome: str
    detail: str

    def to_json(self) -> dict[str, JSON]:
        """Return one row of `access log`."""
        return {
            "at": self.at,
            "project": self.project,
            "actor": self.actor,
            "kind": self.kind,
            "subject": self.subject,
            "outcome": self.outcome,
            "detail": self.detail,
        }


def note(registry: Registry, kind: str, subject: str, outcome: str, detail: str = "") -> None:
    """Write down that the acting person asked for something; never raises, secrets are struck out."""
    row = {
        **registry.record(),
        "actor": registry.actor[:128],
        "kind": kind[:32],
        "subject": _STRIKE(subject)[:2000],
        "outcome": outcome,
        "detail": _STRIKE(detail)[:2000],
    }
    with suppress(WeighbridgeError), registry.records.write() as connection:
        number = connection.execute(sa.insert(schema.action).values(row)).inserted_primary_key
        if number is not None and number[0] % PRUNE_EVERY == 0:
            _prune(connection, registry.project, registry.clock.now())


def note_refusal(registry: Registry, name: str, kind: str, error: WeighbridgeError) -> None:
    """Write down that somebody was refused, the same once a minute at most: whoever asks a thousand times fills nothing."""
    key = (str(registry.layout.root), registry.project, name, kind, error.check)
    now = registry.clock.now()
    last = _REFUSED.get(key)
    if last is not None and now - AGAIN < last <= now:
        return
    if len(_REFUSED) >= MOST_REFUSED:
        _REFUSED.clear()
    _REFUSED[key] = now
    note(replace(registry, actor=name), kind, "", REFUSED, describe(error))


@contextmanager
def noted(registry: Registry, kind: str, subject: str) -> Iterator[None]:
    """Write down what came of a block: done, refused (a definite no, or a wrong request) or failed."""
    try:
        yield
    except Exception as error:
        note(registry, kind, subject, outcome_of(error), describe(error))
        raise
    note(registry, kind, subject, DONE)


def outcome_of(error: BaseException) -> str:
    """Return what an error makes of a request."""
    return REFUSED if isinstance(error, Refused | UsageError) else FAILED


def describe(error: BaseException) -> str:
    """Return an error in one line, with the check that refused."""
    if not isinstance(error, WeighbridgeError):
        return type(error).__name__
    return f"{error.check}: {error.problem}" if error.check else error.problem


def since(registry: Registry, moment: datetime, *, most: int = 1000) -> list[Action]:
    """Return what was asked for in the current project since a moment, newest first."""
    table = schema.action
    query = sa.select(table).where(table.c.project == registry.project, table.c.created_at >= rfc3339(moment))
    with registry.records.read() as connection:
        rows = connection.execute(query.order_by(table.c.id.desc()).limit(most)).mappings().all()
    return [_action(row) for row in rows]


def prune(registry: Registry) -> int:
    """Delete what is older than the project's `action-days`, work that ended before that too; returns how many."""
    with registry.records.write() as connection:
        return _prune(connection, registry.project, registry.clock.now())


def forget(registry: Registry, actor: str) -> int:
    """Delete everything that is noted of one person in the current project; returns how many. The log keeps what was signed.

    Work that they asked for and that is not done yet stays until it is.
    """
    table, job = schema.action, schema.job
    with registry.records.write() as connection:
        gone = sa.delete(table).where(table.c.project == registry.project, table.c.actor == actor)
        ended = sa.delete(job).where(
            job.c.project == registry.project, job.c.actor == actor, job.c.ended_at.is_not(None)
        )
        return int(connection.execute(gone).rowcount) + int(connection.execute(ended).rowcount)


def _prune(connection: sa.Connection, project: str, now: datetime) -> int:
    days = number_in(connection, project, "action-days")
    if days is None:
        return 0
    try:
        oldest = now - timedelta(days=days)
    except OverflowError:
        return 0
    table, job = schema.action, schema.job
    gone = sa.delete(table).where(table.c.project == project, table.c.created_at < rfc3339(oldest))
    ended = sa.delete(job).where(job.c.project == project, job.c.ended_at < rfc3339(oldest))
    return int(connection.execute(gone).rowcount) + int(connection.execute(ended).rowcount)


def _action(row: Any) -> Action:
    return Action(
        row["created_at"],
        row["project"],
        row["actor"],
        row["kind"],
        row["subject"],
        row["outcome"],
        row["detail"],
    )
