"""Group commit for a server: many threads hand in bodies and wait, one thread appends all that wait together.

An append costs a signature, a dozen flushes and a rename whatever it takes in, so entries that arrive while one
append is under way wait for the next and share its cost. Nobody is told that an entry is in the log before it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Self

from weighbridge.core.clock import Clock
from weighbridge.core.errors import Locked, Refused, WeighbridgeError
from weighbridge.keys.ports import Signer
from weighbridge.ledger.entry import InclusionProof, LogEntry
from weighbridge.ledger.sequencer import Log, check_bodies

MOST = 4096
"""Entries an append takes in at most: about 150 ms of signing."""

WAITING = 65536
"""Entries that may wait; whoever comes then is told to come again."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that is in the log, with its proof in the tree of the append that took it in, or of a later one."""

    entry: LogEntry
    proof: InclusionProof


@dataclass(frozen=True, slots=True)
class _Waiting:
    body: bytes
    once: bool
    future: Future[Logged]


class Committer:
    """Appends for many threads; a context manager, whose end commits what still waits and stops the thread."""

    def __init__(
        self, log: Log, signer: Signer, clock: Clock, *, most: int = MOST, waiting: int = WAITING
    ) -> None:
        self._log = log
        self._signer = signer
        self._clock = clock
        self._most = most
        self._limit = waiting
        self._queue: list[_Waiting] = []
        self._changed = Condition()
        self._closed = False
        self._thread = Thread(target=self._run, name="log committer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, body: bytes, *, once: bool = False) -> Future[Logged]:
        """Hand in a body; the future gives the entry, or raises what the append raised.

        With `once`, a body that the log holds already gives the entry that is there, also when it was handed
        in twice at the same time. Raises UsageError(log.entry-size) at once, so that a bad body fails nobody else;
        Locked(log.busy) when too many wait, Refused(log.closed) after `close`. A future may be cancelled as
        long as its append has not begun.
        """
        check_bodies([body])
        future: Future[Logged] = Future()
        with self._changed:
            if self._closed:
                raise _closed()
            if len(self._queue) >= self._limit:
                raise Locked(
                    "too many entries wait to be logged",
                    cause=f"{len(self._queue)} are waiting",
                    remedy="try again in a moment",
                    check="log.busy",
                )
            self._queue.append(_Waiting(body, once, future))
            self._changed.notify()
        return future

    def append(self, body: bytes, *, once: bool = False, timeout: float | None = None) -> Logged:
        """Hand in a body and wait; raises what the append raised, or TimeoutError after `timeout` seconds.

        After a timeout the entry may still come to be; with `once` asking again is harmless.
        """
        return self.submit(body, once=once).result(timeout)

    def close(self) -> None:
        """Refuse what comes from now on, commit what waits, and return when the thread has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next():
            taken = [one for one in batch if one.future.set_running_or_notify_cancel()]
            try:
                results = self._commit(taken)
            except BaseException as error:  # noqa: BLE001 (whatever it is, each caller must hear of it)
                for one in taken:
                    one.future.set_exception(_own(error))
            else:
                for one, logged in zip(taken, results, strict=True):
                    one.future.set_result(logged)

    def _next(self) -> list[_Waiting]:
        """Wait for bodies and take them; nothing when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
            return batch

    def _commit(self, batch: Sequence[_Waiting]) -> list[Logged]:
        """Append what is not there yet, in the order it came; return each one's entry and proof."""
        self._log.refresh()
        places: list[int] = []
        fresh: dict[bytes, int] = {}
        bodies: list[bytes] = []
        size = self._log.size
        for one in batch:
            place = fresh.get(one.body) if one.once else None
            if place is None and one.once:
                found = self._log.find(one.body)
                place = None if found is None else found - size  # negative: before this append
            if place is None:
                place = len(bodies)
                fresh.setdefault(one.body, place)
                bodies.append(one.body)
            places.append(place)
        added = self._log.append(bodies, signer=self._signer, now=self._clock.now())
        entries = [added[place] if place >= 0 else self._log.entry(size + place) for place in places]
        proofs = self._log.proofs([entry.index for entry in entries])
        return [Logged(entry, proof) for entry, proof in zip(entries, proofs, strict=True)]


def _own(error: BaseException) -> BaseException:
    """Return an error of a caller's own, so that threads do not write tracebacks into one object."""
    if isinstance(error, WeighbridgeError):
        return type(error)(error.problem, cause=error.cause, remedy=error.remedy, check=error.check)
    return error


def _closed() -> Refused:
    return Refused(
        "the log takes nothing in any more",
        cause="the server is shutting down",
        remedy="try again when it is back",
        check="log.closed",
    )
