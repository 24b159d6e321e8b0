"""Ask regorus (Rego v1) in a worker process: bounded, replaced when it misbehaves, believed only in one shape."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import IO, Any, Self

from weighbridge.core.canonical import JSON
from weighbridge.core.decision import EngineAnswer
from weighbridge.core.errors import CannotTell, OutOfBudget
from weighbridge.policy.contract import no_answer, printable, read_answer
from weighbridge.policy.lint import opened
from weighbridge.policy.settings import PolicyBundle

DIGEST = "regorus/0.13.0"
WORKER = Path(__file__).with_name("worker.py")
MAX_QUESTION = 64 * 1024 * 1024
MAX_ANSWER = 4 * 1024 * 1024
MAX_NOISE = 4096
ENVIRONMENT = {"MIMALLOC_ARENA_RESERVE": "16MiB"}
"""All that the worker inherits. Its allocator would else reserve a gigabyte, which no limit could then bound."""
START_SECONDS = 20.0
"""What a first question may take longer, for the interpreter to start on a busy machine."""


class RegorusEngine:
    """A policy engine behind `policy.contract.Engine`; a context manager, safe to share between threads.

    `timeout_s` bounds each question in wall-clock and in processor seconds, `memory_bytes` the address
    space of the worker.
    """

    digest = DIGEST

    def __init__(self, timeout_s: float = 5.0, memory_bytes: int = 512 * 1024 * 1024) -> None:
        self._timeout = timeout_s
        self._memory = memory_bytes
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._opened: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker; the next question starts another."""
        with self._lock:
            self._drop()

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> EngineAnswer:
        """Return the answer of `query`; CANNOT_TELL with the problem whenever there is none."""
        try:
            value = self.query(modules, data, question, query)
        except CannotTell as error:
            return no_answer(error.problem, engine=DIGEST)
        return read_answer(value, engine=DIGEST)

    def answer(self, bundle: PolicyBundle, package: str, question: Mapping[str, JSON]) -> EngineAnswer:
        """Ask a policy about a model of class `package` (own, third_party or legacy).

        A policy that allows where there is no evidence gets no say: the answer is CANNOT_TELL.
        """
        policy = str(bundle.digest)
        known = (policy, package)
        if known not in self._opened:
            self._opened[known] = opened(bundle.modules, bundle.data, self, packages=(package,))
        if self._opened[known]:
            problem = f"this policy would let anything pass: {self._opened[known]}"
            return no_answer(problem, engine=DIGEST, policy=policy)
        answer = self.evaluate(bundle.modules, bundle.data, question, f"data.weighbridge.{package}")
        return replace(answer, policy=policy)

    def query(
        self, modules: Mapping[str, str], data: Mapping[str, JSON], question: Mapping[str, JSON], query: str
    ) -> Any:
        """Return the value of `query`; raises CannotTell when it is undefined or was not reached."""
        request = {
            "modules": dict(modules),
            "data": dict(data),
            "input": dict(question),
            "query": query,
            "seconds": self._timeout,
        }
        try:
            frame = json.dumps(request, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise CannotTell(f"the question cannot be written as JSON: {error}") from error
        if len(frame) > MAX_QUESTION:
            raise OutOfBudget(f"the question is larger than {MAX_QUESTION} bytes")
        with self._lock:
            return _value(self._ask(frame), query)

    def _ask(self, frame: bytes) -> Any:
        """Exchange one frame; a worker that did not answer well is ended and never asked again."""
        fresh = self._worker is None
        try:
            if self._worker is None:
                self._worker = _Worker(self._memory)
            limit = self._timeout + (START_SECONDS if fresh else 0)
            return json.loads(self._worker.exchange(frame, limit))
        except Exception as error:  # whatever went wrong with the worker blocks, and is no error of the gate
            self._drop()
            raise CannotTell(f"the policy engine gave no answer: {printable(str(error))}") from error
        except BaseException:
            self._drop()  # an interrupt in the middle of an exchange leaves a frame behind
            raise

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


def _value(answer: Any, query: str) -> Any:
    """Unwrap what the worker answered: exactly one result of exactly one expression."""
    if not isinstance(answer, dict):
        raise CannotTell("the policy engine answered in another shape")
    if "error" in answer:
        raise CannotTell(f"the policy engine refused: {printable(str(answer['error']))}")
    results = answer.get("results")
    rows = results.get("result") if isinstance(results, dict) else None
    if not rows:
        raise CannotTell(f"{query} is undefined in this policy")
    try:
        [row] = rows
        [expression] = row["expressions"]
        return expression["value"]
    except (ValueError, TypeError, KeyError) as error:
        raise CannotTell("the policy engine answered in another shape") from error


class _Worker:
    """One process and its three pipes."""

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
        self._end = weakref.finalize(self, _end, self._process)
        self._noise = b""
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def _stderr(self) -> IO[bytes]:
        assert self._process.stderr is not None
        return self._process.stderr

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self._end()

    def exchange(self, frame: bytes, seconds: float) -> bytes:
        """Write one frame and return the answer's; raises OSError (a TimeoutError, when time is up)."""
        deadline = monotonic() + seconds
        waiting = memoryview(len(frame).to_bytes(4, "big") + frame)
        received = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdout, selectors.EVENT_READ)
            ready.register(self._stderr, selectors.EVENT_READ)
            ready.register(self._stdin, selectors.EVENT_WRITE)
            while not _whole(received):
                left = deadline - monotonic()
                if left <= 0:
                    raise TimeoutError(f"no answer within {seconds:g} seconds")
                for key, _ in ready.select(left):
                    if key.fileobj is self._stdin:
                        waiting = waiting[self._write(waiting) :]
                        if not waiting:
                            ready.unregister(self._stdin)
                    elif key.fileobj is self._stdout:
                        received += self._read()
                    elif not self._listen():
                        ready.unregister(self._stderr)
        return bytes(received[4:])

    def _write(self, waiting: memoryview) -> int:
        try:
            return os.write(self._stdin.fileno(), waiting[:65536])
        except BrokenPipeError:
            raise BrokenPipeError(self._obituary()) from None

    def _read(self) -> bytes:
        data = os.read(self._stdout.fileno(), 65536)
        if not data:
            raise BrokenPipeError(self._obituary())
        return data

    def _listen(self) -> bool:
        """Keep the beginning of what the worker complains about; tell whether more may come."""
        data = os.read(self._stderr.fileno(), 65536)
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


def _whole(received: bytearray) -> bool:
    """Tell whether a whole frame is there; raises OSError for one that is too long."""
    if len(received) < 4:
        return False
    size = int.from_bytes(received[:4], "big")
    if size > MAX_ANSWER or len(received) > 4 + size:
        raise OSError(f"the answer is longer than {min(size, MAX_ANSWER)} bytes")
    return len(received) == 4 + size


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
