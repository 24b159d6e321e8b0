"""Measure the transparency log at a million entries: appending, proving, finding, opening again, memory.

    python benchmarks/log.py [--entries 1000000] [--batch 4096] [--folder DIR]

Each stage is a process of its own, so that its peak memory and its start are its own. Entries are 640 bytes, about
the size of a `dsse/0.0.1` body; the log is of form v1 under an ECDSA P-256 key, so that each entry's cost includes
its signed entry timestamp. CPU time is user and system time of the whole process. The folder is removed afterwards.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "log.json"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
PAD = b"." * 630
PROOFS = 1000
BARS = {
    "append_us": 50.0,
    "proof_ms": 1.0,
    "proof_ms_worst": None,
    "find_ms": None,
    "miss_ms": None,
    "restart_s": 2.0,
    "append_peak_mb": 200.0,
    "read_peak_mb": 200.0,
    "sign_us": None,
    "append_v2_us": None,
}


def main() -> int:
    """Run the stages, print a table beside the bars, keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stage", choices=["append", "v2", "read"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        work = {"append": append, "v2": append, "read": read}[options.stage]
        print(json.dumps(work(options.folder, options)))
        return 0
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for stage in ("append", "read", "v2"):
            figures |= run(stage, Path(folder), options)
    figures = {name: round(figures[name], 4) for name in BARS}
    kept = {
        "entries": options.entries,
        "batch": options.batch,
        "python": platform.python_version(),
        "machine": platform.machine(),
        **figures,
    }
    print(f"a log of {options.entries} entries, {options.batch} an append")
    for name, bar in BARS.items():
        print(f"  {name:<16} {figures[name]:>10.3f}   {f'at most {bar:g}' if bar is not None else ''}")
    missed = [name for name, bar in BARS.items() if bar is not None and figures[name] > bar]
    if options.entries >= 1_000_000:
        RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0


def run(stage: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one stage in a fresh process."""
    command = [sys.executable, __file__, "--stage", stage, "--folder", str(folder)]
    command += ["--entries", str(options.entries), "--batch", str(options.batch)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def body(index: int) -> bytes:
    """Return entry `index`."""
    return b"%010d" % index + PAD


def peak() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1024 * 1024 if sys.platform == "darwin" else 1024)


def append(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Fill a log; the bodies are made outside of the time that is measured."""
    from weighbridge.keys.files import generate
    from weighbridge.ledger.sequencer import Log

    second = options.stage == "v2"
    key = generate("ed25519" if second else "ecdsa-p256")
    origin, form = ("log.example", "v2") if second else ("weighbridge.bench - 1", "v1")
    entries = options.entries // 10 if second else options.entries
    log = Log.create(
        folder / options.stage,
        origin,
        key,
        now=NOW,
        genesis=[body(0), body(1)],
        form="v2" if form == "v2" else "v1",
    )
    spent = 0.0
    while log.size < entries:
        bodies = [body(index) for index in range(log.size, min(entries, log.size + options.batch))]
        begun = time.process_time()
        log.append(bodies, signer=key, now=NOW)
        spent += time.process_time() - begun
    if second:
        return {"append_v2_us": spent / entries * 1e6}
    (folder / "key.pem").write_text(key.public_pem, encoding="utf-8")
    begun = time.process_time()
    for _ in range(PROOFS):
        key.sign(PAD)
    sign = (time.process_time() - begun) / PROOFS * 1e6
    return {"append_us": spent / entries * 1e6, "append_peak_mb": peak(), "sign_us": sign}


def read(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Open the log, prove and find entries all over it."""
    begun = time.perf_counter()
    from weighbridge.ledger.sequencer import Log

    log = Log.open(folder / "append", (folder / "key.pem").read_text(encoding="utf-8"))
    restart = time.perf_counter() - begun
    places = [(number * 7919 * 127) % log.size for number in range(PROOFS)]
    proofs = sorted(timed(lambda index=index: log.proof(index)) for index in places)  # type: ignore[misc]
    finds = sorted(timed(lambda index=index: log.find(body(index))) for index in places)  # type: ignore[misc]
    misses = sorted(timed(lambda: log.find(b"not there")) for _ in range(PROOFS))
    if log.size != options.entries or any(log.find(body(index)) != index for index in places[:10]):
        raise SystemExit("the log does not hold what was appended")
    return {
        "restart_s": restart,
        "proof_ms": sum(proofs) / PROOFS * 1e3,
        "proof_ms_worst": proofs[-1] * 1e3,
        "find_ms": sum(finds) / PROOFS * 1e3,
        "miss_ms": sum(misses) / PROOFS * 1e3,
        "read_peak_mb": peak(),
    }


def timed(work: Any) -> float:
    """Return the CPU seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main())
