"""While it serves, the gate gives signs of life and tells what waits; when it is not believed any more, it tells that."""

import os
import sqlite3
import subprocess
import sys
import time

import pytest

from weighbridge.config import read_config
from weighbridge.registry.alerts import alert
from weighbridge.registry.setup import init_registry
from weighbridge.registry.wiring import SystemClock, SystemEntropy
from world_receiver import SECRET, Receiver


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def until(found, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_it_beats_and_tells(tmp_path, receiver):
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WEIGHBRIDGE_HOME": str(tmp_path / "registry"),
               "WEIGHBRIDGE_CONFIG_HOME": str(tmp_path / "home"), "HOOK": SECRET}  # fmt: skip
    registry = init_registry(read_config(environ), clock=SystemClock(), entropy=SystemEntropy())
    (tmp_path / "home" / "weighbridge.toml").write_text(
        f'[[alert]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "serve", "--port", "0", "--heartbeat", "1", "--quiet"],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    kinds = lambda: [row["kind"] for row in receiver.told]  # noqa: E731 (asked again and again)
    try:
        until(lambda: kinds().count("heartbeat") >= 2)
        with registry.records.write() as connection:
            alert(connection, registry, "waiver", "info", "excused")
        until(lambda: "waiver" in kinds())
        with sqlite3.connect(registry.layout.database, timeout=10) as database:
            database.execute("UPDATE setting SET value = 'x' WHERE key = 'policy'")
        until(lambda: "tampering" in kinds())
        beats = kinds().count("heartbeat")
        seen = len(kinds())
        until(lambda: len(kinds()) > seen)  # told again, counted
        assert kinds().count("heartbeat") <= beats + 1  # one may have been on its way
        assert process.poll() is None
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
        registry.close()
    assert process.returncode == 0, errors
