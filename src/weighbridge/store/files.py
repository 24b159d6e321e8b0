"""Blobs in a folder: `sha256/ab/<hex>`, written under another name first, read-only once named."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadReference,
    CannotTell,
    NotFound,
    OutOfBudget,
    RegistryUnusable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.store.aside import Aside
from weighbridge.store.behind import Behind
from weighbridge.store.plain import flush_folder

READ_SIZE = 1024 * 1024
USED = "used-by"
_INCOMING = ".incoming-"
_HEX = re.compile("[0-9a-f]{64}")
_FOLDER = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileBlobs:
    """`store.ports.Blobs` in the folder `root`, which is made when it is missing.

    A blob is written to `sha256/.incoming-*` (O_EXCL), flushed to disk, made read-only (0444), linked to
    its name and the folder flushed. Linking never replaces: a blob that is there already is kept after its
    size was compared. Nothing but the incoming file of the same call is ever deleted, `delete` apart.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = root / "sha256"
        self.aside = Aside(self._top)
        """How garbage is collected here: what was set aside is no more in its place, and can be had back."""
        self._serial = itertools.count()
        self._swept = False
        try:
            self._top.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unreadable(root, error) from error

    def put(self, chunks: Iterable[bytes], *, expected: Digest | None = None) -> Digest:
        """Keep the bytes of `chunks`; see `store.ports.Blobs.put`."""
        incoming, fd = self._incoming()
        try:
            hasher = hashlib.sha256()
            size = 0
            with os.fdopen(fd, "wb", buffering=0) as out, Behind(hasher.update) as hashing:
                for chunk in chunks:
                    hashing.give(chunk)
                    self._write(out.fileno(), chunk)
                    size += len(chunk)
                hashing.end()
                digest = Digest("sha256", hasher.hexdigest())
                if expected is not None and digest != expected:
                    raise VerificationFailed(
                        "the bytes are not those that were announced",
                        cause=f"expected {expected}, found {digest}",
                        remedy="fetch the file again; if it happens twice, do not use this source",
                        check="blob.digest",
                    )
                self._name(incoming, out.fileno(), digest, size)
        finally:
            with suppress(OSError):
                incoming.unlink()
        return digest

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob; no link is followed and nothing but a regular file is opened."""
        path = self._path(digest)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        for place in (
            path,
            self.aside.open_path(digest),
            path,
        ):  # what is needed while it is set aside comes back
            try:
                fd = os.open(place, flags)
                break
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(path, error) from error
        else:
            raise _missing(digest, self.root)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise RegistryUnusable(
                f"{path} is not a regular file",
                cause="something else was put where a blob was kept",
                remedy="restore the registry from a backup, or remove this entry and take the model in again",
            )
        return os.fdopen(fd, "rb")

    def has(self, digest: Digest) -> bool:
        """Tell whether a blob of this name is kept."""
        try:
            return stat.S_ISREG(self._path(digest).lstat().st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _unreadable(self._path(digest), error) from error

    def hold(self, digest: Digest) -> bool:
        """Do what `has` does, and keep the blob from being collected for a while (`store.aside.Aside.hold`)."""
        try:
            return self.aside.hold(digest)
        except OSError as error:
            raise _unreadable(self._path(digest), error) from error

    def claim(self, registry: str) -> None:
        """Note that a registry keeps blobs here: an empty file `used-by/<id>`."""
        folder = self.root / USED
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / registry).touch(mode=0o600)
        except OSError as error:
            raise _store_problem(self.root, error) from error

    def users(self) -> set[str]:
        """Return the registries that noted so."""
        try:
            return set(os.listdir(self.root / USED))  # noqa: PTH208 (names are all that is needed)
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise _unreadable(self.root / USED, error) from error

    def verify(self, digest: Digest) -> bool:
        """Read the blob again and compare."""
        hasher = hashlib.sha256()
        with self.open(digest) as stream:
            try:
                while block := stream.read(READ_SIZE):
                    hasher.update(block)
            except OSError as error:
                raise _unreadable(self._path(digest), error) from error
        return hasher.hexdigest() == digest.hex

    def free(self) -> int:
        """Return the bytes that an unprivileged writer can still store on this file system."""
        try:
            info = os.statvfs(self._top)
        except OSError as error:
            raise _unreadable(self._top, error) from error
        return info.f_bavail * info.f_frsize

    def read(self, digest: Digest, start: int, length: int) -> bytes:
        """Return a range; see `store.ports.Blobs.read`."""
        with self.open(digest) as stream:
            try:
                stream.seek(start)
                return stream.read(length)
            except OSError as error:
                raise _unreadable(self._path(digest), error) from error

    def size(self, digest: Digest) -> int:
        """Return the bytes a kept blob has."""
        return self._info(digest).st_size

    def stamp(self, digest: Digest) -> tuple[object, ...] | None:
        """Return inode, size and times; None for what is not there.

        The change time is the kernel's: whoever swaps bytes and swaps them back cannot put it back.
        """
        try:
            info = self._info(digest)
        except NotFound:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns

    def local(self, digest: Digest) -> Path:
        """Return where a kept blob lies, for those who read it in place; raises NotFound."""
        self._info(digest)
        return self._path(digest)

    def open_local(self, digest: Digest) -> BinaryIO:
        """Open a blob: this store is on this machine."""
        return self.open(digest)

    def digests(self) -> Iterator[Digest]:
        """Yield what is kept; files that bear no blob's name are passed over. Raises Unreadable."""
        try:
            for folder in list(self._top.iterdir()):
                if len(folder.name) == _FOLDER:
                    for name in os.listdir(folder):  # noqa: PTH208 (names are all that is needed of a million)
                        if _HEX.fullmatch(name) and name.startswith(folder.name):
                            yield Digest("sha256", name)
        except OSError as error:
            raise _unreadable(self._top, error) from error

    def delete(self, digest: Digest) -> None:
        """Remove a blob; its name is gone for ever when this returns."""
        path = self._path(digest)
        try:
            with suppress(FileNotFoundError):
                path.unlink()
                flush_folder(path.parent)
        except OSError as error:
            raise _unreadable(path, error) from error

    def _info(self, digest: Digest) -> os.stat_result:
        try:
            info = self._path(digest).lstat()
        except FileNotFoundError as error:
            raise _missing(digest, self.root) from error
        except OSError as error:
            raise _unreadable(self._path(digest), error) from error
        if not stat.S_ISREG(info.st_mode):
            raise _missing(digest, self.root)
        return info

    def _path(self, digest: Digest) -> Path:
        if digest.algorithm != "sha256":
            raise BadReference(
                f"{digest} does not name a blob",
                cause="blobs are named by the SHA-256 of one file",
                remedy="look the file up in its manifest first",
            )
        return self._top / digest.hex[:2] / digest.hex

    def _incoming(self) -> tuple[Path, int]:
        """Open a new file under no blob's name, locked for as long as it is being written."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._sweep()
            while True:
                path = self._top / f"{_INCOMING}{os.getpid()}-{next(self._serial)}"
                with suppress(FileExistsError):
                    fd = os.open(path, flags, 0o600)
                    if _lock(fd) and os.fstat(fd).st_nlink:
                        return path, fd
                    os.close(fd)  # a sweeper was between our two calls; take another name
        except OSError as error:
            raise _store_problem(self.root, error) from error

    def _sweep(self) -> None:
        """Remove, once, what writers that died have left; the living hold a lock on theirs."""
        if self._swept:
            return
        self._swept = True
        for path in self._top.glob(f"{_INCOMING}*"):
            with suppress(OSError):
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
                try:
                    if _lock(fd):
                        path.unlink()
                finally:
                    os.close(fd)

    def _write(self, fd: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError as error:
            raise _store_problem(self.root, error) from error

    def _name(self, incoming: Path, fd: int, digest: Digest, size: int) -> None:
        """Give the finished file its name, durably; keep what is there when it has the right size."""
        path = self._path(digest)
        try:
            os.fchmod(fd, 0o444)
            os.fsync(fd)
            with suppress(FileExistsError):
                path.parent.mkdir()
                flush_folder(self._top)
            while True:
                try:
                    os.link(incoming, path, follow_symlinks=False)
                    break
                except FileExistsError:
                    with suppress(FileNotFoundError):  # it was just set aside: then this one takes its place
                        _check_same(path, digest, size)
                        if self.aside.hold(digest):
                            break
            # Also when somebody else named it: their flush may not have happened yet.
            flush_folder(path.parent)
        except OSError as error:
            raise _store_problem(self.root, error) from error


def _check_same(path: Path, digest: Digest, size: int) -> None:
    there = path.lstat()
    if not stat.S_ISREG(there.st_mode) or there.st_size != size:
        raise RegistryUnusable(
            f"the kept blob {digest.short} is damaged",
            cause=f"{path} should be a regular file of {size} bytes and is not",
            remedy="restore it from a backup, or remove that one file and take the model in again",
            check="blob.size",
        )


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _store_problem(root: Path, error: OSError) -> CannotTell:
    if error.errno in _FULL:
        return OutOfBudget(
            f"there is no room left in {root}",
            cause=error.strerror or str(error),
            remedy="free some space, or use a registry on a larger disk; what was begun has been removed",
        )
    return _unreadable(root, error)


def _unreadable(path: Path, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path} cannot be used",
        cause=error.strerror or str(error),
        remedy="check that it exists and that this user may read and write it",
    )


def _missing(digest: Digest, root: Path) -> NotFound:
    return NotFound(
        f"the blob {digest.short} is not kept here",
        cause=f"{root} has no file of that name",
        remedy="take the model in again with `weighbridge intake`",
    )
