"""The log itself: one folder, one appender at a time, and the rename of `checkpoint` as the commit point.

What an append does, in order, and what a crash after each step leaves behind:

1. Take the lock, read the checkpoint again and hold it against what we knew: another process may have
   appended, and a log that went backwards is refused.
2. Write the right-edge tiles (entries, promises, hashes), each beside and renamed, then flush their
   folders. A crash here leaves tiles wider than the checkpoint says; nobody reads them, and the next
   append overwrites them.
3. Write the new checkpoint beside, flush it, rename it. The entries exist from this rename on.
4. Flush the folder. When only this fails the caller gets an error although the entries may be there:
   `find` tells, so that appending again is idempotent.
5. Remove the narrower twins of the tiles just written.

A `Log` is not shared between threads; any number of processes may read while one appends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import key_id_of_pem
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    is_origin,
    parse_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from weighbridge.ledger.entry import InclusionProof, LogEntry, signed_entry_timestamp
from weighbridge.ledger.fsck import check_all, check_promise
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from weighbridge.ledger.tiles import (
    ENTRIES,
    LEVEL_BITS,
    MAX_ENTRY,
    PROMISES,
    WIDTH,
    Tiles,
    damaged,
    disk,
    drop_other_partials,
    encode_entries,
    encode_promises,
    flush_folders,
    hashes_at,
    level_of,
    perfect_root,
    tile_name,
    write_durably,
)

CHECKPOINT = "checkpoint"
LOCK = "lock"
MIN_GENESIS = 2
"""Proto3 JSON leaves out zeros and empty lists, and clients stumble over a first entry without them."""

_T = TypeVar("_T")
_READ_TRIES = 20


class Log:
    """An append-only log in one folder; make it with `create` or `open`."""

    def __init__(self, directory: Path, public_pem: str) -> None:
        self._directory = directory
        self.public_pem = public_pem
        self.log_id: Digest = key_id_of_pem(public_pem)
        self._note = ""
        self._head = Checkpoint("", 0, merkle.EMPTY_ROOT)
        self._frontier = Frontier()

    @classmethod
    def create(
        cls, directory: Path, origin: str, signer: Signer, *, now: datetime, genesis: Sequence[bytes]
    ) -> Log:
        """Start a log with at least two genesis entries; raises UsageError, Refused(log.exists), Unreadable.

        A folder in which an earlier `create` was cut short (it has no checkpoint) is started again.
        """
        if not is_origin(origin):
            raise UsageError(
                f"{origin!r} is not a log origin", remedy="make it with ledger.checkpoint.origin_of"
            )
        if len(genesis) < MIN_GENESIS:
            raise UsageError(f"a log starts with {MIN_GENESIS} entries", remedy="pass two genesis bodies")
        log = cls(directory, signer.public_pem)
        log._head = Checkpoint(origin, 0, merkle.EMPTY_ROOT)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            flush_folders(directory.parent, [directory])
        except OSError as error:
            raise disk(error) from None
        with exclusive(directory / LOCK):
            if (directory / CHECKPOINT).exists():
                raise Refused(
                    f"there is a log in {directory} already",
                    cause="starting it again would forget what it holds",
                    remedy="choose another folder",
                    check="log.exists",
                )
            log._append(genesis, signer, now)
        return log

    @classmethod
    def open(cls, directory: Path, public_pem: str) -> Log:
        """Open a log and hold its right edge against its signed checkpoint.

        Raises NotFound when there is none, RegistryUnusable when checkpoint and tiles contradict each
        other or the signature is not by this key. The whole log is read by `verify_all`, not here.
        """
        if not directory.is_dir():
            raise NotFound(f"there is no log in {directory}", remedy="make a registry with: weighbridge init")
        log = cls(directory, public_pem)
        log.refresh()
        return log

    @property
    def origin(self) -> str:
        """The log's name, as every checkpoint carries it."""
        return self._head.origin

    @property
    def size(self) -> int:
        """How many entries the last checkpoint read or written has."""
        return self._head.size

    @property
    def root(self) -> bytes:
        """The root hash of that checkpoint."""
        return self._head.root

    @property
    def checkpoint_text(self) -> str:
        """That checkpoint as a signed note."""
        return self._note

    def refresh(self) -> None:
        """Take up what another process has appended; raises RegistryUnusable when the log went backwards."""
        self._read(self._take_head)

    def append(self, entries: Sequence[bytes], *, signer: Signer, now: datetime) -> list[LogEntry]:
        """Append bodies in order, all or none, and return them as entries once they are on disk.

        Raises UsageError(log.entry-size) for bodies that are empty or beyond 65,535 bytes, Refused(log.key)
        for a signer that is not this log's, Locked, RegistryUnusable, and Unreadable when the disk refuses.
        """
        if signer.key_id != self.log_id:
            raise Refused(
                "this key is not the log's", cause=f"the log's is {self.log_id.short}", check="log.key"
            )
        with exclusive(self._directory / LOCK):
            self.refresh()
            return self._append(entries, signer, now)

    def entry(self, index: int) -> LogEntry:
        """Return an entry, its body held against the tree; raises NotFound or RegistryUnusable."""
        self._demand(index, self.size)
        return self._read(lambda: self._bundle(index, index + 1)[0])

    def prove(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the inclusion proof of entry `index` in the tree of `size` (default: all of it).

        Raises NotFound for positions the log does not have, RegistryUnusable when the tiles prove nothing.
        """
        tree = self.size if size is None else size  # now: a retry may take up a longer log
        return self._read(lambda: self._prove(index, tree))

    def proof(self, index: int) -> InclusionProof:
        """Return the inclusion proof of entry `index` together with the checkpoint it leads to; raises as `prove`."""
        note, head = self._note, self._head
        return InclusionProof(head.size, head.root, self.prove(index, head.size), note)

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the tree of `new` (default: all) extends the tree of `old`; raises as `prove`."""
        tree = self.size if new is None else new
        return self._read(lambda: self._consistency(old, tree))

    def root_at(self, size: int) -> bytes:
        """Return the root the log had at `size`; raises NotFound or RegistryUnusable."""
        return self._read(lambda: self._root_at(size))

    def find(self, body: bytes, since: int = 0) -> int | None:
        """Return the first index at or after `since` that holds exactly this body, or None."""
        wanted = leaf_hash(body)

        def search() -> int | None:
            tiles = self._tiles()
            for number in range(since // WIDTH, -(-self.size // WIDTH)):
                data = tiles.hashes(0, number)
                for at in range(0, len(data), HASH_SIZE):
                    index = number * WIDTH + at // HASH_SIZE
                    if index >= since and data[at : at + HASH_SIZE] == wanted:
                        return index
            return None

        return self._read(search)

    def entries(self, start: int = 0) -> Iterator[LogEntry]:
        """Yield every entry from `start` on, as far as the log reached when the iteration began."""
        size = self.size
        while start < size:
            bundle = self._read(partial(self._bundle, start, size))
            yield from bundle
            start += len(bundle)

    def verify_all(self) -> int:
        """Re-hash every entry, tile and promise against the signed checkpoint; return the size.

        Raises RegistryUnusable at the first contradiction.
        """

        def check() -> int:
            check_all(self._tiles(), self._head, log_id=self.log_id, public_pem=self.public_pem)
            return self.size

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
                missing = str(Path(error.filename).relative_to(self._directory))
            with suppress(FileNotFoundError):
                self._take_head()
        raise damaged(f"{missing} is missing")

    def _take_head(self) -> None:
        """Read the checkpoint, verify it, and hold the right edge and the head we knew against it."""
        try:
            note = (self._directory / CHECKPOINT).read_bytes().decode()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise disk(error) from None
        except UnicodeDecodeError:
            raise damaged("the checkpoint is not text") from None
        if note and note == self._note:
            return
        try:
            origin = self.origin or parse_checkpoint(note)[0].origin
            head = verify_checkpoint(note, origin=origin, public_pem=self.public_pem)
        except VerificationFailed as error:
            raise damaged(f"{error.problem}: {error.cause}") from error
        tiles = Tiles(self._directory, head.size)
        frontier = Frontier.read(head.size, tiles.node)
        if frontier.root != head.root:
            raise damaged("the tiles do not add up to the root in the signed checkpoint")
        if head.size < self.size or (self.size and merkle.root(self.size, tiles.node) != self.root):
            raise damaged("the log went backwards, or was rewritten, since it was last read")
        self._note, self._head, self._frontier = note, head, frontier

    def _append(self, bodies: Sequence[bytes], signer: Signer, now: datetime) -> list[LogEntry]:
        if not bodies:
            return []
        if any(not 0 < len(body) <= MAX_ENTRY for body in bodies):
            raise UsageError(
                f"a log entry has 1 to {MAX_ENTRY} bytes",
                remedy="log the digest of what is larger",
                check="log.entry-size",
            )
        if now.tzinfo is None:
            raise UsageError("a time without a zone cannot be logged")
        seconds = int(now.timestamp())
        entries = []
        for index, body in enumerate(bodies, start=self.size):
            promise = signed_entry_timestamp(signer, body, seconds, self.log_id, index)
            entries.append(LogEntry(index, seconds, body, promise))
        try:
            self._commit(entries, signer)
        except OSError as error:
            raise disk(error) from None
        return entries

    def _commit(self, entries: Sequence[LogEntry], signer: Signer) -> None:
        leaves = [leaf_hash(entry.body) for entry in entries]
        frontier = self._frontier.extend(leaves)
        written = self._write_tiles(entries, leaves)
        self._flush(written)
        head = Checkpoint(self.origin, frontier.size, frontier.root)
        note = sign_checkpoint(head, signer)
        write_durably(self._directory / CHECKPOINT, note.encode())  # from here on the entries exist
        flush_folders(self._directory, [self._directory / CHECKPOINT])
        self._note, self._head, self._frontier = note, head, frontier
        for tile in written:
            drop_other_partials(self._directory, *tile)

    def _write_tiles(
        self, entries: Sequence[LogEntry], leaves: Sequence[bytes]
    ) -> list[tuple[str, int, int]]:
        """Write every tile that changes; return (kind, number, width) of each."""
        tiles, written = self._tiles(), []
        edge = self.size // WIDTH
        bodies = tiles.entries(edge) + [entry.body for entry in entries]
        promises = tiles.promises(edge) + [(entry.integrated_time, entry.promise) for entry in entries]
        for at in range(0, len(bodies), WIDTH):
            number = edge + at // WIDTH
            bundle = bodies[at : at + WIDTH]
            written.append(self._write(ENTRIES, number, len(bundle), encode_entries(bundle)))
            rows = promises[at : at + WIDTH]
            written.append(self._write(PROMISES, number, len(rows), encode_promises(rows)))
        level, fresh = 0, list(leaves)
        while fresh:
            edge = (self.size >> LEVEL_BITS * level) // WIDTH
            data = tiles.hashes(level, edge) + b"".join(fresh)
            fresh = []
            for at in range(0, len(data), WIDTH * HASH_SIZE):
                number = edge + at // (WIDTH * HASH_SIZE)
                hashes = data[at : at + WIDTH * HASH_SIZE]
                width = len(hashes) // HASH_SIZE
                written.append(self._write(hashes_at(level), number, width, hashes))
                if width == WIDTH:
                    fresh.append(perfect_root(hashes, 0, WIDTH))
            level += 1
        return written

    def _flush(self, written: Sequence[tuple[str, int, int]]) -> None:
        """Flush the folders of the tiles written: up to the top for tiles that no earlier commit had."""
        known: list[Path] = []
        fresh: list[Path] = []
        for kind, number, width in written:
            path = self._directory / tile_name(kind, number, width)
            before = self._tiles().width(level_of(kind), number)
            (known if before and width < WIDTH else fresh).append(path)
        flush_folders(self._directory, fresh)
        flush_folders(self._directory, known, deep=False)

    def _write(self, kind: str, number: int, width: int, data: bytes) -> tuple[str, int, int]:
        path = self._directory / tile_name(kind, number, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, data)
        return kind, number, width

    def _bundle(self, start: int, end: int) -> list[LogEntry]:
        """Return the entries from `start` to the end of its tile, or to `end`, each held against tree and promise."""
        tiles = self._tiles()
        number, first = divmod(start, WIDTH)
        bodies, hashes, promises = tiles.entries(number), tiles.hashes(0, number), tiles.promises(number)
        found = []
        for at in range(first, min(len(bodies), end - number * WIDTH)):
            index, body = number * WIDTH + at, bodies[at]
            if hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE] != leaf_hash(body):
                raise damaged(f"entry {index} is not what the tree says it is")
            check_promise(body, promises[at], index, log_id=self.log_id, public_pem=self.public_pem)
            found.append(LogEntry(index, promises[at][0], body, promises[at][1]))
        return found

    def _prove(self, index: int, size: int) -> tuple[bytes, ...]:
        self._demand(index, size)
        node = self._tiles().node
        proof = merkle.inclusion_proof(index, size, node)
        if not merkle.verify_inclusion(node(0, index), index, size, proof, self._root_at(size)):
            raise damaged(f"the tiles do not prove entry {index}")
        return proof

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
