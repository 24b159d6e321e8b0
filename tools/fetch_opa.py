"""Fetch OPA itself, as a shared library, for the full tests: a wheel pinned by digest, of which one file is unpacked.

The wheel says that it wants a newer Python than some of ours; its library does not, and is called without the rest of it. No
OPA server program is in any package that can be pinned here, so tests put the library behind a front of their own.
It lies in `.cache/opa` of the checkout. What cannot be fetched is said here, and the tests that need it are skipped there.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION, PYTHON = "opa-golib-python-bindings", "0.4.4", "3.14"
SHA256 = "d411c901e14b8c7c3023e23e4a944f4cf429c1d31baf80e959e57d11efbfd24a"
MEMBER = "opa_bindings/libopabridge.so"
TARGET = Path(__file__).resolve().parent.parent / ".cache" / "opa"
LIBRARY = TARGET / "libopabridge.so"
SECONDS = 600


def fetch(folder: Path) -> str:
    """Let pip download the wheel by its digest; return what went wrong, or nothing."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    options = (
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={PYTHON}",
        "--require-hashes",
    )
    command = [sys.executable, "-m", "pip", "download", *options, f"--dest={folder}", "-r", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {SECONDS} seconds"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]


def unpack(folder: Path) -> None:
    """Put the library in its place, with a note of the wheel that it came from."""
    (wheel,) = folder.glob("*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{wheel.name} is not the wheel that was pinned")
    TARGET.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        waiting = TARGET / "waiting"
        waiting.write_bytes(archive.read(MEMBER))
        waiting.replace(LIBRARY)
    (TARGET / "from").write_text(f"{SHA256}\n")


def kept() -> bool:
    """Tell whether the library of the pinned wheel is there."""
    note = TARGET / "from"
    return LIBRARY.exists() and note.exists() and note.read_text().strip() == SHA256


def main() -> int:
    """Fetch it unless it is there; 0 also when it cannot be had, since the tests say so themselves."""
    if kept():
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        problem = fetch(Path(scratch))
        if problem:
            print(f"OPA was not fetched, the tests that ask it are skipped: {problem}", file=sys.stderr)
            return 0
        unpack(Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
