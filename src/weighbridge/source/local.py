"""A folder or a file on this machine as a tree, walked by directory handles and without following links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, NotFound, OutOfBudget, Unreadable, WeighbridgeError
from weighbridge.core.manifest import MAX_FILES, check_path, is_excluded
from weighbridge.source import cache
from weighbridge.source.tree import TreeFile

MAX_DEPTH = 64
MAX_ENTRIES = 2 * MAX_FILES
"""Files and folders looked at, excluded ones not counted: those are never entered."""


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What must stay the same from the listing to the end of the reading."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, info: os.stat_result) -> _Stamp:
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class _Listed:
    """One file as listed; `kept` is where a snapshot's link leads in its cache."""

    stamp: _Stamp
    kept: cache.Kept | None = None


class LocalTree:
    """A folder, or one file, held open by a directory handle until closed."""

    def __init__(self, root: int, shelf: cache.Shelf | None, where: _Where) -> None:
        self._root = root
        self._shelf = shelf
        self._where = where
        try:
            self._listed = self._list()
        except BaseException:
            self.close()
            raise

    @property
    def model_hint(self) -> str:
        """The repository for a cache's snapshot, else the name of the folder or file."""
        return self.origin.get("repository") or self._where.name

    @property
    def origin(self) -> Mapping[str, str]:
        """`scheme` is `path`; a cache's snapshot also has `repository` and `commit`, as its folder says."""
        return self._where.origin

    def files(self) -> Sequence[TreeFile]:
        """Return the files in the order of the manifest."""
        only = self._where.announced
        return [
            TreeFile(
                path,
                listed.stamp.size,
                partial(self._open, path, listed),
                only if listed.kept is None else cache.announced_by(listed.kept.blob),
                partial(self._check_stream, path, listed),
            )
            for path, listed in sorted(self._listed.items(), key=lambda item: item[0].encode())
        ]

    def settle(self) -> None:
        """List again and compare; raises Unreadable (`source.changed`)."""
        now, then = _model(self._list()), _model(self._listed)
        if now != then:
            differing = {p for p in now.keys() | then.keys() if now.get(p) != then.get(p)}
            raise self._changed(min(differing))

    def close(self) -> None:
        """Close the handles; may be called more than once."""
        if self._root >= 0:
            os.close(self._root)
        if self._shelf is not None:
            self._shelf.close()
        self._root, self._shelf = -1, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _list(self) -> dict[str, _Listed]:
        if self._where.file is not None:
            with self._translated(self._where.name):
                info = os.stat(self._where.file, dir_fd=self._root, follow_symlinks=False)
            return {self._where.name: self._regular(self._where.name, info)}
        listed: dict[str, _Listed] = {}
        folders, seen = [""], 0
        while folders:
            folder = folders.pop()
            with self._translated(folder), cache.opened_below(self._root, _parts(folder)) as fd:
                for path, name in self._names(fd, folder):
                    seen += 1
                    if seen > MAX_ENTRIES:
                        raise self._too_much(f"more than {MAX_ENTRIES} files and folders")
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        folders.append(path)
                    elif is_excluded(path):  # named, whatever it is; only a regular file can be opened
                        listed[path] = _Listed(_Stamp.of(info))
                    elif stat.S_ISLNK(info.st_mode):
                        listed[path] = self._link(path, name, fd)
                    else:
                        listed[path] = self._regular(path, info)
        return listed

    def _names(self, fd: int, folder: str) -> Iterator[tuple[str, bytes]]:
        """Yield the path and the raw name of each entry; names are bytes on disk and must be UTF-8."""
        prefix = f"{folder}/" if folder else ""
        if prefix.count("/") > MAX_DEPTH:
            raise self._too_much(f"folders are nested deeper than {MAX_DEPTH}")
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                try:
                    path = prefix + name.decode("utf-8")
                except UnicodeDecodeError as error:
                    shown = f"{prefix}{name!r}"
                    raise self._refused(shown, "its name is not UTF-8", "rename it") from error
                if not is_excluded(path):
                    check_path(path)
                elif not self._where.everything:
                    continue
                yield path, name

    def _regular(self, path: str, info: os.stat_result, kept: cache.Kept | None = None) -> _Listed:
        if not stat.S_ISREG(info.st_mode):
            raise self._refused(path, f"it is a {_kind(info.st_mode)}", "remove it from the folder")
        return _Listed(_Stamp.of(info), kept)

    def _link(self, path: str, name: bytes, fd: int) -> _Listed:
        """Refuse a link, except a snapshot's own link into its cache's `blobs`."""
        target = os.readlink(name, dir_fd=fd)
        depth = path.count("/") + (self._where.snapshot.depth if self._where.snapshot else 0)
        try:
            found = self._shelf.find(target, depth) if self._shelf is not None else None
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Unreadable(
                f"{path!r} in {self._where.shown} leads nowhere",
                cause=f"the cache no longer holds what {os.fsdecode(target)!r} names",
                remedy="download the model again, or delete this revision from the cache",
                check="source.unreadable",
            ) from error
        if found is None:
            raise self._refused(
                path,
                f"it is a link to {os.fsdecode(target)!r}; what a link leads to is not part of the folder",
                "put the file itself in its place",
            )
        return self._regular(path, found[1], found[0])

    def _open(self, path: str, listed: _Listed) -> BinaryIO:
        folder, _, name = path.rpartition("/")
        with self._translated(path):
            if listed.kept is not None and self._shelf is not None:
                fd = self._shelf.open(listed.kept)
            elif self._where.file is not None:
                fd = os.open(self._where.file, cache.FILE_FLAGS, dir_fd=self._root)
            else:
                with cache.opened_below(self._root, _parts(folder)) as parent:
                    fd = os.open(name.encode(), cache.FILE_FLAGS, dir_fd=parent)
        try:
            self._check_handle(path, listed, fd)
            return os.fdopen(fd, "rb", buffering=0)
        except BaseException:
            os.close(fd)
            raise

    def _check_stream(self, path: str, listed: _Listed, stream: BinaryIO) -> None:
        self._check_handle(path, listed, stream.fileno())

    def _check_handle(self, path: str, listed: _Listed, fd: int) -> None:
        info = os.fstat(fd)
        if _Stamp.of(info) != listed.stamp:
            raise self._changed(path)
        if not stat.S_ISREG(info.st_mode):
            raise self._refused(path, f"it is a {_kind(info.st_mode)}", "remove it from the folder")

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turn what the system says about `path` into words; our own errors pass."""
        try:
            yield
        except WeighbridgeError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise self._changed(path) from error  # it was listed a moment ago
            raise _unreadable(
                f"{path!r} in {self._where.shown}" if path else self._where.shown, error
            ) from error

    def _changed(self, path: str) -> Unreadable:
        return Unreadable(
            f"{path!r} in {self._where.shown} changed while it was read",
            cause="it is not the file that was listed at the start (other size, time or inode, or gone)",
            remedy="wait until nothing writes to the folder any more, then run the command again",
            check="source.changed",
        )

    def _refused(self, path: str, cause: str, remedy: str) -> BadManifest:
        return BadManifest(
            f"{path!r} in {self._where.shown} cannot be part of a model",
            cause=cause,
            remedy=remedy,
            check="manifest.path",
        )

    def _too_much(self, cause: str) -> OutOfBudget:
        return OutOfBudget(
            f"{self._where.shown} is too large a tree",
            cause=cause,
            remedy="point at the folder that holds one model",
            check="source.size",
        )


@dataclass(frozen=True, slots=True)
class _Where:
    """What was opened: shown as typed, named by its last part; `file` is the name on disk of a single file."""

    shown: str
    name: str
    origin: Mapping[str, str]
    file: bytes | None = None
    announced: tuple[Digest, ...] = ()
    snapshot: cache.Place | None = None
    everything: bool = False


def open_folder(path: Path, *, everything: bool = False) -> LocalTree:
    """Open the folder or file at `path` as a tree; the caller closes it.

    Links in `path` itself are followed, they are the caller's own words; none below it is, except those
    of a hub cache's snapshot into its own `blobs`. A whole `models--org--name` folder of such a cache
    stands for its `main` revision. With `everything` files that are never part of a model (version control,
    see `core.manifest.is_excluded`) are listed too, for whoever must say that they are there. Raises
    NotFound, BadManifest, Unreadable or OutOfBudget.
    """
    real = _real(path)
    real = cache.chosen_snapshot(real) or real
    info = real.lstat()
    if stat.S_ISREG(info.st_mode):
        return _single(path, real)
    if not stat.S_ISDIR(info.st_mode):
        raise BadManifest(
            f"{path} cannot be a model",
            cause=f"it is a {_kind(info.st_mode)}",
            remedy="give a folder or a file",
            check="manifest.path",
        )
    snapshot = cache.recognise(real)
    origin = {"scheme": "path"}
    shelf: cache.Shelf | None = None
    root = _open_root(real)
    if snapshot is not None:
        origin |= {"repository": snapshot.repository, "commit": snapshot.commit}
        shelf = cache.Shelf.around(root, snapshot.depth)
    where = _Where(str(path), real.name, origin, snapshot=snapshot, everything=everything)
    return LocalTree(root, shelf, where)


def _single(path: Path, real: Path) -> LocalTree:
    name = path.name  # as typed: a cache's link has the file's name, its blob has none
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BadManifest(
            f"{os.fsencode(name)!r} cannot be a model",
            cause="its name is not UTF-8",
            remedy="rename it",
            check="manifest.path",
        ) from error
    check_path(name)
    root = _open_root(real.parent)
    where = _Where(
        str(path), name, {"scheme": "path"}, os.fsencode(real.name), cache.announced_by_place(real)
    )
    return LocalTree(root, None, where)


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path, strict=True))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(
            f"there is no {str(path)!r} here",
            cause="no file or folder of that name",
            remedy="check the spelling; for a model of the hub type hf://org/name",
        ) from error
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _open_root(path: Path) -> int:
    try:
        return os.open(path, cache.FOLDER_FLAGS)
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _model(listed: Mapping[str, _Listed]) -> dict[str, _Listed]:
    """Return what is part of the model: version control may write its own files while we read."""
    return {path: row for path, row in listed.items() if not is_excluded(path)}


def _parts(folder: str) -> list[bytes]:
    return folder.encode().split(b"/") if folder else []


def _unreadable(what: str, error: OSError) -> Unreadable:
    return Unreadable(
        f"{what} could not be read",
        cause=error.strerror or str(error),
        remedy="give this user permission to read it (chmod -R u+rX), or run as a user who may"
        if error.errno in (errno.EACCES, errno.EPERM)
        else "check the disk or the mount it lies on, then run the command again",
        check="source.unreadable",
    )


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "link"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
        (stat.S_ISDIR, "folder"),
    )
    return next((name for test, name in kinds if test(mode)), "special file")
