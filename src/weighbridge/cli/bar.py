"""A line on the terminal that says how far long work is: bytes, share, rate, time left."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from weighbridge.cli.render import size

EVERY = 0.1
"""Seconds between two drawings."""


class Bar:
    """`advance(count)` as bytes are done; `close()` wipes the line."""

    def __init__(self, label: str, total: int, stream: TextIO) -> None:
        self._label = label
        self._total = total
        self._stream = stream
        self._done = 0
        self._begun = time.monotonic()
        self._drawn = 0.0

    def advance(self, count: int) -> None:
        """Count bytes, and draw when it is time."""
        self._done += count
        now = time.monotonic()
        if now - self._drawn >= EVERY:
            self._drawn = now
            self._write(self.line(now - self._begun))

    def line(self, seconds: float) -> str:
        """Return the line as it is after so many seconds."""
        share = min(1.0, self._done / self._total) if self._total else 1.0
        rate = self._done / seconds if seconds > 0 else 0.0
        left = f"{(self._total - self._done) / rate:.0f} s left" if rate and share < 1 else ""
        filled = int(20 * share)
        parts = [
            self._label,
            "[" + "#" * filled + " " * (20 - filled) + "]",
            f"{size(self._done)} of {size(self._total)} ({100 * share:.0f} %)",
            f"{size(int(rate))}/s",
            left,
        ]
        return "  ".join(part for part in parts if part)

    def close(self) -> None:
        """Wipe the line: what stays on the screen are results."""
        self._write("")

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width) + ("" if text else "\r"))
        self._stream.flush()
