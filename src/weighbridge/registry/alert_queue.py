"""How far each receiver of alerts has been told: one row each, so that one that fails holds up no other.

A receiver is told in the order of the queue. Whoever tells it holds a lease, so that two processes do not both
tell the same; a lease ends by itself, so that a killed process holds nothing up. What was told is noted after it was
told: a process killed between the two tells it again, with the same key. After a failure the next try waits, twice as
long each time. A clock that was put back holds nothing up either: a time further ahead than could be right is past.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.core.alert import MAX_SECONDS, Alert, Sink
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.registry.alerts import read
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

LEASE = timedelta(seconds=15)
"""How much longer than one try may take a receiver belongs to whoever tells it."""
LONGEST_LEASE = LEASE + timedelta(seconds=MAX_SECONDS)
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
FRESH = timedelta(days=1)
"""How far back a receiver is told when it is new here."""
LONG = timedelta(hours=1)
"""After that a receiver that does not listen is something to look into."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to tell one receiver, until the lease ends."""

    sink: Sink
    holder: str
    position: int
    """The sequence number up to which it has been told."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a receiver stands: how much waits for it, and since when it does not listen."""

    sink: Sink
    waiting: int
    tries: int = 0
    problem: str = ""
    failing_since: str = ""
    next_at: str = ""
    told_at: str = ""
    held: bool = False

    def long(self, now: datetime) -> bool:
        """Tell whether it has not listened for so long that somebody should look."""
        return bool(self.failing_since) and now - parse_rfc3339(self.failing_since) >= LONG

    def to_json(self) -> dict[str, Any]:
        """Return one item of `alert list --sinks`."""
        return {
            "sink": self.sink.name,
            "type": self.sink.type,
            "waiting": self.waiting,
            "tries": self.tries,
            "problem": self.problem,
            "failing_since": self.failing_since,
            "next_at": self.next_at,
            "told_at": self.told_at,
        }


def standing(registry: Registry, sink: Sink) -> Standing:
    """Return how a receiver stands; reads only."""
    now = registry.clock.now()
    with registry.records.read() as connection:
        row = _row(connection, sink)
        position = row["position"] if row else _beginning(connection, now)
        waiting = sum(1 for _ in _pending(connection, sink, position))
    if row is None:
        return Standing(sink, waiting)
    return Standing(
        sink,
        waiting,
        tries=row["tries"],
        problem=row["problem"],
        failing_since=row["failing_since"] or "",
        next_at=row["next_at"] or "",
        told_at=row["told_at"] or "",
        held=row["holder"] is not None and _ahead(row["held_until"], now, LONGEST_LEASE),
    )


def due(registry: Registry, sink: Sink) -> bool:
    """Tell whether something waits for a receiver that may be tried now; reads only."""
    now = registry.clock.now()
    with registry.records.read() as connection:
        row = _row(connection, sink)
        if row and (
            _ahead(row["next_at"], now, LONGEST_WAIT)
            or (row["holder"] and _ahead(row["held_until"], now, LONGEST_LEASE))
        ):
            return False
        position = row["position"] if row else _beginning(connection, now)
        table = schema.alert
        return (
            connection.execute(sa.select(table.c.id).where(table.c.sequence > position)).first() is not None
        )


def claim(registry: Registry, sink: Sink, *, force: bool = False) -> Claim | None:
    """Take the right to tell a receiver; None when another has it, or when it is too early to try again.

    `force` does not wait after failures, but takes no lease from anybody.
    """
    now, holder = registry.clock.now(), registry.entropy.token(16).hex()
    table = schema.alert_sink
    with registry.records.write() as connection:
        row = _row(connection, sink)
        if row is None:
            begin = {
                **registry.record(), "name": sink.name, "address": sink.address, "problem": "", "tries": 0,
                "position": _beginning(connection, now),
            }  # fmt: skip
            connection.execute(sa.insert(table).values(begin))
            row = _row(connection, sink)
            assert row is not None
        if row["holder"] is not None and _ahead(row["held_until"], now, LONGEST_LEASE):
            return None
        if not force and _ahead(row["next_at"], now, LONGEST_WAIT):
            return None
        change = sa.update(table).where(*_here(sink))
        connection.execute(
            change.values(holder=holder, held_until=rfc3339(now + LEASE + timedelta(seconds=sink.seconds)))
        )
        return Claim(sink, holder, row["position"])


def pending(registry: Registry, held: Claim, most: int) -> tuple[list[Alert], int]:
    """Return what is to be told next, in order, and how far the queue was read for it."""
    with registry.records.read() as connection:
        found: list[Alert] = []
        seen = held.position
        table = schema.alert
        query = sa.select(table).where(table.c.sequence > held.position).order_by(table.c.sequence)
        for row in connection.execute(query).mappings():
            alert = read(row)
            if held.sink.wants(alert):
                if len(found) == most:
                    break
                found.append(alert)
            seen = alert.sequence
        return found, seen


def told(registry: Registry, held: Claim, position: int) -> Claim | None:
    """Note that a receiver was told up to `position`, and keep the lease; None when another holds it by now."""
    now = registry.clock.now()
    values = {
        "position": position, "tries": 0, "next_at": None, "failing_since": None, "problem": "",
        "told_at": rfc3339(now), "held_until": rfc3339(now + LEASE + timedelta(seconds=held.sink.seconds)),
    }  # fmt: skip
    return Claim(held.sink, held.holder, position) if _change(registry, held, values) else None


def passed(registry: Registry, held: Claim, position: int) -> None:
    """Note that nothing up to `position` is for this receiver."""
    if position > held.position:
        _change(registry, held, {"position": position})


def failed(registry: Registry, held: Claim, problem: str) -> None:
    """Note that a receiver could not be told, and when to try again; gives the lease back."""
    now = registry.clock.now()
    with registry.records.write() as connection:
        row = _row(connection, held.sink)
        if row is None or row["holder"] != held.holder:
            return
        wait = min(FIRST_WAIT * 2 ** min(row["tries"], 30), LONGEST_WAIT)
        values = {
            "tries": row["tries"] + 1, "problem": problem, "failing_since": row["failing_since"] or rfc3339(now),
            "next_at": rfc3339(now + wait), "holder": None, "held_until": None,
        }  # fmt: skip
        connection.execute(sa.update(schema.alert_sink).where(*_here(held.sink)).values(**values))


def release(registry: Registry, held: Claim) -> None:
    """Give the lease back."""
    _change(registry, held, {"holder": None, "held_until": None})


def _change(registry: Registry, held: Claim, values: Mapping[str, Any]) -> bool:
    table = schema.alert_sink
    change = sa.update(table).where(*_here(held.sink), table.c.holder == held.holder)
    with registry.records.write() as connection:
        return bool(connection.execute(change.values(**values)).rowcount)


def _here(sink: Sink) -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.alert_sink
    return (table.c.name == sink.name, table.c.address == sink.address)


def _row(connection: sa.Connection, sink: Sink) -> Mapping[Any, Any] | None:
    return connection.execute(sa.select(schema.alert_sink).where(*_here(sink))).mappings().first()


def _pending(connection: sa.Connection, sink: Sink, position: int) -> Any:
    table = schema.alert
    query = sa.select(table).where(table.c.sequence > position)
    return (row for row in connection.execute(query).mappings() if sink.wants(read(row)))


def _beginning(connection: sa.Connection, now: datetime) -> int:
    """Return where a new receiver begins: with what happened last within FRESH."""
    table = schema.alert
    query = sa.select(sa.func.max(table.c.sequence)).where(table.c.last_at < rfc3339(now - FRESH))
    return int(connection.execute(query).scalar() or 0)


def _ahead(moment: str | None, now: datetime, most: timedelta) -> bool:
    """Tell whether a moment is still to come, and not so far that the clock must have been put back since."""
    return moment is not None and now < parse_rfc3339(moment) <= now + most
