"""Work on blocks in a thread of its own, a few blocks behind whoever reads them: hashing beside reading and writing.

Hashing and writing release the interpreter's lock, so a second digest costs little more than the first one on a machine
with two cores. A file of one block starts no thread. At most DEPTH blocks are held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

DEPTH = 4


class Behind:
    """Calls `work` for each block that is given, in order; what it raises is raised by `give` or `end`."""

    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._first: bytes | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[object]] = deque()

    def give(self, block: bytes) -> None:
        """Take a block; waits when DEPTH blocks have not been worked on yet."""
        if self._pool is None:
            if self._first is None:
                self._first = block
                return
            self._pool = ThreadPoolExecutor(1)
            self._waiting.append(self._pool.submit(self._work, self._first))
        if len(self._waiting) >= DEPTH:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._work, block))

    def end(self) -> None:
        """Return when every block was worked on."""
        if self._pool is None and self._first is not None:
            self._work(self._first)
        self._first = None
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
