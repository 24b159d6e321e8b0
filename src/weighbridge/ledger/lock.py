"""One appender at a time: an advisory lock on a file, held by the kernel for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weighbridge.core.errors import Locked
from weighbridge.ledger.tiles import disk

TRIES = 200
PAUSE = 0.05
"""Seconds between tries: ten seconds together, and an append takes milliseconds."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock at `path`; raises Locked when another holds it for too long, Unreadable when the disk refuses.

    The kernel lets go when the process ends, however it ends, so no stale lock needs removing.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk(error) from None
    try:
        _take(descriptor)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return
    raise Locked(
        "another process is appending to the log",
        remedy="wait for it to end, then run the command again",
        check="log.locked",
    )
