"""Scan the files of one model in several processes; the report is the same, byte for byte, as from one process.

Each worker is a fork of this process with limits of its own: no core file, a bound on memory, its standard
streams closed, an empty environment. It is told which file to judge, by number, and answers with one line of
JSON; what it answers is read as strictly as a file. A worker that dies, is killed or runs out of memory costs
the one file it was judging, which is `unread`. The largest files come first, so that nobody waits for them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import selectors
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Generic, NoReturn

from weighbridge.core.finding import Coverage, Finding, Location, Report, Seen, Verdict
from weighbridge.core.manifest import FileEntry, Listing, Manifest, N
from weighbridge.formats.limits import DEFAULT_LIMITS, Limits
from weighbridge.scanner.engine import files_of, judged, merged, owners, see_files
from weighbridge.scanner.file import Part, ScannedFile, printable, severity_of
from weighbridge.scanner.record import part_from_json, part_to_json
from weighbridge.scanner.ruleset import ruleset

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer; a worker that says more is ended."""
_GIB = 1024 * 1024 * 1024

Open = Callable[[N], BinaryIO | bytes]


def scan_parallel(
    model: str,
    manifest: Manifest,
    open_file: Open[FileEntry],
    *,
    jobs: int,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Return what `scan_files` returns, as `see_parallel` comes to it."""
    seen = see_parallel(model, manifest, open_file, jobs=jobs, limits=limits, progress=progress)
    return seen.identified(manifest.digest, ruleset())


def see_parallel(
    model: str,
    listing: Listing[N],
    open_file: Open[N],
    *,
    jobs: int,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[int], None] | None = None,
) -> Seen:
    """Return what `see_files` returns, from up to `jobs` processes; `progress` is told the bytes of each file done.

    `open_file` is called in the workers and must open anew each time. With one job, one file, or threads in
    this process (which a fork would leave in an unknown state), it is the plain scan in this process.
    """
    jobs = min(jobs, len(listing.files))
    if jobs <= 1 or threading.active_count() > 1:
        return _in_turn(model, listing, open_file, limits, progress)
    owners()  # loads every module of rules once, before there are workers that would each do it
    make = files_of(listing, open_file, limits)
    order = sorted(range(len(listing.files)), key=lambda number: -listing.files[number].size)
    with contextlib.closing(_Crew(listing, make, limits, order)) as crew:
        parts: dict[int, Part] = {}
        for number, part in crew.work(jobs):
            parts[number] = part
            if progress is not None:
                progress(listing.files[number].size)
    return merged(model, listing, [parts[number] for number in range(len(listing.files))])


def _in_turn(
    model: str,
    listing: Listing[N],
    open_file: Open[N],
    limits: Limits,
    progress: Callable[[int], None] | None,
) -> Seen:
    if progress is None:
        return see_files(model, listing, open_file, limits=limits)
    parts: list[Part] = []
    watch = _Watch(open_file, progress)
    make = files_of(listing, watch.open, limits)
    for entry in listing.files:
        watch.begin(entry)
        parts.append(judged(make(entry)))
        watch.end()
    return merged(model, listing, parts)


class _Watch(Generic[N]):
    """Tells how far the one file is that is being judged, by the bytes that were read of it."""

    def __init__(self, open_file: Open[N], progress: Callable[[int], None]) -> None:
        self._open = open_file
        self._progress = progress
        self._path = ""
        self._left = 0

    def begin(self, entry: N) -> None:
        """Begin with a file."""
        self._path, self._left = entry.path, entry.size

    def read(self, count: int) -> None:
        """Count bytes; read twice, they are told once at most."""
        told = min(count, self._left)
        if told:
            self._left -= told
            self._progress(told)

    def end(self) -> None:
        """Count what was not read."""
        self.read(self._left)

    def open(self, entry: N) -> BinaryIO | bytes:
        """Open a file; of the one being judged, reads are watched."""
        opened = self._open(entry)
        if isinstance(opened, bytes) or entry.path != self._path:
            return opened
        return io.BufferedReader(_Watched(opened, self.read))


class _Watched(io.RawIOBase):
    """A stream through which another is read."""

    def __init__(self, inner: BinaryIO, told: Callable[[int], None]) -> None:
        super().__init__()
        self._inner = inner
        self._told = told

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Seek in the other stream."""
        return self._inner.seek(offset, whence)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # the stub says Buffer
        """Read from the other stream, and tell how far that came."""
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._told(len(data))
        return len(data)

    def close(self) -> None:
        """Close both."""
        super().close()
        self._inner.close()


@dataclass(slots=True)
class _Worker:
    """One process, seen from the parent: where tasks go, where answers come from, what it is at."""

    pid: int
    tasks: int
    answers: int
    at: int | None = None
    heard: bytearray = field(default_factory=bytearray)


class _Crew(Generic[N]):
    """Starts workers, hands out files, collects answers, and replaces whoever does not come back."""

    def __init__(
        self, listing: Listing[N], make: Callable[[N], ScannedFile], limits: Limits, order: list[int]
    ) -> None:
        self.listing = listing
        self.make = make
        self.limits = limits
        self.waiting = order[::-1]
        self.workers: dict[int, _Worker] = {}
        self.selector = selectors.DefaultSelector()

    def work(self, jobs: int) -> Iterator[tuple[int, Part]]:
        """Yield the number and the part of each file, in the order in which they are done."""
        for _ in range(jobs):
            self._start()
        while self.workers:
            for key, _ in self.selector.select():
                worker = self.workers[key.fd]
                done = self._hear(worker)
                if done is not None:
                    yield done

    def _start(self) -> None:
        if not self.waiting:
            return
        tasks_out, tasks_in = os.pipe()
        answers_out, answers_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            mine = [tasks_in, answers_out, *self.workers, *(worker.tasks for worker in self.workers.values())]
            _live(mine, tasks_out, answers_in, self.limits, self._answer)
        os.close(tasks_out)
        os.close(answers_in)
        worker = _Worker(pid, tasks_in, answers_out)
        self.workers[answers_out] = worker
        self.selector.register(answers_out, selectors.EVENT_READ)
        self._hand_out(worker)

    def _answer(self, number: int) -> bytes:
        """Judge one file; this runs in the worker."""
        part = judged(self.make(self.listing.files[number]))
        return json.dumps(part_to_json(part)).encode() + b"\n"

    def _hand_out(self, worker: _Worker) -> None:
        worker.at = self.waiting.pop() if self.waiting else None
        if worker.at is None:
            os.close(worker.tasks)  # it reads the end of its tasks and goes
            worker.tasks = -1
            return
        with contextlib.suppress(
            BrokenPipeError
        ):  # it died meanwhile: its answers end, and that is seen there
            os.write(worker.tasks, b"%d\n" % worker.at)

    def _hear(self, worker: _Worker) -> tuple[int, Part] | None:
        block = os.read(worker.answers, 1 << 20)
        worker.heard += block
        number = worker.at
        if block and not block.endswith(b"\n") and len(worker.heard) <= MAX_ANSWER:
            return None
        part: Part | None = None
        if block.endswith(b"\n"):
            with contextlib.suppress(ValueError, RecursionError):
                part = part_from_json(json.loads(worker.heard))
        worker.heard.clear()
        if part is not None and number is not None:
            self._hand_out(worker)
            return number, part
        self._end(worker)
        if number is None:
            return None
        self._start()
        return number, self._lost(number)

    def _end(self, worker: _Worker) -> None:
        self.selector.unregister(worker.answers)
        del self.workers[worker.answers]
        for fd in (worker.tasks, worker.answers):
            if fd >= 0:
                os.close(fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)

    def _lost(self, number: int) -> Part:
        entry = self.listing.files[number]
        finding = Finding(
            rule="unread-file",
            verdict=Verdict.UNREAD,
            severity=severity_of(Verdict.UNREAD),
            location=Location(entry.path),
            message=printable(f"{entry.path} was not read: the process that read it was ended"),
            why="what was not read cannot be called harmless",
            help="make sure there is memory enough, then scan again with --jobs 1",
            subject="worker",
        )
        return Part((finding,), Coverage(entry.size, 0), "unknown")

    def close(self) -> None:
        """End every worker that is still there."""
        for worker in list(self.workers.values()):
            self._end(worker)
        self.selector.close()


def _live(
    others: list[int], tasks: int, answers: int, limits: Limits, answer: Callable[[int], bytes]
) -> NoReturn:
    """Be a worker: judge the files that are named until none is; never returns, runs no clean-up of the parent's."""
    code = 1
    try:
        _confine(others, limits)
        with open(tasks, "rb", buffering=0) as lines, open(answers, "wb", buffering=0) as out:
            while line := lines.readline():
                left = memoryview(answer(int(line)))
                while left:
                    left = left[out.write(left) :]
        code = 0
    finally:
        os._exit(code)


def _confine(others: list[int], limits: Limits) -> None:
    """Give up what a worker does not need."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    for fd in others:
        os.close(fd)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.environ.clear()
    memory = 2 * limits.max_memory + _GIB
    for kind, wanted in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, memory)):
        _, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
            resource.setrlimit(kind, (bound, bound))
