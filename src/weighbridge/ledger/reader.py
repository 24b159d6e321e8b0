"""Reading a log: opening it, following it as it grows, entries and proofs, each held against the signed checkpoint.

Reads need no lock and no right to write. A tile that is not there any more when it is read means that an append
swept it away: the newer checkpoint is taken up, and the reading done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Self, TypeVar

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.ledger import lookup, merkle
from weighbridge.ledger.checkpoint import (
    Checkpoint,
    Form,
    form_of,
    log_id_of,
    parse_checkpoint,
    verify_checkpoint,
)
from weighbridge.ledger.cosigned import KeptCosigned
from weighbridge.ledger.entry import InclusionProof, LogEntry
from weighbridge.ledger.fsck import check_all, check_promise
from weighbridge.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from weighbridge.ledger.tiles import CHECKPOINT, WIDTH, Tiles, damaged, disk
from weighbridge.store.plain import read_plain

_T = TypeVar("_T")
_READ_TRIES = 20


@dataclass(frozen=True, slots=True)
class State:
    """What was last read or written, exchanged as a whole so that threads see one log, never halves of two."""

    note: str
    head: Checkpoint
    frontier: Frontier


class Reader:
    """A log in one folder that is only read; `sequencer.Log` adds what writes. May be used by several threads."""

    def __init__(self, directory: Path, public_pem: str, origin: str) -> None:
        self._directory = directory
        self.public_pem = public_pem
        self.origin = origin
        """The log's name, as every checkpoint carries it."""
        self.form: Form = form_of(origin)
        """`v1` (Rekor v1: entries have a time under a signature) or `v2` (a plain C2SP log: no promises)."""
        self.log_id: Digest = log_id_of(origin, public_pem)
        """How entries name this log: `checkpoint.log_id_of`."""
        self._state = State("", Checkpoint(origin, 0, merkle.EMPTY_ROOT), Frontier())
        self._mutex = Lock()
        self._finder = lookup.Finder(directory)
        self._cosigned = KeptCosigned(directory, origin, public_pem)

    @classmethod
    def open(cls, directory: Path, public_pem: str) -> Self:
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
    def newest(self) -> int:
        """Seconds since 1970 at which the last entry was taken in; 0 for an empty log, and for one that keeps no dates."""
        return self.entry(self.size - 1).integrated_time if self.size else 0

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
    def signed_head(self) -> tuple[Checkpoint, str]:
        """What that checkpoint says and its signed note: of one and the same, whoever reads or appends meanwhile."""
        state = self._state
        return state.head, state.note

    @property
    def cosigned_text(self) -> str:
        """The latest checkpoint kept with signatures of witnesses, or empty when there is none."""
        return self._cosigned.read()[0]

    def refresh(self) -> None:
        """Take up what another process has appended; raises RegistryUnusable when the log went backwards."""
        self._read(self._take_head)

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

    def extension(self, old: int) -> tuple[str, tuple[bytes, ...]]:
        """Return the newest checkpoint, signed, and the proof that its tree extends that of `old`; raises as `prove`.

        Reading tiles may take up a longer log; the proof is for the checkpoint that comes with it.
        """
        head, note = self.signed_head
        return note, self.consistency(old, head.size)

    def root_at(self, size: int) -> bytes:
        """Return the root the log had at `size`; raises NotFound or RegistryUnusable."""
        return self._read(lambda: self._root_at(size))

    def find(self, body: bytes, since: int = 0) -> int | None:
        """Return the first index at or after `since` that holds exactly this body, or None."""
        return self.find_leaf(leaf_hash(body), since)

    def find_leaf(self, leaf: bytes, since: int = 0) -> int | None:
        """Return the first index at or after `since` whose entry has this leaf hash (RFC 6962 section 2.1), or None."""

        def search() -> int | None:
            size = self.size
            return self._finder.find(Tiles(self._directory, size), size, leaf, since)

        return self._read(search)

    def resource(self, path: str) -> bytes:
        """Return what a client of C2SP tlog-tiles gets at `checkpoint` or `tile/…`; raises NotFound."""
        if path == CHECKPOINT:
            self.refresh()
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

    # What follows reads files and expects `_read` around it.

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
                self._state = State(note, head, frontier)

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


def _read_note(directory: Path) -> str:
    """Return the checkpoint as text; raises FileNotFoundError, Unreadable, RegistryUnusable."""
    try:
        return read_plain(directory / CHECKPOINT).decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise disk(error) from None
    except UnicodeDecodeError:
        raise damaged("the checkpoint is not text") from None
