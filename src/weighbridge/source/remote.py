"""A remote file read in parts: what a reader asks for is fetched and kept, the rest is not fetched at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable

BLOCK = 64 * 1024
MAX_PART = 8 * 1024 * 1024
MAX_AHEAD = 1024 * 1024


class RangedFile:
    """One remote file; `read(start, count)` fetches. Blocks of 64 KiB are kept in a file without a name."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self.size = size
        self.fetched = 0
        """Bytes that came over the network."""
        self._read = read
        self._kept = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._blocks: set[int] = set()
        self._spared: list[tuple[int, int]] = []
        self._next = -1
        self._ahead = BLOCK

    def open(self) -> PartsReader:
        """Return a stream over the whole file; blocks are shared between streams."""
        return PartsReader(self)

    @property
    def missing(self) -> int:
        """Bytes that were not fetched."""
        return self.size - self.fetched

    def holds(self, start: int, end: int) -> bool:
        """Tell whether every byte of [start, end) was fetched."""
        return all(block in self._blocks for block in range(start // BLOCK, -(-end // BLOCK)))

    def spare(self, start: int, count: int) -> bool:
        """Note that a reader has an explanation for these bytes and does not need them."""
        self._spared.append((start, start + count))
        return True

    def only_spared_missing(self) -> bool:
        """Tell whether everything that was not fetched lies in what was spared."""
        position = 0
        for start, end in sorted(self._spared):
            if start > position and not self.holds(position, start):
                return False
            position = max(position, end)
        return position >= self.size or self.holds(position, self.size)

    def at(self, start: int, count: int) -> bytes:
        """Return bytes from `start`, fetching what is not here yet; reading on in order fetches ahead."""
        end = min(self.size, start + count)
        if start >= end:
            return b""
        self._ahead = min(2 * self._ahead, MAX_AHEAD) if start == self._next else BLOCK
        self._next = end
        want = end if end - start >= self._ahead else min(self.size, start + self._ahead)
        if not self.holds(start, end):
            self._fetch(start // BLOCK, -(-want // BLOCK))
        return os.pread(self._kept.fileno(), end - start, start)

    def _fetch(self, first: int, last: int) -> None:
        """Fetch the blocks of [first, last) that are not here, neighbours together."""
        block = first
        while block < last:
            if block in self._blocks:
                block += 1
                continue
            stop = block
            while stop < last and stop not in self._blocks and (stop - block) * BLOCK < MAX_PART:
                stop += 1
            start = block * BLOCK
            data = self._read(start, min(self.size, stop * BLOCK) - start)
            os.pwrite(self._kept.fileno(), data, start)
            self.fetched += len(data)
            self._blocks.update(range(block, stop))
            block = stop

    def close(self) -> None:
        """Drop what was kept."""
        self._kept.close()


class _Raw(io.RawIOBase):
    """The file as a raw stream."""

    def __init__(self, file: RangedFile) -> None:
        super().__init__()
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place, as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        """Fill `buffer` as far as there is something."""
        data = self._file.at(self._place, len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class PartsReader(io.BufferedReader):
    """A buffered stream over a remote file that can be told which bytes nobody needs."""

    def __init__(self, file: RangedFile) -> None:
        super().__init__(_Raw(file))
        self._file = file

    def spare(self, start: int, count: int) -> bool:
        """Note that these bytes have an explanation and are not needed; see RangedFile.spare."""
        return self._file.spare(start, count)
