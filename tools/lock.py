"""Write the hash-locked requirement files from pyproject.toml and requirements/*.in.

Each lock holds for Python 3.11 and later on Linux and macOS and names no index: whoever installs
chooses where packages come from, the hashes say which bytes they must be. Known pins are kept;
`UPGRADE=1` lets every one of them move.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ("--quiet", "--universal", "--python-version=3.11", "--generate-hashes", "--no-python-downloads")

# Each later lock is constrained by the one before, so that no version ever differs between two of them.
LOCKS: dict[str, tuple[str, ...]] = {
    "run": ("pyproject.toml", "requirements/build.in"),
    "check": (
        "pyproject.toml",
        "requirements/build.in",
        "--extra=archives",
        "--extra=server",
        "--extra=test",
        "--extra=check",
        "--constraint=requirements/run.txt",
    ),
    "full": (
        "requirements/full.in",
        "--constraint=requirements/check.txt",
        "--excludes=requirements/without.in",
    ),
    # Installed by users only, who may hold keys in clouds and tokens: resolved with the rest, so that it fits.
    "extras": (
        "pyproject.toml",
        "--extra=jobs",
        "--extra=kms",
        "--extra=objects",
        "--extra=pkcs11",
        "--extra=postgres",
        "--extra=sigstore",
        "--constraint=requirements/full.txt",
    ),
    "services": ("requirements/services.in",),
    "lock": ("requirements/lock.in",),
}


def main() -> int:
    """Compile every lock in order; stop at the first that cannot be resolved."""
    upgrade = ["--upgrade"] if os.environ.get("UPGRADE") else []
    uv = Path(sys.executable).parent / "uv"
    for name, inputs in LOCKS.items():
        output = f"--output-file=requirements/{name}.txt"
        command = [str(uv), "pip", "compile", *OPTIONS, "--custom-compile-command=make lock", *upgrade]
        done = subprocess.run([*command, *inputs, output], cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
        print(f"requirements/{name}.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
