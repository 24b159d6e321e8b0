"""A large file that arrives in several runs: what came is kept under the digest it should have, until all of it was read."""

from __future__ import annotations

import fcntl
import io
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreadable

FOLDER = "partial"
"""Where such files lie, in the registry's scratch folder."""
WORTH = 16 * 1024 * 1024
"""Bytes below which a file is rather fetched again."""


def resumed(folder: Path, announced: Digest, size: int, fetch: Callable[[int], BinaryIO]) -> BinaryIO:
    """Return the file as a stream: first what an earlier run left in `folder`, then what `fetch(start)` gives.

    Nothing that was left is believed: whoever reads the stream hashes all of it and compares. Two runs at once
    do not share; the second fetches for itself.
    """
    if size < WORTH:
        return fetch(0)
    path = folder / f"{announced.hex}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:  # then without
        return fetch(0)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return fetch(0)
    return _Resumed(path, fd, size, fetch)  # type: ignore[return-value]  # a raw stream reads as others do


def sweep(folder: Path, idle: float, *, dry: bool = False) -> list[int]:
    """Remove what nobody has written to for `idle` seconds and nobody is at; returns the bytes of each. Raises Unreadable.

    Ages are told by the file system's clock, that of a file made just now.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            now = os.fstat(probe.fileno()).st_mtime
        return [
            size for path in sorted(folder.glob("*.part")) if (size := _swept(path, now - idle, dry=dry)) >= 0
        ]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unreadable(
            "what sources left half cannot be looked through",
            cause=error.strerror or str(error),
            remedy="look at the disk and at who may write to the registry's scratch folder",
        ) from error


def _swept(path: Path, before: float, *, dry: bool) -> int:
    """Remove one; returns its bytes, -1 when it stays."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if status.st_mtime > before:
            return -1
        if not dry:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return -1
    else:
        return status.st_size
    finally:
        os.close(fd)


class _Resumed(io.RawIOBase):
    def __init__(self, path: Path, fd: int, size: int, fetch: Callable[[int], BinaryIO]) -> None:
        super().__init__()
        self._path, self._fd, self._size, self._fetch = path, fd, size, fetch
        self._at = 0
        self._have = os.fstat(fd).st_size
        if self._have > size:
            os.ftruncate(fd, 0)
            self._have = 0
        self._rest: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        if self._at < self._have:
            data = os.pread(self._fd, min(len(buffer), self._have - self._at), self._at)
        else:
            if self._rest is None:
                self._rest = self._fetch(self._at)
            data = self._rest.read(len(buffer)) or b""
            self._keep(data)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _keep(self, data: bytes) -> None:
        """Keep what came; a disk that is full costs the next run its start, and this one nothing."""
        if self._fd < 0:
            return
        try:
            written = os.pwrite(self._fd, data, self._at)
        except OSError:
            written = -1
        if written != len(data):
            self._forget()

    def _forget(self) -> None:
        with suppress(OSError):
            self._path.unlink()
        os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        """Remove what was kept once all was read, whether or not it was right: what is wrong must not come again."""
        if not self.closed:
            if self._rest is not None:
                self._rest.close()
            if self._fd >= 0 and self._at >= self._size:
                self._forget()
            elif self._fd >= 0:
                os.close(self._fd)
        super().close()
