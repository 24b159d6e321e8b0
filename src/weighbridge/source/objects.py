"""A prefix, or one object, of a bucket in S3, Google Cloud Storage or Azure: pinned by versions where the bucket keeps them.

An object of a bucket with versioning is read in the version that it had when it was listed. Elsewhere it is read on the
condition that its entity tag is still the one listed, and the whole listing is held against a second one at the end. No
store says a SHA-256 of its objects that could be compared: digests come from the reference (`#sha256=…`, of the one object
or of a `SHA256SUMS` among them) or by hand.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreachable, Unreadable, WeighbridgeError
from weighbridge.core.manifest import is_weight_file
from weighbridge.core.reference import Reference
from weighbridge.source.fetched import FetchedTree, check_number, contradiction, remote_file, together
from weighbridge.source.https import LIST, MAX_LIST, read_list
from weighbridge.source.opening import Asking
from weighbridge.store.objects import mapped, open_store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BLOCK = 1024 * 1024
TRIES = 4
DESCRIPTIONS = ("config.json", "model_index.json", "adapter_config.json")
MAX_NOTED = 100
"""Objects whose versions and tags are noted one by one; of more the digest of all of them is."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as it was listed."""

    key: str
    size: int
    version: str
    tag: str

    def to_json(self) -> JSON:
        """Return what is noted of it."""
        return [self.key, self.size, self.version, self.tag]


def open_objects(reference: Reference, asking: Asking) -> BucketTree:
    """List what lies below a prefix; nothing is fetched yet but a list of digests that the reference names."""
    bucket = Bucket(reference, asking)
    objects = bucket.listed()
    announced = bucket.announced(objects)
    files = [
        remote_file(
            path, found.size, bucket.fetching(found), announced=announced.get(path), keep=asking.partial
        )
        for path, found in objects.items()
    ]
    missing = announced.keys() - objects.keys()
    if missing:
        raise contradiction(reference.location, f"{min(missing)!r} is on the list of files and not there")
    name = reference.target.rpartition("/")[2]
    kept = [file for file in files if file and (not announced or file.path in announced)]
    tree = BucketTree(name, kept, bucket.origin(objects), settle=lambda: bucket.settle(objects))
    tree.addresses = {path: bucket.address(found) for path, found in objects.items()}
    return tree


def model_prefixes(reference: Reference, asking: Asking) -> list[str]:
    """Return the folders below a prefix that hold a model, as references: topmost with weights or a model's description.

    Weights that lie at the prefix itself are models of one file each: what lies beside them need not belong to them.
    """
    base = reference.target.partition("/")[2]
    bucket = f"{reference.scheme}://{reference.target.partition('/')[0]}"
    folders: set[str] = set()
    single = []
    found = Bucket(reference, asking).keys()
    for key in found:
        folder, _, name = key.rpartition("/")
        if folder == base and is_weight_file(key):
            single.append(f"{bucket}/{key}")
        elif folder != base and (is_weight_file(key) or name in DESCRIPTIONS):
            folders.add(folder)
    top = [
        folder
        for folder in folders
        if not any(folder.startswith(f"{other}/") for other in folders if other != folder)
    ]
    return sorted([*single, *(f"{bucket}/{folder}" for folder in top)])


class BucketTree(FetchedTree):
    """Objects, each with its address, so that they can be taken in where they lie (`registry.in_place`)."""

    addresses: Mapping[str, tuple[str, str]]

    def address(self, path: str) -> tuple[str, str]:
        """Return the URI and the version (empty: the bucket keeps none) of one file."""
        return self.addresses[path]


class Bucket:
    """One reference's bucket, asked with time-outs and retries by obstore; credentials are the provider's own ways."""

    def __init__(self, reference: Reference, asking: Asking) -> None:
        if asking.offline:
            raise Unreachable(
                f"{reference.location} was not asked",
                cause="working offline",
                remedy="leave out --offline, or use a model that is on this machine",
                check="net.offline",
            )
        self.reference = reference
        self._where = reference.location
        name, _, self._prefix = reference.target.partition("/")
        # The library forgets this word of its own environment once it is given any other option.
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
        self._store: ObjectStore = open_store(
            f"{reference.scheme}://{name}", client_options={"allow_http": True} if plain else {}
        )
        digest = reference.revision.removeprefix("sha256=")
        self._digest = Digest("sha256", digest) if digest != reference.revision else None
        self._version = "" if self._digest else reference.revision

    def listed(self) -> dict[str, Listed]:
        """Return the objects by their paths in the model; one object whose name is the whole prefix is a model of one file."""
        keys = [] if self._version else self.keys()
        if not keys:
            name = self._prefix.rpartition("/")[2]
            return {name: self._head(self._prefix, self._version)} if name else self._nothing()
        heads = together(lambda key: self._head(key, ""), keys)
        start = len(self._prefix) + 1 if self._prefix else 0
        return {head.key[start:]: head for head in heads}

    def keys(self) -> list[str]:
        """Return the names of all objects below the prefix."""
        return [row["path"] for row in self._rows()]

    def announced(self, objects: Mapping[str, Listed]) -> dict[str, Digest]:
        """Return the digests that the reference gives, by path."""
        if self._digest is None:
            return {}
        if list(objects) == [self._prefix.rpartition("/")[2]] and not LIST.fullmatch(self._prefix):
            return dict.fromkeys(objects, self._digest)
        lists = [path for path in objects if "/" not in path and LIST.fullmatch(path)]
        if len(lists) != 1:
            raise NotFound(
                f"{self._where} holds no list of its files",
                cause=f"the reference names the digest of one, and {len(lists)} objects are called like one",
                remedy="put a SHA256SUMS there, as sha256sum writes it, or give the digests with --expect",
            )
        found = objects[lists[0]]
        if found.size > MAX_LIST:
            raise contradiction(self._where, f"the list of files has {found.size} bytes")
        with self.fetching(found)(0) as stream:
            data = b"".join(iter(lambda: stream.read(BLOCK), b""))
        return dict(read_list(data, self._digest))

    def fetching(self, found: Listed) -> Callable[[int], BinaryIO]:
        """Return what gives an object's bytes from any place on."""

        def fetch(start: int) -> BinaryIO:
            return _Stream(lambda at: self._blocks(found, at), found.size, start)  # type: ignore[return-value]  # a raw stream reads as others do

        return fetch

    def address(self, found: Listed) -> tuple[str, str]:
        """Return an object's URI and version."""
        bucket = self.reference.target.partition("/")[0]
        return f"{self.reference.scheme}://{bucket}/{quote(found.key)}", found.version

    def origin(self, objects: Mapping[str, Listed]) -> dict[str, str]:
        """Return where it came from: a version that stands for every object, or none where one of them has none."""
        rows: list[JSON] = [found.to_json() for found in objects.values()]
        listing = Digest.of(canonical(rows))
        versions = [found.version for found in objects.values()]
        pinned = versions[0] if len(versions) == 1 else str(listing)
        noted = canonical(rows).decode() if len(rows) <= MAX_NOTED else ""
        return {
            "scheme": self.reference.scheme,
            "location": self._where,
            "requested": self.reference.revision,
            "version": pinned if all(versions) else "",
            "listing": str(listing),
        } | ({"objects": noted} if noted else {})

    def settle(self, objects: Mapping[str, Listed]) -> None:
        """Look again where no version pins what was read; raises Unreadable (`source.changed`)."""
        if self._version or all(found.version for found in objects.values()):
            return
        now = self.listed()
        differing = {path for path in now.keys() | objects.keys() if now.get(path) != objects.get(path)}
        if differing:
            raise _changed(self._where, min(differing))

    def _rows(self) -> Iterator[Any]:
        count = 0
        try:
            for batch in self._store.list(prefix=self._prefix or None):
                count += len(batch)
                check_number(count, self._where)
                yield from (row for row in batch if not (row["path"].endswith("/") or (self._nested(row))))
        except WeighbridgeError:
            raise
        except Exception as error:
            raise mapped(error, self._where) from error

    def _nested(self, row: Any) -> bool:
        return bool(self._prefix) and not row["path"].startswith(f"{self._prefix}/")

    def _head(self, key: str, version: str) -> Listed:
        try:
            meta = self._store.get(
                key, options={"head": True, **({"version": version} if version else {})}
            ).meta
        except FileNotFoundError:
            self._nothing()
        except Exception as error:
            raise mapped(error, self._where) from error
        return Listed(key, meta["size"], version or _real(meta["version"]), meta["e_tag"] or "")

    def _blocks(self, found: Listed, start: int) -> Iterator[Any]:
        options: Any = {"range": {"offset": start}} if start else {}
        options |= (
            {"version": found.version} if found.version else {"if_match": found.tag} if found.tag else {}
        )
        try:
            yield from self._store.get(found.key, options=options).stream(min_chunk_size=BLOCK)
        except FileNotFoundError as error:
            raise _changed(self._where, found.key) from error
        except Exception as error:
            if type(error).__name__ == "PreconditionError":
                raise _changed(self._where, found.key) from error
            raise mapped(error, self._where) from error

    def _nothing(self) -> Any:
        raise NotFound(
            f"there is nothing at {self.reference}",
            cause="the bucket has no object below that prefix, and none of that name and version",
            remedy="check the spelling; a prefix is a whole folder, not the beginning of its name",
        )


class _Stream(io.RawIOBase):
    """An object from some byte on; a connection that breaks is made again where it broke, on the same condition."""

    def __init__(self, blocks: Callable[[int], Iterator[Any]], size: int, start: int) -> None:
        super().__init__()
        self._again, self._size, self._at, self._tries = blocks, size, start, TRIES
        self._blocks: Iterator[Any] | None = None
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        while not self._rest:
            if self._at >= self._size and self._blocks is None:
                return 0
            self._blocks = self._blocks or self._again(self._at)
            try:
                block = next(self._blocks, None)
            except Unreachable:
                self._blocks, self._tries = None, self._tries - 1
                if self._tries <= 0:
                    raise
                continue
            if block is None:
                return 0  # the reader holds the length against the listing
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        self._at += count
        return count


def _real(version: str | None) -> str:
    """Return a version that pins; S3 calls the objects of a bucket that keeps none `null`."""
    return "" if version in (None, "null") else str(version)


def _changed(where: str, name: str) -> Unreadable:
    return Unreadable(
        f"{name!r} in {where} changed while it was read",
        cause="its entity tag is not the one that was listed, or it is gone",
        remedy="run the command again; switch versioning on for that bucket to be independent of who writes to it",
        check="source.changed",
    )
