"""Count what each scanner passes, flags and gives up on, by exit code, over sets of hostile and honest files.

    python benchmarks/confusion.py [--attacks N] [--honest FOLDER ...] [--tools NAME,...] [--corpus FOLDER]

A hostile file counts as flagged (exit 1), as an error or unread (any other exit but 0), or as passed (exit 0);
only the last is a miss, but an error is no detection either. Attacks are generated (tests/attacks), the
corpus is a folder with `labels.csv` (path, label, ...), honest files are whatever lies in the folders named.
Each file, or each folder of files that belong together, is scanned by a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from peers import OURS, PEERS, ROOT, Tool, ready

RESULTS = ROOT / "benchmarks" / "results" / "confusion.json"
CORPUS = Path(os.environ.get("WEIGHBRIDGE_CORPUS", ROOT.parent / "shared" / "corpus"))
LIMIT = 120.0


def _exit(tool: Tool, path: Path) -> int:
    """Return how the tool ends on a file or folder; the worst of its files where it takes files only."""
    paths = [path]
    if path.is_dir() and not tool.folders:
        paths = [part for part in sorted(path.rglob("*")) if part.is_file()]
    codes = [_run(tool, one) for one in paths]
    return 1 if 1 in codes else max(codes, default=0)


def _run(tool: Tool, path: Path) -> int:
    environment = os.environ | {"NO_COLOR": "1", "DO_NOT_TRACK": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        with tempfile.TemporaryDirectory(
            prefix="scan-"
        ) as scratch:  # some leave files where they are started
            done = subprocess.run(tool.call(path.resolve()), capture_output=True, timeout=LIMIT, check=False, env=environment, cwd=scratch)  # fmt: skip
    except subprocess.TimeoutExpired:
        return 124
    return done.returncode if done.returncode >= 0 else 125


def _attacks(count: int, folder: Path) -> list[Path]:
    program = ROOT / "tests" / "attacks" / "generate.py"
    command = [sys.executable, str(program), "--count", str(count), "--seed", "1", "--out", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _corpus(folder: Path) -> dict[str, list[Path]]:
    """Return the corpus by source and label; a malformed file must be refused as a malicious one must."""
    found: dict[str, list[Path]] = {}
    with (folder / "labels.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(f"corpus {row['source']}, {row['label']}", []).append(folder / row["path"])
    return found


def count(sets: dict[str, list[Path]], tools: list[Tool]) -> dict[str, dict[str, dict[str, int]]]:
    """Return, for each set and tool, how many files passed, were flagged, or ended in another way."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for title, paths in sets.items():
        for tool in tools:
            with ThreadPoolExecutor(2) as pool:
                codes = Counter(pool.map(lambda path, tool=tool: _exit(tool, path), paths))  # type: ignore[misc]
            row = {"files": len(paths), "flagged": codes[1], "passed": codes[0]}
            row["other"] = row["files"] - row["flagged"] - row["passed"]
            table.setdefault(title, {})[tool.name] = row
            print(f"  {title}, {tool.name}: {row}", file=sys.stderr, flush=True)
    return table


def show(table: dict[str, dict[str, dict[str, int]]]) -> None:
    """Print the table as Markdown: flagged / other / passed."""
    names = list(dict.fromkeys(name for rows in table.values() for name in rows))
    print(f"| set (files) | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for title, rows in table.items():
        files = next(iter(rows.values()))["files"]
        cells = [f"{row['flagged']} / {row['other']} / {row['passed']}" if (row := rows.get(name)) else "-" for name in names]  # fmt: skip
        print(f"| {title} ({files}) | {' | '.join(cells)} |")
    print("\nEach cell: flagged (exit 1) / error or unread (another exit) / passed (exit 0).")


def main() -> int:
    """Count over the sets asked for, and print and keep the table."""
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("--attacks", type=int, default=0, metavar="N", help="generate N attacks")
    words.add_argument("--honest", type=Path, nargs="*", default=[], help="folders of honest files")
    words.add_argument("--sample", type=int, default=None, metavar="N", help="at most N files of each folder")
    words.add_argument("--corpus", type=Path, default=None, nargs="?", const=CORPUS)
    words.add_argument("--tools", default=",".join(tool.name for tool in (OURS, *PEERS)))
    chosen = words.parse_args()
    tools = [tool for tool in (OURS, *PEERS) if tool.name in chosen.tools.split(",")]
    for tool in tools:
        ready(tool)
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        sets: dict[str, list[Path]] = {}
        if chosen.corpus and chosen.corpus.is_dir():
            sets |= dict(sorted(_corpus(chosen.corpus).items()))
        if chosen.attacks:
            sets["generated attacks"] = _attacks(chosen.attacks, Path(folder))
        for place in chosen.honest:
            files = sorted(path for path in place.rglob("*") if path.is_file())
            random.Random(1).shuffle(files)
            sets[f"honest: {place.name}"] = files[: chosen.sample]
        table = count(sets, tools)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for title, rows in table.items():
        kept[title] = kept.get(title, {}) | rows
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    show(kept)
    return 0


if __name__ == "__main__":
    sys.exit(main())
