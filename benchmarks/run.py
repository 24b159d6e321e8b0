"""Measure what people wait for, in CPU time on this machine: start-up, reading pickles, hashing.

Each figure is the smallest of several runs: on a machine that does other things as well, the smallest is
the one with the least of others in it. Only ratios mean something elsewhere, so each figure stands beside
a yardstick measured in the same minute. Samples are made here, from a fixed seed.
"""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import opcodes
from blake3 import blake3

from weighbridge.formats.pickle_ops import decode
from weighbridge.formats.pickle_trace import trace

STARTS = 15
REPEATS = 5
HASHED = 256 * 1024 * 1024


def main() -> int:
    """Print one table a subject."""
    print(
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}; CPU time, smallest of several\n"
    )
    _starting()
    _pickles()
    opcodes.main()
    print()
    _hashing()
    return 0


def _starting() -> None:
    """Print what a verb costs before it begins, above a bare interpreter's own start."""
    bare = _start_cpu("-c", "pass")
    print(f"start-up: bare interpreter {1000 * bare:.0f} ms")
    for words in (["--help"], ["scan", "--help"], ["verify", "--help"], ["promote", "--help"]):
        above = _start_cpu("-m", "weighbridge", *words) - bare
        print(f"  weighbridge {' '.join(words):<16} {1000 * above:6.0f} ms above it")
    print()


def _start_cpu(*arguments: str) -> float:
    return min(_child_cpu(arguments) for _ in range(STARTS))


def _child_cpu(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _pickles() -> None:
    """Print our decoder and our machine against the standard library's opcode reader, on the same bytes."""
    print("pickles: MB of opcodes in a second of CPU")
    for name, data in _samples().items():
        yardstick = _cpu(lambda data=data: _drain(pickletools.genops(data)))  # type: ignore[misc]
        print(f"  {name}, {len(data) / 1e6:.1f} MB")
        print(f"    pickletools.genops {len(data) / 1e6 / yardstick:7.1f}")
        for title, work in (("decode", lambda data: _drain(decode(data))), ("trace", trace)):
            spent = _cpu(lambda data=data, work=work: work(data))  # type: ignore[misc]
            print(f"    {title:<18} {len(data) / 1e6 / spent:7.1f}   {yardstick / spent:.2f} times genops")
    print()


def _samples() -> dict[str, bytes]:
    """Two inert pickles: what a checkpoint's index looks like, and many small numbers."""
    chance = random.Random(20261122)
    index = {
        f"layers.{layer}.block.{part}.weight": {
            "shape": (chance.randrange(4096), 1024),
            "offset": chance.randrange(1 << 40),
        }
        for layer in range(1500)
        for part in ("q", "k", "v", "o", "up", "down", "gate", "norm")
    }
    numbers = [[chance.random(), chance.randrange(1000), str(chance.random())] for _ in range(60_000)]
    return {
        "index of a checkpoint": pickle.dumps(index, protocol=2),
        "small numbers": pickle.dumps(numbers, protocol=4),
    }


def _drain(events: object) -> None:
    for _ in events:  # type: ignore[attr-defined]
        pass


def _hashing() -> None:
    """Print the digests of intake, on bytes in memory: what no amount of our own work can beat."""
    data = random.Random(1).randbytes(1024 * 1024) * (HASHED // (1024 * 1024))
    print("hashing: MB in a second of CPU")
    sha256 = _cpu(lambda: hashlib.sha256(data).digest())
    print(f"  SHA-256            {HASHED / 1e6 / sha256:7.0f}")
    fast = _cpu(lambda: blake3(data).digest())
    print(f"  BLAKE3             {HASHED / 1e6 / fast:7.0f}   {sha256 / fast:.2f} times SHA-256")


def _cpu(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(REPEATS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent)


if __name__ == "__main__":
    sys.exit(main())
