"""Many processes write to one registry at once, on SQLite and on PostgreSQL; replicas are killed and stopped at it.

Whatever was acknowledged is there, once, and a deep look finds everything as it was written. `BUSY_SECONDS` says how long
they are at it (a minute, for replicas twenty seconds; ten minutes are for whoever wants to be surer).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from weighbridge.config import read_config
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Status
from weighbridge.registry import fsck, models, names, tally
from weighbridge.registry.joining import join_registry
from weighbridge.registry.wiring import open_registry
from weighbridge.store import schema
from world_house import World
from world_postgresql import fresh, server
from world_wire import Wire

pytestmark = pytest.mark.full

SECONDS = float(os.environ.get("BUSY_SECONDS", "60"))
PARTED = float(os.environ.get("BUSY_SECONDS", "20"))
"""How long replicas are killed, stopped and cut off."""
WRITERS, REPLICAS, LEASE = 16, 3, 2
PATIENCE = 240
"""Seconds in which every process must have ended by itself after its time: a deadlock would not."""
ENDED = {"", "records.lease", "decision.logged"}
"""What a process that was stopped is told when it goes on: of a log that is damaged, or forked, none of them is."""
PROGRAM = Path(__file__).parent / "busy_house.py"


@pytest.fixture(scope="module")
def url():
    with server(max_connections="200") as found:
        yield found


def made(folder, **settings):
    world = World(folder, settings={"lock_seconds": 120, **settings})
    world.common = [
        world.ready(name, seed=seed) for seed, name in ((1.0, "one"), (2.0, "two"), (3.0, "three"))
    ]
    world.hand.pass_(minutes=1)
    return world


def given(world, registry, *, ended=False, **changes):
    """Write what a process is told, and return where that is."""
    told = {
        "folder": str(world.folder),
        "environ": world.environ,
        "settings": {"lock_seconds": 120, **world.settings, **changes, "registry": str(registry)},
        "now": world.hand.now().isoformat(),
        "common": [str(world.manifest(folder).digest) for folder in world.common],
        "ended": ended,
    }
    path = world.folder / f"{registry.name}.json"
    path.write_text(json.dumps(told))
    return path


class Workers:
    """The processes at work, and what each was told."""

    def __init__(self, folder):
        self.folder, self.running, self.files, self.number = folder, {}, [], 0

    def start(self, told, seconds):
        self.number += 1
        files = [self.folder / f"{self.number}.{kind}" for kind in ("out", "err")]
        self.files.append((files, self.number))
        with files[0].open("wb") as out, files[1].open("wb") as err:
            words = [sys.executable, str(PROGRAM), str(told), str(self.number), str(seconds)]
            environ = {**os.environ, "PYTHONPATH": str(PROGRAM.parent)}
            self.running[self.number] = subprocess.Popen(words, stdout=out, stderr=err, env=environ)
        return self.number

    def kill(self, number):
        process = self.running.pop(number)
        process.kill()
        process.wait()

    def wait(self, seconds):
        """Wait until every process has ended by itself, and well."""
        end = time.monotonic() + seconds
        try:
            for number, process in self.running.items():
                code = process.wait(max(1.0, end - time.monotonic()))
                assert code == 0, (self.folder / f"{number}.err").read_text()[-3000:]
        finally:
            for process in self.running.values():
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()

    def told(self):
        """Return what was acknowledged; of a killed process the last line may be cut short."""
        rows = []
        for (out, _), _ in self.files:
            lines = out.read_bytes().split(b"\n")
            rows.extend(json.loads(line) for line in lines[:-1])
        return rows


def check(registry, rows):
    """Hold what was acknowledged against what is there, and have a deep look at everything."""
    registry.log.refresh()
    assert registry.log.verify_all() == registry.log.size
    tally.check_subjects(registry)
    assert tally.broken(registry) == []
    for look in (fsck.log, fsck.blobs, fsck.lineage, fsck.decisions):
        assert look(registry) == []
    did = [row for row in rows if "did" in row]
    assert not [row for row in rows if "refused" in row]
    with registry.records.read() as connection:
        _decisions(connection, did)
        _names(registry, connection, did)
        bundles = set(connection.execute(sa.select(schema.bundle.c.digest)).scalars())
        assert {row["bundle"] for row in did if "bundle" in row} <= bundles
        assert (
            connection.execute(sa.select(sa.func.count()).where(schema.outbox.c.done_at.is_(None))).scalar()
            == 0
        )
    _models(registry, did)
    return Counter(row["did"] for row in did)


def _decisions(connection, did):
    """Each decision that somebody was told of is there once, and they follow one upon the other without a gap."""
    table = schema.decision
    kept = connection.execute(sa.select(table.c.id, table.c.sequence, table.c.receipt)).all()
    assert sorted(row.sequence for row in kept) == list(range(1, len(kept) + 1))
    assert all(row.receipt for row in kept)
    told = [row["decision"] for row in did if "decision" in row]
    assert len(set(told)) == len(told)
    assert set(told) <= {row.id for row in kept}
    promoted = {row["decision"] for row in did if row["did"] == "promote"}
    assert {row["decision"] for row in did if row["did"] == "promote" and row["allow"]} == promoted


def _names(registry, connection, did):
    """No move was lost: each that was told of has a number of its own, and the numbers have no gap."""
    table = schema.name
    query = sa.select(table.c.name, table.c.sequence, table.c.manifest)
    kept = {(row.name, row.sequence): row.manifest for row in connection.execute(query)}
    for name in {name for name, _ in kept}:
        numbers = sorted(sequence for other, sequence in kept if other == name)
        assert numbers == list(range(1, len(numbers) + 1))
        assert str(names.current(registry, name)[1]) == kept[name, numbers[-1]]
    told = [(row["name"], row["sequence"], row["model"]) for row in did if row.get("moved")]
    assert len({row[:2] for row in told}) == len(told)
    assert all(kept[name, sequence] == model for name, sequence, model in told)


def _models(registry, did):
    kept = Counter(str(model.digest) for model in models.every_project(registry))
    assert set(kept.values()) == {1}
    assert {row["model"] for row in did if row["did"] == "intake"} <= set(kept)
    for row in did:
        if row["did"] == "revoke" and row.get("model"):
            assert models.get(registry, Digest.parse(row["model"])).status is Status.REVOKED


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sixteen_processes_write_to_one_registry(url, tmp_path, database):
    world = made(tmp_path, **({"records": fresh(url)} if database == "postgresql" else {}))
    world.registry.close()
    workers, told = Workers(tmp_path), given(world, tmp_path / "registry")
    for _ in range(WRITERS):
        workers.start(told, SECONDS)
    workers.wait(SECONDS + PATIENCE)
    world.reopen()
    rows = workers.told()
    counts = check(world.registry, rows)
    assert {"intake", "promote", "admit", "move", "deploy", "list"} <= set(counts), counts
    world.registry.close()


def stop_a_leader(workers, folders, chance):
    """Stop a process just when it is the one that writes; return its number, or None when none could be caught."""
    by_pid = {process.pid: number for number, process in workers.running.items()}
    for folder in chance.sample(folders, len(folders)):
        with suppress(OSError, ValueError, ProcessLookupError):
            pid = int((folder / "lock").read_text())
            if pid in by_pid and workers.running[by_pid[pid]].poll() is None:
                os.kill(pid, signal.SIGSTOP)
                return by_pid[pid]
    return None


def test_replicas_are_killed_and_stopped_and_there_is_one_log(url, tmp_path):
    settings = {"records": fresh(url), "blobs": str(tmp_path / "blobs"), "lease_seconds": LEASE}
    world = made(tmp_path, **settings)
    folders = [tmp_path / "registry"]
    for number in range(1, REPLICAS):
        folders.append(tmp_path / f"replica{number}")
        join(world, folders[-1]).close()
    world.registry.close()
    workers, chance = Workers(tmp_path), random.Random(7)
    told = {folder: given(world, folder, ended=True) for folder in folders}
    end = time.monotonic() + PARTED
    at = {workers.start(told[folder], PARTED): folder for folder in folders for _ in range(2)}
    kills = stops = 0
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.3, 1.0))
        number = stop_a_leader(workers, folders, chance)
        if number is not None:
            time.sleep(chance.choice([0.1, LEASE * 2.5]))
            workers.running[number].send_signal(signal.SIGCONT)
            stops += 1
        number = chance.choice(sorted(workers.running))
        if workers.running[number].poll() is None:
            workers.kill(number)
            kills += 1
            rest = max(1.0, end - time.monotonic())
            at[workers.start(told[at[number]], rest)] = at[number]
    workers.wait(PATIENCE)
    rows = workers.told()
    assert {row["check"] for row in rows if "why" in row} <= ENDED
    assert kills > 0
    assert stops > 0
    settle(world, folders, rows)


def test_replicas_whose_wire_to_the_database_is_cut_and_mended_keep_one_log(url, tmp_path):
    """Each replica has a wire of its own; a cut one hears nothing, and says what it had to say when it is mended."""
    settings = {"records": fresh(url), "blobs": str(tmp_path / "blobs"), "lease_seconds": LEASE}
    world = made(tmp_path, **settings)
    folders = [tmp_path / "registry"]
    for number in range(1, REPLICAS):
        folders.append(tmp_path / f"replica{number}")
        join(world, folders[-1]).close()
    world.registry.close()
    workers, chance = Workers(tmp_path), random.Random(11)
    end = time.monotonic() + PARTED
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(settings["records"])) for _ in folders]
        for folder, wire in zip(folders, wires, strict=True):
            told = given(world, folder, ended=True, records=wire.url)
            for _ in range(2):
                workers.start(told, PARTED)
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.1, 0.8))
            wire = chance.choice(wires)
            wire.cut()
            time.sleep(chance.choice([0.05, LEASE * 2.5]))
            wire.mend()
        workers.wait(PATIENCE)
    rows = workers.told()
    assert {row["check"] for row in rows if "why" in row} <= ENDED
    assert sum(wire.cuts for wire in wires) > 3
    settle(world, folders, rows)


def join(world, folder, **changes):
    overrides = {**world.settings, "registry": str(folder), **changes}
    config = read_config(world.environ, overrides)
    return join_registry(config, world.folder / "registry", clock=world.hand, entropy=world.hand)


def settle(world, folders, rows):
    """Every folder holds a log that was taken in, all come to the same one, and nothing acknowledged is lost."""
    world.hand.pass_(days=1)
    left = [(folder / "log" / "checkpoint").read_text() for folder in folders]
    last = join(world, world.folder / "afterwards", lease_seconds=PATIENCE)
    with last.writing():
        pass  # what a killed process left is finished
    with last.records.read() as connection:
        notes = set(connection.execute(sa.select(schema.log_commit.c.checkpoint)).scalars())
    assert set(left) <= notes
    counts = check(last, rows)
    assert {"promote", "admit", "move"} <= set(counts), counts
    for folder in folders:
        config = read_config(world.environ, {**world.settings, "registry": str(folder)})
        registry = open_registry(config, clock=world.hand, entropy=world.hand)
        assert registry.log.checkpoint_text == last.log.checkpoint_text
        assert registry.log.verify_all() == last.log.size
        registry.close()
    last.close()
