"""The monitor: follows a log from a pinned checkpoint, reads every new entry, and tells what nobody announced.

What is pinned lies in the user's configuration home, where whoever keeps the log does not write:

::

    <home>/monitor/<id>.json     checkpoint, right edge of the tree as far as it was read, what still may be announced
    <home>/monitor/evidence/     checkpoints that contradict each other, for good
    <home>/monitor/<id>.lock     one monitor of a log at a time

A step reads and judges; `keep` moves the pin once what was found has been shown, so that a monitor killed between
the two shows it again. On a contradiction nothing moves: each later step finds it again until a person decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, RegistryUnusable, VerificationFailed
from weighbridge.gate.monitor_entries import Alert, Announced, Suspicion, Watch, suspicions
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger.checkpoint import Checkpoint
from weighbridge.ledger.following import LogReader, Position
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.merkle import HASH_SIZE, Frontier
from weighbridge.ledger.tiles import disk, flush_folders, write_durably

SCHEMA = "weighbridge.monitor/1"
MOST = 65536
"""Entries of one step: some seconds."""
MAX_PENDING = 10_000
CONTRADICTIONS = ("log.fork", "log.rollback", "log.entries")
"""Kinds of alerts after which a log is not read on."""

_MAX_STATE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the monitor waits before it speaks."""

    grace: timedelta = timedelta(0)
    """For an announcement of what it saw in the log."""
    max_age: timedelta | None = None
    """For the log to show a new checkpoint; None for ever."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What is remembered of a log between two steps."""

    checkpoint: str = ""
    changed: datetime | None = None
    """When that checkpoint was first seen."""
    read: Frontier = field(default_factory=Frontier)
    pending: tuple[tuple[datetime, Suspicion], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found."""

    origin: str
    size: int
    """Entries that the log says it has."""
    start: int
    end: int
    """The entries read in this step are [start, end)."""
    alerts: tuple[Alert, ...]
    first: bool
    """Nothing was pinned before: that this is the log's only history is not known from before."""
    frozen: str = ""
    continues: str = ""
    pending: int = 0

    @property
    def done(self) -> bool:
        """Whether the log was read to its end, or cannot be read on."""
        return self.end == self.size or any(alert.kind in CONTRADICTIONS for alert in self.alerts)

    def to_json(self) -> dict[str, JSON]:
        """Return the step as data."""
        return {
            "origin": self.origin,
            "size": self.size,
            "start": self.start,
            "end": self.end,
            "first": self.first,
            "frozen": self.frozen,
            "continues": self.continues,
            "pending": self.pending,
            "alerts": [alert.to_json() for alert in self.alerts],
        }


class Monitor:
    """Follows one log. Between `step` and `keep` the caller shows what was found."""

    def __init__(
        self,
        home: Path,
        reader: LogReader,
        public_pem: str,
        watch: Watch,
        patience: Patience | None = None,
    ) -> None:
        name = hashlib.sha256(f"{reader.origin}\n{key_id_of_pem(public_pem)}".encode()).hexdigest()[:32]
        self._folder = home / "monitor"
        self._path = self._folder / f"{name}.json"
        self._reader = reader
        self._watch = watch
        self._patience = patience or Patience()
        self._pinned: Pinned | None = None
        self._next: Pinned | None = None
        self._moved = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Be the one monitor here; raises Locked, and RegistryUnusable when what is pinned cannot be read."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise disk(error) from None
        with exclusive(self._path.with_suffix(".lock")):
            self._pinned = self._load()
            yield

    def step(self, announced: Callable[[], Announced], now: datetime, most: int = MOST) -> Step:
        """Read the head and up to `most` entries and judge them; `announced` is asked after they were read.

        Raises NotFound, Unreadable or Unreachable when the log cannot be read, VerificationFailed(log.checkpoint)
        when it shows a head that it did not sign. Everything else wrong with the log is an alert.
        """
        assert self._pinned is not None, "a step is taken while `holding`"
        pinned, first = self._pinned, not self._pinned.checkpoint
        note, head = self._reader.head()
        old = self._reader.verify(pinned.checkpoint) if pinned.checkpoint else None
        position = Position(pinned.read)
        try:
            if old is not None:
                _check_frozen(old, head)
                self._reader.check_extends(old, head)
            stretch = self._reader.read(position, head, most)
        except VerificationFailed as error:
            return self._contradiction(error, note, head, old)
        known = announced()
        found = [
            row
            for index, body in enumerate(stretch.bodies, stretch.start)
            for row in suspicions(index, body, self._watch, known)
        ]
        alerts, waiting = self._ripe(found, known, now)
        moved = old is None or (head.size, head.text) != (old.size, old.text)
        changed = now if moved or pinned.changed is None else pinned.changed
        alerts += self._stale(head, changed, now)
        self._next = Pinned(note, changed, stretch.end.frontier, tuple(waiting))
        return Step(
            origin=head.origin,
            size=head.size,
            start=stretch.start,
            end=stretch.end.size,
            alerts=tuple(alerts),
            first=first,
            frozen=head.frozen,
            continues=head.continues,
            pending=len(waiting),
        )

    def go_on(self) -> None:
        """Take what the last step came to as read, for the next step; nothing after a contradiction."""
        if self._next is not None:
            self._pinned, self._next, self._moved = self._next, None, True

    def keep(self) -> None:
        """Pin what the steps came to, after it was shown. Raises Unreadable when the disk refuses."""
        self.go_on()
        if not self._moved or self._pinned is None:
            return
        try:
            write_durably(self._path, canonical(_written(self._reader.origin, self._pinned)) + b"\n")
            flush_folders(self._folder, [self._path])
        except OSError as error:
            raise disk(error) from None
        self._moved = False

    def _ripe(
        self, found: Sequence[Suspicion], known: Announced, now: datetime
    ) -> tuple[list[Alert], list[tuple[datetime, Suspicion]]]:
        """Part what is suspicious now, and has been, into alerts and what may still be announced."""
        assert self._pinned is not None
        cleared = known.content | (known.models or frozenset())
        alerts: list[Alert] = []
        waiting: list[tuple[datetime, Suspicion]] = []
        for since, row in [*self._pinned.pending, *((now, row) for row in found)]:
            if any(digest in cleared for digest in row.cleared_by):
                continue
            if now - since >= self._patience.grace or len(waiting) >= MAX_PENDING:
                alerts.append(row.alert)
            else:
                waiting.append((since, row))
        return alerts, waiting

    def _stale(self, head: Checkpoint, changed: datetime, now: datetime) -> list[Alert]:
        age = self._patience.max_age
        if age is None or head.frozen or now - changed <= age:
            return []
        return [
            Alert(
                "log.stale",
                f"the log shows no new checkpoint since {rfc3339(changed)}",
                details={"since": rfc3339(changed), "size": str(head.size)},
            )
        ]

    def _contradiction(
        self, error: VerificationFailed, note: str, head: Checkpoint, old: Checkpoint | None
    ) -> Step:
        assert self._pinned is not None
        self._next = None
        kind = "log.entries" if error.check == "log.entries" else "log.fork"
        if old is not None and kind == "log.fork" and head.size < old.size:
            kind = "log.rollback"
        pair = f"{self._pinned.checkpoint}\n{note}"
        path = self._folder / "evidence" / f"{hashlib.sha256(pair.encode()).hexdigest()[:32]}.txt"
        details = {"evidence": str(path), "seen": str(old.size if old else 0), "shown": str(head.size)}
        with suppress(OSError):  # the alert is given, whether the disk takes the proof or not
            path.parent.mkdir(exist_ok=True)
            write_durably(path, pair.encode())
            flush_folders(path.parent, [path])
        if not path.exists():
            details["evidence"] = "could not be written"
        size = self._pinned.read.size
        return Step(
            origin=head.origin,
            size=head.size,
            start=size,
            end=size,
            alerts=(Alert(kind, f"{error.problem}: {error.cause}", details=details),),
            first=old is None,
        )

    def _load(self) -> Pinned:
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_STATE)
        except FileNotFoundError:
            return Pinned()
        except OSError as error:
            raise disk(error) from None
        try:
            return _read(parse(data), self._reader)
        except (ValueError, KeyError, TypeError, AttributeError, BadReference, VerificationFailed) as error:
            raise RegistryUnusable(
                f"what was pinned of the log cannot be read: {self._path}",
                cause=str(error).partition("\n")[0],
                remedy="restore that file; to begin again and believe the log as it is now, remove it",
                check="monitor.state",
            ) from error


def _check_frozen(old: Checkpoint, head: Checkpoint) -> None:
    if old.frozen and (head.size != old.size or not head.frozen):
        raise VerificationFailed(
            "the log was frozen, and goes on",
            cause=f"it said that its {old.size} entries were the last, and shows {head.size}",
            check="log.consistency",
        )


def _written(origin: str, pinned: Pinned) -> JSON:
    rows: list[JSON] = [
        {
            "since": rfc3339(since),
            "alert": row.alert.to_json(),
            "cleared_by": [str(digest) for digest in row.cleared_by],
        }
        for since, row in pinned.pending
    ]
    return {
        "schema": SCHEMA,
        "origin": origin,
        "checkpoint": pinned.checkpoint,
        "changed": rfc3339(pinned.changed) if pinned.changed else None,
        "size": pinned.read.size,
        "edge": [step.hex() for step in pinned.read.subtrees],
        "pending": rows,
    }


def _read(value: Any, reader: LogReader) -> Pinned:
    """Read what was pinned; raises ValueError and its like unless all of it belongs together."""
    if value["schema"] != SCHEMA or value["origin"] != reader.origin:
        raise ValueError("it is of another log, or another version")
    head = reader.verify(value["checkpoint"])
    edge = tuple(bytes.fromhex(step) for step in value["edge"])
    size = value["size"]
    if type(size) is not int or not 0 <= size <= head.size or len(edge) != size.bit_count():
        raise ValueError("its size and the edge of its tree do not belong together")
    if any(len(step) != HASH_SIZE for step in edge):
        raise ValueError("its tree has an edge that is none")
    frontier = Frontier(size, edge)
    if size == head.size and frontier.root != head.root:
        raise ValueError("the edge of its tree is not the checkpoint's")
    pending = tuple((parse_rfc3339(row["since"]), _suspicion(row)) for row in value["pending"])
    return Pinned(value["checkpoint"], parse_rfc3339(value["changed"]), frontier, pending)


def _suspicion(row: Any) -> Suspicion:
    said = row["alert"]
    details = {str(name): str(text) for name, text in said["details"].items()}
    alert = Alert(str(said["kind"]), str(said["what"]), said["index"], details)
    return Suspicion(alert, tuple(Digest.parse(digest) for digest in row["cleared_by"]))


def behind(step: Step, *others: Step) -> Step:
    """Return several steps of one log as one, for showing them together."""
    last = others[-1] if others else step
    alerts = [alert for one in (step, *others) for alert in one.alerts]
    return replace(last, start=step.start, first=step.first, alerts=tuple(alerts))
