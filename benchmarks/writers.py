"""Many processes that write to one registry for a long time: what they get done, and that nothing is lost of it.

    python benchmarks/writers.py [--seconds 600] [--writers 16] [--databases sqlite,postgresql] [--out FILE]

Mixed operations (intake, promote, admit, a name moved, a deployment, a revocation, lists) by processes of their own, on SQLite
and on a PostgreSQL of their own, one after the other; afterwards the same deep look as in the tests: every acknowledged decision
once and without a gap, no move of a name lost, the log, the lineage and the chains whole.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "full")]

CHECKED = "everything acknowledged is there once, the log and the chains are whole, every process ended: or there is no record"
"""What `check` and `wait` raise for if it does not hold; nothing of it is counted."""
OUT = Path(__file__).parent / "results" / "writers.json"


def measure(folder: Path, database: str, writers: int, seconds: float) -> dict[str, Any]:
    """Let processes write to a new registry, and hold what they were told against what is there."""
    import test_full_postgresql_writers as harness

    from world_postgresql import fresh, server

    with server(max_connections="200") if database == "postgresql" else nullcontext() as url:
        world = harness.made(folder, **({"records": fresh(url)} if url else {}))
        world.registry.close()
        workers, told = harness.Workers(folder), harness.given(world, folder / "registry")
        for _ in range(writers):
            workers.start(told, seconds)
        began = time.perf_counter()
        workers.wait(seconds + harness.PATIENCE)
        took = time.perf_counter() - began
        world.reopen()
        rows = workers.told()
        counts = harness.check(world.registry, rows)
        entries = world.registry.log.size
        world.registry.close()
    done = Counter(counts)
    return {
        "seconds": round(took, 1),
        "writers": writers,
        "acknowledged": sum(done.values()),
        "by_kind": dict(sorted(done.items())),
        "told_to_wait": sum("locked" in row for row in rows),
        "log_entries": entries,
        "checked": CHECKED,
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    record: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {}
    record["machine"] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
    for database in given.databases.split(","):
        with tempfile.TemporaryDirectory(prefix="weighbridge-writers-") as folder:
            record[database] = measure(Path(folder), database, given.writers, given.seconds)
        given.out.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(json.dumps({database: record[database]}) + "\n")


if __name__ == "__main__":
    main()
