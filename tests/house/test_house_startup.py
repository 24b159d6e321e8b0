"""Starting up imports little, guarded by names of modules and not by milliseconds; Windows is refused."""

import subprocess
import sys

import pytest

HEAVY = {
    "alembic", "asyncio", "cryptography", "cyclonedx", "httpx", "httpx2", "huggingface_hub", "jinja2", "jsonschema",
    "license_expression", "multiprocessing", "numpy", "regorus", "rich", "sqlalchemy", "sqlite3", "ssl", "tqdm",
    "unittest", "urllib.request", "yaml",
}  # fmt: skip


def loaded(*arguments):
    """Return every module that a fresh interpreter imports on the way."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(lines) > 20
    return {line.rsplit("|", 1)[-1].strip() for line in lines}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import weighbridge"),
        ("-c", "import weighbridge.cli.main"),
        ("-m", "weighbridge", "--help"),
        ("-m", "weighbridge", "--version"),
    ],
    ids=" ".join,
)
def test_starting_imports_nothing_heavy(arguments):
    assert {name for name in loaded(*arguments) if name in HEAVY or name.split(".")[0] in HEAVY} == set()


def test_help_imports_no_verb():
    """The table of verbs is text; a verb's module is imported when it is used."""
    ours = {name for name in loaded("-m", "weighbridge", "--help") if name.startswith("weighbridge.")}
    rooms = {name.split(".")[1] for name in ours}
    assert rooms <= {"cli", "core", "__main__"}


def test_windows_is_refused_with_a_sentence():
    program = "import sys; import weighbridge.cli.main as m; sys.platform = 'win32'; sys.argv = ['weighbridge']; m.entry()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Windows" in done.stderr
    assert "docs/platforms.md" in done.stderr
    assert len(done.stderr.splitlines()) == 1
