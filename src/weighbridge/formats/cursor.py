"""Read a file from front to back in windows: every length is checked against what remains before it is read."""

from __future__ import annotations

import struct
from typing import BinaryIO

from weighbridge.core.errors import Unreadable

WINDOW = 1024 * 1024
_ZERO_CHUNK = bytes(64 * 1024)


class Cursor:
    """A place in a seekable stream of `size` bytes; `take` and `skip` move it, neither ever past `end`.

    `buffer` holds the bytes from `base` on, for who must be quick. `check` is the prefix of the check ids (`gguf` gives `gguf.truncated`), `what` names the format in errors.
    """

    __slots__ = ("_stream", "base", "buffer", "check", "end", "place", "what")

    def __init__(self, stream: BinaryIO, size: int, *, check: str, what: str) -> None:
        self._stream = stream
        self.base = 0
        self.buffer = b""
        self.place = 0
        self.end = size
        self.check = check
        self.what = what

    def left(self) -> int:
        """Return how many bytes follow."""
        return self.end - self.place

    def damaged(self, check: str, cause: str) -> Unreadable:
        """Return the error for bytes that the format does not allow, at the present place."""
        return Unreadable(
            f"this is not {self.what} as its libraries write it",
            cause=f"{cause} (byte {self.place})",
            remedy="fetch the file again; if it is the same there, its publisher must write it anew",
            check=f"{self.check}.{check}",
        )

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; Unreadable when fewer remain."""
        begin = self.place - self.base
        stop = begin + count
        if begin >= 0 and stop <= len(self.buffer) and count >= 0:
            self.place += count
            return self.buffer[begin:stop]
        return self._fetch(count)

    def _fetch(self, count: int) -> bytes:
        if count < 0 or count > self.end - self.place:
            raise self.damaged("truncated", f"{count} bytes are announced, {self.end - self.place} remain")
        self._stream.seek(self.place)
        self.base = self.place
        self.buffer = self._stream.read(min(max(count, WINDOW), self.end - self.place))
        if len(self.buffer) < count:
            raise self.damaged("truncated", "the file is shorter than its manifest says")
        self.place += count
        return self.buffer[:count]

    def skip(self, count: int) -> None:
        """Move on by `count` bytes without looking at them; Unreadable when fewer remain."""
        if count < 0 or count > self.end - self.place:
            raise self.damaged("truncated", f"{count} bytes are announced, {self.end - self.place} remain")
        self.place += count

    def number(self, form: str) -> int:
        """Return the next integer, `form` as for `struct`."""
        (value,) = struct.unpack(form, self.take(struct.calcsize(form)))
        return int(value)

    def zeros(self, count: int, where: str) -> None:
        """Move on by `count` bytes that must be zero."""
        while count > 0:
            part = min(count, len(_ZERO_CHUNK))
            if self.take(part) != _ZERO_CHUNK[:part]:
                self.place -= part
                raise self.damaged("padding", f"{where} holds something other than zeros")
            count -= part
