"""Hold our verifier against sigstore's on changed bundles, trusted roots and times, and keep a record of it.

`python tools/differential.py --cases 24000` goes on where the last run with the same source stopped and writes
benchmarks/results/differential.json: how the two agree, by what was changed; by name, where we accept more (the
list with reasons is docs/reference/bundle.md); and every case for which there is no such reason, or something
else than a refusal with its step was raised. A case is its base and its number, so each can be made again. It exits
1 when there is such a case.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "differential"))
RECORD = ROOT / "benchmarks" / "results" / "differential.json"
STEP = 20
MOST_LISTED = 50
LIBRARIES = ("sigstore", "sigstore-models", "cryptography", "rfc3161-client")
VERIFIER = ("artifact", "bundle", "bundle_form", "certificates", "demand", "dsse", "entries", "entry_parts", "expect", "inclusion", "proof", "prove", "roots", "sct", "timestamp", "trusted_root")  # fmt: skip
SOURCES = (
    *(ROOT / "tests" / "differential").glob("differ_*.py"),
    *(ROOT / "src" / "weighbridge" / "trust" / f"{name}.py" for name in VERIFIER),
)


def main() -> int:
    """Run until there have been as many cases as asked for, the bases in turn."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--cases", type=int, default=24_000)
    arguments.add_argument("--record", type=Path, default=RECORD)
    given = arguments.parse_args()
    from differ_bases import names, wider

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    record = resumed(given.record)
    bases = names()
    while record["cases"] < given.cases:
        begun = time.process_time()
        for base in bases:
            step(record, base)
        for base in wider():
            step(record, base, compared=False)
        record["cpu_seconds"] = round(record["cpu_seconds"] + time.process_time() - begun, 1)
        written(given.record, record)
    return int(bool(record["faults"]))


def source_digest() -> str:
    """Return the digest of the generator and of the verifier, in which order does not matter."""
    rows = [hashlib.sha256(path.read_bytes()).hexdigest() + path.name for path in SOURCES]
    return hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()


def resumed(path: Path) -> dict[str, Any]:
    """Return the record of a run with the same source, or a new one."""
    versions = {name: version(name) for name in LIBRARIES}
    head = {"source": source_digest(), "versions": versions, "python": sys.version.split()[0]}
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(record.get(name) == value for name, value in head.items()):
            return record
    empty: dict[str, Any] = {"cases": 0, "cpu_seconds": 0.0, "done": {}, "outcomes": {}, "fields": {}}
    return head | empty | {"steps": {}, "looser": {}, "faults": [], "refusals_alone": {}}


def step(record: dict[str, Any], base: str, *, compared: bool = True) -> None:
    """Ask about the next cases of one base; without `compared`, only how we refuse is looked at."""
    from differ_cases import made
    from differ_verifiers import ask, ours

    first = record["done"].get(base, 0)
    for number in range(first, first + STEP):
        case = made(base, number)
        if not compared:
            refusal, traceback = ours(case)
            count(record["refusals_alone"], refusal or "accepted")
            if traceback:
                fault(record, base, number, traceback)
            continue
        said = ask(case)
        record["cases"] += 1
        count(record["outcomes"], said.outcome)
        count(record["fields"].setdefault(case.field, {}), said.outcome)
        count(record["steps"], said.ours or "accepted")
        if said.rule:
            count(record["looser"], said.rule)
        elif said.outcome in ("we are looser", "traceback"):
            fault(record, base, number, said.traceback or said.theirs)
    record["done"][base] = first + STEP


def count(counts: dict[str, int], name: str) -> None:
    """Count one more."""
    counts.update(Counter(counts) + Counter([name]))


def fault(record: dict[str, Any], base: str, number: int, words: str) -> None:
    """Keep a case that should not be."""
    if len(record["faults"]) < MOST_LISTED:
        record["faults"].append({"base": base, "number": number, "said": words[:400]})


def written(path: Path, record: dict[str, Any]) -> None:
    """Write the record so that it is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
