"""Fetch the published models that the full tests scan: wheels pinned by digest, never installed, kept in a cache.

The tests themselves never leave the machine. What cannot be fetched is said here and skipped there. `--large`
fetches those as well that are left out of `make test FULL=1` for their size. The folder is
~/.cache/weighbridge-published, or what PUBLISHED_MODELS names.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIST = Path(__file__).resolve().parent.parent / "tests" / "full" / "published.json"
SECONDS = 600


def folder() -> Path:
    """Return where the wheels are kept."""
    return Path(os.environ.get("PUBLISHED_MODELS") or Path.home() / ".cache" / "weighbridge-published")


def rows() -> list[dict[str, Any]]:
    """Return the list of packages: name, version, digest of the wheel, the models in it."""
    found: list[dict[str, Any]] = json.loads(LIST.read_text(encoding="utf-8"))
    return found


def wheel(row: dict[str, Any]) -> Path | None:
    """Return the kept wheel of a package if it is there and has the digest that is written down."""
    name = row["package"].replace("-", "_")
    for path in folder().glob("*.whl"):
        if path.name.lower().startswith(f"{name}-{row['version']}-"):
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == row["sha256"]:
                    return path
    return None


def fetch(row: dict[str, Any]) -> str:
    """Let pip download one wheel by its digest; return what went wrong, or nothing."""
    options = ("--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest", str(folder()))
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{row['package']}=={row['version']} --hash=sha256:{row['sha256']}\n")
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(wanted)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"no answer in {SECONDS} seconds"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]


def main() -> int:
    """Fetch what is not there yet; 0 also when something is missing, since the tests say so themselves."""
    folder().mkdir(parents=True, exist_ok=True)
    missing = 0
    for row in rows():
        if (row.get("large") and "--large" not in sys.argv[1:]) or wheel(row) is not None:
            continue
        problem = fetch(row)
        if problem:
            missing += 1
            print(f"{row['package']} {row['version']} was not fetched: {problem}", file=sys.stderr)
    if missing:
        print(
            f"{missing} published packages are missing; the tests that scan them are skipped", file=sys.stderr
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
