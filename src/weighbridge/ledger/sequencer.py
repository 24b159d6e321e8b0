"""The log itself: one folder, one appender at a time, and the rename of `checkpoint` as the commit point.

What an append does, in order, and what a crash after each step leaves behind:

1. Take the lock, read the checkpoint again and hold it against what we knew: another process may have
   appended, and a log that went backwards is refused.
2. Write the right-edge tiles (entries, promises, hashes), each beside and renamed, then flush their
   folders. A crash here leaves tiles wider than the checkpoint says; nobody reads them, and the next
   append overwrites them.
3. Write the new checkpoint beside, flush it, see that the lock and the checkpoint are still those of
   step 1, rename it. The entries exist from this rename on; where a journal is shared (`journal`), from the
   moment it took the commit in, just before.
4. Flush the folder. When only this fails the caller gets an error although the entries may be there:
   `find` tells, so that appending again is idempotent.
5. Remove the narrower twins of the tiles just written, and index what became complete (`lookup`).

What an append costs hardly depends on how many entries it takes in, so whoever has many hands them over
together (`batch` collects them from many threads).

A `Log` may be used by several threads; any number of processes may read while one appends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from weighbridge.core.errors import Refused, UsageError
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger import lookup
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    Form,
    form_of,
    is_origin,
    sign_checkpoint,
    verify_checkpoint,
)
from weighbridge.ledger.commit import write_tiles
from weighbridge.ledger.entry import LogEntry, signed_entry_timestamp
from weighbridge.ledger.export import MIRROR, copy_log
from weighbridge.ledger.journal import Commit, Follower, Journal, local_note
from weighbridge.ledger.lock import Held, exclusive
from weighbridge.ledger.merkle import leaf_hash
from weighbridge.ledger.reader import Reader, State
from weighbridge.ledger.shards import Successor, frozen
from weighbridge.ledger.tiles import (
    CHECKPOINT,
    MAX_ENTRY,
    damaged,
    disk,
    drop_other_partials,
    flush_folders,
    write_durably,
)
from weighbridge.store.plain import read_plain

LOCK = "lock"
MIN_GENESIS = 2
"""Proto3 JSON leaves out zeros and empty lists, and clients stumble over a first entry without them."""

_INDEXES = 4
"""Indexes that one append makes at most, about 0.1 s each: an old log gets its own little by little."""


class Log(Reader):
    """An append-only log in one folder; make it with `create`, `open`, or `follow`."""

    _journal: Journal | None = None

    @classmethod
    def follow(cls, directory: Path, origin: str, public_pem: str, journal: Journal) -> Log:
        """Open this machine's folder of a log whose commits are in a journal; what the folder lacks is written first.

        Raises RegistryUnusable as `open` does, and (log.journal) for a folder with something the journal has not.
        """
        log = cls(directory, public_pem, origin)
        log._journal = journal
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk(error) from None
        log.refresh()
        return log

    def refresh(self) -> None:
        """Take up what others appended, here or, by way of the journal, elsewhere; raises RegistryUnusable."""
        if self._journal is not None and not self._is_newest():
            with exclusive(self._directory / LOCK):
                self._catch_up()
        super().refresh()

    @classmethod
    def create(
        cls,
        directory: Path,
        origin: str,
        signer: Signer,
        *,
        now: datetime,
        genesis: Sequence[bytes],
        form: Form = "v1",
        journal: Journal | None = None,
    ) -> Log:
        """Start a log with at least two genesis entries; raises UsageError, Refused(log.exists), Unreadable.

        The form is `v1` for an origin made by `checkpoint.origin_of`, `v2` for a host name. A folder in which
        an earlier `create` was cut short (it has no checkpoint) is started again.
        """
        if not is_origin(origin) or form_of(origin) != form:
            raise UsageError(
                f"{origin!r} is not the origin of a log of form {form}",
                cause="the origin ends in ' - <tree id>' for v1, and is a host name in lower case for v2",
                remedy="make one for v1 with ledger.checkpoint.origin_of",
                check="log.origin",
            )
        if len(genesis) < MIN_GENESIS:
            raise UsageError(f"a log starts with {MIN_GENESIS} entries", remedy="pass two genesis bodies")
        log = cls(directory, signer.public_pem, origin)
        log._journal = journal
        try:
            directory.mkdir(parents=True, exist_ok=True)
            flush_folders(directory.parent, [directory])
        except OSError as error:
            raise disk(error) from None
        with exclusive(directory / LOCK) as held:
            if (directory / CHECKPOINT).exists():
                raise Refused(
                    f"there is a log in {directory} already",
                    cause="starting it again would forget what it holds",
                    remedy="choose another folder",
                    check="log.exists",
                )
            log._append(genesis, signer, now, held)
        return log

    def append(self, entries: Sequence[bytes], *, signer: Signer, now: datetime) -> list[LogEntry]:
        """Append bodies in order, all or none, and return them as entries once they are on disk.

        Dates never go back: with a clock that stands behind the newest entry, its date is theirs as well, so that
        nothing can be dated to a time at which a key, since ended, was in force.

        Raises UsageError(log.entry-size) for bodies that are empty or beyond 65,535 bytes, Refused(log.key)
        for a signer that is not this log's, Refused(log.frozen), Refused(log.mirror) for a copy, Locked,
        RegistryUnusable, and Unreadable when the disk refuses.
        """
        with self._writing(signer) as held:
            return self._append(entries, signer, now, held)

    def freeze(self, *, signer: Signer, now: datetime, successor: Successor | None = None) -> str:
        """Sign that nothing is appended any more, and return that checkpoint; it is the log's last.

        A log that is frozen already stays as it is. Raises as `append` does.
        """
        if now.tzinfo is None:
            raise UsageError("a time without a zone cannot be signed")
        with self._writing(signer, last=True) as held:
            if not self.head.frozen:
                head = frozen(self.head, now, successor)
                self._conclude(State(sign_checkpoint(head, signer), head, self._state.frontier), held)
            return self.checkpoint_text

    def cosigned(self, note: str) -> None:
        """Keep a checkpoint of this log that came back from witnesses; proofs of its size will carry it.

        The log's own signature, and that the tree of that size has this root, are checked; whose the other
        signatures are is for the reader to judge. Signatures over the same text are added to those kept; an
        older checkpoint than the one kept is passed over. Raises VerificationFailed(log.checkpoint), Refused
        (log.cosigned) when it is not of this log's tree, Locked, Unreadable.
        """
        with exclusive(self._directory / LOCK):
            self._catch_up()
            head = verify_checkpoint(note, origin=self.origin, public_pem=self.public_pem)
            if not 0 < head.size <= self.size or self.root_at(head.size) != head.root:
                raise Refused(
                    "the cosigned checkpoint is not one of this log",
                    cause=f"this log of {self.size} entries had no such root at {head.size}",
                    remedy="find out who signed it: the log's key is used somewhere else, or was",
                    check="log.cosigned",
                )
            try:
                self._cosigned.keep(note, head, current=self.head.text)
            except OSError as error:
                raise disk(error) from None

    def export(self, target: Path) -> int:
        """Copy the log as static files into `target`, every entry held against the tree; return its size.

        `target` is new, or an earlier copy, which is brought up to date. It can be read by any client of C2SP
        tlog-tiles and with `open`; it carries a mark that keeps `append` from forking it. Raises Refused(log.exists)
        when something else lies there, Refused(log.consistency) when the copy is not of this log's past,
        RegistryUnusable when this log is damaged, Locked, Unreadable.
        """
        return self._read(lambda: copy_log(self._directory, target, self._state.note, self.public_pem))

    @contextmanager
    def _writing(self, signer: Signer, *, last: bool = False) -> Iterator[Held]:
        """Hold the lock and have the newest head; refuse wrong keys, copies and (unless `last`) frozen logs."""
        if signer.key_id != key_id_of_pem(self.public_pem):
            raise Refused(
                "this key is not the log's",
                cause=f"the log's is {key_id_of_pem(self.public_pem).short}",
                remedy="append with the log's own key",
                check="log.key",
            )
        if (self._directory / MIRROR).exists():
            raise Refused(
                "this is a copy of a log",
                cause="an entry appended here would fork the log: two trees under one key",
                remedy=f"append to the log itself; when that is lost for good, remove the file {MIRROR} here",
                check="log.mirror",
            )
        with exclusive(self._directory / LOCK) as held:
            self._catch_up()
            if self.head.frozen and not last:
                follower = self.head.continues.rpartition(" ")[0]
                raise Refused(
                    f"the log {self.origin} is frozen",
                    cause=f"its last checkpoint says so, signed: {self.head.frozen}",
                    remedy=f"append to the log that follows it: {follower or 'create one with another origin'}",
                    check="log.frozen",
                )
            yield held

    def _append(self, bodies: Sequence[bytes], signer: Signer, now: datetime, held: Held) -> list[LogEntry]:
        if not bodies:
            return []
        check_bodies(bodies)
        if now.tzinfo is None:
            raise UsageError("a time without a zone cannot be logged")
        size, log_id, entries = self.size, self.log_id, []
        seconds = max(int(now.timestamp()), self.newest) if self.form == "v1" else 0
        for index, body in enumerate(bodies, start=size):
            promise = b""
            if self.form == "v1":
                promise = signed_entry_timestamp(signer, body, seconds, log_id, index)
            entries.append(LogEntry(index, seconds, body, promise))
        try:
            self._commit(entries, signer, held)
        except OSError as error:
            raise disk(error) from None
        return entries

    def _commit(self, entries: Sequence[LogEntry], signer: Signer, held: Held) -> None:
        leaves = [leaf_hash(entry.body) for entry in entries]
        frontier = self._state.frontier.extend(leaves)
        promises = self.form == "v1"
        written = write_tiles(self._directory, self._tiles(), entries, leaves, promises=promises)
        head = Checkpoint(self.origin, frontier.size, frontier.root)
        self._conclude(State(sign_checkpoint(head, signer), head, frontier), held, entries)
        for tile in written:
            drop_other_partials(self._directory, *tile)
        lookup.build(self._directory, self._tiles(), self.size, most=_INDEXES)

    def _is_newest(self) -> bool:
        """Tell whether the journal says no more than what was last read here, or at least what lies in the folder."""
        assert self._journal is not None
        newest = self._journal.newest(self.origin)
        try:
            return newest in (self._state.note, local_note(self._directory)) and newest != ""
        except OSError as error:
            raise disk(error) from None

    def _catch_up(self) -> None:
        """Bring the folder up to the journal, where there is one, and read its checkpoint; the lock is held."""
        if self._journal is not None:
            try:
                Follower(self._directory, self.origin, self.public_pem).catch_up(self._journal)
            except OSError as error:
                raise disk(error) from None
        super().refresh()

    def _conclude(self, state: State, held: Held, entries: Sequence[LogEntry] = ()) -> None:
        """Put a new checkpoint in the place of the one that was built upon: the step that counts."""
        path, before = self._directory / CHECKPOINT, self._state.note

        def unchanged() -> None:
            held()
            if (read_plain(path) if path.exists() else b"") != before.encode():
                raise damaged("the checkpoint was exchanged while the lock was held")
            if self._journal is not None:
                commit = Commit(self.origin, state.head.size - len(entries), tuple(entries), state.note)
                self._journal.add(commit, after=before)

        try:
            write_durably(path, state.note.encode(), before=unchanged)  # from here on the entries exist
            flush_folders(self._directory, [path])
        except OSError as error:
            raise disk(error) from None
        self._state = state


def check_bodies(bodies: Sequence[bytes]) -> None:
    """Refuse bodies that no log can hold; raises UsageError(log.entry-size)."""
    if any(not 0 < len(body) <= MAX_ENTRY for body in bodies):
        raise UsageError(
            f"a log entry has 1 to {MAX_ENTRY} bytes",
            remedy="log the digest of what is larger",
            check="log.entry-size",
        )
