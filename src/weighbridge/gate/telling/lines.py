"""Lines: one alert a line, as JSON, at the end of a file or on standard error; for one machine and its log shipper."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.alert import Alert, Sink
from weighbridge.core.canonical import canonical
from weighbridge.core.errors import Unreadable
from weighbridge.gate.telling.receivers import Occasion


class Lines:
    """Writes to a file, made when it is not there, readable by its owner only; or to standard error."""

    most = 256

    def __init__(self, sink: Sink) -> None:
        self._path = sink.path if sink.type == "file" else None

    def tell(self, alerts: Sequence[Alert], occasion: Occasion) -> None:
        """Write them, and for a file wait until the disk has them."""
        data = b"".join(canonical(alert.to_json(occasion.registry)) + b"\n" for alert in alerts)
        if self._path is None:
            sys.stderr.write(data.decode())
            sys.stderr.flush()
        else:
            _append(self._path, data)


def _append(path: Path, data: bytes) -> None:
    """Append whole lines; one that a full disk cut off earlier is ended first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{path} is no ordinary file", remedy="name another file for the alerts")
        if found.st_size and os.pread(descriptor, 1, found.st_size - 1) != b"\n":
            data = b"\n" + data
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
