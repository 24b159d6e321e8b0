"""Install torch for the full tests, but only as a CPU build.

torch is the one library that is not locked by hash: the CPU build for Linux is not on the default
index, so its hash would tie everybody to one mirror, and the build that is there brings several
gigabytes of CUDA. What torch needs beside itself is locked in requirements/full.txt. Here pip is
asked which file it would take; a file that is neither `+cpu` nor for macOS is refused with a remedy.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from urllib.parse import unquote

VERSION = "2.13.0"
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
REMEDY = f"""torch {VERSION} would not come as a CPU build here: {{found}}
  cause: the default index offers the CUDA build, which brings several gigabytes
  help: put a CPU wheel where pip looks (PIP_FIND_LINKS=<folder> or PIP_EXTRA_INDEX_URL=<index>) and run
        `make test FULL=1` again; `make test` needs no torch"""


def is_small(filename: str) -> bool:
    """Tell whether a wheel's name says that it carries no CUDA: a `+cpu` local version, or macOS."""
    return "+cpu" in filename or "-macosx_" in filename


def offered() -> str:
    """Return the name of the file that pip would take, or what pip said."""
    command = [*PIP, "--dry-run", "--ignore-installed", "--report=-", f"torch=={VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        (choice,) = json.loads(done.stdout)["install"]
        return unquote(choice["download_info"]["url"].rsplit("/", 1)[-1])
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or ["pip gave no answer"])[-1]


def main() -> int:
    """Install torch unless the right version is there; 1 when only a CUDA build can be had."""
    try:
        if importlib.metadata.version("torch").partition("+")[0] == VERSION:
            return 0
    except importlib.metadata.PackageNotFoundError:
        pass
    filename = offered()
    if not is_small(filename):
        print(REMEDY.format(found=filename), file=sys.stderr)
        return 1
    return subprocess.run([*PIP, f"torch=={VERSION}"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
