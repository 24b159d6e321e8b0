"""The five import contracts hold, and each of them notices when it is broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from house_tree import ROOT, SOURCE

LINT = Path(sys.executable).parent / "lint-imports"
BREACHES = [
    ("1", "core/digest.py", "import weighbridge.gate"),
    ("1", "scanner/engine.py", "import weighbridge.claims.chain"),
    ("1", "attic/__init__.py", ""),
    ("2", "formats/archive.py", "import socket"),
    ("2", "policy/judge.py", "import subprocess"),
    ("2", "trust/verify.py", "import sqlalchemy"),
    ("2", "claims/chain.py", "import weighbridge.net"),
    ("3", "scanner/engine.py", "def late():\n    import pickle"),
    ("3", "conversion/rebuild.py", "import torch"),
    ("3", "recorder/record.py", "def late():\n    import transformers"),
    ("1", "recorder/record.py", "import weighbridge.loader.load"),
    ("1", "drill/stage.py", "import weighbridge.loader.load"),
    ("4", "policy/engines/worker.py", ""),
    ("5", "source/local.py", "import httpx"),
    ("5", "registry/wiring.py", "import huggingface_hub"),
]


def checked(folder):
    """Run the contracts on a copy of the package below `folder`."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [str(LINT), "--no-logo", "--no-cache", "--config", str(ROOT / ".importlinter")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def copied(folder):
    shutil.copytree(SOURCE, folder / "weighbridge", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "weighbridge"


def broken(output):
    """Return the numbers of the contracts that are reported as broken."""
    summary = output.split("Contracts\n---", maxsplit=1)[-1].split("Contracts:", maxsplit=1)[0]
    found, number = set(), ""
    for word in summary.split():
        if word.rstrip(".").isdigit() and word.endswith("."):
            number = word.rstrip(".")
        elif word == "BROKEN":
            found.add(number)
    return found


def test_they_hold(tmp_path):
    copied(tmp_path)
    done = checked(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: 5 kept, 0 broken." in done.stdout


@pytest.mark.parametrize(("contract", "path", "line"), BREACHES, ids=[f"{c} {p}" for c, p, _ in BREACHES])
def test_each_one_notices(contract, path, line, tmp_path):
    package = copied(tmp_path)
    target = package / path
    target.parent.mkdir(exist_ok=True)
    before = target.read_text(encoding="utf-8") if target.exists() else '"""New."""\n'
    target.write_text(f"{before}\n{line}\n", encoding="utf-8")
    if contract == "4":  # somebody imports the program instead of starting it
        user = package / "policy" / "settings.py"
        user.write_text(user.read_text(encoding="utf-8") + "\nimport weighbridge.policy.engines.worker\n")
    done = checked(tmp_path)
    assert done.returncode != 0
    assert contract in broken(done.stdout), done.stdout
