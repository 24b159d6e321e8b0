"""Blobs on another machine: sent from a copy that was hashed here, proven there, read in ranges, hashed before use.

What a certain kind of store can do is a `Place`; everything that must be the same for all of them is here. A blob is
first written to the cache, a store of files on this machine, and hashed on the way; then sent from there, looked for
and proven: by a digest that the place made itself of what it holds, where that can be compared, else by reading it
back. So a put that was acknowledged and lost, cut or changed is noticed before `put` returns. Nothing in the cache is
the only copy of anything: it may be emptied at any time, and the oldest copies go when its disk gets full.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadReference,
    NotFound,
    Refused,
    RegistryUnusable,
    Unreachable,
    Unreadable,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.store.files import FileBlobs
from weighbridge.store.removal import BucketRemoval

BLOCK = 8 * 1024 * 1024
"""Bytes asked for at once when a blob is read to its end."""
AHEAD = 3
"""Blocks that are asked for before they are needed."""
TRIES = 3
RESERVE = 2 * 1024 * 1024 * 1024
"""Bytes that copies leave free on the disk of the cache, as long as there is a copy to remove."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a place says of a blob without giving it."""

    size: int
    stamp: tuple[object, ...]
    seal: str = ""
    """What the place says it holds, in its own words (an entity tag, a digest); see `Place.proves`."""


class Place(Protocol):
    """One kind of store on another machine; errors are those of `core.errors`, retries and time-outs its own."""

    @property
    def where(self) -> str:
        """Say which store it is, for people; never with a secret in it."""
        ...

    def find(self, digest: Digest) -> Kept | None:
        """Ask about a blob; None when the place says it is not there."""
        ...

    def fetch(self, digest: Digest, start: int, length: int) -> bytes:
        """Return a range of a blob, once asked; what comes is neither measured nor verified. Raises NotFound."""
        ...

    def send(self, digest: Digest, path: Path, size: int, *, replace: bool = False) -> bool:
        """Send a file that was hashed; nobody sees a part of it. Returns False when the place had the name already.

        With `replace` the bytes that are there, and are wrong, make room for these.
        """
        ...

    def proves(self, kept: Kept, path: Path) -> bool:
        """Tell whether what the place says it holds proves that it holds these bytes."""
        ...

    def names(self) -> Iterator[Digest]:
        """Yield the names of all blobs."""
        ...

    @property
    def removal(self) -> BucketRemoval | None:
        """Return how blobs are removed by requests that end, None where there are none."""
        ...

    def remove(self, digest: Digest) -> None:
        """Remove a blob; what is not there is no error."""
        ...


class RemoteBlobs:
    """`store.ports.Blobs` at a `Place`, with a folder of copies here."""

    def __init__(self, place: Place, cache: Path) -> None:
        self.place = place
        self._cache = FileBlobs(cache)
        self._proven: dict[Digest, tuple[object, ...]] = {}
        self._coming: dict[Digest, threading.Lock] = {}
        self._lock = threading.Lock()

    def put(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep the bytes of `chunks`; see `store.ports.Blobs.put`. A copy stays in the cache."""
        self._trim(0)
        digest = self._cache.put(chunks, expected=expected)
        stamp = self._cache.stamp(digest)
        size = self._cache.size(digest)
        try:
            self._send(digest, self._cache.local(digest), size)
        except OSError as error:
            raise Unreadable(
                f"the copy that {digest.short} was sent from cannot be read",
                cause=error.strerror or str(error),
                remedy="check the disk of the registry's folder, then run the command again",
            ) from error
        if stamp is not None and self._cache.stamp(digest) == stamp:
            self._proven[digest] = stamp
        elif not self._good(digest):  # other than by a writer of the same bytes, or was made room of
            raise _damaged(digest, "the copy it was sent from changed meanwhile", "blob.digest")
        return digest

    def replace(self, chunks: Iterable[bytes], *, expected: Digest) -> None:
        """Put the bytes of `chunks` in the place of wrong ones; raises as `put`."""
        self._trim(0)
        self._cache.put(chunks, expected=expected)
        self._send(expected, self._cache.local(expected), self._cache.size(expected), replace=True)

    @property
    def removal(self) -> BucketRemoval | None:
        """Return how garbage is removed there, None where it is not."""
        return self.place.removal

    def hold(self, digest: Digest) -> bool:
        """Do what `has` does, and where garbage is removed keep the blob from that for a while."""
        _check_name(digest)
        if self.removal is not None:
            self.removal.note(digest)
        return self.has(digest)

    def claim(self, registry: str) -> None:
        """Note that a registry keeps blobs here, where garbage is removed."""
        if self.removal is not None:
            self.removal.claim(registry)

    def users(self) -> set[str]:
        """Return the registries that noted so."""
        return self.removal.users() if self.removal is not None else set()

    def removed(self, digest: Digest) -> None:
        """Remove the copy of a blob that was removed there."""
        self._proven.pop(digest, None)
        self._cache.delete(digest)

    def copy(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep bytes in the cache alone: of a blob that is at the place, and was just read there."""
        self._trim(0)
        return self._cache.put(chunks, expected=expected)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob; ranges are fetched as they are read, unverified."""
        kept = self._kept(digest)
        raw = _Stream(lambda start, length: self._fetch(digest, start, length), kept.size)
        return cast("BinaryIO", io.BufferedReader(raw, 1024 * 1024))

    def read(self, digest: Digest, start: int, length: int) -> bytes:
        """Return a range, unverified."""
        size = self._kept(digest).size
        wanted = max(min(length, size - start), 0)
        return self._fetch(digest, start, wanted) if wanted else b""

    def has(self, digest: Digest) -> bool:
        """Ask the place."""
        return self._find(digest) is not None

    def size(self, digest: Digest) -> int:
        """Return the size that the place gives."""
        return self._kept(digest).size

    def stamp(self, digest: Digest) -> tuple[object, ...] | None:
        """Return what the place changes with the bytes."""
        kept = self._find(digest)
        return kept.stamp if kept else None

    def verify(self, digest: Digest) -> bool:
        """Fetch the whole blob again and compare; nothing in the cache is asked."""
        hasher = hashlib.sha256()
        for block in self._blocks(digest, self._kept(digest).size):
            hasher.update(block)
        return hasher.hexdigest() == digest.hex

    def free(self) -> None:
        """Return None: what fits is known when the place refuses."""
        return

    def local(self, digest: Digest) -> Path:
        """Return a copy that was hashed when it came, and hashed again when it changed since."""
        _check_name(digest)
        with self._one(digest):
            if not self._good(digest):
                self._bring(digest)
        return self._cache.local(digest)

    def open_local(self, digest: Digest) -> BinaryIO:
        """Open such a copy."""
        self.local(digest)
        return self._cache.open(digest)

    def digests(self) -> Iterator[Digest]:
        """Yield what the place lists."""
        return self.place.names()

    def delete(self, digest: Digest) -> None:
        """Remove a blob there, and the copy here."""
        _check_name(digest)
        self.place.remove(digest)
        self.removed(digest)

    def _find(self, digest: Digest) -> Kept | None:
        _check_name(digest)
        return self.place.find(digest)

    def _kept(self, digest: Digest) -> Kept:
        kept = self._find(digest)
        if kept is None:
            raise NotFound(
                f"the blob {digest.short} is not kept here",
                cause=f"{self.place.where} has nothing of that name",
                remedy="take the model in again with `weighbridge intake`",
            )
        return kept

    def _send(self, digest: Digest, path: Path, size: int, *, replace: bool = False) -> None:
        """Send a blob until it is there and proven; raises Unreachable, or RegistryUnusable for what others left.

        Nothing is deleted on the way: a request to delete that comes late would take what was put since. What stays wrong
        after the last try is removed, by a request that ends where there are such.
        """
        for _ in range(TRIES):
            kept, ours = None if replace else self.place.find(digest), False
            if kept is None:
                ours = self.place.send(digest, path, size, replace=replace)
                kept = self.place.find(digest)
            elif self.removal is not None:
                self.removal.note(digest)
            if kept is None:
                continue
            try:
                if kept.size == size and (self.place.proves(kept, path) or self.verify(digest)):
                    return
            except NotFound:  # it was there a moment ago, or is said to be
                continue
            if not ours:
                check = "blob.digest" if kept.size == size else "blob.size"
                raise _damaged(digest, f"{self.place.where} holds other bytes under its name", check)
            replace = True
        if replace:
            self._withdraw(digest)
        raise Unreachable(
            f"{self.place.where} does not keep what it acknowledges",
            cause=f"{digest.short} was sent {TRIES} times and was then absent, or not what was sent",
            remedy="check the store and what lies between, then run the command again; nothing was recorded",
            check="blob.lost",
        )

    def _withdraw(self, digest: Digest) -> None:
        """Remove wrong bytes that this put left, if that can be; else the next put finds and names them."""
        if self.removal is None:
            self.place.remove(digest)
            return
        with suppress(Refused):
            self.removal.send(self.removal.prepare(digest))

    def _fetch(self, digest: Digest, start: int, length: int) -> bytes:
        found = 0
        for _ in range(TRIES):
            data = self.place.fetch(digest, start, length)
            if len(data) == length:
                return data
            found = len(data)
        raise Unreachable(
            f"{self.place.where} does not give the bytes that were asked for",
            cause=f"{length} bytes of {digest.short} were due, {found} came",
            remedy="try again; if it happens twice, check the store: weighbridge doctor --deep",
            check="blob.short",
        )

    def _blocks(self, digest: Digest, size: int) -> Iterator[bytes]:
        """Yield the whole blob, a few blocks asked for ahead."""
        parts = iter([(start, min(BLOCK, size - start)) for start in range(0, size, BLOCK)])
        if size <= BLOCK:
            yield from (self._fetch(digest, *part) for part in parts)
            return
        with ThreadPoolExecutor(AHEAD) as pool:
            waiting: deque[Future[bytes]] = deque()
            try:
                for part in parts:
                    waiting.append(pool.submit(self._fetch, digest, *part))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _good(self, digest: Digest) -> bool:
        """Tell whether the cache has the bytes; a copy that is not what it was here is hashed, and removed if wrong."""
        stamp = self._cache.stamp(digest)
        if stamp is None:
            return False
        if self._proven.get(digest) != stamp:
            if not self._cache.verify(digest):
                self._cache.delete(digest)
                return False
            self._proven[digest] = stamp
        return True

    def _bring(self, digest: Digest) -> None:
        size = self._kept(digest).size
        self._trim(size)
        for left in reversed(range(TRIES)):
            try:
                self._cache.put(self._blocks(digest, size), expected=digest)
            except VerificationFailed as error:
                if left == 0:
                    raise VerificationFailed(
                        f"{self.place.where} gives other bytes than were kept",
                        cause=error.cause,
                        remedy="nothing of it is used; compare the store with a backup: weighbridge doctor --deep",
                        check="blob.digest",
                    ) from error
            else:
                break
        stamp = self._cache.stamp(digest)
        if stamp is not None:
            self._proven[digest] = stamp

    def _one(self, digest: Digest) -> threading.Lock:
        """Return the lock under which one copy is brought, once, however many want it."""
        with self._lock:
            return self._coming.setdefault(digest, threading.Lock())

    def _trim(self, size: int) -> None:
        """Remove the oldest copies until `size` bytes fit and the reserve is left."""
        if self._cache.free() >= size + RESERVE:
            return
        copies = [(self._cache.stamp(digest), digest) for digest in self._cache.digests()]
        for _, digest in sorted(
            ((stamp[2], digest) for stamp, digest in copies if stamp), key=lambda row: str(row[0]).zfill(24)
        ):
            self._cache.delete(digest)
            if self._cache.free() >= size + RESERVE:
                return


class _Stream(io.RawIOBase):
    """A seekable stream over ranges of known total size; a range that is not whole raises."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), BLOCK, max(self._size - self._at, 0))
        if wanted:
            view[:wanted] = self._fetch(self._at, wanted)
            self._at += wanted
        return wanted


def _check_name(digest: Digest) -> None:
    if digest.algorithm != "sha256":
        raise BadReference(
            f"{digest} does not name a blob",
            cause="blobs are named by the SHA-256 of one file",
            remedy="look the file up in its manifest first",
        )


def _damaged(digest: Digest, cause: str, check: str) -> WeighbridgeError:
    return RegistryUnusable(
        f"the kept blob {digest.short} is damaged",
        cause=cause,
        remedy="restore it from a backup, or remove that one blob and take the model in again",
        check=check,
    )
