"""Read a tree once: the manifest, the chunk table, and the bytes kept on the way if a store is given."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from blake3 import blake3

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, RegistryUnusable, Unreadable, VerificationFailed
from weighbridge.core.manifest import CHUNK_SIZE, ChunkTable, FileChunks, FileEntry, Manifest, check_path
from weighbridge.source.tree import MAX_BYTES, Tree, TreeFile, listed
from weighbridge.store.aside import hold
from weighbridge.store.behind import Behind
from weighbridge.store.ports import Blobs

READ_SIZE = 1024 * 1024
RESERVE = 64 * 1024 * 1024
"""Bytes left free on the store's disk, so that records and the log can still be written."""

THREADS = min(4, os.cpu_count() or 1)
"""Files on this machine that are read at the same time: hashing lets other threads run."""
REMOTE_THREADS = 8
"""Files that are fetched at the same time: a connection waits more than it reads."""
ALONE = 8 * 1024 * 1024
"""Bytes of a tree below which starting threads costs more than it saves; what is fetched waits whatever its size."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FileRead:
    """What one reading of one file established."""

    entry: FileEntry
    chunks: FileChunks


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one reading of a tree established: the identity, and the chunk digests beside it."""

    manifest: Manifest
    chunks: ChunkTable


def read_tree(
    tree: Tree, blobs: Blobs | None = None, *, progress: Progress | None = None, max_bytes: int = MAX_BYTES
) -> Snapshot:
    """Read every file of `tree` once, in blocks of 1 MiB, a few at a time; keep the bytes in `blobs` when it is given.

    `progress` is called with the bytes read since it was last called, by one thread at a time. Raises OutOfBudget before reading
    when the tree is larger than `max_bytes` or than the store has room for, VerificationFailed
    (`source.announced`) when a file is not what was announced for it, Unreadable when it cannot be read
    or changed meanwhile, BadManifest when the tree can have no identity.
    """
    files = listed(tree, max_bytes=max_bytes).files
    if blobs is not None:
        _check_room(files, blobs)
    reads = _read_all(files, blobs, progress)
    tree.settle()
    return Snapshot(
        Manifest.of(read.entry for read in reads), ChunkTable(tuple(read.chunks for read in reads))
    )


def _read_all(files: Sequence[TreeFile], blobs: Blobs | None, progress: Progress | None) -> list[FileRead]:
    """Read each file once, the largest first; where one fails, or all is interrupted, the others stop at their next block."""
    remote = any(file.remote for file in files)
    threads = min(REMOTE_THREADS if remote else THREADS, len(files))
    if threads < 2 or (not remote and sum(file.size for file in files) < ALONE):
        return [read_file(file, blobs, progress=progress) for file in files]
    lock, stopped = threading.Lock(), threading.Event()

    def count(done: int) -> None:
        with lock:
            if stopped.is_set():
                raise Unreadable("reading was stopped", cause="another file of the model could not be read")
            if progress is not None:
                progress(done)

    with ThreadPoolExecutor(threads, thread_name_prefix="weighbridge-read") as pool:
        order = sorted(files, key=lambda file: -file.size)
        jobs = {file.path: pool.submit(read_file, file, blobs, progress=count) for file in order}
        try:
            finished, _ = wait(jobs.values(), return_when=FIRST_EXCEPTION)
            for job in finished:
                job.result()
            return [jobs[file.path].result() for file in files]
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def identify_tree(tree: Tree, *, progress: Progress | None = None, max_bytes: int = MAX_BYTES) -> Manifest:
    """Read every file once for its identity alone, as a scan needs it; errors as for `read_tree`.

    Chunk digests are for loading, and cost half as much again.
    """
    entries = []
    for file in listed(tree, max_bytes=max_bytes).files:
        digest = _sha256(_Reading(file, progress, chunked=False))
        announced = next((row for row in file.announced if row.algorithm == "sha256"), digest)
        if digest != announced:
            raise _not_announced(file.path, str(announced), str(digest))
        entries.append(FileEntry(file.path, file.size, digest))
    tree.settle()
    return Manifest.of(entries)


def read_file(file: TreeFile, blobs: Blobs | None = None, *, progress: Progress | None = None) -> FileRead:
    """Read one file once; errors as for `read_tree`."""
    check_path(file.path)
    announced = next((digest for digest in file.announced if digest.algorithm == "sha256"), None)
    if blobs is not None and announced is not None and file.remote and hold(blobs, announced):
        return _read_kept(file, blobs, announced, progress)
    reading = _Reading(file, progress)
    if blobs is None:
        digest = _sha256(reading)
        if announced is not None and digest != announced:
            raise _not_announced(file.path, str(announced), str(digest))
    else:
        try:
            digest = blobs.put(reading.blocks(), expected=announced)
        except VerificationFailed as error:
            if error.check != "blob.digest":
                raise
            raise _not_announced(file.path, str(announced), "other bytes") from error
    return FileRead(FileEntry(file.path, file.size, digest), reading.chunks())


def _read_kept(file: TreeFile, blobs: Blobs, announced: Digest, progress: Progress | None) -> FileRead:
    """Read the blob that is kept already instead of fetching the same bytes again; it is hashed all the same."""
    reading = _Reading(replace(file, opener=lambda: blobs.open(announced), settle=None), progress)
    try:
        found = str(_sha256(reading))
    except VerificationFailed as error:
        found = error.cause
    if found != str(announced):
        raise RegistryUnusable(
            f"the kept blob {announced.short} is damaged",
            cause=f"its bytes are not what its name says ({found})",
            remedy="restore it from a backup, or remove that one file and take the model in again",
            check="blob.digest",
        )
    return FileRead(FileEntry(file.path, file.size, announced), reading.chunks())


def _sha256(reading: _Reading) -> Digest:
    hasher = hashlib.sha256()
    for block in reading.blocks():
        hasher.update(block)
    return Digest("sha256", hasher.hexdigest())


class _Reading:
    """One pass over one file: blocks go out, BLAKE3 (and the git blob id when announced) stay here.

    They are hashed in a thread beside the reading and whatever the consumer does (`store.behind`).
    """

    def __init__(self, file: TreeFile, progress: Progress | None, *, chunked: bool = True) -> None:
        self.file = file
        self.progress = progress
        self.whole = blake3()
        self.part = blake3()
        self.filled = 0
        self.chunked = chunked
        self.parts: list[str] = []
        self.git = next((digest for digest in file.announced if digest.algorithm == "sha1"), None)
        # SHA-1 because git says so: it is compared, nothing rests on it
        self.git_hasher = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if self.git else None

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes; the last step checks size, git blob id and that the file is still the same.

        These checks run before the consumer sees the end, so that a store keeps nothing that fails them.
        """
        done = 0
        with self.file.open() as stream, Behind(self._hash) as behind:
            while block := self._read(stream.read, min(READ_SIZE, CHUNK_SIZE - done % CHUNK_SIZE)):
                done += len(block)
                if done > self.file.size:
                    raise _size_problem(self.file, f"more than {self.file.size} bytes")
                behind.give(block)
                yield block
                if self.progress is not None:
                    self.progress(len(block))
            if done != self.file.size:
                raise _size_problem(self.file, f"{done} bytes")
            behind.end()
            self._check_git()
            if self.file.settle is not None:
                self.file.settle(stream)

    def _hash(self, block: bytes) -> None:
        if self.chunked:
            self.whole.update(block)
            self.part.update(block)
        if self.git_hasher is not None:
            self.git_hasher.update(block)
        self.filled += len(block)
        if self.filled == CHUNK_SIZE:
            self.parts.append(self.part.hexdigest())
            self.part, self.filled = blake3(), 0

    def _check_git(self) -> None:
        if self.git is None or self.git_hasher is None:
            return
        found = self.git_hasher.hexdigest()
        if found != self.git.hex:
            raise _not_announced(self.file.path, f"git blob {self.git.hex}", f"git blob {found}")

    def chunks(self) -> FileChunks:
        """Return the BLAKE3 digests of the finished pass."""
        last = [self.part.hexdigest()] if self.filled else []
        return FileChunks(self.file.path, self.whole.hexdigest(), (*self.parts, *last))

    def _read(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except OSError as error:
            raise Unreadable(
                f"{self.file.path!r} could not be read to its end",
                cause=error.strerror or str(error),
                remedy="check the disk or the mount it lies on, then run the command again",
            ) from error


def _check_room(files: Sequence[TreeFile], blobs: Blobs) -> None:
    free = blobs.free()
    if free is None:
        return
    needed = sum(file.size for file in files if not _kept(file, blobs))
    if needed > free - RESERVE:
        raise OutOfBudget(
            f"there is no room to keep this model: {needed} bytes needed, {max(free - RESERVE, 0)} free",
            cause="every byte is copied before anything looks at it; a sparse file counts in full",
            remedy="free some space, or use a registry on a larger disk; nothing was written",
            check="source.space",
        )


def _kept(file: TreeFile, blobs: Blobs) -> bool:
    return any(digest.algorithm == "sha256" and blobs.has(digest) for digest in file.announced)


def _not_announced(path: str, expected: str, found: str) -> VerificationFailed:
    return VerificationFailed(
        f"{path!r} is not the file that was announced",
        cause=f"announced {expected}, received {found}",
        remedy="fetch it again; if it happens twice, do not use this source and tell its owner",
        check="source.announced",
    )


def _size_problem(file: TreeFile, found: str) -> VerificationFailed | Unreadable:
    if file.announced:
        return _not_announced(file.path, f"{file.size} bytes", found)
    return Unreadable(
        f"{file.path!r} changed while it was read",
        cause=f"it was listed with {file.size} bytes and gave {found}",
        remedy="wait until nothing writes to it any more, then run the command again",
        check="source.changed",
    )
