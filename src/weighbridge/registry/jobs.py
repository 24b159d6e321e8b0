"""Jobs: work that takes long, written down so that it is done once, goes on after a kill, and can be looked at.

Whoever works on a job holds it until a moment that it moves on while it works. A worker that was killed does not: another
one takes the job when that moment has passed, as often as `TRIES` says. A job that cannot be done says why, and holds up
no other. What is done twice must come to the same: a job is found again by project, kind and key as long as it is not done.

A job decides nothing: whoever works on it asks the gate and the registry as anybody does. So it stands in no tally.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound, OutOfBudget, UsageError
from weighbridge.registry import job_queue
from weighbridge.store import schema

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
STATES = (QUEUED, RUNNING, DONE, FAILED)
LEASE = timedelta(seconds=60)
TRIES = 3
"""How often a job is begun; one that kills whoever works on it is not begun for ever."""
MOST_LOOKED = 50
MOST_WAITING = 1000
"""Jobs that may wait in a project."""
FIRST_WAIT = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=10)
LONGEST_LEASE = timedelta(hours=1)
"""A moment further ahead than this stems from a clock that was put back, and holds nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work: what is asked for, how far it came, how it ended."""

    id: str
    project: str
    kind: str
    key: str
    subject: Mapping[str, Any]
    state: str
    """`queued`, `running`, `done` or `failed`."""
    done: int
    total: int
    """How much of how much, in the unit of the kind (bytes, models); 0 of 0 where nothing is known yet."""
    message: str
    result: Mapping[str, Any]
    """What came of it, or the problem, cause, remedy and check of its failure."""
    tries: int
    actor: str
    created_at: str
    updated_at: str
    ended_at: str = ""
    holder: str = ""
    held_until: str = ""

    @property
    def finished(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self.state in (DONE, FAILED)

    def to_json(self) -> dict[str, JSON]:
        """Return the job as JSON."""
        return {
            "id": self.id,
            "project": self.project,
            "kind": self.kind,
            "key": self.key,
            "subject": dict(self.subject),
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "message": self.message,
            "result": dict(self.result),
            "tries": self.tries,
            "asked_by": self.actor,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "ended_at": self.ended_at,
        }


@dataclass(frozen=True, slots=True)
class Held:
    """A job in somebody's hands, for as long as the lease is moved on."""

    job: Job
    holder: str


def submit(registry: Registry, kind: str, subject: Mapping[str, JSON], *, key: str) -> Job:
    """Ask for work in the current project; the same that is asked for and not finished yet is returned as it is.

    Raises UsageError, and OutOfBudget(job.waiting) when as much waits in this project as may: whoever reads from a
    mirror that takes in what it lacks can ask for work.
    """
    if not kind or len(kind) > 32 or not key or len(key) > 128:
        raise UsageError(
            "a job has a kind of at most 32 and a key of at most 128 characters", remedy="shorten it"
        )
    table, now = schema.job, rfc3339(registry.clock.now())
    same = (
        table.c.project == registry.project,
        table.c.kind == kind,
        table.c.key == key,
        table.c.state.in_([QUEUED, RUNNING]),
    )
    row = {
        **registry.record(),
        "id": registry.entropy.token(16).hex(),
        "kind": kind,
        "key": key,
        "subject": canonical(subject).decode(),
        "state": QUEUED,
        "done": 0,
        "total": 0,
        "message": "waits for a worker",
        "result": "{}",
        "tries": 0,
        "updated_at": now,
    }
    with (
        registry.records.read() as connection
    ):  # most who ask again do so often, and need not wait for writers
        found = connection.execute(sa.select(table).where(*same)).mappings().first()
    if found is not None:
        return _job(found)
    with registry.records.write() as connection:
        found = connection.execute(sa.select(table).where(*same)).mappings().first()
        if found is not None:
            return _job(found)
        _check_waiting(registry, connection)
        connection.execute(sa.insert(table).values(row))
    job_queue.wake(registry, str(row["id"]))
    return find(registry, str(row["id"]))


def _check_waiting(registry: Registry, connection: sa.Connection) -> None:
    table = schema.job
    query = sa.select(sa.func.count()).where(table.c.project == registry.project, table.c.state == QUEUED)
    if (connection.execute(query).scalar() or 0) >= MOST_WAITING:
        raise OutOfBudget(
            f"{MOST_WAITING} jobs wait in project {registry.project!r} already",
            cause="no more are taken on until some of them are done",
            remedy="see what waits, and run a worker: weighbridge job list --state queued, weighbridge job run",
            check="job.waiting",
        )


def find(registry: Registry, identity: str, *, everywhere: bool = False) -> Job:
    """Return a job of the current project (or of any) by its id or the beginning of it; raises NotFound."""
    table = schema.job
    query = sa.select(table).where(table.c.id.startswith(identity, autoescape=True))
    if not everywhere:
        query = query.where(table.c.project == registry.project)
    with registry.records.read() as connection:
        rows = connection.execute(query.limit(2)).mappings().all() if identity else []
    if len(rows) != 1:
        raise NotFound(
            f"{identity!r} means more than one job" if rows else f"there is no job {identity!r} here",
            remedy="see which there are: weighbridge job list",
        )
    return _job(rows[0])


def every(registry: Registry, *, state: str = "", most: int = 100) -> list[Job]:
    """Return jobs of the current project, newest first."""
    table = schema.job
    query = sa.select(table).where(table.c.project == registry.project)
    if state:
        query = query.where(table.c.state == state)
    query = query.order_by(table.c.created_at.desc(), table.c.id).limit(most)
    with registry.records.read() as connection:
        return [_job(row) for row in connection.execute(query).mappings()]


# ---------------------------------------------------------------- who works


def claim(
    registry: Registry,
    *,
    holder: str,
    lease: timedelta = LEASE,
    identity: str = "",
    wait: bool = True,
    everywhere: bool = False,
) -> Held | None:
    """Take the oldest job that waits, or that its worker left; None when there is none.

    `identity` takes that one only, `everywhere` also those of other projects. `wait=False` does not wait after a failure.
    A job begun too often is failed here.
    """
    now = registry.clock.now()
    table = schema.job
    query = _free(now, wait=wait).order_by(table.c.created_at, table.c.id).limit(MOST_LOOKED)
    if not everywhere:
        query = query.where(table.c.project == registry.project)
    if identity:
        query = query.where(table.c.id == identity)
    with registry.records.read() as connection:  # who looks again and again holds up no writer
        if connection.execute(query).first() is None:
            return None
    with registry.records.write() as connection:
        for row in connection.execute(query).mappings().all():
            if row["tries"] >= TRIES:
                _give_up(connection, row, now)
                continue
            values = {
                "state": RUNNING,
                "tries": row["tries"] + 1,
                "holder": holder,
                "held_until": rfc3339(now + lease),
                "updated_at": rfc3339(now),
                "message": "taken over from a worker that is gone" if row["state"] == RUNNING else "begun",
            }
            connection.execute(sa.update(table).where(table.c.id == row["id"]).values(**values))
            return Held(_job({**row, **values}), holder)
    return None


def renew(registry: Registry, held: Held, *, lease: timedelta = LEASE) -> bool:
    """Move the lease on; False when somebody else has the job by now."""
    now = registry.clock.now()
    return _change(registry, held, {"held_until": rfc3339(now + lease)})


def progress(registry: Registry, held: Held, done: int, total: int, message: str) -> bool:
    """Note how far a job came; False when somebody else has it by now."""
    values = {
        "done": done,
        "total": total,
        "message": message[:500],
        "updated_at": rfc3339(registry.clock.now()),
    }
    return _change(registry, held, values)


def finish(registry: Registry, held: Held, result: Mapping[str, JSON], message: str = "done") -> bool:
    """Note that a job is done and what came of it; False when somebody else has it by now."""
    return _end(registry, held, DONE, result, message)


def fail(registry: Registry, held: Held, problem: Mapping[str, JSON]) -> bool:
    """Note that a job cannot be done and why: `problem`, `cause`, `remedy` and `check`."""
    return _end(registry, held, FAILED, problem, str(problem.get("problem", "failed")))


def put_back(registry: Registry, held: Held, problem: Mapping[str, JSON], *, counts: bool = True) -> bool:
    """Give a job back that could not be done now, to be tried again later; fails it when it was tried enough.

    What does not count as a try (somebody else was writing) is not failed for it.
    """
    if counts and held.job.tries >= TRIES:
        return fail(registry, held, problem)
    now = registry.clock.now()
    wait = min(FIRST_WAIT * 2 ** min(held.job.tries - 1, 20), LONGEST_WAIT)
    values = {
        "state": QUEUED,
        "tries": held.job.tries if counts else held.job.tries - 1,
        "holder": None,
        "held_until": rfc3339(now + wait),
        "message": f"tried {held.job.tries} of {TRIES} times: {problem.get('problem', '')}"[:500],
        "result": canonical(dict(problem)).decode(),
        "updated_at": rfc3339(now),
    }
    return _change(registry, held, values)


def release(registry: Registry, held: Held) -> bool:
    """Give a job back untried, because whoever worked on it was told to stop."""
    now = rfc3339(registry.clock.now())
    values = {"state": QUEUED, "tries": held.job.tries - 1, "holder": None, "held_until": None,
              "message": "waits for a worker; the last one was told to stop", "updated_at": now}  # fmt: skip
    return _change(registry, held, values)


def retry(registry: Registry, identity: str) -> Job:
    """Let a failed job be tried again from the beginning; raises NotFound, and UsageError for one that did not fail."""
    job = find(registry, identity)
    if job.state != FAILED:
        raise UsageError(
            f"the job {job.id[:12]} did not fail",
            cause=f"it is {job.state}",
            remedy="look: weighbridge job show",
        )
    values = {"state": QUEUED, "tries": 0, "holder": None, "held_until": None, "ended_at": None,
              "message": "waits to be tried again", "updated_at": rfc3339(registry.clock.now())}  # fmt: skip
    table = schema.job
    with registry.records.write() as connection:
        connection.execute(
            sa.update(table).where(table.c.id == job.id, table.c.state == FAILED).values(**values)
        )
    job_queue.wake(registry, job.id)
    return find(registry, job.id)


# ---------------------------------------------------------------- rows


def _change(registry: Registry, held: Held, values: Mapping[str, Any]) -> bool:
    table = schema.job
    mine = (table.c.id == held.job.id, table.c.holder == held.holder, table.c.state == RUNNING,
            table.c.tries == held.job.tries)  # fmt: skip
    with registry.records.write() as connection:
        return bool(connection.execute(sa.update(table).where(*mine).values(**values)).rowcount)


def _end(registry: Registry, held: Held, state: str, result: Mapping[str, JSON], message: str) -> bool:
    now = rfc3339(registry.clock.now())
    values = {"state": state, "result": canonical(dict(result)).decode(), "message": message[:500],
              "holder": None, "held_until": None, "updated_at": now, "ended_at": now}  # fmt: skip
    return _change(registry, held, values)


def _give_up(connection: sa.Connection, row: Mapping[Any, Any], now: datetime) -> None:
    problem: dict[str, JSON] = {
        "kind": "internal",
        "check": "job.tries",
        "problem": f"it was begun {row['tries']} times, and whoever worked on it came to an end each time",
        "cause": "a worker was killed, or lost its memory or machine, at this work",
        "remedy": f"look at what the workers say, then try again: weighbridge job run {row['id'][:12]} --again",
    }
    values = {"state": FAILED, "result": canonical(problem).decode(), "message": str(problem["problem"])[:500],
              "holder": None, "held_until": None, "updated_at": rfc3339(now), "ended_at": rfc3339(now)}  # fmt: skip
    connection.execute(sa.update(schema.job).where(schema.job.c.id == row["id"]).values(**values))


def _free(now: datetime, *, wait: bool) -> sa.Select[Any]:
    """Select jobs that nobody holds: waiting ones whose time has come (or any, without `wait`), and what was left behind."""
    table = schema.job
    until = table.c.held_until
    over = sa.or_(until.is_(None), until <= rfc3339(now), until > rfc3339(now + LONGEST_LEASE))
    waiting = table.c.state == QUEUED
    return sa.select(table).where(
        sa.or_(sa.and_(waiting, over) if wait else waiting, sa.and_(table.c.state == RUNNING, over))
    )


def _job(row: Mapping[Any, Any]) -> Job:
    subject: Any = parse(row["subject"])
    result: Any = parse(row["result"])
    return Job(
        row["id"],
        row["project"],
        row["kind"],
        row["key"],
        subject,
        row["state"],
        row["done"],
        row["total"],
        row["message"],
        result,
        row["tries"],
        row["actor"],
        row["created_at"],
        row["updated_at"],
        row.get("ended_at") or "",
        row.get("holder") or "",
        row.get("held_until") or "",
    )


Report = Callable[[int, int, str], None]
"""Told by who works: how much of how much is done, and a word about it."""
