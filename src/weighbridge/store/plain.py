"""Reading small files of a registry whole (nothing but a plain file of a bounded size, and no waiting for anybody), and flushing folders.

Where a named pipe or a device was put in the place of a file, opening it as usual would wait for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MAX_BYTES = 256 * 1024 * 1024


def read_plain(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return what a plain file holds, links followed; raises OSError, also for what is none or has more than `most` bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "this is not a plain file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"this file has more than {most} bytes", str(path))
    return data


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
