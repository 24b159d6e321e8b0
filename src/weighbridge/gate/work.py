"""Work: takes jobs and does them, one at a time; each kind of work is a function named in a table of strings.

Whoever works moves a lease on beside the work, so that a killed worker's job is taken over and a slow one's is not. What
cannot be done now is put back for later; what can never be done fails and says why. Neither holds up another job.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import CannotTell, Locked, OutOfBudget, UsageError, WeighbridgeError
from weighbridge.core.redact import Redactor
from weighbridge.registry import access, jobs
from weighbridge.registry.jobs import Held, Job, Report
from weighbridge.registry.wiring import Registry

KINDS: Mapping[str, str] = {
    "intake": "weighbridge.gate.chores:take_in",
    "scan": "weighbridge.gate.chores:scan_again",
    "reevaluate": "weighbridge.gate.chores:judge_again",
}
"""Kind of work: where its function is. It takes the registry, the subject and a Report, and returns what came of it."""
BEATS = 4
"""How many times within its length a lease is moved on."""

Work = Callable[[Registry, Mapping[str, Any], Report], Mapping[str, JSON]]


def submit(registry: Registry, kind: str, subject: Mapping[str, JSON], *, key: str) -> Job:
    """Ask for work of a known kind, and wake whoever works elsewhere; raises UsageError for a kind that is not known."""
    check_kind(kind)
    return jobs.submit(registry, kind, subject, key=key)


def check_kind(kind: str) -> None:
    """Refuse (UsageError) a kind of work that nobody here can do."""
    if kind not in KINDS:
        raise UsageError(
            f"there is no work of kind {kind!r}", remedy=f"known are {', '.join(KINDS)}", check="job.kind"
        )


def run_next(
    registry: Registry,
    *,
    holder: str = "",
    lease: timedelta = jobs.LEASE,
    identity: str = "",
    wait: bool = True,
    everywhere: bool = False,
) -> Job | None:
    """Do the oldest job that can be done now, or the one that is named; None when there is none.

    `everywhere` takes jobs of every project. What the job came to is in the job; only what keeps this process from
    working at all is raised.
    """
    name = holder or registry.entropy.token(8).hex()
    held = jobs.claim(registry, holder=name, lease=lease, identity=identity, wait=wait, everywhere=everywhere)
    if held is None:
        return None
    _do(access.acting(registry, held.job.actor, held.job.project), held, lease)
    return jobs.find(registry, held.job.id, everywhere=everywhere)


def run_all(
    registry: Registry, *, over: Callable[[], bool] = lambda: False, everywhere: bool = False,
    lease: timedelta = jobs.LEASE, told: Callable[[Job], None] = lambda _job: None,
) -> int:  # fmt: skip
    """Do one job after another until none can be done now or `over` says so; returns how many were done or failed."""
    number = 0
    while not over():
        job = run_next(registry, lease=lease, everywhere=everywhere)
        if job is None:
            break
        told(job)
        number += 1
    return number


def _do(registry: Registry, held: Held, lease: timedelta) -> None:
    log, facts = logging.getLogger("weighbridge.work"), {"job": held.job.id, "kind": held.job.kind}
    try:
        with _holding(registry, held, lease) as report:
            result = _work(held.job.kind)(registry, held.job.subject, report)
        ended = jobs.finish(registry, held, result)
    except _Gone:
        ended = False
    except KeyboardInterrupt:
        jobs.release(registry, held)  # somebody said stop: the next worker need not wait for the lease to end
        raise
    except BaseException as error:  # noqa: BLE001 (whatever it is, also an exit, the next job goes on)
        problem = _problem(error)
        log.warning("work failed", extra={"fields": {**facts, "cause": problem["problem"]}})
        if isinstance(error, CannotTell) and not isinstance(error, OutOfBudget):
            ended = jobs.put_back(registry, held, problem, counts=not isinstance(error, Locked))
        else:
            ended = jobs.fail(registry, held, problem)
    if not ended:
        log.warning("somebody else has this job by now", extra={"fields": facts})


def _work(kind: str) -> Work:
    check_kind(kind)
    module, _, name = KINDS[kind].partition(":")
    work: Work = getattr(import_module(module), name)
    return work


def _problem(error: BaseException) -> dict[str, JSON]:
    redact = Redactor({})
    if isinstance(error, WeighbridgeError):
        return {name: redact(text) for name, text in error.to_json().items()}
    return {
        "kind": "internal",
        "check": "job.failed",
        "problem": "the work could not be done, and that is our own mistake",
        "cause": redact(f"{type(error).__name__}: {error}")[:2000],
        "remedy": "run it again with -v and report what it says: weighbridge job run ID --again",
    }


class _Gone(Exception):
    """Somebody else has the job by now."""


@dataclass
class _Lease:
    """A lease that a thread moves on beside the work; what the work reports is written once a second at most."""

    registry: Registry
    held: Held
    length: timedelta
    gone: bool = False
    _told: datetime | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def report(self, done: int, total: int, message: str) -> None:
        """Note how far the work came; ends it when somebody else has the job."""
        now = self.registry.clock.now()
        if self.gone:
            raise _Gone
        if self._told == now:
            return
        self._told = now
        try:
            kept = jobs.progress(self.registry, self.held, done, total, message)
        except Locked:
            return  # somebody is writing; the next report comes
        if not kept:
            raise _Gone

    def beat(self) -> None:
        """Move the lease on until told to stop."""
        while not self._stop.wait(self.length.total_seconds() / BEATS):
            try:
                if not jobs.renew(self.registry, self.held, lease=self.length):
                    self.gone = True
                    return
            except WeighbridgeError:
                continue  # somebody is writing, or the database is away: the lease shows whether that was too long

    def stop(self) -> None:
        """End the beating."""
        self._stop.set()


@contextmanager
def _holding(registry: Registry, held: Held, length: timedelta) -> Iterator[Report]:
    lease = _Lease(registry, held, length)
    thread = threading.Thread(target=lease.beat, daemon=True, name=f"lease of {held.job.id[:8]}")
    thread.start()
    try:
        yield lease.report
    finally:
        lease.stop()
        thread.join()
