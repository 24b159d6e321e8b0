"""The process that evaluates Rego, seen from outside: started under limits, spoken to in numbered frames, ended.

Whoever asks bounds the time of one exchange. An answer that does not carry the number of its question is
nobody's; whatever is not exactly one answer is an OSError, after which the process is good for nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import weakref
from pathlib import Path
from time import monotonic
from typing import IO

from weighbridge.policy.contract import printable

WORKER = Path(__file__).with_name("worker.py")
MAX_ANSWER = 4 * 1024 * 1024
MAX_NOISE = 4096
START_SECONDS = 20.0
"""How long the interpreter may take to start on a busy machine."""
ENVIRONMENT = {"MIMALLOC_ARENA_RESERVE": "16MiB"}
"""All that the worker inherits. Its allocator would else reserve a gigabyte, which no limit could then bound."""

_IN, _OUT = select.POLLIN | select.POLLHUP | select.POLLERR, select.POLLOUT
_SIZE, _NUMBER = 4, 8


class Worker:
    """One process and its three pipes; raises OSError (a TimeoutError when time is up) when it does not come up.

    `memory` bounds its address space in bytes.
    """

    def __init__(self, memory: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(WORKER), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._process, self._owner)
        self._noise = b""
        self._number = 0
        self._in, self._out, self._err = (
            _number_of(pipe) for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for number in (self._in, self._out, self._err):
            os.set_blocking(number, False)
        try:
            self.version = self._hello()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill the process and close its pipes; after a fork, only the pipes: the process is somebody else's."""
        self._end()

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs and is ours: not after a fork, where somebody else reads its answers."""
        return self._owner == os.getpid() and self._process.poll() is None

    def exchange(self, payload: bytes, seconds: float) -> bytes:
        """Write one question and return its answer; raises OSError (a TimeoutError, when time is up)."""
        self._number += 1
        number = self._number.to_bytes(_NUMBER, "big")
        return self._converse(_frame(number, payload), number, seconds)

    def _hello(self) -> str:
        """Return the version of the engine that has come up."""
        said = json.loads(self._converse(b"", bytes(_NUMBER), START_SECONDS))
        if not isinstance(said, dict) or not isinstance(said.get("ready"), str):
            raise OSError("the worker began with something else than its version")
        return str(said["ready"])

    def _converse(self, frame: bytes, number: bytes, seconds: float) -> bytes:
        deadline = monotonic() + seconds
        waiting = memoryview(frame)
        received = bytearray()
        poll = select.poll()
        poll.register(self._out, _IN)
        poll.register(self._err, _IN)
        if waiting:
            poll.register(self._in, _OUT)
        while not _whole(received, number):
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer within {seconds:g} seconds")
            for pipe, _ in poll.poll(left * 1000 + 1):
                if pipe == self._in:
                    waiting = waiting[self._write(waiting) :]
                    if not waiting:
                        poll.unregister(self._in)
                elif pipe == self._out:
                    received += self._read()
                elif not self._listen():
                    poll.unregister(self._err)
        if waiting:
            raise OSError("the worker answered before it had read the question")
        return bytes(received[_SIZE + _NUMBER :])

    def _write(self, waiting: memoryview) -> int:
        try:
            return os.write(self._in, waiting[:65536])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            raise BrokenPipeError(self._obituary()) from None

    def _read(self) -> bytes:
        data = os.read(self._out, 262144)
        if not data:
            raise BrokenPipeError(self._obituary())
        return data

    def _listen(self) -> bool:
        """Keep the beginning of what the worker complains about; tell whether more may come."""
        data = os.read(self._err, 65536)
        self._noise = (self._noise + data)[:MAX_NOISE]
        return bool(data)

    def _obituary(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        with contextlib.suppress(OSError):
            self._listen()
        said = printable(self._noise.decode("utf-8", "replace").strip().rpartition("\n")[2])
        status = self._process.returncode
        how = f"killed by signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        return f"the worker ended ({how}){': ' + said if said else ''}"


def _frame(number: bytes, payload: bytes) -> bytes:
    return (len(payload) + _NUMBER).to_bytes(_SIZE, "big") + number + payload


def _whole(received: bytearray, number: bytes) -> bool:
    """Tell whether a whole answer is there; raises OSError for one that is too long, or another question's."""
    if len(received) < _SIZE:
        return False
    size = int.from_bytes(received[:_SIZE], "big")
    if size > MAX_ANSWER + _NUMBER or len(received) > _SIZE + size:
        raise OSError(f"the answer is longer than {min(size, MAX_ANSWER)} bytes")
    if size < _NUMBER:
        raise OSError("the answer has no number")
    if len(received) >= _SIZE + _NUMBER and received[_SIZE : _SIZE + _NUMBER] != number:
        raise OSError("the worker answered another question")
    return len(received) == _SIZE + size


def _number_of(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
