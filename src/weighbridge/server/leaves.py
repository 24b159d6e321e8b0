"""Verified pieces of kept files: each is read into memory of our own, hashed there, and handed out from there, within a budget.

What names a file is its SHA-256. A file of one piece is hashed as such. For a larger one a table of BLAKE3 digests, one for
each piece, is made in one pass that also makes the SHA-256 of the whole: only a table whose pass came to the right SHA-256
is believed. It is a fact about those bytes and holds whatever becomes of the store. Nothing that lies beside the blobs is
used for it: the chunk table of a description is signed by nobody, so who can write there could make it fit other bytes.

All of this runs in one event loop; reading and hashing happen in threads, in memory that nobody looks at before it is verified,
and that is filled anew only when nobody reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import mmap
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from blake3 import blake3

from weighbridge.core.digest import Digest
from weighbridge.core.errors import OutOfBudget, Unreadable, VerificationFailed
from weighbridge.store.ports import Blobs

LEAF = 4 * 1024 * 1024
"""Bytes of a piece: small enough that a reader of a header costs little, large enough that a piece costs little."""
TABLES = 16 * 1024 * 1024
"""Bytes of tables; a terabyte of files needs half of it."""
AHEAD = 3
"""Pieces that are read before they are asked for: with one, reading and sending wait for each other in turn."""
WAIT_SECONDS = 30.0
"""How long a reader waits for room when everything is being sent to others."""
BLOCK = 1024 * 1024
"""Bytes that are read and hashed at once, so that they are hashed while they are near."""
_WIDTH = 32


@dataclass(eq=False)
class Piece:
    """A verified piece; whoever took it reads `data` and gives it back, and looks at it no more."""

    key: tuple[str, int]
    memory: memoryview = field(repr=False)
    users: int = 1
    """Those who read it, and whoever fills it: the memory is used for another piece when there is none."""
    data: memoryview | None = field(default=None, repr=False)
    """The bytes, once they are verified."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


T = TypeVar("T")


class Leaves:
    """The verified pieces of a store's files, at most `pieces` in memory at one time. `open` and `close` frame its life; everything else runs in the loop."""

    def __init__(self, blobs: Blobs, *, pieces: int, threads: int = 4) -> None:
        self._blobs = blobs
        self._most = pieces
        self._pieces: OrderedDict[tuple[str, int], Piece] = OrderedDict()
        self._tables: OrderedDict[str, bytes] = OrderedDict()
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._size = threads
        self._readers: ThreadPoolExecutor | None = None
        self._passes: ThreadPoolExecutor | None = None
        self._room = asyncio.Event()
        self._spare: list[memoryview] = []

    def open(self) -> None:
        """Start the threads: some for pieces, others for whole files, so that a long file does not hold up short reads."""
        self._readers = ThreadPoolExecutor(self._size, "pieces")
        self._passes = ThreadPoolExecutor(max(1, self._size // 2), "files")

    def close(self) -> None:
        """Stop the threads; a pass over a large file ends with its next piece."""
        for pool in (self._readers, self._passes):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)

    async def prepare(self, digest: Digest, size: int) -> None:
        """Have everything ready that pieces of a file need; raises VerificationFailed(blob.digest) when it is not that file."""
        if size > LEAF and digest.hex not in self._tables:
            await self._once(self._making, digest.hex, lambda: self._table(digest, size))

    async def take(self, digest: Digest, size: int, number: int) -> Piece:
        """Return a verified piece, to be given back; raises VerificationFailed(blob.digest), or what reading raises."""
        await self.prepare(digest, size)
        key = (digest.hex, number)
        piece = self._pieces.get(key)
        if piece is None:
            await self._make_room()
            piece = self._pieces.get(key) or self._begin(digest, size, number)
        self._pieces.move_to_end(key)
        piece.users += 1
        if piece.data is None:
            try:
                assert piece.task is not None
                await asyncio.shield(piece.task)
            except BaseException:
                self.give_back(piece)
                raise
        return piece

    def give_back(self, piece: Piece) -> None:
        """Let go of a piece; it stays for the next reader until its room is needed."""
        piece.users -= 1
        if piece.users:
            return
        self._room.set()
        if self._pieces.get(piece.key) is not piece:
            self._spare.append(piece.memory)

    def read_ahead(self, digest: Digest, size: int, wanted: range) -> None:
        """Begin to read the first of the pieces that will be wanted next, if there is room in plenty; nobody holds them.

        The more is held for readers, the fewer: what is read ahead of many would be gone before they come to it.
        """
        held = sum(1 for piece in self._pieces.values() if piece.users)
        ahead = min(AHEAD, (self._most // 2 - held) // max(1, held))
        for number in wanted[: max(0, ahead)]:
            if (digest.hex, number) not in self._pieces and self._freed():
                self._begin(digest, size, number)

    def _begin(self, digest: Digest, size: int, number: int) -> Piece:
        """Begin to fill a piece; there is room."""
        memory = self._spare.pop() if self._spare else memoryview(mmap.mmap(-1, LEAF))
        piece = self._pieces[digest.hex, number] = Piece((digest.hex, number), memory)
        piece.task = asyncio.create_task(self._read(piece, digest, size, number))
        piece.task.add_done_callback(partial(self._filled, piece))
        return piece

    def _filled(self, piece: Piece, task: asyncio.Task[None]) -> None:
        if not task.cancelled():  # else a thread may still write there, and the server is at its end
            task.exception()  # whoever waits is told
            self.give_back(piece)

    def _freed(self) -> bool:
        """Tell whether there is room for one more piece, once the oldest that nobody holds has gone."""
        if len(self._pieces) < self._most:
            return True
        oldest = next((piece for piece in self._pieces.values() if not piece.users), None)
        if oldest is not None:
            del self._pieces[oldest.key]
            self._spare.append(oldest.memory)
        return oldest is not None

    async def _make_room(self) -> None:
        while not self._freed():
            self._room.clear()
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                raise OutOfBudget(
                    "everything this server may hold in memory is being sent to others",
                    remedy="try again in a moment",
                    check="server.busy",
                ) from None

    async def _read(self, piece: Piece, digest: Digest, size: int, number: int) -> None:
        table = self._tables.get(digest.hex, b"")
        loop = asyncio.get_running_loop()
        start, memory = number * LEAF, piece.memory[: min(LEAF, size - number * LEAF)]
        try:
            if size <= LEAF:
                await loop.run_in_executor(self._readers, self._whole, digest, memory)
            else:
                expected = table[number * _WIDTH : (number + 1) * _WIDTH]
                await loop.run_in_executor(self._readers, self._part, digest, start, memory, expected)
        except BaseException:
            self._pieces.pop(piece.key, None)
            self._tables.pop(digest.hex, None)  # the next reader looks at the whole file first
            raise
        piece.data = memory.toreadonly()

    def _whole(self, digest: Digest, memory: memoryview) -> None:
        hasher = hashlib.sha256()
        more = self._fill(digest, 0, memory, hasher.update)
        if more or hasher.hexdigest() != digest.hex:
            raise _damaged(digest, "its bytes have another SHA-256")

    def _part(self, digest: Digest, start: int, memory: memoryview, expected: bytes) -> None:
        hasher = blake3()
        self._fill(digest, start, memory, hasher.update)
        if hasher.digest() != expected:
            raise _damaged(digest, f"the bytes from {start} on changed since the whole was verified")

    def _fill(
        self, digest: Digest, start: int, memory: memoryview, update: Callable[[memoryview], object]
    ) -> bool:
        """Read into `memory`, hashing a block while it is near; what is missing makes another digest. Returns whether more follows."""
        done = 0
        with self._blobs.open(digest) as stream:
            try:
                stream.seek(start)
                while done < len(memory):
                    block = memory[done : done + BLOCK]
                    if isinstance(stream, io.BufferedReader):
                        got = stream.readinto(block)
                    else:
                        data = stream.read(len(block))
                        got = len(data)
                        block[:got] = data
                    if not got:
                        return False
                    update(block[:got])
                    done += got
                return bool(stream.read(1))
            except OSError as error:
                raise _unreadable(digest, error) from error

    async def _table(self, digest: Digest, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        table = await loop.run_in_executor(self._passes, self._pass, digest, size)
        self._tables[digest.hex] = table
        while sum(map(len, self._tables.values())) > TABLES and len(self._tables) > 1:
            self._tables.popitem(last=False)
        return table

    def _pass(self, digest: Digest, size: int) -> bytes:
        """Read a whole file once: SHA-256 of all, BLAKE3 of each piece."""
        whole, table, read = hashlib.sha256(), bytearray(), 0
        with self._blobs.open(digest) as stream:
            try:
                while data := stream.read(LEAF):
                    read += len(data)
                    if read > size or (len(data) < LEAF and read != size):
                        break
                    whole.update(data)
                    table += blake3(data).digest()
            except OSError as error:
                raise _unreadable(digest, error) from error
        if read != size or whole.hexdigest() != digest.hex:
            raise _damaged(
                digest, "its bytes have another SHA-256" if read == size else f"{read} bytes of {size}"
            )
        return bytes(table)

    @staticmethod
    async def _once(
        running: dict[str, asyncio.Task[T]], key: str, make: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Wait for work that others may wait for as well; who goes away takes nobody's work along."""
        task = running.get(key)
        if task is None:
            task = running[key] = asyncio.create_task(make())
            task.add_done_callback(
                lambda done: (running.pop(key, None), done.cancelled() or done.exception())
            )
        return await asyncio.shield(task)


def _unreadable(digest: Digest, error: OSError) -> Unreadable:
    return Unreadable(f"the blob {digest.short} cannot be read", cause=str(error.strerror))


def _damaged(digest: Digest, cause: str) -> VerificationFailed:
    return VerificationFailed(
        f"the kept file {digest.short} is not what was admitted",
        cause=cause,
        remedy="nothing of it is handed out; whoever runs the registry: weighbridge doctor --deep --repair-from STORE",
        check="blob.digest",
    )
