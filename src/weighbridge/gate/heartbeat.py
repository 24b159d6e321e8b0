"""The dead man: a sign of life that is only given when the gate could decide, and a look at whether it still comes.

`beat` opens nothing by itself and believes nothing unread: the records are held against their tally and the log first, so a
gate that could not decide gives no sign. Receivers notice what is missing: that needs nothing of this machine. `missed`
notices it from the records, for whoever runs it beside the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from weighbridge.core.alert import Alert
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.gate.alerting import SECONDS, Delivery, deliver, signal
from weighbridge.registry import decisions, tally
from weighbridge.registry.alerts import alert
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

ROW = "heartbeat!"
"""The name of the row in `alert_sink` that says when the last heartbeat was; no receiver can be called so."""
AHEAD = timedelta(minutes=5)
"""How far in the future the newest sign may lie before it is a clock that cannot be right."""


@dataclass(frozen=True, slots=True)
class Life:
    """The newest signs that the gate works: a decision, a heartbeat; None where there never was one."""

    decided: datetime | None
    beat: datetime | None

    @property
    def newest(self) -> datetime | None:
        """Return the newer of the two."""
        return max((moment for moment in (self.decided, self.beat) if moment is not None), default=None)

    def to_json(self) -> dict[str, JSON]:
        """Return the two times."""
        return {"last_decision": _text(self.decided), "last_heartbeat": _text(self.beat)}


def life(registry: Registry) -> Life:
    """Return the newest signs of life in the records of the current registry."""
    decision, sink = schema.decision, schema.alert_sink
    with registry.records.read() as connection:
        newest = sa.select(decision.c.created_at).where(decision.c.id == decisions.end(connection).id)
        decided = connection.execute(newest).scalar()
        beat = connection.execute(sa.select(sink.c.told_at).where(sink.c.name == ROW)).scalar()
    return Life(*(parse_rfc3339(text) if text else None for text in (decided, beat)))


def beat(
    registry: Registry, every: int, *, seconds: float = SECONDS, environ: Mapping[str, str] | None = None
) -> list[Delivery]:
    """Give a sign of life to each receiver that wants one, and tell what waits; the next is due in `every` seconds.

    Raises VerificationFailed or CannotTell when the gate could not decide now: then there is no sign, and the caller
    makes that an alarm (`alarms.noted`).
    """
    tally.check(registry)
    now = registry.clock.now()
    if now >= registry.authority.expires:
        raise VerificationFailed(
            "the authority has expired, so that nothing is allowed any more",
            cause=f"it ended on {rfc3339(registry.authority.expires)}",
            remedy="sign it again: weighbridge trust renew",
            check="authority.expired",
        )
    with registry.records.read() as connection:
        waiting = connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar()
    facts: dict[str, JSON] = {
        "every": every,
        **life(registry).to_json(),
        "log_size": registry.log.size,
        "not_logged": int(waiting or 0),
    }
    results = signal(
        registry, signal_of(registry, "heartbeat", "the gate lives", facts), seconds=seconds, environ=environ
    )
    _note(registry, now)
    return [*results, *deliver(registry, seconds=seconds, environ=environ)]


def signal_of(registry: Registry, kind: str, summary: str, facts: Mapping[str, JSON]) -> Alert:
    """Make a signal: told now or never, kept nowhere."""
    now = rfc3339(registry.clock.now())
    identity = str(Digest.of(canonical([kind, registry.id, registry.project])))
    return Alert(
        id=identity, sequence=0, kind=kind, severity="info", project=registry.project, actor=registry.actor,
        summary=summary, about=(), facts=dict(facts), count=1, first=now, last=now,
    )  # fmt: skip


def missed(registry: Registry, after: timedelta) -> str:
    """Return how the gate has stopped, and have somebody told; empty when there was a sign of life within `after`.

    A newest sign in the future is none: a clock was put back, or somebody wrote it there.
    """
    found, now = life(registry), registry.clock.now()
    newest = found.newest
    if newest is not None and now - after <= newest <= now + AHEAD:
        return ""
    facts: dict[str, JSON] = {"after": int(after.total_seconds()), **found.to_json()}
    if newest is not None and newest > now + AHEAD:
        problem = "the newest sign of life of the gate lies in the future, so that it says nothing"
    else:
        problem = (
            "the gate has stopped deciding"
            if newest is not None
            else "the gate has never given a sign of life"
        )
    with registry.records.write() as connection:
        alert(connection, registry, "heartbeat-missed", "critical", problem, facts=facts)
    since = f": the newest is of {rfc3339(newest)}" if newest is not None else ""
    return f"{problem}{since}"


def _note(registry: Registry, now: datetime) -> None:
    row = {
        **registry.record(), "name": ROW, "address": "", "position": 0, "tries": 0, "problem": "",
        "told_at": rfc3339(now),
    }  # fmt: skip
    table = schema.alert_sink
    again = sa.update(table).where(table.c.name == ROW).values(told_at=row["told_at"])
    with registry.records.write() as connection:
        if not connection.execute(again).rowcount:
            connection.execute(sa.insert(table).values(row))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
