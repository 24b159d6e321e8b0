"""Read one file once into private memory, hashing it on the way, and close that memory against all writing.

What was hashed is then exactly what is handed out: whatever happens to the file afterwards, or happened
while it was read, the digest and the bytes belong together. Linux gives sealed memory (memfd_create(2),
F_ADD_SEALS in fcntl(2)); elsewhere the bytes lie in an anonymous private mapping.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, NotFound, OutOfBudget, Unreadable

READ_SIZE = 1024 * 1024

# fcntl(2) and linux/fcntl.h; Python names them in some builds only.
_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_WRITE, _SEAL_FUTURE_WRITE = 0x01, 0x02, 0x04, 0x08, 0x10


class _Hasher(Protocol):
    def update(self, data: memoryview, /) -> object: ...


class Sealed:
    """The bytes of one file, private and unchangeable; a context manager.

    `buffer` is a read-only memoryview. `path` is `/proc/self/fd/N` where sealed memory is available, for
    libraries that want a file name, else None. Neither is to be used after `close`; views and arrays made
    of the bytes before stay valid, and the memory is given back when the last of them is gone.
    """

    def __init__(self, memory: mmap.mmap | None, fd: int | None, digests: tuple[str, str]) -> None:
        self._memory = memory
        self._fd = fd
        self.buffer = memoryview(memory if memory is not None else b"").toreadonly()
        self.sha256 = Digest("sha256", digests[0])
        self.blake3 = digests[1]
        """BLAKE3 of the same bytes, or empty when it was not asked for."""

    @property
    def path(self) -> str | None:
        """A path in this process that opens the sealed bytes, or None."""
        return None if self._fd is None else f"/proc/self/fd/{self._fd}"

    def close(self) -> None:
        """Let go of the memory; may be called more than once."""
        with suppress(BufferError):  # somebody still reads from it: the last view closes the mapping
            self.buffer.release()
            if self._memory is not None:
                self._memory.close()
        self._memory = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sealed(source: int | Path, size: int, *, blake3: bool = False, budget: int | None = None) -> Sealed:
    """Read `source`, a path or an open file, from its start into sealed memory.

    `size` is what the manifest says: a shorter or longer file is Unreadable (`bytes.size`), for nobody can
    say what the rest would have been. `budget` bounds the memory in bytes; without it the machine's own
    memory does. A path is opened without following a link at its end. Raises NotFound, Unreadable or
    OutOfBudget. Memory used is `size`, plus nothing.
    """
    limit = _physical_memory() if budget is None else budget
    if size > limit:
        raise OutOfBudget(
            f"{_shown(source)} does not fit into memory: {size} bytes, at most {limit} may be used",
            cause="a file is verified in private memory as a whole before anything reads it",
            remedy="split the model into smaller files (shards), or use a machine with more memory",
            check="bytes.size",
        )
    fd = source if isinstance(source, int) else _open(source)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Unreadable(f"{_shown(source)} is not a regular file", remedy="give the file itself")
        return _take(fd, size, _shown(source), blake3=blake3)
    except OSError as error:
        raise _problem(_shown(source), error) from error
    finally:
        if not isinstance(source, int):
            os.close(fd)


def _take(fd: int, size: int, shown: str, *, blake3: bool) -> Sealed:
    sha256 = hashlib.sha256()
    hashers: list[_Hasher] = [sha256]
    fast = None
    if blake3:
        from blake3 import blake3 as fast_hasher

        fast = fast_hasher()
        hashers.append(fast)
    memory_fd = _memory_fd(size)
    try:
        memory = _map(memory_fd, size)
        try:
            if memory is not None:
                with memoryview(memory) as view:
                    _fill(fd, view, hashers, shown)
            if os.pread(fd, 1, size):
                raise _wrong_size(shown, f"more than the {size} bytes of its manifest")
            if memory_fd is not None:
                if memory is not None:
                    memory.close()  # F_SEAL_WRITE is refused while a writable mapping exists
                fcntl.fcntl(memory_fd, _ADD_SEALS, _SEAL_WRITE | _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
                # MAP_PRIVATE: kernels before 6.7 refuse a shared mapping of write-sealed memory, even to read.
                memory = mmap.mmap(memory_fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ) if size else None
        except BaseException:
            if memory is not None:
                memory.close()
            raise
    except BaseException:
        if memory_fd is not None:
            os.close(memory_fd)
        raise
    return Sealed(memory, memory_fd, (sha256.hexdigest(), fast.hexdigest() if fast is not None else ""))


def _memory_fd(size: int) -> int | None:
    """Make sealed memory of `size` bytes, or return None where the system has none.

    The seals that keep others out are set before the first byte arrives: size, and writing through any
    later opening of /proc/PID/fd/N. A writable mapping made in between makes the last seal fail (EBUSY).
    """
    if not hasattr(os, "memfd_create"):
        return None
    try:
        fd = os.memfd_create("weighbridge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            return None  # forbidden by a sandbox; the anonymous mapping below is as private
        raise
    try:
        os.ftruncate(fd, size)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _map(memory_fd: int | None, size: int) -> mmap.mmap | None:
    if not size:
        return None
    if memory_fd is None:
        return mmap.mmap(-1, size)
    memory = mmap.mmap(memory_fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    with suppress(OSError):  # kernels before 5.1 do not know this seal; the last one still detects a writer
        fcntl.fcntl(memory_fd, _ADD_SEALS, _SEAL_FUTURE_WRITE | _SEAL_SHRINK | _SEAL_GROW)
    return memory


def _fill(fd: int, view: memoryview, hashers: list[_Hasher], shown: str) -> None:
    """Read straight into the memory and hash it there, block by block while it is still in the CPU's cache."""
    size, done = len(view), 0
    while done < size:
        with view[done : done + READ_SIZE] as block:
            got = os.preadv(fd, [block], done)
            for hasher in hashers:
                hasher.update(block[:got])
        if not got:
            raise _wrong_size(shown, f"{done} of the {size} bytes of its manifest")
        done += got


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", remedy="take the model in again") from error
    except OSError as error:
        raise _problem(str(path), error) from error


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _shown(source: int | Path) -> str:
    return "an open file" if isinstance(source, int) else str(source)


def _wrong_size(shown: str, found: str) -> Unreadable:
    return Unreadable(
        f"{shown} does not have the size it should have",
        cause=f"it holds {found}",
        remedy="the file was changed or cut short: restore it, or take the model in again",
        check="bytes.size",
    )


def _problem(shown: str, error: OSError) -> CannotTell:
    if error.errno in (errno.ENOMEM, errno.ENOSPC):
        return OutOfBudget(
            f"{shown} does not fit into memory",
            cause=error.strerror or str(error),
            remedy="use a machine with more memory, or split the model into smaller files (shards)",
            check="bytes.size",
        )
    if error.errno == errno.EBUSY:
        return Unreadable(
            f"{shown} could not be sealed",
            cause="another process opened this process's private memory for writing",
            remedy="find out which program does that before loading models here",
            check="bytes.sealed",
        )
    return Unreadable(
        f"{shown} could not be read",
        cause=error.strerror or str(error),
        remedy="check that it exists, is no link, and that this user may read it",
    )
