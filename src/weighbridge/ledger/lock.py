"""One appender at a time: an advisory lock on a file, held by the kernel for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from weighbridge.core.errors import Locked
from weighbridge.ledger.tiles import disk

TRIES = 200
PAUSE = 0.05
"""Seconds between tries: ten seconds together, and an append takes milliseconds."""

Held = Callable[[], None]
"""Raises Locked when the lock file was removed or exchanged since: somebody else may hold the new one."""


@contextmanager
def exclusive(path: Path) -> Iterator[Held]:
    """Hold the lock at `path`; raises Locked when another holds it for too long, Unreadable when the disk refuses.

    The kernel lets go when the process ends, however it ends, so no stale lock needs removing. Should somebody
    remove the file all the same, two processes could each hold a lock of that name; what is given to the
    caller tells, and an appender asks it before the step that counts.
    """
    descriptor = _take(path)

    def held() -> None:
        if not _is_at(path, descriptor):
            raise Locked(
                "the log's lock was removed while it was held",
                cause=f"{path.name} is not the file that was locked",
                remedy="leave that file alone, then run the command again",
                check="log.locked",
            )

    try:
        yield held
    finally:
        os.close(descriptor)


def _take(path: Path) -> int:
    """Open and lock the file at `path`, which must still be there afterwards."""
    for _ in range(TRIES):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise disk(error) from None
        taken = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = _is_at(path, descriptor)
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError as error:
            raise disk(error) from None
        finally:
            if not taken:
                os.close(descriptor)
        if taken:
            return descriptor
    raise Locked(
        "another process is appending to the log",
        remedy="wait for it to end, then run the command again",
        check="log.locked",
    )


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
