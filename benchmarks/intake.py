"""Measure intake against the limit of hashing: the same bytes, SHA-256 and BLAKE3, in the same process.

    python benchmarks/intake.py [--megabytes 512] [--rounds 9] [--folder DIR]

The limit is one pass of both hashes over the bytes in memory, one after the other, in one thread. Intake is `read_tree`
into a store of files, as `weighbridge intake` calls it: it reads the files, makes both digests and the BLAKE3 of each
16 MiB chunk (so BLAKE3 twice), writes and flushes. Rounds go in turn, and of each the quickest counts: on a machine that
does other things as well it has the least of others in it. The folder is in memory by default (/dev/shm), so that no disk is
measured; `--folder` measures one, beside its own rate of writing and flushing. What was read is counted by an opener that
counts: each byte once, two digests included. CPU seconds stand beside, which others on the machine cannot change.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from blake3 import blake3

from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.store.files import FileBlobs

RESULT = Path(__file__).parent / "results" / "intake.json"
BAR = 0.8
BLOCK = 1024 * 1024
FILES = 4


class Counted:
    """A tree whose files count what is read of them."""

    def __init__(self, tree: Any) -> None:
        self.tree, self.read = tree, 0
        self.model_hint, self.origin = tree.model_hint, tree.origin
        self.settle, self.close = tree.settle, tree.close

    def files(self) -> list[Any]:
        """Return the files with openers that count."""
        return [
            replace(file, opener=lambda file=file: _Stream(self, file.open())) for file in self.tree.files()
        ]


class _Stream:
    def __init__(self, owner: Counted, stream: Any) -> None:
        self.owner, self.stream = owner, stream
        self.fileno, self.close = stream.fileno, stream.close

    def read(self, size: int = -1) -> bytes:
        data: bytes = self.stream.read(size)
        self.owner.read += len(data)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> int:
    """Run the rounds, print the figures beside the bar, keep them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", type=Path, default=RESULT, help="where the figures go")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    where = options.folder or (memory if memory.is_dir() else None)
    with tempfile.TemporaryDirectory(dir=where, prefix="weighbridge-intake-") as folder:
        figures = measure(Path(folder), options.megabytes * BLOCK, options.rounds)
    figures["in_memory"] = where == memory
    for name, value in figures.items():
        print(f"{name:<22} {value}")
    print(f"{'bar':<22} at least {BAR}, each byte read once")
    options.keep.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if figures["ratio"] >= BAR and figures["read_per_byte"] == 1 else 1


def measure(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """Return the figures of one size."""
    model = folder / "model"
    data = make(model, size)
    read = 0

    def limit() -> None:
        sha, blake = hashlib.sha256(), blake3()
        view = memoryview(data)
        for start in range(0, size, BLOCK):
            sha.update(view[start : start + BLOCK])
            blake.update(view[start : start + BLOCK])

    def intake() -> None:
        nonlocal read
        with open_folder(model) as tree:
            counted = Counted(tree)
            snapshot = read_tree(counted, FileBlobs(folder / "store"))
        read = counted.read
        assert snapshot.manifest.size == size

    def write() -> None:
        (folder / "store").mkdir()
        with (folder / "store" / "plain").open("wb", buffering=0) as file:
            for start in range(0, size, BLOCK):
                file.write(data[start : start + BLOCK])
            os.fsync(file.fileno())

    taken: dict[str, list[tuple[float, float]]] = {"limit": [], "intake": [], "write": []}
    for _ in range(rounds):
        for name, work in {"limit": limit, "intake": intake, "write": write}.items():
            taken[name].append(timed(work))
            shutil.rmtree(folder / "store", ignore_errors=True)
    wall = {name: min(row[0] for row in rows) for name, rows in taken.items()}
    cpu = {name: min(row[1] for row in rows) for name, rows in taken.items()}
    return {
        "bytes": size,
        "rounds": rounds,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "limit_mb_s": round(size / wall["limit"] / 1e6),
        "intake_mb_s": round(size / wall["intake"] / 1e6),
        "write_flush_mb_s": round(size / wall["write"] / 1e6),
        "ratio": round(wall["limit"] / wall["intake"], 3),
        "limit_cpu_s": round(cpu["limit"], 3),
        "intake_cpu_s": round(cpu["intake"], 3),
        "read_per_byte": read / size,
    }


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return seconds of wall and of CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def make(model: Path, size: int) -> bytes:
    """Write a model of FILES files and return its bytes."""
    model.mkdir()
    seed = os.urandom(BLOCK - 8)
    blocks = [seed + number.to_bytes(8, "big") for number in range(size // BLOCK)]
    share = -(-len(blocks) // FILES)
    for number in range(FILES):
        part = blocks[number * share : (number + 1) * share]
        (model / f"model-{number + 1:05d}-of-{FILES:05d}.safetensors").write_bytes(b"".join(part))
    return b"".join(blocks)


if __name__ == "__main__":
    raise SystemExit(main())
