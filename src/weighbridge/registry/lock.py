"""The one-writer lock: a registry has one writer at a time, whoever holds the lock on its `lock` file."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weighbridge.core.errors import Locked, Unreadable

POLL_SECONDS = 0.05


@contextmanager
def writer(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold the writer lock; waits up to `seconds`, then raises Locked with the holder's process id.

    Raises Unreadable where nothing can be written. The lock is the kernel's (flock), so it ends with its process: a killed writer leaves nothing to clean up.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unreadable(
            "this registry cannot be written to",
            cause=f"{path}: {error.strerror or error}",
            remedy="check the disk, and that this user may write to the registry's folder",
        ) from error
    try:
        _acquire(fd, path, seconds)
        with suppress(OSError):  # the note of who holds it is for people; a full disk shows soon enough
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                raise Locked(
                    "another process is writing to this registry",
                    cause=f"process {holder} holds {path.name} and did not let go within {seconds:g} s",
                    remedy="wait for it to end and run the command again; nothing was changed",
                ) from error
            time.sleep(POLL_SECONDS)
        else:
            return
