"""What one upload to an OCI registry needs here: a file that is hashed as it is read, and a note of where to go on."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed


@contextmanager
def noting(path: Path) -> Iterator[Note]:
    """Give the note at `path` to one writer at a time; who comes meanwhile uploads for himself, and notes nothing.

    Two that went on with one upload would mix their parts. Whoever is killed lets go of the note, and it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Note(None)
            return
        note = Note(file)
        try:
            yield note
        finally:
            if not note.read():
                path.unlink(missing_ok=True)


class Note:
    """Where an upload goes on, in a file that this writer holds; or in memory only."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._address = ""

    def read(self) -> str:
        """Return the address, or nothing."""
        if self._file is None:
            return self._address
        self._file.seek(0)
        return self._file.read().strip()

    def write(self, address: str) -> None:
        """Note the address; it stays when this process is killed."""
        self._address = address
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(address)
            self._file.flush()

    def forget(self) -> None:
        """Note that there is nothing to go on with."""
        self.write("")


class Reading:
    """An open file, read in parts and hashed from its beginning to as far as it was read, each byte once."""

    def __init__(
        self, digest: Digest, file: BinaryIO, chunk: int, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self._digest = digest
        self._file = file
        self._chunk = chunk
        self._progress = progress
        self._hasher = hashlib.sha256()
        self._hashed = 0

    def part(self, start: int, length: int) -> bytes:
        """Return a part; what lies before it and was not read yet is read and hashed first."""
        while self._hashed < start:
            self._hash(self._exactly(self._hashed, min(self._chunk, start - self._hashed)))
        data = self._exactly(start, length)
        if start + length > self._hashed:
            self._hash(data[self._hashed - start :])
        return data

    def check(self, size: int) -> None:
        """Raise VerificationFailed when the bytes up to `size` are not the blob."""
        self.part(size, 0)
        if self._hasher.hexdigest() != self._digest.hex:
            raise self._other("what was read has another digest")

    def _hash(self, data: bytes) -> None:
        self._hasher.update(data)
        self._hashed += len(data)
        self._progress(len(data))

    def _exactly(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(length)
        if len(data) != length:
            raise self._other("it is shorter than it was")
        return data

    def _other(self, cause: str) -> VerificationFailed:
        return VerificationFailed(
            f"the kept bytes of {self._digest.short} are not what they were",
            cause=cause,
            remedy="see what else changed: weighbridge doctor --deep; then take the model in again",
            check="blob.digest",
        )
