"""Fuzz the readers: change seeds, scan them, and keep what shows something new; each target in a process of its own.

    python tools/fuzz.py [TARGET ...] [--seconds N] [--fresh]

A long run is ten minutes for pickle, zip, torch, safetensors, gguf and joblib, one minute for the others
(tests/fuzz/targets.py). What counts as a fault: an exception out of a scan, a finding that says reading
ended in one, a passing verdict with bytes unread, two reports on the same bytes that differ, more than
5 seconds of CPU or 256 MiB of memory for one input. A run goes on where the last one stopped: corpus, random
state and counts lie in .cache/fuzz/<target>/, faults in .cache/fuzz/<target>/faults/. The summary goes to
benchmarks/results/fuzz.json. There is no coverage of code to steer by; an input is kept when its report
holds a rule, a message (numbers and quoted text left out) or a format that no report before it held.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("fuzz", "attacks", "")]
CACHE = ROOT / ".cache" / "fuzz"
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
ADDRESS_SPACE = 4 << 30
MEMORY = 256 << 20
CPU = 5.0
SILENCE = 120
"""Wall seconds without a sign of life after which a worker is killed: a loop that no signal can end."""
KEPT_STATE = 15
MAX_KEPT = 3000
"""Inputs kept beside the seeds; beyond, a new one takes the place of one at random, so that the corpus does not
count as the memory of a scan."""
MAX_WORDS = 50_000


class _Slow(BaseException):
    """The input's CPU time is spent; not an Exception, so that no reader can catch it."""


class Worker:
    """Fuzzes one target in this process and keeps its state on disk."""

    def __init__(self, name: str) -> None:
        import targets

        self.target = targets.TARGETS[name]
        self.folder = CACHE / name
        for part in ("corpus", "faults"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(f"{name} 20261122")  # the seed is fixed on purpose: a run can be repeated
        self.seeds = list(self.target.seeds())
        self.corpus = list(self.seeds)
        self.state: dict[str, Any] = {
            "inputs": 0, "seconds": 0.0, "faults": {}, "peak": 0, "slowest": 0.0, "seen": [], "kept": 0,
        }  # fmt: skip
        self._resume()
        self.seen = set(self.state["seen"])
        self.now = mmap.mmap(_current(self.folder), 1 << 21)

    def _resume(self) -> None:
        path = self.folder / "state.json"
        if not path.exists():
            return
        self.state = json.loads(path.read_text(encoding="utf-8"))
        version, internal, gauss = self.state["random"]
        self.rng.setstate((version, tuple(internal), gauss))
        self.corpus += [item.read_bytes() for item in sorted((self.folder / "corpus").iterdir())]

    def save(self) -> None:
        """Write everything a later run needs."""
        state = self.state | {
            "random": self.rng.getstate(),
            "seen": sorted(self.seen),
            "corpus": len(self.corpus),
        }
        path = self.folder / "state.json"
        spare = path.with_suffix(".new")
        spare.write_text(json.dumps(state), encoding="utf-8")
        spare.replace(path)

    def work(self, seconds: float) -> None:
        """Fuzz for `seconds`, saving now and then."""
        import mutate

        signal.signal(signal.SIGVTALRM, _too_slow)
        began = saved = time.monotonic()
        if not self.state["inputs"]:
            for data in self.seeds:
                self.try_one(data, grow=False)
        while (now := time.monotonic()) - began < seconds:
            if now - saved > KEPT_STATE:
                self.state["seconds"] += now - saved
                saved = now
                self.save()
            self.try_one(mutate.changed(self.rng, self.target.changes, self.corpus))
        self.state["seconds"] += time.monotonic() - saved
        self.save()

    def try_one(self, data: bytes, *, grow: bool = True) -> None:
        """Scan one input, judge what it cost, keep it when it showed something new."""
        self.now[: 8 + len(data)] = len(data).to_bytes(8, "little") + data
        self.state["inputs"] += 1
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU)
        shown: frozenset[str] = frozenset()
        try:
            shown = self.target.run(data)
        except _Slow:
            self.fault("hang", data, f"more than {CPU} s of CPU")
        except Exception as error:  # noqa: BLE001  the point of it
            self.fault(getattr(error, "kind", type(error).__name__), data, str(error))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        spent, peak = time.process_time() - before, _peak()
        if spent > max(0.5, self.state["slowest"]):
            (self.folder / "slowest").write_bytes(data)
        self.state["slowest"] = max(self.state["slowest"], round(spent, 3))
        self.state["peak"] = max(self.state["peak"], peak)
        if peak > MEMORY:
            self.fault("memory", data, f"{peak >> 20} MiB")
        if shown - self.seen and len(self.seen) < MAX_WORDS:
            self.seen |= shown
            if grow:
                self.keep(data)

    def keep(self, data: bytes) -> None:
        """Add an input to the corpus."""
        place = self.state["kept"] if self.state["kept"] < MAX_KEPT else self.rng.randrange(MAX_KEPT)
        if place + len(self.seeds) < len(self.corpus):
            self.corpus[place + len(self.seeds)] = data
        else:
            self.corpus.append(data)
        self.state["kept"] += 1
        (self.folder / "corpus" / f"{place:06d}").write_bytes(data)

    def fault(self, kind: str, data: bytes, message: str) -> None:
        """Record a fault; each kind keeps its first twenty inputs."""
        count = self.state["faults"].get(kind, 0) + 1
        self.state["faults"][kind] = count
        if count <= 20:
            path = self.folder / "faults" / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(message + "\n", encoding="utf-8")
        print(f"  {self.target.name}: {kind}: {message[:200]}", flush=True)


def _current(folder: Path) -> int:
    """Open the file that always holds the input at work, so that a killed worker's last input is known."""
    descriptor = os.open(folder / "current", os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, 1 << 21)
    return descriptor


def _too_slow(_number: int, _frame: object) -> None:
    raise _Slow


def _peak() -> int:
    """Return the most memory this process has held since the peak was reset, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _supervise(name: str, seconds: float) -> dict[str, Any]:
    """Run a worker; one that dies or falls silent leaves its input as a fault and is started again."""
    folder, deadline = CACHE / name, time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 1:
        command = [sys.executable, __file__, "--worker", name, "--seconds", str(left)]
        worker = subprocess.Popen(command)
        reason = _watch(worker, folder)
        if not reason:
            break
        last = (folder / "current").read_bytes() if (folder / "current").exists() else b""
        data = last[8 : 8 + int.from_bytes(last[:8], "little")]
        (folder / "faults" / f"{reason}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
        print(f"  {name}: {reason}", flush=True)
    return _summary(name)


def _watch(worker: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for a worker; return what went wrong, or nothing."""
    state, began = folder / "state.json", time.time()
    while True:
        try:
            code = worker.wait(timeout=5)
        except subprocess.TimeoutExpired:
            alive = max(began, state.stat().st_mtime if state.exists() else 0)
            if time.time() - alive > SILENCE + KEPT_STATE:
                worker.kill()
                worker.wait()
                return "silent"
            continue
        return "" if code == 0 else f"died{-code if code < 0 else code}"


def _summary(name: str) -> dict[str, Any]:
    """Return what is recorded of a target."""
    import targets

    state = json.loads((CACHE / name / "state.json").read_text(encoding="utf-8"))
    seeds = hashlib.sha256()
    for data in targets.TARGETS[name].seeds():
        seeds.update(hashlib.sha256(data).digest())
    ended = [
        path.name for path in (CACHE / name / "faults").iterdir() if path.name.startswith(("died", "silent"))
    ]
    return {
        "seconds": round(state["seconds"]), "inputs": state["inputs"], "faults": state["faults"], "ended": len(ended),
        "peak_mib": state["peak"] >> 20, "slowest_cpu_s": state["slowest"], "seeds": len(targets.TARGETS[name].seeds()),
        "seeds_sha256": seeds.hexdigest(), "kept": state["kept"], "words": len(state["seen"]),
    }  # fmt: skip


def _record(rows: dict[str, dict[str, Any]]) -> None:
    """Write the summary beside those of other targets."""
    from weighbridge.formats.pickle_build import chosen as build_of
    from weighbridge.scanner.engine import ruleset

    old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    build = build_of()[1]
    facts = {"ruleset": str(ruleset().digest), "python": platform.python_version(), "machine": build}
    targets = old.get("targets", {}) | {name: row | facts for name, row in rows.items()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"targets": targets}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    """Fuzz the targets that are named, or all; return 1 when anything was found."""
    import targets

    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("names", nargs="*", metavar="TARGET")
    words.add_argument("--seconds", type=float, help="for each target, instead of its own time")
    words.add_argument("--fresh", action="store_true", help="forget what earlier runs left")
    words.add_argument("--worker", help=argparse.SUPPRESS)
    chosen = words.parse_args()
    if chosen.worker:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        Worker(chosen.worker).work(chosen.seconds)
        return 0
    bad = 0
    for name in chosen.names or targets.TARGETS:
        if chosen.fresh and (CACHE / name).exists():
            (CACHE / name).rename(CACHE / f"{name}.{time.time_ns()}")
        row = _supervise(name, chosen.seconds or targets.TARGETS[name].seconds)
        bad += sum(row["faults"].values()) + row["ended"]
        _record({name: row})
        print(f"{name}: {row['inputs']} inputs in {row['seconds']} s, faults {row['faults'] or 'none'}, peak {row['peak_mib']} MiB, slowest {row['slowest_cpu_s']} s", flush=True)  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
