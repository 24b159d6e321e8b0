"""A re-evaluation that is killed with SIGKILL at each point where it writes, then run again.

Whatever was cut off: each model is in one tier and has the one status that it would have had, each decision that was said is
there and logged, whoever is to be told is told, and the round that follows comes to the same end as one that nobody killed.

    python test_full_reevaluate_kills.py FOLDER PART PARTS     kills in a process of its own, which forks
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine.default import DefaultDialect

from weighbridge.config import read_config
from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.gate import advisories
from weighbridge.gate.due import due
from weighbridge.gate.reevaluate import Wish, reevaluate
from weighbridge.registry import alerts, fsck, standings, tally
from weighbridge.registry.export import place
from weighbridge.registry.models import get
from weighbridge.registry.wiring import open_registry
from world_house import Hand, World

pytestmark = pytest.mark.full

PARTS = 4
ENDED = {"falls": "quarantined", "stays": "active", "returns": "active", "advised": "quarantined"}
"""What a round that nobody kills comes to."""
CREATES = os.O_CREAT | os.O_WRONLY | os.O_RDWR


def template(folder):
    """Make a house with a model for each thing that can come of one; returns their digests and the time."""
    world = World(folder)
    folders = {name: world.ready(name, seed=float(number + 1)) for number, name in enumerate(ENDED)}
    for name, made in folders.items():
        assert world.promote(made).decision.allow
        assert world.admit(made, target=f"prod/{name}").decision.allow
    paths = {}
    for name in ("falls", "returns"):
        entry = world.manifest(folders[name]).entry("model.safetensors")
        paths[name] = world.registry.blobs.local(entry.sha256)
    data = paths["returns"].read_bytes()
    paths["returns"].unlink()
    done = reevaluate(world.registry, Wish(only=(world.manifest(folders["returns"]).digest,)))
    assert [row.outcome.value for row in done.seen] == ["quarantined"]
    paths["returns"].write_bytes(data)
    paths["falls"].unlink()
    advisories.publish(
        world.registry, [parse_target(str(world.manifest(folders["advised"]).digest))], kind=AdvisoryKind.WEIGHTS,
        reason="odd", severity=AdvisorySeverity.HIGH, signer=world.secret("owner"),
    )  # fmt: skip
    world.person("somebody", "train")  # another authority: all are due
    digests = {name: str(world.manifest(made).digest) for name, made in folders.items()}
    world.registry.close()
    return digests, world.hand.at


class House:
    """A copy of the template, opened as often as needed, each time with entropy of its own."""

    def __init__(self, folder, at):
        self.folder, self.at, self.drawn = folder, at, 10**6

    def open(self):
        self.drawn += 10**6
        hand = Hand(self.at, self.drawn)
        environ = {
            "WEIGHBRIDGE_CONFIG_HOME": str(self.folder / "config"),
            "HOME": str(self.folder),
            "USER": "tester",
        }
        settings = {"registry": str(self.folder / "registry"), "lock_seconds": 5}
        return open_registry(read_config(environ, settings), clock=hand, entropy=hand)


def sabotage(number):
    """Kill this process at its `number`-th write: to a file or a folder, or around what the database commits."""
    left = [number]

    def point():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function):
        def wrapped(*arguments, **options):
            point()
            return function(*arguments, **options)

        return wrapped

    real_open, commit = os.open, DefaultDialect.do_commit

    def opening(path, flags, *arguments, **options):
        if flags & CREATES:
            point()
        return real_open(path, flags, *arguments, **options)

    def committing(self, connection):
        point()
        commit(self, connection)
        point()

    os.open = opening
    DefaultDialect.do_commit = committing
    for name in ("write", "pwrite", "replace", "rename", "unlink", "rmdir", "mkdir", "link", "fsync"):
        setattr(os, name, before(getattr(os, name)))


def child(house, number):
    """Go one round in a process that is killed at its n-th write; returns whether it was, and which decisions it said."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            announce = os.write
            registry = house.open()
            sabotage(number)
            reevaluate(registry, told=lambda seen: announce(writer, f"{seen.decision}\n".encode()))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    told = b""
    while part := os.read(reader, 4096):
        told += part
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.waitstatus_to_exitcode(status) == 0, number
    return killed, [Digest.parse(text) for text in told.decode().split()]


def statuses(registry, digests):
    found = {name: get(registry, Digest.parse(text)) for name, text in digests.items()}
    assert {model.tier.value for model in found.values()} == {"trusted"}
    return {name: model.status.value for name, model in found.items()}


def check(registry, digests, told):
    """Hold what must be true of a registry in which nothing is left over."""
    tally.check(registry)
    assert fsck.decisions(registry) == []
    assert fsck.log(registry) == []
    with registry.records.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE done_at IS NULL").scalar() == 0
        rows = dict(connection.exec_driver_sql("SELECT id, receipt FROM decision").all())
        models = connection.exec_driver_sql("SELECT digest, count(*) FROM model GROUP BY digest").all()
        held = {str(digest) for digest in standings.held(connection, "default")}
    assert all(receipt for receipt in rows.values())
    assert all(str(identity) in rows for identity in told)
    assert sorted(models) == sorted((text, 1) for text in digests.values())
    now = statuses(registry, digests)
    held_by_gate = {name for name, text in digests.items() if text in held}
    assert held_by_gate == {name for name, status in now.items() if status == "quarantined"} - {"advised"}
    return now


def finished(house, digests, told):
    """Look at what is left, go on, and hold that all is as if nobody had killed anything."""
    registry = house.open()
    try:
        with registry.writing():
            pass  # whoever writes next finishes what was left
        between = check(registry, digests, told)
        assert all(between[name] in (status, START[name]) for name, status in ENDED.items()), between
        done = reevaluate(registry, told=lambda seen: told.append(Digest.parse(seen.decision)))
        assert not done.stopped
        assert check(registry, digests, told) == ENDED
        assert due(registry) == []
        here = {
            name: place(registry, get(registry, Digest.parse(text))).parent for name, text in digests.items()
        }
        admitted = {
            name for name, folder in here.items() if (folder / "evidence/admission.sigstore.json").exists()
        }
        assert admitted == {"stays"}  # what is restored is not admitted before somebody asks
        told_of = [row for row in alerts.kept(registry, kinds=["quarantine"]) if "prod/falls" in row.summary]
        assert [row.count for row in told_of] == [1]
    finally:
        registry.close()


START = {"falls": "active", "stays": "active", "returns": "quarantined", "advised": "quarantined"}


def main(folder, part, parts):
    digests, at = template(folder / "template")
    kills, number = 0, part + 1
    while True:
        copy = folder / "now"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "template", copy, symlinks=True)
        house = House(copy, at)
        killed, told = child(house, number)
        try:
            finished(house, digests, told)
        except BaseException:
            sys.stderr.write(f"killed at write {number}\n")
            raise
        if not killed:
            break
        kills += 1
        number += parts
    sys.stdout.write(json.dumps({"kills": kills}) + "\n")


@pytest.mark.timeout(1900)
@pytest.mark.parametrize("part", range(PARTS))
def test_a_killed_round_is_gone_on_with(tmp_path, part):
    words = [sys.executable, __file__, str(tmp_path), str(part), str(PARTS)]
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        words,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)["kills"] >= 30


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
