"""Digests of many files at once: whole, by shards or by chunks, several of one reading, over all the cores there are.

Large files are mapped while a lease keeps others from cutting them short (`leased`); else, and for small ones, bytes
are read into buffers of this process, small enough to be still in the cache when a second digest wants them.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from blake3 import blake3

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreadable, UsageError
from weighbridge.core.manifest import CHUNK_SIZE, ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.source.leased import WINDOW, Lease, leased
from weighbridge.source.tree import TreeFile

BLOCK = 256 * 1024
STRETCH = 4 * CHUNK_SIZE
"""Bytes that one thread takes at a time where a file can be divided."""
ALONE = 8 * 1024 * 1024
"""Bytes of work below which starting threads costs more than it saves."""
MAX_THREADS = 16
MAKERS: dict[str, Callable[[], Any]] = {
    "sha256": hashlib.sha256,
    "sha384": hashlib.sha384,
    "sha512": hashlib.sha512,
    "blake2b": hashlib.blake2b,
    "blake3": blake3,
}
"""What OpenSSF Model Signing and Sigstore's signatures over files are made with, by the names these give them."""

Progress = Callable[[int], None]


class Hasher(Protocol):
    """What all hash libraries offer."""

    def update(self, data: memoryview, /) -> Any:
        """Take more bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `end` (not included) of one file."""

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Job:
    """Pieces of one file that one thread reads in one go, and the digest that goes over all of them, if any."""

    file: TreeFile
    pieces: tuple[Piece, ...]
    over_all: str = ""

    @property
    def size(self) -> int:
        return sum(piece.end - piece.start for piece in self.pieces)


def shards(file: TreeFile, size: int) -> tuple[Piece, ...]:
    """Divide a file into pieces of `size` bytes, the last one perhaps shorter; an empty file has none."""
    return tuple(Piece(file.path, start, min(start + size, file.size)) for start in range(0, file.size, size))


def whole(file: TreeFile) -> Piece:
    """Return all of a file as one piece."""
    return Piece(file.path, 0, file.size)


def hash_pieces(
    files: Sequence[TreeFile],
    algorithm: str,
    cut: Callable[[TreeFile], Sequence[Piece]] = lambda file: (whole(file),),
    *,
    progress: Progress | None = None,
) -> dict[Piece, bytes]:
    """Return the digest of each piece that `cut` makes of each file.

    Raises UsageError for an algorithm not in `MAKERS`, Unreadable when a file cannot be read to its end or
    changed since it was listed. The caller looks whether files came or went (`Tree.settle`).
    """
    if algorithm not in MAKERS:
        raise UsageError(
            f"{algorithm!r} is not a digest that is made here", remedy=f"known are {', '.join(MAKERS)}"
        )
    jobs = [_Job(file, part) for file in files for part in _stretches(cut(file))]
    found: dict[Piece, bytes] = {}
    for done, _ in _all(jobs, algorithm, progress):
        found |= done
    return found


def hash_chunks(files: Sequence[TreeFile], *, progress: Progress | None = None) -> dict[str, tuple[str, ...]]:
    """Return the BLAKE3 digests (hex) of the 16 MiB chunks of each file, by path; raises like `hash_pieces`."""
    cut = {file.path: shards(file, CHUNK_SIZE) for file in files}
    found = hash_pieces(files, "blake3", lambda file: cut[file.path], progress=progress)
    return {path: tuple(found[piece].hex() for piece in pieces) for path, pieces in cut.items()}


def describe(files: Sequence[TreeFile], *, progress: Progress | None = None) -> tuple[Manifest, ChunkTable]:
    """Read each file once and return the manifest (SHA-256) and the chunk table (BLAKE3) beside it.

    The BLAKE3 of a whole file is left out of the table where there is more than one chunk: it would cost as
    much again as the chunks, which bind the file without it. Raises like `hash_pieces`, and BadManifest.
    """
    jobs = [_Job(file, shards(file, CHUNK_SIZE), "sha256") for file in files]
    entries, rows = [], []
    for job, (found, over_all) in zip(jobs, _all(jobs, "blake3", progress), strict=True):
        path, size = job.file.path, job.file.size
        chunks = tuple(found[piece].hex() for piece in job.pieces)
        alone = chunks[0] if len(chunks) == 1 else "" if chunks else blake3().hexdigest()
        entries.append(FileEntry(path, size, Digest("sha256", over_all.hex())))
        rows.append(FileChunks(path, alone, chunks))
    return Manifest.of(entries), ChunkTable(tuple(rows))


def _stretches(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Put pieces together until there is enough for one thread to do."""
    gathered: list[Piece] = []
    for piece in pieces:
        gathered.append(piece)
        if gathered[-1].end - gathered[0].start >= STRETCH:
            yield tuple(gathered)
            gathered = []
    if gathered:
        yield tuple(gathered)


_Done = tuple[dict[Piece, bytes], bytes]


def _all(jobs: Sequence[_Job], algorithm: str, progress: Progress | None) -> list[_Done]:
    """Do all jobs, the largest first, on as many threads as there are cores; results are in the order of the jobs."""
    threads = min(cores(), MAX_THREADS, len(jobs))
    work = _Work(jobs, algorithm, progress)
    if threads < 2 or sum(job.size for job in jobs) < ALONE:
        work.run()
    else:
        started = [threading.Thread(target=work.run, daemon=True) for _ in range(threads - 1)]
        for thread in started:
            thread.start()
        try:
            work.run()
        finally:
            work.stop()
            for thread in started:
                thread.join()
    return work.results()


class _Work:
    """The jobs left, shared by threads; the first error ends the work and is raised where results are asked for."""

    def __init__(self, jobs: Sequence[_Job], algorithm: str, progress: Progress | None) -> None:
        self._jobs = jobs
        self._make = MAKERS[algorithm]
        self._progress = progress
        self._lock = threading.Lock()
        self._left = sorted(range(len(jobs)), key=lambda number: jobs[number].size)
        self._done: dict[int, _Done] = {}
        self._errors: dict[int, BaseException] = {}
        self._stopped = False

    def run(self) -> None:
        """Take jobs until none is left."""
        buffer = memoryview(bytearray(BLOCK))
        while (number := self._next()) is not None:
            try:
                self._done[number] = self._read(self._jobs[number], buffer)
            except BaseException as error:  # noqa: BLE001 (raised again by `results`, in the thread that asked)
                self._errors[number] = error
                self._stopped = True

    def stop(self) -> None:
        """Let no further job begin; called when this thread is done or interrupted."""
        with self._lock:
            if self._left:
                self._stopped = True

    def results(self) -> list[_Done]:
        """Return the results, or raise the error of the first job that has one."""
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._done[number] for number in range(len(self._jobs))]

    def _next(self) -> int | None:
        with self._lock:
            return self._left.pop() if self._left and not self._stopped else None

    def _read(self, job: _Job, buffer: memoryview) -> _Done:
        over_all = MAKERS[job.over_all]() if job.over_all else None
        found: dict[Piece, bytes] = {}
        with job.file.open() as stream:
            if job.pieces and job.pieces[0].start:
                stream.seek(job.pieces[0].start)
            with leased(stream) if over_all is None and job.size >= WINDOW else nullcontext() as lease:
                for piece in job.pieces:
                    one = self._make()
                    hashers = [one] if over_all is None else [one, over_all]
                    begin = self._mapped(lease, stream, piece, one) if lease is not None else piece.start
                    rest = Piece(piece.path, begin, piece.end)
                    self._piece(job.file.path, stream, rest, buffer, hashers)
                    found[piece] = one.digest()
            if job.pieces and job.pieces[-1].end == job.file.size and stream.read(1):
                raise _changed(
                    job.file.path, f"it is longer than the {job.file.size} bytes it was listed with"
                )
            if job.file.settle is not None:
                job.file.settle(stream)
        return found, b"" if over_all is None else over_all.digest()

    def _mapped(self, lease: Lease, stream: BinaryIO, piece: Piece, hasher: Hasher) -> int:
        """Hash whole windows of a piece, as long as the lease holds; return up to where, with the stream there."""
        at = piece.start
        size = os.fstat(
            stream.fileno()
        ).st_size  # beyond its end a file is not mapped but read, and found short
        while at % WINDOW == 0 and at + WINDOW <= min(piece.end, size) and lease.holds():
            try:
                with lease.window(at, WINDOW) as view:
                    hasher.update(view)
            except (OSError, ValueError):
                break
            at += WINDOW
            if self._progress is not None:
                with self._lock:
                    self._progress(WINDOW)
        if not lease.holds():
            lease.give_back()
        stream.seek(at)
        return at

    def _piece(
        self, path: str, stream: BinaryIO, piece: Piece, buffer: memoryview, hashers: Sequence[Hasher]
    ) -> None:
        left = piece.end - piece.start
        while left:
            try:
                count = stream.readinto(buffer[: min(left, BLOCK)])  # type: ignore[attr-defined]
            except OSError as error:
                raise _unreadable(path, error) from error
            if not count:
                raise _changed(
                    path, f"it ended after {piece.end - left} bytes, earlier than when it was listed"
                )
            block = buffer[:count]
            for hasher in hashers:
                hasher.update(block)
            left -= count
            if self._progress is not None:
                with self._lock:
                    self._progress(count)


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _unreadable(path: str, error: OSError) -> Unreadable:
    return Unreadable(
        f"{path!r} could not be read to its end",
        cause=error.strerror or str(error),
        remedy="check the disk or the mount it lies on, then run the command again",
    )


def _changed(path: str, cause: str) -> Unreadable:
    return Unreadable(
        f"{path!r} changed while it was read",
        cause=cause,
        remedy="wait until nothing writes to it any more, then run the command again",
        check="source.changed",
    )
