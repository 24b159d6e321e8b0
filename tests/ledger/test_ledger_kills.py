"""Killed between any two file operations, and in the middle of any write, a log loses nothing and never forks."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

KILLING = Path(__file__).parent / "killing.py"

KILLS = {
    "few": 150,
    "edge": 150,
    "many": 60,
    "plain": 80,
    "index": 150,
    "create": 50,
    "freeze": 14,
    "cosigned": 50,
    "export": 150,
}
"""At least so many kills of each scenario: were operations no longer seen, this would tell."""


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where there is one: tens of thousands of files come and go in it."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as path:
        yield Path(path)


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_writer_loses_nothing_it_announced_and_leaves_one_history(folder, name):
    command = [sys.executable, str(KILLING), str(folder), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= KILLS[name], f"{name}: only {done.stdout.strip()} kills"


def test_that_makes_five_hundred():
    assert sum(KILLS.values()) >= 500
