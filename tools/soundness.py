"""Hold the pickle machine against CPython's unpicklers on millions of streams, and keep a record of it.

`python tools/soundness.py --streams 2000000` goes on where the last run of the same machine stopped and writes
benchmarks/results/soundness.json every few thousand streams: the digest of the machine's source, the seeds by
generator, how the streams ended, and every stream for which a name was missed, the two builds disagreed or
something was raised. A stream is its generator and its number, so each can be made again. It exits 1 when
there is any mismatch.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "soundness"))
RECORD = ROOT / "benchmarks" / "results" / "soundness.json"
BUDGETS = (1_000_000, 200_000, 1_000_000_000)
STEP = 2000
MOST_LISTED = 50


def main() -> int:
    """Run until each generator has had its share of the streams."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--streams", type=int, default=2_000_000)
    arguments.add_argument("--record", type=Path, default=RECORD)
    given = arguments.parse_args()
    from soundness_streams import GENERATORS

    from weighbridge.formats import pickle_build

    warnings.simplefilter("ignore")
    quiet()
    record = resumed(given.record, pickle_build.source_digest(Path(pickle_build.__file__).parent), GENERATORS)
    record["compiled"] = pickle_build.compiled()
    share = -(-given.streams // len(GENERATORS))
    while min(record["done"].values()) < share:
        begun = time.process_time()
        for kind in GENERATORS:
            step(record, kind, min(share, record["done"][kind] + STEP))
        record["cpu_seconds"] = round(record["cpu_seconds"] + time.process_time() - begun, 1)
        record["streams"] = sum(record["done"].values())
        given.record.parent.mkdir(parents=True, exist_ok=True)
        temporary = given.record.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(given.record)
    return int(bool(record["mismatches"]))


def quiet() -> None:
    """Drop what CPython writes about its own buffers when a stream breaks in the middle of one."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def resumed(path: Path, digest: str, generators: dict[str, object]) -> dict[str, object]:
    """Return the record to go on with: the one kept, if it is of this machine."""
    if path.is_file():
        kept: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
        if kept["machine"] == digest:
            return kept
    return {
        "schema": "weighbridge.soundness/1",
        "machine": digest,
        "python": sys.version.split()[0],
        "unpicklers": ["Python", "Compiled (cannot peek)", "Peeking"],
        "seed": "Random(number * 8 + place of the generator)",
        "done": dict.fromkeys(generators, 0),
        "ends": {},
        "names": 0,
        "mismatches": [],
        "cpu_seconds": 0.0,
        "streams": 0,
    }


def step(record: dict[str, object], kind: str, until: int) -> None:
    """Run the streams of one generator up to a number."""
    from soundness_streams import GENERATORS

    place = list(GENERATORS).index(kind)
    ends = Counter(record["ends"])
    for number in range(record["done"][kind], until):
        data = GENERATORS[kind](random.Random(number * 8 + place))
        wrong, end, names = one(data)
        ends[f"{kind} {end}"] += 1
        record["names"] += names
        if wrong and len(record["mismatches"]) < MOST_LISTED:
            record["mismatches"].append(
                {"generator": kind, "number": number, "what": wrong, "stream": data.hex()}
            )
    record["ends"] = dict(ends)
    record["done"][kind] = until


def one(data: bytes) -> tuple[str, str, int]:
    """Return what is wrong with one stream (nothing, if all is well), how it ended, and its number of names."""
    from soundness_oracle import missed

    from weighbridge.formats import pickle_build, pickle_machine

    try:
        traced = pickle_machine.run_trace(data, 0, BUDGETS, False)
        if pickle_build.compiled():
            twin = pickle_build.machine()
            for joblib in (False, True):
                other = traced if not joblib else pickle_machine.run_trace(data, 0, BUDGETS, True)
                if twin.run_trace(data, 0, BUDGETS, joblib) != other:
                    return "the two builds disagree", "disagreement", 0
    except Exception as error:  # noqa: BLE001  it may raise nothing, so all of it is a mismatch
        return f"raised {error!r}", "raised", 0
    lost = missed(data, traced)
    end = "broken" if traced.broken else "spent" if traced.spent else "whole" if traced.whole else "odd"
    return json.dumps(lost) if lost else "", end, sum(event.kind == "global" for event in traced.events)


if __name__ == "__main__":
    sys.exit(main())
