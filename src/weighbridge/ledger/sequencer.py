"""The log itself: one folder, one appender at a time, and the rename of `checkpoint` as the commit point.

What an append does, in order, and what a crash after each step leaves behind:

1. Take the lock, read the checkpoint again and hold it against what we knew: another process may have
   appended, and a log that went backwards is refused.
2. Write the right-edge tiles (entries, promises, hashes), each beside and renamed, then flush their
   folders. A crash here leaves tiles wider than the checkpoint says; nobody reads them, and the next
   append overwrites them.
3. Write the new checkpoint beside, flush it, see that the lock and the checkpoint are still those of
   step 1, rename it. The entries exist from this rename on.
4. Flush the folder. When only this fails the caller gets an error although the entries may be there:
   `find` tells, so that appending again is idempotent.
5. Remove the narrower twins of the tiles just written, and index what became complete (`lookup`).

What an append costs hardly depends on how many entries it takes in, so whoever has many hands them over
together (`batch` collects them from many threads).

A `Log` may be used by several threads; any number of processes may read while one appends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger import lookup, merkle
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    Form,
    form_of,
    is_origin,
    log_id_of,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from weighbridge.ledger.commit import write_tiles
from weighbridge.ledger.cosigned import KeptCosigned
from weighbridge.ledger.entry import InclusionProof, LogEntry, signed_entry_timestamp
from weighbridge.ledger.export import MIRROR, copy_log
from weighbridge.ledger.fsck import check_all, check_promise
from weighbridge.ledger.lock import Held, exclusive
from weighbridge.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from weighbridge.ledger.shards import Successor, frozen
from weighbridge.ledger.tiles import (
    CHECKPOINT,
    MAX_ENTRY,
    WIDTH,
    Tiles,
    damaged,
    disk,
    drop_other_partials,
    flush_folders,
    write_durably,
)

LOCK = "lock"
MIN_GENESIS = 2
"""Proto3 JSON leaves out zeros and empty lists, and clients stumble over a first entry without them."""

_T = TypeVar("_T")
_READ_TRIES = 20
_INDEXES = 4
"""Indexes that one append makes at most, about 0.1 s each: an old log gets its own little by little."""


@dataclass(frozen=True, slots=True)
class _State:
    """What was last read or written, exchanged as a whole so that threads see one log, never halves of two."""

    note: str
    head: Checkpoint
    frontier: Frontier


class Log:
    """An append-only log in one folder; make it with `create` or `open`."""

    def __init__(self, directory: Path, public_pem: str, origin: str) -> None:
        self._directory = directory
        self.public_pem = public_pem
        self.origin = origin
        """The log's name, as every checkpoint carries it."""
        self.form: Form = form_of(origin)
        """`v1` (Rekor v1: entries have a time under a signature) or `v2` (a plain C2SP log: no promises)."""
        self.log_id: Digest = log_id_of(origin, public_pem)
        """How entries name this log: `checkpoint.log_id_of`."""
        self._state = _State("", Checkpoint(origin, 0, merkle.EMPTY_ROOT), Frontier())
        self._mutex = Lock()
        self._finder = lookup.Finder(directory)
        self._cosigned = KeptCosigned(directory, origin, public_pem)

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

    @classmethod
    def open(cls, directory: Path, public_pem: str) -> Log:
        """Open a log, or a copy of one, and hold its right edge against its signed checkpoint.

        Raises NotFound when there is none, RegistryUnusable when checkpoint and tiles contradict each
        other or the signature is not by this key. The whole log is read by `verify_all`, not here.
        """
        if not directory.is_dir():
            raise NotFound(f"there is no log in {directory}", remedy="make a registry with: weighbridge init")
        try:
            origin = parse_checkpoint(_read_note(directory))[0].origin
        except FileNotFoundError:
            raise damaged(f"{CHECKPOINT} is missing") from None
        except VerificationFailed as error:
            raise damaged(f"{error.problem}: {error.cause}") from error
        log = cls(directory, public_pem, origin)
        log.refresh()
        return log

    @property
    def size(self) -> int:
        """How many entries the last checkpoint read or written has."""
        return self._state.head.size

    @property
    def root(self) -> bytes:
        """The root hash of that checkpoint."""
        return self._state.head.root

    @property
    def head(self) -> Checkpoint:
        """What that checkpoint says; `head.frozen` is not empty when it is the last one."""
        return self._state.head

    @property
    def checkpoint_text(self) -> str:
        """That checkpoint as a signed note, by the log alone (see `cosigned_text`)."""
        return self._state.note

    @property
    def cosigned_text(self) -> str:
        """The latest checkpoint kept with signatures of witnesses, or empty when there is none."""
        return self._cosigned.read()[0]

    def refresh(self) -> None:
        """Take up what another process has appended; raises RegistryUnusable when the log went backwards."""
        self._read(self._take_head)

    def append(self, entries: Sequence[bytes], *, signer: Signer, now: datetime) -> list[LogEntry]:
        """Append bodies in order, all or none, and return them as entries once they are on disk.

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
                self._conclude(_State(sign_checkpoint(head, signer), head, self._state.frontier), held)
            return self.checkpoint_text

    def cosigned(self, note: str) -> None:
        """Keep a checkpoint of this log that came back from witnesses; proofs of its size will carry it.

        The log's own signature, and that the tree of that size has this root, are checked; whose the other
        signatures are is for the reader to judge. Signatures over the same text are added to those kept; an
        older checkpoint than the one kept is passed over. Raises VerificationFailed(log.checkpoint), Refused
        (log.cosigned) when it is not of this log's tree, Locked, Unreadable.
        """
        with exclusive(self._directory / LOCK):
            self.refresh()
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

    def entry(self, index: int) -> LogEntry:
        """Return an entry, its body held against the tree; raises NotFound or RegistryUnusable."""
        self._demand(index, self.size)
        return self._read(lambda: self._bundle(index, index + 1)[0])

    def prove(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the inclusion proof of entry `index` in the tree of `size` (default: all of it).

        Raises NotFound for positions the log does not have, RegistryUnusable when the tiles prove nothing.
        """
        tree = self.size if size is None else size  # now: a retry may take up a longer log
        return self._read(lambda: self._prove([index], tree)[0])

    def proof(self, index: int, *, witnessed: bool = False) -> InclusionProof:
        """Return the inclusion proof of entry `index` together with the checkpoint it leads to; raises as `prove`.

        A cosigned checkpoint of the log's present size is preferred to the log's own. With `witnessed` it may
        be an older one, and must be there: NotFound tells that no kept one covers the entry yet.
        """
        return self.proofs([index], witnessed=witnessed)[0]

    def proofs(self, indices: Sequence[int], *, witnessed: bool = False) -> list[InclusionProof]:
        """Return what `proof` does for several entries, all in one tree; cheaper than one by one."""
        state, (note, head) = self._state, self._cosigned.read()
        if head.size != state.head.size or head.root != state.head.root:
            note, head = (note, head) if witnessed else (state.note, state.head)
        if witnessed and indices and max(indices) >= head.size:
            raise NotFound(
                f"no checkpoint with signatures of witnesses covers entry {max(indices)} yet",
                cause=f"the latest one kept has {head.size} entries",
                remedy="ask the witnesses for a newer one",
            )
        paths = self._read(lambda: self._prove(indices, head.size))
        return [InclusionProof(head.size, head.root, path, note) for path in paths]

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the tree of `new` (default: all) extends the tree of `old`; raises as `prove`."""
        tree = self.size if new is None else new
        return self._read(lambda: self._consistency(old, tree))

    def root_at(self, size: int) -> bytes:
        """Return the root the log had at `size`; raises NotFound or RegistryUnusable."""
        return self._read(lambda: self._root_at(size))

    def find(self, body: bytes, since: int = 0) -> int | None:
        """Return the first index at or after `since` that holds exactly this body, or None."""
        leaf = leaf_hash(body)

        def search() -> int | None:
            size = self.size
            return self._finder.find(Tiles(self._directory, size), size, leaf, since)

        return self._read(search)

    def resource(self, path: str) -> bytes:
        """Return what a client of C2SP tlog-tiles gets at `checkpoint` or `tile/…`; raises NotFound."""
        if path == CHECKPOINT:
            note, head = self._cosigned.read()
            return (note if head == self.head else self.checkpoint_text).encode()
        return self._read(lambda: self._tiles().resource(path))

    def entries(self, start: int = 0) -> Iterator[LogEntry]:
        """Yield every entry from `start` on, as far as the log reached when the iteration began."""
        size = self.size
        while start < size:
            bundle = self._read(partial(self._bundle, start, size))
            yield from bundle
            start += len(bundle)

    def verify_all(self, *, promises: bool = True) -> int:
        """Re-hash every entry, tile and index, and check every promise; return the size.

        Raises RegistryUnusable at the first contradiction. Without `promises` the times of entries are not
        checked, which is most of the work.
        """

        def check() -> int:
            head = self.head
            public_pem = self.public_pem if promises and self.form == "v1" else ""
            tiles = Tiles(self._directory, head.size)
            check_all(tiles, head, log_id=self.log_id, public_pem=public_pem)
            lookup.check(self._directory, tiles, head.size)
            self._cosigned.check(self._root_at)
            return head.size

        return self._read(check)

    # What follows reads or writes files and expects `_read` or the lock around it.

    def _tiles(self) -> Tiles:
        return Tiles(self._directory, self.size)

    def _read(self, operation: Callable[[], _T]) -> _T:
        """Run a reading operation; when an appender swept a tile away underneath it, take up the head and retry."""
        missing = ""
        for _ in range(_READ_TRIES):
            try:
                return operation()
            except FileNotFoundError as error:
                missing = str(error.filename).removeprefix(f"{self._directory}/")
            with suppress(FileNotFoundError):
                self._take_head()
        raise damaged(f"{missing} is missing")

    def _take_head(self) -> None:
        """Read the checkpoint, verify it, and hold the right edge and the head we knew against it."""
        known = self._state
        note = _read_note(self._directory)
        if note and note == known.note:
            return
        try:
            head = verify_checkpoint(note, origin=self.origin, public_pem=self.public_pem)
        except VerificationFailed as error:
            raise damaged(f"{error.problem}: {error.cause}") from error
        tiles = Tiles(self._directory, head.size)
        frontier = Frontier.read(head.size, tiles.node)
        if frontier.root != head.root:
            raise damaged("the tiles do not add up to the root in the signed checkpoint")
        old = known.head
        if head.size < old.size or (old.size and merkle.root(old.size, tiles.node) != old.root):
            raise damaged("the log went backwards, or was rewritten, since it was last read")
        if old.frozen and (head.size != old.size or not head.frozen):
            raise damaged("the log was frozen when it was last read, and is not any more")
        with self._mutex:  # another thread may have gone further meanwhile
            now = self._state.head
            if (head.size, bool(head.frozen)) >= (now.size, bool(now.frozen)):
                self._state = _State(note, head, frontier)

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
            self.refresh()
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
        seconds = int(now.timestamp()) if self.form == "v1" else 0
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
        self._conclude(_State(sign_checkpoint(head, signer), head, frontier), held)
        for tile in written:
            drop_other_partials(self._directory, *tile)
        lookup.build(self._directory, self._tiles(), self.size, most=_INDEXES)

    def _conclude(self, state: _State, held: Held) -> None:
        """Put a new checkpoint in the place of the one that was built upon: the step that counts."""
        path, before = self._directory / CHECKPOINT, self._state.note

        def unchanged() -> None:
            held()
            if (path.read_text(encoding="utf-8") if path.exists() else "") != before:
                raise damaged("the checkpoint was exchanged while the lock was held")

        try:
            write_durably(path, state.note.encode(), before=unchanged)  # from here on the entries exist
            flush_folders(self._directory, [path])
        except OSError as error:
            raise disk(error) from None
        self._state = state

    def _bundle(self, start: int, end: int) -> list[LogEntry]:
        """Return the entries from `start` to the end of its tile, or to `end`, each held against tree and promise."""
        tiles = self._tiles()
        number, first = divmod(start, WIDTH)
        bodies, hashes = tiles.entries(number), tiles.hashes(0, number)
        signed = self.form == "v1"
        promises = tiles.promises(number) if signed else [(0, b"")] * len(bodies)
        found = []
        for at in range(first, min(len(bodies), end - number * WIDTH)):
            index, body = number * WIDTH + at, bodies[at]
            if hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] != leaf_hash(body):
                raise damaged(f"entry {index} is not what the tree says it is")
            if signed:
                check_promise(body, promises[at], index, log_id=self.log_id, public_pem=self.public_pem)
            found.append(LogEntry(index, promises[at][0], body, promises[at][1]))
        return found

    def _prove(self, indices: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
        node, paths, root = self._tiles().node, [], b""
        for index in indices:
            self._demand(index, size)
            root = root or self._root_at(size)
            proof = merkle.inclusion_proof(index, size, node)
            if not merkle.verify_inclusion(node(0, index), index, size, proof, root):
                raise damaged(f"the tiles do not prove entry {index}")
            paths.append(proof)
        return paths

    def _consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        self._demand(old - 1, new)
        proof = merkle.consistency_proof(old, new, self._tiles().node)
        roots = {"old_root": self._root_at(old), "new_root": self._root_at(new)}
        if not merkle.verify_consistency(old, new, proof, **roots):
            raise damaged(f"the tiles do not prove that the log of {new} extends that of {old}")
        return proof

    def _root_at(self, size: int) -> bytes:
        if size == self.size:
            return self.root
        self._demand(size - 1, self.size)
        return merkle.root(size, self._tiles().node)

    def _demand(self, index: int, size: int) -> None:
        if not 0 <= index < size <= self.size:
            raise NotFound(
                f"the log has no entry {index} in its first {size}",
                cause=f"it holds {self.size}",
                remedy="look with: weighbridge log show",
            )


def check_bodies(bodies: Sequence[bytes]) -> None:
    """Refuse bodies that no log can hold; raises UsageError(log.entry-size)."""
    if any(not 0 < len(body) <= MAX_ENTRY for body in bodies):
        raise UsageError(
            f"a log entry has 1 to {MAX_ENTRY} bytes",
            remedy="log the digest of what is larger",
            check="log.entry-size",
        )


def _read_note(directory: Path) -> str:
    """Return the checkpoint as text; raises FileNotFoundError, Unreadable, RegistryUnusable."""
    try:
        return (directory / CHECKPOINT).read_bytes().decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise disk(error) from None
    except UnicodeDecodeError:
        raise damaged("the checkpoint is not text") from None
