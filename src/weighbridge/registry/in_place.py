"""Taking a model in where it lies: every byte is read and hashed once, and its address kept instead of a copy.

The model enters intake as any other; only that its blobs are read from where they are (`store.referenced`). A file or
object without a version can change at any time, so it is hashed again at each use, and the checks say so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreadable
from weighbridge.core.manifest import ChunkTable, Manifest
from weighbridge.core.reference import Reference
from weighbridge.core.tier import Origin
from weighbridge.registry import intake, models, tally
from weighbridge.registry.wiring import Registry
from weighbridge.source.local import open_folder
from weighbridge.source.opening import open_source
from weighbridge.source.read import FileRead, Progress, Snapshot, read_file
from weighbridge.source.tree import MAX_BYTES, Tree, TreeFile, listed
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.store.ports import Blobs
from weighbridge.store.referenced import Location, ReferencedBlobs, file_uri

Address = tuple[str, str]
"""URI and version; an empty version where the store has none."""


@runtime_checkable
class Addressed(Protocol):
    """A tree whose files have addresses of their own: a bucket's objects."""

    def address(self, path: str) -> Address:
        """Return under which URI and in which version the file of this path is read."""
        ...


def take_reference_in_place(
    registry: Registry,
    reference: Reference,
    *,
    environ: Mapping[str, str],
    announced: Mapping[str, Digest] | None = None,
    progress: Progress | None = None,
) -> models.Model:
    """Take in what a reference names where it lies: a path, or objects of a bucket; raises as `take_in_place`."""
    if reference.scheme == "path":
        return take_folder_in_place(registry, Path(reference.target), announced=announced, progress=progress)
    tree = open_source(reference, intake.asking(registry, environ))
    try:
        return take_in_place(
            registry, tree, origin=Origin.THIRD_PARTY, announced=announced, progress=progress
        )
    finally:
        tree.close()


def take_folder_in_place(
    registry: Registry,
    path: Path,
    *,
    origin: Origin = Origin.OWN,
    announced: Mapping[str, Digest] | None = None,
    progress: Progress | None = None,
) -> models.Model:
    """Take in a folder, a file or a snapshot in the hub client's cache where it lies; raises as `take_in_place`."""
    with open_folder(path) as tree:
        placed = _OnDisk(tree, path)
        return take_in_place(registry, placed, origin=origin, announced=announced, progress=progress)


def take_in_place(
    registry: Registry,
    tree: Tree,
    *,
    origin: Origin,
    announced: Mapping[str, Digest] | None = None,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
) -> models.Model:
    """Take in a tree whose files have addresses (`Addressed`), without a copy.

    `announced` maps paths to digests that somebody gave for them. Raises Refused(`in-place.address`) for another tree,
    else as `source.read.read_tree`.
    """
    if not isinstance(tree, Addressed):
        raise Refused(
            "this source cannot be taken in where it lies",
            cause="its files have no address under which they could be read again",
            remedy="take it in without --in-place: its bytes are then copied",
            check="in-place.address",
        )
    reads: list[FileRead] = []
    places: list[Location] = []
    for found in listed(tree, max_bytes=max_bytes).files:
        file = found
        known = (announced or {}).get(file.path)
        if known is not None:
            file = replace(file, announced=(*file.announced, known))
        copies = cast("Blobs", _Copies(registry.blobs)) if file.remote else None
        read = read_file(file, copies, progress=progress)
        uri, version = tree.address(file.path)
        reads.append(read)
        places.append(Location(read.entry.sha256, uri, file.size, version))
    tree.settle()
    snapshot = Snapshot(
        Manifest.of(read.entry for read in reads), ChunkTable(tuple(read.chunks for read in reads))
    )
    keep(registry, places)
    facts: dict[str, JSON] = {
        **tree.origin,
        "in_place": True,
        "matches_announced": _matches(tree, snapshot, announced),
    }
    return intake.record(registry, snapshot, label=tree.model_hint, origin=origin, source=facts)


def keep(registry: Registry, places: Sequence[Location]) -> None:
    """Write down where blobs lie; an address that is known takes the version that was hashed last."""
    table = schema.location
    with registry.writing(), tally.keeping(registry) as connection:
        for place in places:
            values = {
                **registry.record(),
                "digest": str(place.digest),
                "uri": place.uri,
                "size": place.size,
                "version": place.version,
            }
            statement = upsert(connection, table).values(values)
            changed = {"size": place.size, "version": place.version}
            connection.execute(
                statement.on_conflict_do_update(index_elements=["digest", "uri"], set_=changed)
            )


def _matches(tree: Tree, snapshot: Snapshot, announced: Mapping[str, Digest] | None) -> bool:
    """Tell whether somebody else gave a digest of every file, and each was compared."""
    said = {file.path for file in tree.files() if file.announced} | set(announced or {})
    return all(entry.path in said for entry in snapshot.manifest.files)


class _Copies:
    """Takes in the cache what had to be fetched to be hashed, so that looking into it does not fetch it again."""

    def __init__(self, blobs: ReferencedBlobs) -> None:
        self.put = blobs.copy

    def has(self, _: Digest) -> bool:
        return False


class _OnDisk:
    """A tree on this machine with the address of each file: of the very file that was opened, links resolved."""

    def __init__(self, tree: Tree, root: Path) -> None:
        self._tree = tree
        self._root = root.expanduser().absolute()
        self._opened: dict[str, tuple[int, int]] = {}

    @property
    def model_hint(self) -> str:
        return self._tree.model_hint

    @property
    def origin(self) -> Mapping[str, str]:
        return self._tree.origin

    def files(self) -> Sequence[TreeFile]:
        return [replace(file, opener=self._opener(file)) for file in self._tree.files()]

    def settle(self) -> None:
        self._tree.settle()

    def close(self) -> None:
        self._tree.close()

    def address(self, path: str) -> Address:
        here = self._root if self._root.is_file() else self._root / path
        try:
            real = here.resolve(strict=True)
            info = real.stat()
        except OSError as error:
            raise self._changed(path, error.strerror or str(error)) from error
        if (info.st_dev, info.st_ino) != self._opened[path]:
            raise self._changed(path, "its path leads to another file than the one that was read")
        return file_uri(real), ""

    def _opener(self, file: TreeFile) -> Any:
        def opened() -> BinaryIO:
            stream = file.open()
            info = os.fstat(stream.fileno())
            self._opened[file.path] = (info.st_dev, info.st_ino)
            return stream

        return opened

    def _changed(self, path: str, cause: str) -> Unreadable:
        return Unreadable(
            f"{path!r} changed while it was read",
            cause=cause,
            remedy="wait until nothing writes to it any more, then run the command again",
            check="source.changed",
        )
