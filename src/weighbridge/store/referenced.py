"""Blobs that stay where they are: read from the address that was written down when they were hashed, hashed at each use.

`ReferencedBlobs` is a store of blobs and, behind it, the table `location`: what the store does not keep is read in
place, from a file (`file://`) or an object (`s3://`, `gs://`, `az://`). An object whose store gave it a version is read
in that version, which nobody can change; anything else can change at any time, so it is hashed again at every use and
the checks say so. Nothing here ever writes to or deletes what lies in place.

A file in place is hashed by `verify` each time, and by `local` and `open_local` whenever the kernel's stamp of it
(inode, size, times) is not the one under which this process hashed it last; an object is copied to the cache for those
two and hashed on the way.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

import sqlalchemy as sa

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    InternalError,
    NotFound,
    RegistryUnusable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.store import schema
from weighbridge.store.objects import mapped, open_store, shown
from weighbridge.store.ports import Blobs, Shared
from weighbridge.store.remote import Kept, RemoteBlobs
from weighbridge.store.removal import BucketRemoval
from weighbridge.store.sql import Records

READ_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Location:
    """Where a blob lies: its address, its bytes, and the version there (empty: it has none, so it may change)."""

    digest: Digest
    uri: str
    size: int
    version: str = ""


Lookup = Callable[[Digest], Sequence[Location]]


def file_uri(path: Path) -> str:
    """Return the address of a file."""
    return f"file://{quote(str(path))}"


def located(connection: sa.Connection, digest: Digest) -> list[Location]:
    """Return where a blob lies in place, in a settled order."""
    table = schema.location
    query = sa.select(table.c.uri, table.c.size, table.c.version).where(table.c.digest == str(digest))
    rows = connection.execute(query.order_by(table.c.version == "", table.c.uri))
    return [Location(digest, row.uri, row.size, row.version) for row in rows]


def lookup_in(records: Records) -> Lookup:
    """Return the lookup in a registry's records."""

    def look(digest: Digest) -> list[Location]:
        with records.read() as connection:
            return located(connection, digest)

    return look


class ReferencedBlobs:
    """`store.ports.Blobs`: those of the store `kept`, and behind them what `lookup` finds in place."""

    def __init__(self, kept: Blobs, lookup: Lookup, cache: Path, **options: Any) -> None:
        self.kept = kept
        """The store that new blobs go to; garbage is collected there alone."""
        self._lookup = lookup
        self._files = _Files(lookup)
        self._cache = cache
        self._options = options
        self._objects: RemoteBlobs | None = None
        self._claimed: set[str] = set()

    @property
    def aside(self) -> Any:
        """Return how garbage is collected in the store, None where it is not."""
        return getattr(self.kept, "aside", None)

    @property
    def removal(self) -> BucketRemoval | None:
        """Return how garbage is removed from the store by requests that end, None where it is not."""
        return self.kept.removal if isinstance(self.kept, RemoteBlobs) else None

    def removed(self, digest: Digest) -> None:
        """Take note that a blob of the store was removed there."""
        if isinstance(self.kept, RemoteBlobs):
            self.kept.removed(digest)

    def claim(self, registry: str) -> None:
        """Note in the store that a registry keeps blobs there, once a process."""
        if registry not in self._claimed and isinstance(self.kept, Shared):
            self.kept.claim(registry)
            self._claimed.add(registry)

    def users(self) -> set[str]:
        """Return the registries that noted so."""
        return self.kept.users() if isinstance(self.kept, Shared) else set()

    def hold(self, digest: Digest) -> bool:
        """Tell whether a blob is here, and keep it from being collected where that can be."""
        hold = getattr(self.kept, "hold", self.kept.has)
        return bool(hold(digest)) or self.has(digest)

    def put(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep bytes in the store."""
        return self.kept.put(chunks, expected=expected)

    def copy(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep bytes in the cache alone, where copies of objects in place are: they were fetched just now."""
        return self._far().copy(chunks, expected=expected)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob where it is, unverified."""
        return self._of(digest).open(digest)

    def read(self, digest: Digest, start: int, length: int) -> bytes:
        """Return a range, unverified."""
        return self._of(digest).read(digest, start, length)

    def has(self, digest: Digest) -> bool:
        """Tell whether a blob is kept, or something lies at an address of it."""
        return self.kept.has(digest) or self._of(digest).has(digest)

    def size(self, digest: Digest) -> int:
        """Return a blob's size, of what lies there now."""
        return self._of(digest).size(digest)

    def stamp(self, digest: Digest) -> tuple[object, ...] | None:
        """Return what changes with the bytes where they lie."""
        return self._of(digest).stamp(digest)

    def verify(self, digest: Digest) -> bool:
        """Read the blob again, wherever it is."""
        return self._of(digest).verify(digest)

    def local(self, digest: Digest) -> Path:
        """Return a file of these bytes here; what lies in place is hashed."""
        return self._of(digest).local(digest)

    def open_local(self, digest: Digest) -> BinaryIO:
        """Open such a file."""
        return self._of(digest).open_local(digest)

    def free(self) -> int | None:
        """Return the room in the store."""
        return self.kept.free()

    def digests(self) -> Iterator[Digest]:
        """Yield what the store keeps; what lies in place is nobody's to collect."""
        return self.kept.digests()

    def delete(self, digest: Digest) -> None:
        """Remove a blob from the store; what lies in place stays."""
        self.kept.delete(digest)

    def placed(self, digest: Digest) -> Location | None:
        """Return where a blob is read that the store does not keep; None for a kept or unknown one."""
        places = () if self.kept.has(digest) else self._lookup(digest)
        return self._chosen(digest, places) if places else None

    def note(self, digest: Digest) -> str:
        """Say in words where a blob lies that is not kept, and how far that can be relied on; empty for a kept one."""
        place = self.placed(digest)
        if place is None:
            return ""
        if place.version:
            return f"in place at {shown_uri(place.uri)}, bound to version {place.version}"
        return f"in place at {shown_uri(place.uri)}, which keeps no versions: hashed again at each use"

    def _of(self, digest: Digest) -> Blobs:
        """Return where to read a blob: the store when it keeps it, and when nobody does."""
        if self.kept.has(digest):
            return self.kept
        places = self._lookup(digest)
        if not places:
            return self.kept
        return self._files if _is_file(self._chosen(digest, places)) else self._far()

    def _chosen(self, digest: Digest, places: Sequence[Location]) -> Location:
        """Return the place to read from: a file that is there, else an object, else the file that is not there."""
        far = next((place for place in places if not _is_file(place)), None)
        return places[0] if far is None or self._files.has(digest) else far

    def _far(self) -> RemoteBlobs:
        if self._objects is None:
            self._objects = RemoteBlobs(_Objects(self._lookup, self._options), self._cache)
        return self._objects


def shown_uri(uri: str) -> str:
    """Return an address for people."""
    return unquote(uri) if uri.startswith("file:") else shown(uri)


def _is_file(place: Location) -> bool:
    return place.uri.startswith("file://")


class _ReadOnly:
    """What lies in place is neither written, listed nor removed through this."""

    def put(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:  # noqa: ARG002 (the port's)
        raise InternalError("a blob was put into what lies in place")

    def delete(self, digest: Digest) -> None:  # noqa: ARG002 (the port's)
        raise InternalError("a blob was deleted from what lies in place")

    def digests(self) -> Iterator[Digest]:
        raise InternalError("what lies in place was listed")

    def free(self) -> None:
        return


class _Files(_ReadOnly):
    """Files in place."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._proven: dict[Digest, tuple[object, ...]] = {}

    def open(self, digest: Digest) -> BinaryIO:
        path = self._path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _gone(digest, path, error) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise RegistryUnusable(
                f"{path} is not a regular file any more",
                cause=f"the blob {digest.short} was referenced there in place",
                remedy="put the file back, or take the model in again",
            )
        return os.fdopen(fd, "rb")

    def read(self, digest: Digest, start: int, length: int) -> bytes:
        with self.open(digest) as stream:
            stream.seek(start)
            return stream.read(length)

    def has(self, digest: Digest) -> bool:
        return self.stamp(digest) is not None

    def size(self, digest: Digest) -> int:
        with self.open(digest) as stream:
            return os.fstat(stream.fileno()).st_size

    def stamp(self, digest: Digest) -> tuple[object, ...] | None:
        try:
            with self.open(digest) as stream:
                return _stamped(stream)
        except (NotFound, RegistryUnusable):
            return None

    def verify(self, digest: Digest) -> bool:
        return self._hashed(digest) is not None

    def local(self, digest: Digest) -> Path:
        self.open_local(digest).close()
        return self._path(digest)

    def open_local(self, digest: Digest) -> BinaryIO:
        stream = self.open(digest)
        try:
            if self._proven.get(digest) != _stamped(stream):
                stamp = self._hashed(digest)
                if stamp is None or stamp != _stamped(stream):
                    raise VerificationFailed(
                        f"the file that {digest.short} was referenced at holds other bytes now",
                        cause=f"{self._path(digest)} was changed in place",
                        remedy="nothing of it is used; put the file back, or take the model in again",
                        check="blob.digest",
                    )
                self._proven[digest] = stamp
        except BaseException:
            stream.close()
            raise
        return stream

    def _hashed(self, digest: Digest) -> tuple[object, ...] | None:
        """Hash the file; returns its stamp when it has the digest and did not change meanwhile."""
        with self.open(digest) as stream:
            before, hasher = _stamped(stream), hashlib.sha256()
            try:
                while block := stream.read(READ_SIZE):
                    hasher.update(block)
            except OSError as error:
                raise _gone(digest, self._path(digest), error) from error
            return before if hasher.hexdigest() == digest.hex and _stamped(stream) == before else None

    def _path(self, digest: Digest) -> Path:
        """Return the first of a blob's files that is there, else the first."""
        paths = [Path(unquote(urlsplit(place.uri).path)) for place in self._lookup(digest) if _is_file(place)]
        if not paths:
            raise NotFound(f"the blob {digest.short} is not referenced in a file", remedy="take it in again")
        return next((path for path in paths if path.is_file()), paths[0])


class _Objects(_ReadOnly):
    """`store.remote.Place` over objects in place, each in the bucket that its address names."""

    where = "the store it is referenced in"
    removal = None

    def __init__(self, lookup: Lookup, options: Any) -> None:
        self._lookup = lookup
        self._options = options
        self._stores: dict[str, Any] = {}

    def find(self, digest: Digest) -> Kept | None:
        try:
            meta = self._get(digest, {"head": True}).meta
        except FileNotFoundError:
            return None
        tag = meta["e_tag"] or ""
        return Kept(meta["size"], (tag, meta["version"], meta["last_modified"].isoformat()), tag)

    def fetch(self, digest: Digest, start: int, length: int) -> bytes:
        try:
            return bytes(self._get(digest, {"range": (start, start + length)}).bytes())
        except FileNotFoundError as error:
            raise mapped(error, self.where, digest) from error
        except Exception as error:
            raise mapped(error, self.where) from error

    def send(self, digest: Digest, path: Path, size: int, *, replace: bool = False) -> bool:  # noqa: ARG002 (the port's)
        raise InternalError("a blob was sent to what lies in place")

    def proves(self, kept: Kept, path: Path) -> bool:  # noqa: ARG002 (the port's)
        return False

    def names(self) -> Iterator[Digest]:
        return self.digests()

    def remove(self, digest: Digest) -> None:
        self.delete(digest)

    def _get(self, digest: Digest, options: dict[str, Any]) -> Any:
        """Ask for an object, in its version where it has one; raises FileNotFoundError."""
        place = next(place for place in self._lookup(digest) if not _is_file(place))
        parts = urlsplit(place.uri)
        bucket = f"{parts.scheme}://{parts.netloc}"
        if bucket not in self._stores:
            self._stores[bucket] = open_store(bucket, **self._options)
        if place.version:
            options["version"] = place.version
        try:
            return self._stores[bucket].get(unquote(parts.path).lstrip("/"), options=options)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise mapped(error, bucket) from error


def _stamped(stream: BinaryIO) -> tuple[object, ...]:
    info = os.fstat(stream.fileno())
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def _gone(digest: Digest, path: Path, error: OSError) -> NotFound | Unreadable:
    if isinstance(error, FileNotFoundError):
        return NotFound(
            f"the blob {digest.short} is not where it was referenced",
            cause=f"there is no file at {path}",
            remedy="put the file back (the disk may not be mounted), or take the model in again",
        )
    return Unreadable(
        f"{path} cannot be read",
        cause=error.strerror or str(error),
        remedy="check that it is a file and that this user may read it",
    )
