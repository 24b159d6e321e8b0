"""A log that several machines append to: a journal they share says which append is next, and each folder follows it.

The folder of a log is then what this machine has of it. An append counts from the moment its commit is in the
journal, and it gets there only when nothing else did since; whoever stood still in between finds out there. What a
folder lacks is written from the journal, every entry held against its date's signature, every checkpoint against the
log's key and the root that the entries add up to. A folder with something that is not in the journal is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from weighbridge.core.digest import Digest
from weighbridge.core.errors import RegistryUnusable, VerificationFailed
from weighbridge.ledger import lookup
from weighbridge.ledger.checkpoint import Checkpoint, Form, form_of, log_id_of, verify_checkpoint
from weighbridge.ledger.commit import write_tiles
from weighbridge.ledger.entry import LogEntry
from weighbridge.ledger.fsck import check_promise
from weighbridge.ledger.merkle import Frontier, leaf_hash
from weighbridge.ledger.tiles import (
    CHECKPOINT,
    Tiles,
    damaged,
    decode_entries,
    decode_promises,
    drop_other_partials,
    encode_entries,
    encode_promises,
    flush_folders,
    write_durably,
)
from weighbridge.store.plain import read_plain

AT_ONCE = 4096
"""Entries that are written to a folder in one go, when it lacks many."""
_INDEXES = 64
_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Commit:
    """One append: the entries from `before` on (none where the log was frozen), and the checkpoint that signs for them."""

    origin: str
    before: int
    entries: tuple[LogEntry, ...]
    note: str

    @property
    def size(self) -> int:
        """How many entries the log has with it."""
        return self.before + len(self.entries)


class Journal(Protocol):
    """The commits of logs in their order. What `add` took in survives a power cut, and everybody reads it from then on."""

    def newest(self, origin: str) -> str:
        """Return the newest checkpoint of a log, or empty for a log that has none."""
        ...

    def since(self, origin: str, size: int) -> Iterator[Commit]:
        """Yield the commits that brought a log to `size` entries or further, in order; all of them for 0."""
        ...

    def add(self, commit: Commit, *, after: str) -> None:
        """Take in a commit if the log's newest checkpoint is still `after`; raises Locked(log.journal) if not."""
        ...


def encode(entries: Sequence[LogEntry]) -> bytes:
    """Write entries as the journal keeps them: length of what follows (u64), dates and promises, then the bodies."""
    dates = encode_promises([(entry.integrated_time, entry.promise) for entry in entries])
    return _LENGTH.pack(len(dates)) + dates + encode_entries([entry.body for entry in entries])


def decode(data: bytes, before: int, count: int) -> tuple[LogEntry, ...]:
    """Read `count` entries from index `before` on; raises RegistryUnusable."""
    if len(data) < _LENGTH.size:
        raise damaged("a commit in the journal is cut short")
    (length,) = _LENGTH.unpack_from(data)
    rows = decode_promises(data[_LENGTH.size : _LENGTH.size + length], count)
    bodies = decode_entries(data[_LENGTH.size + length :], count)
    return tuple(
        LogEntry(index, time, body, promise)
        for index, ((time, promise), body) in enumerate(zip(rows, bodies, strict=True), start=before)
    )


def local_note(directory: Path) -> str:
    """Return the checkpoint in a folder as text, or empty where there is none; raises OSError, RegistryUnusable."""
    try:
        return read_plain(directory / CHECKPOINT).decode()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise damaged("the checkpoint is not text") from None


class Follower:
    """Brings one folder up to the journal; to be used by whoever holds the folder's lock."""

    def __init__(self, directory: Path, origin: str, public_pem: str) -> None:
        self._directory = directory
        self._origin = origin
        self._pem = public_pem
        self._form: Form = form_of(origin)
        self._log_id: Digest = log_id_of(origin, public_pem)
        self._frontier = Frontier()

    def catch_up(self, journal: Journal) -> None:
        """Write what the folder lacks; raises RegistryUnusable(log.journal) for one with something of its own."""
        note = local_note(self._directory)
        if note == journal.newest(self._origin):
            return
        head = Checkpoint(self._origin, 0, self._frontier.root)
        if note:
            head = self._verified(note)
            self._frontier = Frontier.read(head.size, Tiles(self._directory, head.size).node)
            if self._frontier.root != head.root:
                raise damaged("the tiles do not add up to the root in the signed checkpoint")
        commits = journal.since(self._origin, head.size)
        if note and all(commit.note != note for commit in _up_to(commits, note)):
            raise _forked(self._origin, head.size)
        pending: list[LogEntry] = []
        newest = ""
        for commit in commits:
            newest = self._checked(commit)
            pending.extend(commit.entries)
            if len(pending) >= AT_ONCE:
                self._write(pending, newest)
                pending, newest = [], ""
        if newest:
            self._write(pending, newest)

    def _checked(self, commit: Commit) -> str:
        """Hold a commit against the entries before it, their dates, the key and the root."""
        if commit.before != self._frontier.size:
            raise damaged(f"the journal goes on at {commit.before} after {self._frontier.size} entries")
        if self._form == "v1":
            for entry in commit.entries:
                promise = (entry.integrated_time, entry.promise)
                check_promise(entry.body, promise, entry.index, log_id=self._log_id, public_pem=self._pem)
        self._frontier = self._frontier.extend([leaf_hash(entry.body) for entry in commit.entries])
        head = self._verified(commit.note)
        if (head.size, head.root) != (self._frontier.size, self._frontier.root):
            raise damaged("the journal's entries do not add up to the root in its signed checkpoint")
        return commit.note

    def _verified(self, note: str) -> Checkpoint:
        try:
            return verify_checkpoint(note, origin=self._origin, public_pem=self._pem)
        except VerificationFailed as error:
            raise damaged(f"{error.problem}: {error.cause}") from error

    def _write(self, entries: Sequence[LogEntry], note: str) -> None:
        """Write entries and the checkpoint over them, as an append does."""
        written, size = [], entries[0].index if entries else 0
        if entries:
            leaves, tiles = [leaf_hash(entry.body) for entry in entries], Tiles(self._directory, size)
            written = write_tiles(self._directory, tiles, entries, leaves, promises=self._form == "v1")
        path = self._directory / CHECKPOINT
        write_durably(path, note.encode())
        flush_folders(self._directory, [path])
        for tile in written:
            drop_other_partials(self._directory, *tile)
        size = self._frontier.size
        lookup.build(self._directory, Tiles(self._directory, size), size, most=_INDEXES)


def _up_to(commits: Iterator[Commit], note: str) -> Iterator[Commit]:
    """Yield commits up to the one with this checkpoint, which is the last that is taken."""
    for commit in commits:
        yield commit
        if commit.note == note:
            return


def _forked(origin: str, size: int) -> RegistryUnusable:
    return RegistryUnusable(
        "this folder of the log is not what the registry's database says was logged",
        cause=f"its checkpoint of {size} entries of {origin!r} was never taken in there: the database was put back, or the log forked",
        remedy="keep this folder, it is evidence; compare it with those of the other replicas, then restore the database or start this replica again",
        check="log.journal",
    )
