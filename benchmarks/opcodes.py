"""Measure the symbolic pickle machine, compiled and as plain Python, beside the standard library's opcode reader.

Samples are made here, from a fixed seed: 40,000 nested dicts by protocols 2 and 4, and an index of 5,000
tensors as torch writes it. CPU time, the smallest of several runs taken in turn; each build gives the same trace.
Records of persistent ids are made when somebody reads the events: the last column has that in it.
"""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
import sys
import time
from collections import deque
from collections.abc import Callable

from weighbridge.formats import pickle_build, pickle_machine
from weighbridge.formats.pickle_ops import MAX_OPCODES
from weighbridge.formats.pickle_trace import MAX_EVENTS, MAX_EXPANSION

REPEATS = 5
BUDGETS = (MAX_OPCODES, MAX_EVENTS, MAX_EXPANSION)


def main() -> int:
    """Print one row a sample and build."""
    print(f"pickle machine: {pickle_build.chosen()[1]}")
    print(
        f"  {'':<28} {'MB':>6} {'genops s':>9} {'plain s':>9} {'x genops':>9} {'compiled s':>11} {'x genops':>9}"
        f" {'events read':>12}"
    )
    for name, data in samples().items():
        works: list[Callable[[], object]] = [lambda data=data: deque(pickletools.genops(data), 0)]  # type: ignore[misc]
        works += [
            lambda data=data, machine=machine: machine.run_trace(data, 0, BUDGETS, False)  # type: ignore[misc]
            for machine in (pickle_machine, pickle_build.machine())
        ]
        works.append(lambda data=data: pickle_build.machine().run_trace(data, 0, BUDGETS, False).events)  # type: ignore[misc]
        genops, plain, compiled, read = in_turn(works)
        row = f"  {name:<28} {len(data) / 1e6:6.1f} {genops:9.3f} {plain:9.3f} {genops / plain:9.2f}"
        print(
            row
            + (
                f" {compiled:11.4f} {genops / compiled:9.2f} {genops / read:12.2f}"
                if pickle_build.compiled()
                else "  not built"
            )
        )
    return 0


def in_turn(works: list[Callable[[], object]]) -> list[float]:
    """Return the smallest CPU time of each, taken A B C A B C."""
    best = [float("inf")] * len(works)
    for _ in range(REPEATS):
        for place, work in enumerate(works):
            begun = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - begun)
    return best


def samples() -> dict[str, bytes]:
    """Return the samples, by name."""
    chance = random.Random(20261122)
    nested = [
        {
            "id": number, "name": f"item{number}", "score": chance.random(), "tags": ["a", "b", str(number % 7)],
            "nested": {"x": number, "y": 2 * number, "z": {"k": f"v{number}", "w": None, "t": (number, number + 1)}},
        }
        for number in range(40_000)
    ]  # fmt: skip
    return {
        "nested dicts, protocol 2": pickle.dumps(nested, 2),
        "nested dicts, protocol 4": pickle.dumps(nested, 4),
        "index of 5,000 tensors": tensors(5_000),
    }


def tensors(count: int) -> bytes:
    """Return what `torch.save` writes as data.pkl for a state dict of float tensors."""
    kept = 0

    def put() -> bytes:
        nonlocal kept
        kept += 1
        return b"q%c" % (kept - 1) if kept <= 256 else b"r" + struct.pack("<I", kept - 1)

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode() + put()

    out = [b"\x80\x02ccollections\nOrderedDict\n", put(), b")R", put(), b"("]
    names: dict[str, bytes] = {}

    def name(words: bytes) -> bytes:
        known = names.get(words.decode())
        if known is None:
            names[words.decode()] = b"h%c" % kept
            return words + put()
        return known

    for number in range(count):
        out += [
            text(f"layers.{number // 8}.block.{number % 8}.weight"),
            name(b"ctorch._utils\n_rebuild_tensor_v2\n"),
            b"((",
        ]
        out += [
            name(b"X\x07\0\0\0storage"),
            name(b"ctorch\nFloatStorage\n"),
            text(str(number)),
            name(b"X\x03\0\0\0cpu"),
        ]
        out += [
            b"M\0\x10t",
            put(),
            b"QK\0M\0\x10\x85",
            put(),
            b"K\x01\x85",
            put(),
            b"\x89h\0)R",
            put(),
            b"t",
            put(),
            b"R",
            put(),
        ]
    return b"".join([*out, b"u."])


if __name__ == "__main__":
    sys.exit(main())
