"""What a witness remembers: of each log the last checkpoint it cosigned, so that it never cosigns two histories.

::

    <folder>/witness.json           the witness's keys, and the logs it knows with theirs
    <folder>/logs/<id>/last         the last checkpoint cosigned, with our own cosignature; id is SHA-256 of the origin
    <folder>/logs/<id>/lock         held while it is read, judged and exchanged
    <folder>/conflicts/             signed checkpoints that contradict each other, or that nothing connects
    <anchor>/<id>                   size and root once more, in a folder that no backup of the first brings back

A witness that forgets would cosign whatever it is shown next. So a log is known only together with its memory,
and everything that is missing, damaged, not by our own key or behind its anchor is an error, never "nothing yet".
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.errors import Refused, Unreadable, UsageError, VerificationFailed
from weighbridge.ledger.checkpoint import Checkpoint, parse_checkpoint
from weighbridge.ledger.cosignature import (
    Cosigner,
    KnownWitness,
    WitnessKey,
    read_witness_key,
    verify_cosignatures,
)
from weighbridge.ledger.lock import Held, exclusive
from weighbridge.ledger.merkle import EMPTY_ROOT
from weighbridge.ledger.tiles import disk, flush_folders, write_durably

SCHEMA = "weighbridge.witness/1"
CHECK = "log.witness-state"
CONFIG = "witness.json"
MAX_CONFLICTS = 64
"""Kept of each kind: a log that forks is found out by the first, and a stranger shall not fill the disk."""

_NEVER = "never cosigned\n"
_MAX_STATE = 256 * 1024


@dataclass(frozen=True, slots=True)
class WitnessedLog:
    """A log that a witness knows: its origin, its keys in PEM, and the name it signs under where that is another."""

    origin: str
    pems: tuple[str, ...]
    name: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the log as `witness.json` has it."""
        return {"origin": self.origin, "keys": list(self.pems), "name": self.name}


@dataclass(frozen=True, slots=True)
class Last:
    """What was last cosigned for a log; an empty note and no time when nothing was yet."""

    note: str
    head: Checkpoint
    time: datetime | None


class WitnessState:
    """The memory of one witness. Processes and threads may share a folder."""

    def __init__(self, directory: Path, keys: Sequence[WitnessKey], anchor: Path | None) -> None:
        self._directory = directory
        self._keys = tuple(keys)
        self._anchor = anchor

    @classmethod
    def create(cls, directory: Path, cosigners: Sequence[Cosigner], anchor: Path | None) -> WitnessState:
        """Start a memory that knows no log; raises Refused(log.exists) when there is one, Unreadable."""
        made = cls(directory, cosigners, anchor)
        try:
            for folder in (directory, *([anchor] if anchor else [])):
                folder.mkdir(parents=True, exist_ok=True)
                if any(folder.iterdir()):
                    raise Refused(
                        f"there is something in {folder} already",
                        cause="a witness that began again would have forgotten what it cosigned",
                        remedy="choose another folder and another name",
                        check="log.exists",
                    )
                flush_folders(folder.parent, [folder])
            with exclusive(directory / "lock") as held:
                made._write_config([row.verifier_key for row in cosigners], [], held)
        except OSError as error:
            raise disk(error) from None
        return made

    def logs(self) -> tuple[WitnessedLog, ...]:
        """Return the logs that are known; raises Unreadable when that cannot be read, or is another witness's."""
        return self._read_config()[1]

    def add_log(self, log: WitnessedLog) -> None:
        """Know one more log, about which nothing was cosigned yet; raises Refused(log.exists), Locked, Unreadable."""
        with exclusive(self._directory / "lock") as held:
            keys, known = self._read_config()
            if any(row.origin == log.origin for row in known):
                raise Refused(
                    f"the log {log.origin} is known already",
                    cause="to begin again would be to forget what was cosigned",
                    remedy="leave it as it is",
                    check="log.exists",
                )
            try:
                for path in self._places(log.origin):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if path.exists() and not self._is_fresh(log.origin, path):
                        raise _lost(f"{path.name} remembers a log that {CONFIG} does not name")
                self._write_last(log.origin, "", Checkpoint(log.origin, 0, EMPTY_ROOT), None)
                self._write_config(
                    keys, [*known, log], held
                )  # last, so that no log is known without a memory
            except OSError as error:
                raise disk(error) from None

    @contextmanager
    def holding(self, origin: str) -> Iterator[Holding]:
        """Hold what was last cosigned for a known log, so that nobody else judges or changes it meanwhile.

        Raises Unreadable(log.witness-state) when it was lost, damaged or rolled back, Locked when others hold it long.
        """
        place = self._places(origin)[0]
        if not place.parent.is_dir():
            raise _lost(f"there is no {place.parent.name} in logs/")
        with exclusive(place.parent / "lock") as held:
            last = self._read_last(origin)
            self._check_anchor(origin, last)
            yield Holding(self, origin, last, held)

    def keep_conflict(self, kind: str, origin: str, *notes: str) -> None:
        """Keep signed checkpoints that prove, or may prove, that a log shows several histories; as far as it goes."""
        digest = hashlib.sha256("\n".join(notes).encode()).hexdigest()
        folder = self._directory / "conflicts"
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            path = folder / f"{kind}-{_id(origin)[:16]}-{digest[:16]}.txt"
            if not path.exists() and len(list(folder.glob(f"{kind}-*"))) < MAX_CONFLICTS:
                write_durably(path, "\n".join(notes).encode())

    # What follows expects the lock, or to be the only one.

    def _places(self, origin: str) -> list[Path]:
        name = _id(origin)
        own = self._directory / "logs" / name / "last"
        return [own, self._anchor / name] if self._anchor else [own]

    def _is_fresh(self, origin: str, path: Path) -> bool:
        """Tell whether a file is what an earlier, killed `add_log` left: nothing was cosigned with it."""
        return _read(path) in (f"{origin}\n{_NEVER}".encode(), _anchored(Checkpoint(origin, 0, EMPTY_ROOT)))

    def _read_config(self) -> tuple[list[str], tuple[WitnessedLog, ...]]:
        try:
            value: Any = parse(_read(self._directory / CONFIG))
            if value["schema"] != SCHEMA:
                raise ValueError(f"it is none of {SCHEMA}")
            rows = [
                WitnessedLog(str(row["origin"]), tuple(map(str, row["keys"])), str(row["name"]))
                for row in value["logs"]
            ]
            keys = [str(row) for row in value["keys"]]
            known = {(row.name, row.key) for row in map(read_witness_key, keys)}
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise _lost(f"{CONFIG} cannot be read") from error
        if any((row.name, row.key) not in known for row in self._keys):
            raise Refused(
                "this is the memory of another witness",
                cause=f"{CONFIG} names other keys",
                remedy="start with the witness's own keys; new keys are a new witness, with a folder of its own",
                check=CHECK,
            )
        return keys, tuple(rows)

    def _write_config(self, keys: Sequence[str], logs: Sequence[WitnessedLog], held: Held) -> None:
        value: JSON = {"schema": SCHEMA, "keys": list(keys), "logs": [row.to_json() for row in logs]}
        path = self._directory / CONFIG
        write_durably(path, canonical(value) + b"\n", before=held)
        flush_folders(self._directory, [path])

    def _read_last(self, origin: str) -> Last:
        text = _read(self._places(origin)[0]).decode(errors="replace")
        head, _, note = text.partition("\n")
        if head != origin:
            raise _lost("what was last cosigned is of another log")
        if note == _NEVER:
            return Last("", Checkpoint(origin, 0, EMPTY_ROOT), None)
        try:
            checkpoint = parse_checkpoint(note)[0]
            times = [moment for _, moment in verify_cosignatures(note, self._keys)]
        except VerificationFailed as error:
            raise _lost(f"what was last cosigned is damaged: {error.cause}") from error
        if checkpoint.origin != origin or not times:
            raise _lost("what was last cosigned does not carry our own cosignature")
        return Last(note, checkpoint, max(times))

    def _check_anchor(self, origin: str, last: Last) -> None:
        """Refuse a memory that is behind its anchor. Ahead it may be, by what was written before a crash."""
        if self._anchor is None:
            return
        size, _, root = _read(self._anchor / _id(origin)).decode(errors="replace").strip().partition(" ")
        known = int(size) if size.isascii() and size.isdigit() else -1
        same = base64.b64encode(last.head.root).decode("ascii") == root
        if known < 0 or last.head.size < known or (last.head.size == known and not same):
            raise _lost(
                f"it was rolled back: {size} entries were cosigned, and {last.head.size} are remembered"
            )

    def _write_last(self, origin: str, note: str, head: Checkpoint, held: Held | None) -> None:
        """Exchange the memory, then its anchor; both are on disk when this returns. Raises OSError."""
        place = self._places(origin)[0]
        write_durably(place, f"{origin}\n{note or _NEVER}".encode(), before=held)
        flush_folders(self._directory, [place])
        if self._anchor is not None:
            anchor = self._anchor / _id(origin)
            write_durably(anchor, _anchored(head), before=held)
            flush_folders(self._anchor, [anchor])


@dataclass(frozen=True, slots=True)
class Holding:
    """The memory of one log while it is held."""

    state: WitnessState
    origin: str
    last: Last
    held: Held

    def advance(self, note: str, head: Checkpoint) -> None:
        """Remember a checkpoint with our cosignature on it; raises Unreadable, Locked, and then nothing was said yet."""
        try:
            self.state._write_last(self.origin, note, head, self.held)  # noqa: SLF001 (the same class in two parts)
        except OSError as error:
            raise disk(error) from None


def _anchored(head: Checkpoint) -> bytes:
    return f"{head.size} {base64.b64encode(head.root).decode('ascii')}\n".encode()


def _id(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _read(path: Path) -> bytes:
    """Return a file of the memory; a missing one is lost, not new."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_STATE + 1)
    except FileNotFoundError:
        raise _lost(f"{path.name} is missing") from None
    except OSError as error:
        raise disk(error) from None
    if len(data) > _MAX_STATE:
        raise _lost(f"{path.name} is too long")
    return data


def _lost(cause: str) -> Unreadable:
    return Unreadable(
        "the witness cannot tell what it cosigned, and cosigns nothing",
        cause=cause,
        remedy="bring back the newest state; when that is lost, start a new witness with another name and new keys",
        check=CHECK,
    )


def keys_of(directory: Path) -> tuple[KnownWitness, ...]:
    """Return the keys of the witness in a folder; raises Unreadable(log.witness-state)."""
    try:
        value: Any = parse(_read(directory / CONFIG))
        return tuple(read_witness_key(str(row)) for row in value["keys"])
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise _lost(f"{CONFIG} cannot be read") from error


def anchor_of(home: Path, keys: Sequence[WitnessKey]) -> Path:
    """Return the folder in a user's configuration home that anchors the witness with these keys."""
    named = "\n".join(sorted(f"{row.name} {row.key.hex()}" for row in keys))
    return home / "witness" / hashlib.sha256(named.encode()).hexdigest()[:32]
