"""While it serves, it judges again what is due; whatever goes wrong in that is told, and never stops the serving."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx2
import pytest

from weighbridge.cli import beating
from weighbridge.cli.options import Shared
from weighbridge.registry import alerts
from world import Hand, World
from world_receiver import SECRET, Receiver


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path, receiver):
    made = World(tmp_path, hand=Hand(at=datetime.now(UTC).replace(microsecond=0)))
    (made.home / "weighbridge.toml").write_text(
        f'[[alert]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\nsecret_env = "HOOK"\nheartbeat = false\n'
    )
    yield made
    made.registry.close()


def environ(world):
    return {
        **world.environ,
        "PATH": os.environ["PATH"],
        "HOOK": SECRET,
        "WEIGHBRIDGE_HOME": str(world.registry.layout.root),
    }


@contextmanager
def serving(world, *arguments):
    """Serve, judging again each second; gives the address and the process, and holds that it ends well."""
    words = ["serve", "--port", "0", "--heartbeat", "0", "--reevaluate", "1", "--format", "jsonl", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", *words], env=environ(world),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line)["url"], process
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def until(found, seconds=60):
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def answers(url):
    return httpx2.get(f"{url}/api/v1/log").status_code == 200


def trusted(world, *names):
    folders = [world.ready(name, seed=float(number + 1)) for number, name in enumerate(names)]
    for folder in folders:
        assert world.promote(folder).decision.allow
    world.person("somebody", "train")  # another authority: all of them are due
    return folders


def told(receiver):
    return [(row["kind"], row["summary"]) for row in receiver.told]


def status(world, folder):
    return world.kept(folder).status.value


def test_what_does_not_pass_any_more_is_quarantined_while_it_serves(world, receiver):
    lost, kept = trusted(world, "lost", "kept")
    world.registry.blobs.local(world.manifest(lost).entry("model.safetensors").sha256).unlink()
    with serving(world) as (url, _):
        assert answers(url)
        until(lambda: status(world, lost) == "quarantined")
        until(lambda: "quarantine" in {kind for kind, _ in told(receiver)})
        assert answers(url)
    assert status(world, kept) == "active"


def test_a_round_that_cannot_be_gone_is_told_and_the_next_one_goes_on(world, receiver):
    (folder,) = trusted(world, "one")
    store = world.registry.layout.blobs / "sha256"
    store.rename(store.with_name("elsewhere"))
    with serving(world) as (url, process):
        until(lambda: any("re-evaluation ended early" in summary for _, summary in told(receiver)))
        assert answers(url)
        store.with_name("elsewhere").rename(store)
        until(lambda: newest(world) == ("reevaluate", "allow"))
        with sqlite3.connect(world.registry.layout.database, timeout=10) as database:
            database.execute("UPDATE setting SET value = 'x' WHERE key = 'policy'")
        until(lambda: "tampering" in {kind for kind, _ in told(receiver)})
        assert answers(url)
        assert process.poll() is None
    with sqlite3.connect(world.registry.layout.database, timeout=10) as database:
        assert database.execute("SELECT status FROM model").fetchall() == [("active",)]
    assert folder.exists()


def newest(world):
    with sqlite3.connect(world.registry.layout.database, timeout=10) as database:
        return database.execute(
            "SELECT action, answer FROM decision ORDER BY sequence DESC LIMIT 1"
        ).fetchone()


def test_nothing_is_judged_again_unless_that_is_asked_for(world):
    (folder,) = trusted(world, "one")
    shared = Shared("text", None, quiet=True, config=world.config)
    with beating.reevaluating(shared, 0):
        pass
    assert newest(world)[0] == "promote"
    assert folder.exists()


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError(), KeyError("x")])
def test_what_goes_wrong_beside_serving_stays_there(world, monkeypatch, error):
    from weighbridge.gate import reevaluate

    rounds = []

    def fails(*_arguments, **_options):
        rounds.append(None)
        raise error

    monkeypatch.setattr(reevaluate, "_work", fails)
    monkeypatch.setattr(beating, "opened", lambda _shared: opened(world))
    shared = Shared("text", None, quiet=True, config=world.config)
    assert beating.again(shared) is False
    with beating.reevaluating(shared, 1):
        until(lambda: len(rounds) >= 3)
    (row,) = alerts.kept(world.registry, kinds=["outage"])
    assert row.count >= 3
    assert type(error).__name__ in row.facts["cause"]


@contextmanager
def opened(world):
    yield world.registry
