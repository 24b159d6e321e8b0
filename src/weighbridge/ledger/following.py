"""Reading a log that somebody else keeps: static files in a folder or at an address, nothing in them believed unproven.

A reader goes from a position it has verified (`Position`: a size and the right edge of the tree, 2 kB at most) to the
log's signed head. What it is given on the way are entry bodies and hash tiles by a stranger (C2SP tlog-tiles); what
it believes is only what adds up to a root that the log signed:

1. the head is signed by the log's key (`verify_checkpoint`);
2. the head extends the one pinned before: a consistency proof out of the hash tiles (RFC 9162 section 2.1.4.2);
3. every entry between: the leaf hashes of the bodies, put onto the right edge, give the root, or a root from which a
   consistency proof leads to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from weighbridge.core.errors import NotFound, RegistryUnusable, Unreachable, Unreadable, VerificationFailed
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import MAX_NOTE, Checkpoint, verify_checkpoint
from weighbridge.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from weighbridge.ledger.tiles import (
    CHECKPOINT,
    ENTRIES,
    LEVEL_BITS,
    MAX_ENTRY,
    WIDTH,
    decode_entries,
    disk,
    hashes_at,
    perfect_root,
    tile_name,
)
from weighbridge.net import Door, ask

MAX_TILE = WIDTH * (MAX_ENTRY + 2)
"""Bytes of the largest file there is: 256 entries of the largest size."""
MAX_STRETCH = 64 * 1024 * 1024
"""Bytes of entries that are held at once, but for the rest of a tile."""
CHECK = "log.consistency"


class Source(Protocol):
    """Where a log's files are."""

    def read(self, path: str) -> bytes | None:
        """Return a file, or None when it is not there; raises Unreadable or Unreachable."""
        ...


class FolderSource:
    """A log in a folder: our own, a copy, a mirror."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, path: str) -> bytes | None:
        """Return a file, or None when it is not there."""
        try:
            with (self._directory / path).open("rb") as file:
                data = file.read(MAX_TILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk(error) from None
        if len(data) > MAX_TILE:
            raise Unreadable(f"{path} of the log is larger than it can be", check="log.size")
        return data


class AddressSource:
    """A log at an address (C2SP tlog-tiles, "monitoring prefix")."""

    def __init__(self, url: str, *, offline: bool) -> None:
        self._url = url.rstrip("/")
        self._door = Door(url, offline=offline, most=MAX_TILE, what="the log", setting="the address")

    def read(self, path: str) -> bytes | None:
        """Return a file, or None for the status 404 (or 410)."""
        answer = ask(self._door, f"{self._url}/{path}")
        if answer.status in (404, 410):
            return None
        if answer.status != 200:
            raise Unreachable(
                f"{urlsplit(self._url).hostname} does not give the log's files",
                cause=f"status {answer.status} for {path}",
                remedy="check the address: it is the one below which `checkpoint` and `tile/` are",
                check="net.status",
            )
        return answer.body


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log was read, and the right edge of the tree there. Beginning: `Position(Frontier())`."""

    frontier: Frontier

    @property
    def size(self) -> int:
        """How many entries were read."""
        return self.frontier.size


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries that were read and proven, from index `start` on, and the position behind them."""

    start: int
    bodies: tuple[bytes, ...]
    end: Position


class LogReader:
    """One log as its key and its files show it."""

    def __init__(self, source: Source, *, origin: str, public_pem: str, name: str = "") -> None:
        self._source = source
        self.origin = origin
        self._public_pem = public_pem
        self._name = name

    def head(self) -> tuple[str, Checkpoint]:
        """Return the log's newest checkpoint, verified; raises NotFound, Unreadable, VerificationFailed."""
        data = self._source.read(CHECKPOINT)
        if data is None:
            raise NotFound(
                "there is no log here: it has no checkpoint", remedy="check the folder or the address"
            )
        if len(data) > MAX_NOTE * 4:
            raise Unreadable("the checkpoint is larger than it can be", check="log.size")
        try:
            note = data.decode()
        except UnicodeDecodeError:
            raise Unreadable("the checkpoint is not text", check="log.checkpoint") from None
        return note, self.verify(note)

    def verify(self, note: str) -> Checkpoint:
        """Return what a checkpoint says, when this log signed it; raises VerificationFailed(log.checkpoint)."""
        return verify_checkpoint(note, origin=self.origin, public_pem=self._public_pem, name=self._name)

    def check_extends(self, old: Checkpoint, new: Checkpoint) -> None:
        """Raise VerificationFailed(log.consistency) unless the tree of `new` begins with that of `old`."""
        if new.size < old.size:
            raise _inconsistent(f"it had {old.size} entries, and has {new.size}")
        self._check_prefix(old.size, old.root, new)

    def read(self, position: Position, head: Checkpoint, most: int) -> Stretch:
        """Return up to `most` entries (rounded up to whole tiles) behind `position`, proven to be in the tree of `head`.

        Fewer where they are large (MAX_STRETCH), and always one tile or more.

        Raises VerificationFailed(log.entries) when they are not what was signed, NotFound when files are missing,
        Unreadable when one is damaged.
        """
        end = min(head.size, position.size + most)
        end = min(head.size, -(-end // WIDTH) * WIDTH)
        bodies: list[bytes] = []
        taken = 0
        while position.size + len(bodies) < end and taken < MAX_STRETCH:
            number, first = divmod(position.size + len(bodies), WIDTH)
            width = min(WIDTH, head.size - number * WIDTH)
            fresh = self._entries(number, width)[first:]
            taken += sum(map(len, fresh))
            bodies += fresh
        frontier = position.frontier.extend([leaf_hash(body) for body in bodies])
        try:
            self._check_prefix(frontier.size, frontier.root, head)
        except VerificationFailed as error:
            raise VerificationFailed(
                "the log's entries are not the ones that it signed",
                cause=f"those from {position.size} to {frontier.size} do not add up to its checkpoint of {head.size}",
                remedy="fetch them again; when it stays so, keep the checkpoint: what it stands for is withheld",
                check="log.entries",
            ) from error
        return Stretch(position.size, tuple(bodies), Position(frontier))

    def _check_prefix(self, size: int, root: bytes, head: Checkpoint) -> None:
        """Prove that the first `size` entries of the tree of `head` have this root."""
        if size == head.size:
            fits = root == head.root
        elif size == 0:
            fits = root == merkle.EMPTY_ROOT
        else:
            proof = merkle.consistency_proof(size, head.size, self._nodes(head.size))
            fits = merkle.verify_consistency(size, head.size, proof, old_root=root, new_root=head.root)
        if not fits:
            raise _inconsistent(
                f"nothing proves that its {head.size} entries begin with the {size} seen before"
            )

    def _entries(self, number: int, width: int) -> list[bytes]:
        data = self._tile(ENTRIES, number, width)
        try:
            return decode_entries(_first_entries(data, width), width)
        except RegistryUnusable as error:
            raise Unreadable(
                f"{tile_name(ENTRIES, number, width)} of the log is damaged",
                cause=error.cause,
                check="log.entries",
            ) from None

    def _nodes(self, size: int) -> Callable[[int, int], bytes]:
        kept: dict[tuple[int, int], bytes] = {}

        def node(level: int, index: int) -> bytes:
            tile_level, rest = divmod(level, LEVEL_BITS)
            number, first = divmod(index << rest, WIDTH)
            if (tile_level, number) not in kept:
                width = min(WIDTH, (size >> LEVEL_BITS * tile_level) - number * WIDTH)
                data = self._tile(hashes_at(tile_level), number, width)
                if len(data) < HASH_SIZE * width or len(data) % HASH_SIZE:
                    raise Unreadable(
                        f"{tile_name(hashes_at(tile_level), number, width)} of the log is damaged",
                        check="log.size",
                    )
                kept[tile_level, number] = data[: HASH_SIZE * width]
            return perfect_root(kept[tile_level, number], first, 1 << rest)

        return node

    def _tile(self, kind: str, number: int, width: int) -> bytes:
        """Return a tile of at least `width`: the full one where the narrower is not kept any more, or any between."""
        names = [tile_name(kind, number, width), tile_name(kind, number)]
        for name in dict.fromkeys(names):
            data = self._source.read(name)
            if data is not None:
                return data
        for wider in range(width + 1, WIDTH):  # our own log keeps only its widest; it grew while we looked
            if not isinstance(self._source, FolderSource):
                break
            data = self._source.read(tile_name(kind, number, wider))
            if data is not None:
                return data
        raise NotFound(
            f"the log has no {names[0]}",
            cause="its checkpoint promises that file",
            remedy="try again; when it stays so, the log withholds what it signed",
            check="log.missing",
        )


def _first_entries(data: bytes, count: int) -> bytes:
    """Return the part of an entry bundle that holds its first `count` entries."""
    at = 0
    for _ in range(count):
        if at + 2 > len(data):
            break
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return data[:at]


def _inconsistent(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the log does not extend the one that was seen before",
        cause=cause,
        remedy="keep both checkpoints: together they prove that the log was rolled back, rewritten or forked",
        check=CHECK,
    )


def read_all(
    reader: LogReader, take: Callable[[Stretch], None], *, most: int = 65536
) -> tuple[str, Checkpoint]:
    """Read a whole log from its beginning to its head, handing over each stretch; return the head."""
    note, head = reader.head()
    position = Position(Frontier())
    while position.size < head.size:
        stretch = reader.read(position, head, most)
        take(stretch)
        position = stretch.end
    reader.check_extends(Checkpoint(head.origin, position.size, position.frontier.root), head)
    return note, head


def source_of(place: str, *, offline: bool) -> Source:
    """Return where a log's files are: an address, or a folder."""
    if place.startswith(("http://", "https://")):
        return AddressSource(place, offline=offline)
    if not Path(place).is_dir():
        raise NotFound(
            f"there is no log in {place}",
            remedy="name a folder with `checkpoint` and `tile/` in it, or its address",
        )
    return FolderSource(Path(place))
