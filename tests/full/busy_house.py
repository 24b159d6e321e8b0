"""A program that uses one registry as a busy house does: mixed operations for a time, each told when it is done.

    python busy_house.py SETTINGS.json NUMBER SECONDS

Prints one JSON line for each operation that was acknowledged (`{"did": …, …}`), and one for each that was refused
because others were writing. Anything else that goes wrong ends it with a traceback.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from weighbridge.config import read_config
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, Locked, Refused
from weighbridge.gate.promote import admit, promote
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import load
from weighbridge.registry import deployments, intake, models, names
from weighbridge.registry.outbox import submit
from weighbridge.registry.service_keys import root_folder
from weighbridge.registry.wiring import SystemEntropy, open_registry

NAMES = ("chat", "search", "vision")
TARGETS = ("prod/a", "prod/b", "prod/c")


class Hours:
    """The machine's clock, from the time on at which the registry was made."""

    def __init__(self, start):
        self._ahead = datetime.fromisoformat(start) - datetime.now(UTC)

    def now(self):
        return (datetime.now(UTC) + self._ahead).replace(microsecond=0)


class Busy:
    """One process that works on a registry."""

    def __init__(self, given, number):
        self.given, self.number = given, number
        self.random = random.Random(number)
        self.folder = Path(given["folder"]) / f"work-{number}"
        self.folder.mkdir(exist_ok=True)
        config = read_config(given["environ"], given["settings"])
        self.registry = self.opened(config)
        self.owner = load(root_folder(config.home, self.registry.id) / "owner.pem")
        self.common = [Digest.parse(text) for text in given["common"]]
        """Models that every process promotes, admits, names and deploys."""
        self.own = []
        self.count = 0

    def opened(self, config):
        while True:
            try:
                return open_registry(config, clock=Hours(self.given["now"]), entropy=SystemEntropy())
            except CannotTell as error:
                if not self.given.get("ended"):
                    raise
                self.tell(locked="open", why=f"{error.problem}: {error.cause}", check=error.check)

    def run(self, seconds):
        """Work for so long, and then until each kind of operation was done once: a slow machine shows no less."""
        end, left = time.monotonic() + seconds, set(ACTS)
        while time.monotonic() < end or left:
            kinds = list(ACTS) if time.monotonic() < end else sorted(left)
            did = self.random.choices(kinds, [ACTS[kind][1] for kind in kinds])[0]
            try:
                said = ACTS[did][0](self)
            except Locked:
                self.tell(locked=did)
            except CannotTell as error:
                if not self.given.get("ended"):
                    raise
                # the server ended a session of somebody who stood still
                self.tell(locked=did, why=f"{error.problem}: {error.cause}", check=error.check)
            except Refused as error:
                self.tell(refused=did, check=error.check)
            else:
                self.tell(did=did, **said)
                left.discard(did)

    def tell(self, **row):
        sys.stdout.write(json.dumps({"by": self.number, "pid": os.getpid(), **row}) + "\n")
        sys.stdout.flush()

    def one(self):
        return self.random.choice(self.common)

    # What it does. Each returns what it was told, so that nothing acknowledged can be lost unseen.

    def intake(self):
        self.count += 1
        place = self.folder / f"m{self.count}"
        place.mkdir()
        header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
        header += b" " * (-len(header) % 8)
        data = struct.pack("<ff", self.number + 0.5, self.count)
        (place / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
        model = intake.take_folder(self.registry, place)
        self.own.append(model.digest)
        return {"model": str(model.digest)}

    def promote(self):
        result = promote(self.registry, self.one())
        return {"decision": str(result.id), "allow": result.decision.allow}

    def admit(self):
        result = admit(self.registry, self.one())
        return {"decision": str(result.id), "allow": result.decision.allow}

    def move(self):
        name, digest = self.random.choice(NAMES), self.one()
        with self.registry.writing():
            draft = names.move(self.registry, name, digest)
            if draft is None:
                return {"name": name, "moved": False}
            submit(self.registry, draft)
            sequence, at = names.current(self.registry, name)
        assert at == digest, "the name does not lead to where it was just moved"
        return {"name": name, "moved": True, "sequence": sequence, "model": str(digest)}

    def deploy(self):
        target, digest = self.random.choice(TARGETS), self.one()
        with self.registry.writing():
            [bundle] = submit(self.registry, deployments.deploy(self.registry, digest, target))
        return {"bundle": str(bundle.digest)}

    def revoke(self):
        if not self.own:
            return {}
        digest = self.own.pop()
        revoke(self.registry, digest, reason="it was only a try", signer=self.owner)
        return {"model": str(digest)}

    def list(self):
        found = list(models.every_project(self.registry))
        deployments.running(self.registry)
        assert len(found) >= len(self.common)
        return {}


ACTS = {
    "intake": (Busy.intake, 3),
    "promote": (Busy.promote, 3),
    "admit": (Busy.admit, 3),
    "move": (Busy.move, 3),
    "deploy": (Busy.deploy, 3),
    "revoke": (Busy.revoke, 1),
    "list": (Busy.list, 4),
}


if __name__ == "__main__":
    os.nice(10)  # many of them at work leave what else the machine does its turn
    Busy(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])).run(float(sys.argv[3]))
