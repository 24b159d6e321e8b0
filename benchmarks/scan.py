"""Scan the same files with Weighbridge and with its peers, in turn, and compare what each costs.

    python benchmarks/scan.py [CASE ...] [--rounds N]

Runs go A B C A B C ..., so that whatever else the machine does falls on all of them; a ratio is the
median of the ratios of pairs from one round. CPU time is that of the whole process and its children,
start-up included. Beside each figure stands what the scanner did for it: how it ended, and how much it
read beyond what it reads to scan an empty pickle. Samples are made here from a fixed seed, under
.cache/bench/. The figures go to benchmarks/results/scan.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import pickle
import platform
import random
import statistics
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import OURS, ROOT, Run, Tool, peer, ready, run

sys.path.insert(0, str(ROOT / "tests"))
SAMPLES = ROOT / ".cache" / "bench"
RESULTS = ROOT / "benchmarks" / "results" / "scan.json"
SEED = 20261122
SLOW = 30.0
"""CPU seconds of a first run above which a peer that no bar is about is run once only."""


@dataclass(frozen=True)
class Bar:
    """At most `ratio` times the peer's CPU (and `memory` times its memory), or the peer's CPU and `plus` seconds."""

    peer: str
    ratio: float | None = None
    memory: float | None = None
    plus: float | None = None


@dataclass(frozen=True)
class Case:
    """One sample, who scans it, and what we said we would hold to."""

    name: str
    title: str
    make: Callable[[Path], None]
    bars: tuple[Bar, ...]
    others: tuple[str, ...]


def _objects(path: Path) -> None:
    """Write 800,000 small nested dicts, protocol 4: 60 MB that are nothing but opcodes."""
    rng = random.Random(SEED)
    rows = [
        {"id": number, "name": f"item-{number}", "values": [number, number + 1, rng.random()], "meta": {"a": number % 7, "b": None, "ok": True, "tags": ("x", number % 3)}}
        for number in range(800_000)
    ]  # fmt: skip
    path.write_bytes(pickle.dumps(rows, protocol=4))


def _vocabulary(path: Path) -> None:
    """Write a dict of 2.6 million words to numbers, protocol 4: about 65 MB."""
    path.write_bytes(pickle.dumps({f"token_{number:07d}": number for number in range(2_600_000)}, protocol=4))


def _checkpoint(path: Path) -> None:
    """Write ten tensors of 20 MB in a torch zip archive as torch lays it out."""
    from world_checkpoints import NO_HOOKS, emit, storage, tensor

    rng = random.Random(SEED)
    count = 5 * 1024 * 1024
    rows = [
        emit(f"layer.{key}.weight") + emit(tensor(storage(str(key), numel=count), (1024, 5120)))
        for key in range(10)
    ]
    root = emit(NO_HOOKS) + b"(" + b"".join(rows) + b"u"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + root + b".")
        archive.writestr("archive/byteorder", b"little")
        block = rng.randbytes(1 << 20)
        for key in range(10):
            archive.writestr(f"archive/data/{key}", b"".join(block[n:] + block[:n] for n in range(20)))
        archive.writestr("archive/version", b"3\n")


def _many(path: Path) -> None:
    """Write 200 small pickles into a folder."""
    rng = random.Random(SEED)
    path.mkdir()
    for number in range(200):
        value = {
            f"key{n}": [rng.random() for _ in range(rng.randint(1, 20))] for n in range(rng.randint(1, 30))
        }
        (path / f"part-{number:03d}.pkl").write_bytes(pickle.dumps(value, protocol=number % 6))


_ALL = ("picklescan", "modelscan", "fickling", "modelaudit")
CASES = (
    Case("objects.pkl", "800,000 nested dicts, protocol 4", _objects, (Bar("picklescan", ratio=0.10, memory=0.2),), _ALL),
    Case("vocabulary.pkl", "2.6 million str to int, protocol 4", _vocabulary, (Bar("picklescan", ratio=0.10, memory=0.2),), _ALL),
    Case("checkpoint.pt", "torch zip, ten tensors, 200 MB", _checkpoint, (Bar("picklescan", ratio=3.0), Bar("modelaudit", ratio=0.3)), _ALL),
    Case("many", "200 small pickles in a folder", _many, (Bar("picklescan", plus=0.2),), ("picklescan", "modelscan", "modelaudit")),
)  # fmt: skip


def measure(case: Case, rounds: int, least: dict[str, float]) -> dict[str, Any]:
    """Run a case in turn and return its figures."""
    path = SAMPLES / case.name
    if not path.exists():
        # In a process of its own: what the one that measures has held counts as held by those it starts.
        maker = multiprocessing.get_context("spawn").Process(target=case.make, args=(path,))
        maker.start()
        maker.join()
    tools = [OURS, *(peer(name) for name in case.others)]
    barred = {OURS.name, *(bar.peer for bar in case.bars)}
    runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    for number in range(rounds):
        for tool in tools:
            done = runs[tool.name]
            if number and tool.name not in barred and done[0].cpu > SLOW:
                continue
            done.append(run(tool, path))
            print(f"    {case.name} {tool.name}: {done[-1].cpu:.2f} CPU-s, exit {done[-1].code}", flush=True)
    size = sum(part.stat().st_size for part in ([path] if path.is_file() else path.iterdir())) / 1e6
    figures = {
        tool.name: _figures(tool, runs[tool.name], runs[OURS.name], least[tool.name]) for tool in tools
    }
    return {"title": case.title, "mb": round(size, 1), "tools": figures, "bars": [_held(bar, runs) for bar in case.bars]}  # fmt: skip


def _figures(tool: Tool, runs: list[Run], ours: list[Run], least: float) -> dict[str, Any]:
    pairs = list(zip(ours, runs, strict=False))
    return {
        "cpu_s": round(statistics.median(one.cpu for one in runs), 3),
        "wall_s": round(statistics.median(one.wall for one in runs), 3),
        "peak_mib": round(max(one.peak_mib for one in runs), 1),
        "read_mb": round(max(0.0, runs[-1].read_mb - least), 1),
        "exit": runs[-1].code,
        "runs": len(runs),
        "ours_to_it_cpu": round(statistics.median(a.cpu / b.cpu for a, b in pairs), 4),
        "ours_to_it_memory": round(statistics.median(a.peak_mib / b.peak_mib for a, b in pairs), 4),
        "said": _last_words(runs[-1].output),
        "note": tool.note,
    }


def _last_words(output: str) -> str:
    """Return the lines of an output that say how it went."""
    words = ("error", "warning", "infected", "scanned", "issue", "exceed", "limit", "suspicious", "skipped", "verdict", "coverage", "incomplete", "success")  # fmt: skip
    lines = [" ".join(line.split()) for line in output.splitlines()]
    told = [line for line in lines if any(word in line.lower() for word in words)]
    return " | ".join(line.replace(str(ROOT), "")[:120] for line in (told or lines)[:6])


def _held(bar: Bar, runs: dict[str, list[Run]]) -> dict[str, Any]:
    pairs = list(zip(runs[OURS.name], runs[bar.peer], strict=True))
    cpu = statistics.median(a.cpu / b.cpu for a, b in pairs)
    memory = statistics.median(a.peak_mib / b.peak_mib for a, b in pairs)
    plus = statistics.median(a.cpu - b.cpu for a, b in pairs)
    row: dict[str, Any] = {"peer": bar.peer}
    if bar.ratio is not None:
        row |= {"cpu_ratio": round(cpu, 4), "cpu_bar": bar.ratio, "cpu_held": cpu <= bar.ratio}
    if bar.memory is not None:
        row |= {
            "memory_ratio": round(memory, 4),
            "memory_bar": bar.memory,
            "memory_held": memory <= bar.memory,
        }
    if bar.plus is not None:
        row |= {"cpu_more_s": round(plus, 3), "plus_bar": bar.plus, "plus_held": plus <= bar.plus}
    return row


def _least(tools: list[Tool]) -> dict[str, float]:
    """Return what each tool reads to scan a pickle of nothing: its own modules, mostly."""
    path = SAMPLES / "least.pkl"
    path.write_bytes(b"\x80\x04N.")
    for tool in tools:
        ready(tool)
        run(tool, path)  # the first run may write bytecode
    return {tool.name: run(tool, path).read_mb for tool in tools}


def _print(case: dict[str, Any]) -> None:
    print(f"\n### {case['title']} ({case['mb']} MB)\n")
    print(
        "| scanner | CPU s | wall s | peak MiB | MB read | exit | runs | ours / its CPU | ours / its memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, row in case["tools"].items():
        print(f"| {name} | {row['cpu_s']} | {row['wall_s']} | {row['peak_mib']} | {row['read_mb']} | {row['exit']} | {row['runs']} | {row['ours_to_it_cpu']} | {row['ours_to_it_memory']} |")  # fmt: skip
    for name, row in case["tools"].items():
        print(f"\n{name}: {row['said']}{' (' + row['note'] + ')' if row['note'] else ''}")
    for bar in case["bars"]:
        print(f"\nbar: {json.dumps(bar)}")


def main() -> int:
    """Measure the cases that are named, or all; return 1 when a bar is not held."""
    from weighbridge.formats.pickle_build import chosen as build_of

    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("cases", nargs="*", metavar="CASE")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--peers", default=",".join(_ALL), help="only these, beside those that a bar is about")
    chosen = words.parse_args()
    SAMPLES.mkdir(parents=True, exist_ok=True)
    build = build_of()[1]
    print(f"Weighbridge's pickle machine: {build}; Python {platform.python_version()}, {platform.system()} {platform.machine()}")  # fmt: skip
    cases = [case for case in CASES if not chosen.cases or case.name in chosen.cases]
    least = _least([OURS, *(peer(name) for name in _ALL)])
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cases": {}}
    for whole in cases:
        kept_peers = {*chosen.peers.split(","), *(bar.peer for bar in whole.bars)}
        case = dataclasses.replace(whole, others=tuple(name for name in whole.others if name in kept_peers))
        figures = measure(case, chosen.rounds, least) | {"build": build, "python": platform.python_version()}
        kept["cases"][case.name] = figures
        _print(figures)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    held = [value for case in kept["cases"].values() for bar in case["bars"] for name, value in bar.items() if name.endswith("_held")]  # fmt: skip
    print(f"\n{sum(held)} of {len(held)} bars held")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
