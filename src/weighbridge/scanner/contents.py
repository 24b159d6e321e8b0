"""What readers of containers share: limits for what is unpacked, a place to keep it, members judged one by one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.scanner.file import HEAD_SIZE, Descend, ScannedFile, printable, severity_of

_IN_MEMORY = 8 * 1024 * 1024


def enter(file: ScannedFile) -> None:
    """Count one more level of nesting; at the outermost, fit the limits to the size of the file.

    Raises OutOfBudget when archives are nested too deeply.
    """
    file.budget.check_depth(len(file.members) + 1)
    if not file.members:
        file.budget.limits = file.budget.limits.within(file.size)


class Span(io.RawIOBase):
    """A read-only stream over `size` bytes that `read_at(offset, count)` gives."""

    def __init__(self, read_at: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._read_at = read_at
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place, as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        """Fill `buffer` as far as there is something."""
        count = min(len(buffer), self._size - self._place)
        if count <= 0:
            return 0
        data = self._read_at(self._place, count)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class _Part(io.BufferedReader):
    """A stream over a part of another one, which it closes with itself."""

    def __init__(self, outer: BinaryIO, start: int, size: int) -> None:
        def read_at(offset: int, count: int) -> bytes:
            outer.seek(start + offset)
            return outer.read(count)

        super().__init__(Span(read_at, size))
        self._outer = outer

    def close(self) -> None:
        """Close both."""
        super().close()
        self._outer.close()


def cut_out(file: ScannedFile, name: str, start: int, size: int) -> ScannedFile:
    """Return the member of `file` whose bytes lie in it as they are; nothing is copied."""
    inside = replace(
        file,
        size=size,
        kind="unknown",
        head=b"",
        opener=lambda: _Part(file.open(), start, size),
        members=(*file.members, printable(name)),
        text=None,
    )
    with closing(inside.open()) as stream:
        return replace(inside, head=stream.read(HEAD_SIZE))


class _Spool:
    """Bytes on their way into a member: in memory while they are few, then in a file that has no name."""

    def __init__(self) -> None:
        import tempfile  # most scans unpack nothing

        self.held = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  lives as long as the member does
        self.size = 0

    def __del__(self) -> None:
        self.held.close()

    def open(self) -> BinaryIO:
        """Return a stream of its own over what was written."""
        number = self.held.fileno()
        # The stream keeps the file alive: it holds on to this object.
        return io.BufferedReader(Span(lambda offset, count: self._read(number, offset, count), self.size))

    def _read(self, number: int, offset: int, count: int) -> bytes:
        return os.pread(number, count, offset)


def keep(file: ScannedFile, name: str, chunks: Iterable[bytes]) -> ScannedFile:
    """Return a member of `file` with the content `chunks`: in memory while it is small, then on disk.

    `chunks` keeps to the budget itself; what it raises is passed on.
    """
    spool = _Spool()
    for chunk in chunks:
        spool.size += len(chunk)
        spool.held.write(chunk)
    spool.held.seek(0)
    if spool.size <= _IN_MEMORY:
        return file.inside(name, spool.held.read())
    head = spool.held.read(HEAD_SIZE)
    return replace(file.inside(name, head), size=spool.size, opener=spool.open)


class Contents:
    """Collects what comes of the members of one container."""

    def __init__(self, file: ScannedFile, descend: Descend) -> None:
        self.file = file
        self.descend = descend
        self.findings: list[Finding] = []
        self.inner = Coverage()
        self.unread = 0
        """Bytes of the container that nobody read to their end."""
        self.present = 0
        self.read = 0

    def judge(self, inside: Callable[[], ScannedFile], name: str, offset: int, size: int) -> str:
        """Judge one member of `size` bytes at `offset` by its content; returns its kind."""
        return self.judge_by(self.descend, inside, name, offset, size=size)

    def judge_by(
        self, reader: Descend, inside: Callable[[], ScannedFile], name: str, offset: int, *, size: int
    ) -> str:
        """Judge one member by `reader`; what it raises becomes a finding. Returns the member's kind."""
        self.present += 1
        try:
            part = reader(inside())
        except WeighbridgeError as error:
            self.unread += size
            self.add([not_read(self.file, name, offset, error)])
            return "unknown"
        self.read += 1
        self.inner += Coverage(0, 0, part.coverage.members_present, part.coverage.members_read)
        self.unread += 0 if part.coverage.complete else size
        self.add(part.findings)
        return part.kind

    def add(self, found: Iterable[Finding]) -> None:
        """Collect findings; when they are far more than a report shows, the worst are kept."""
        self.findings.extend(found)
        self.findings = worst(self.findings, self.file.budget.limits.max_findings)

    def coverage(self, unexplained: int = 0) -> Coverage:
        """Return what was read of the container; `unexplained` counts its bytes that no reader knows."""
        size = self.file.size
        read = max(0, size - unexplained - self.unread)
        return Coverage(size, read, self.present, self.read) + self.inner

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)


def worst(found: list[Finding], shown: int) -> list[Finding]:
    """Return `found`, or when it is ten times what a report shows the worst of them, still more than is shown."""
    if len(found) < 10 * shown:
        return found
    return sorted(found, key=lambda finding: -finding.verdict.rank)[: 2 * shown]


def not_read(file: ScannedFile, name: str, offset: int, error: WeighbridgeError) -> Finding:
    """Say why a member was not read."""
    return Finding(
        rule="unread-budget" if isinstance(error, OutOfBudget) else "unread-file",
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(offset),
        message=f"{printable(name)} was not read: {printable(error.cause or error.problem)}",
        why="what was not read cannot be called harmless",
        help=error.remedy,
        subject=printable(name),
    )
