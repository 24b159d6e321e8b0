"""A house that can be copied and broken: models of every kind, commands run in it, and what must be true of it afterwards."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import select
import shutil
import signal
import sqlite3
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from weighbridge.claims import predicates
from weighbridge.claims.predicates import Parent
from weighbridge.cli.main import run
from weighbridge.core.lineage import Relation
from weighbridge.registry.wiring import SystemClock
from world import World
from world_house import BUILDER, START, Hand, safetensors

BLOCKED = ("unproven", "denied", "evil")
"""Models that nothing may ever admit: one without claims, one whose data's licence the policy denies, one with code in it."""
SOUND = ("ready", "approved", "spare")
PROGRAM = b"cos\nsystem\n(S'true'\ntR."
"""A pickle, written by hand and never loaded, that would run `true`."""


def template(folder: Path, *, more: int = 0, guest: bool = False) -> House:
    """Make the house that all the others are copies of, with `more` sound models beside the usual ones.

    With `guest` there is a trusted one besides, of some size, that somebody else has evaluated.
    """
    world = World(folder)
    world.team()
    sound = (*SOUND, *(f"sound-{number}" for number in range(more)))
    for name in sound:
        world.ready(name, seed=float(sum(name.encode())))
    claimed(world, "denied", licence="unknown")
    claimed(world, "evil", extra={"model.pkl": PROGRAM})
    world.take(world.model("unproven", 99.0))
    for name in ("approved", "spare"):
        assert world.promote(folder / name, name=f"{name}-model").decision.allow
    if guest:
        world.person("guest", "evaluate")
        claimed(world, "guest", evaluator="guest", weights=[math.sin(number) for number in range(4096)])
        assert world.promote(folder / "guest").decision.allow
    world.admit(folder / "approved", target="prod/approved")
    world.hand.pass_(minutes=5)
    digests = {name: str(world.manifest(folder / name).digest) for name in (*sound, *BLOCKED)}
    world.registry.close()
    return House(folder, digests, Hand(world.hand.at, 100_000))


def claimed(
    world: World,
    name: str,
    *,
    licence: str = "CC0-1.0",
    extra: dict[str, bytes] | None = None,
    evaluator: str = "evaluate-team",
    weights: list[float] | None = None,
) -> Path:
    """Take in a model that has every claim rightly signed; its licence or its files may stand against it."""
    folder, dataset = (
        world.model(name, float(sum(name.encode()))),
        world.dataset(f"{name}-data", f"{name},1\n"),
    )
    for path, data in (extra or {}).items():
        (folder / path).write_bytes(data)
    if weights:
        (folder / "model.safetensors").write_bytes(safetensors({"layer.weight": weights}))
    about = world.manifest(dataset).digest
    world.say(
        predicates.data(about, source="here", licence=licence, invocation="run-1"), world.people["data-team"]
    )
    weights = world.manifest(folder).weights
    parents = [Parent(about, Relation.DATASET)]
    world.say(
        predicates.train(weights, "train", parents, builder=BUILDER, invocation="run-1"),
        world.people["train-team"],
    )
    world.say_evaluate(folder, world.people[evaluator])
    world.say_package(folder, world.people["package-team"])
    world.take(folder)
    return folder


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    output: str
    error: str

    @property
    def text(self) -> str:
        return self.output + self.error

    @property
    def item(self) -> dict:
        document = json.loads(self.output)
        return next(rows for key, rows in document.items() if isinstance(rows, list))[0]


def acknowledged(output: str) -> list[str]:
    """Return the ids of the decisions that a command printed in JSON."""
    return re.findall(r'"(?:id|decision_id)": "(sha256:[0-9a-f]{64})"', output)


@dataclass
class House:
    """A folder with a registry and its user's configuration; `digests` by the names of the models."""

    folder: Path
    digests: dict[str, str]
    hand: Hand = field(default_factory=Hand)
    settings: dict[str, str] = field(default_factory=dict)
    acknowledged: list[str] = field(default_factory=list)
    """Ids of decisions that a command printed."""

    @property
    def root(self) -> Path:
        return self.folder / "registry"

    @property
    def home(self) -> Path:
        return self.folder / "config"

    def copy(self, folder: Path) -> House:
        shutil.copytree(self.folder, folder, symlinks=True)
        return House(folder, self.digests, Hand(self.hand.at, self.hand.drawn))

    def environ(self) -> dict[str, str]:
        return {
            "WEIGHBRIDGE_CONFIG_HOME": str(self.home),
            "WEIGHBRIDGE_HOME": str(self.root),
            "HOME": str(self.folder),
            "USER": "tester",
            "PATH": os.environ["PATH"],
            "WEIGHBRIDGE_LOCK_SECONDS": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **self.settings,
        }

    def call(self, *arguments: str) -> Said:
        """Run one command line in this process, with this house's environment and clock."""
        words = [self.digests.get(word, word) for word in arguments]
        before, clock, cwd, mine = dict(os.environ), SystemClock.now, Path.cwd(), self.environ()
        output, error = io.StringIO(), io.StringIO()
        try:
            os.environ.clear()
            os.environ.update(mine)
            os.chdir(self.folder)
            SystemClock.now = lambda _: self.hand.now()
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
                code = run(words)
        finally:
            SystemClock.now = clock
            os.environ.clear()
            os.environ.update(before)
            os.chdir(cwd)
        said = Said(code, output.getvalue(), error.getvalue())
        assert "Traceback" not in said.text, said.text
        self.acknowledged += acknowledged(said.output)
        return said

    def killed(self, *arguments: str, after: float) -> bool:
        """Run one command line in a process of its own and kill it `after` seconds; tell whether it was killed.

        What it had printed by then was said: decisions among it are acknowledged.
        """
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.close(reading)
                code = self._run_alone(writing, *arguments)
            finally:
                os._exit(code)
        os.close(writing)
        said, end = b"", time.monotonic() + after
        while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0] and (
            part := os.read(reading, 65536)
        ):
            said += part  # until its time is up, or it has ended
        os.kill(pid, signal.SIGKILL)
        while part := os.read(reading, 65536):
            said += part
        os.close(reading)
        text = said.decode()
        _, status = os.waitpid(pid, 0)
        self.acknowledged += acknowledged(text)
        if os.WIFSIGNALED(status):
            return True
        assert os.WEXITSTATUS(status) in (0, 1, 3), (os.WEXITSTATUS(status), text)
        return False

    def _run_alone(self, output: int, *arguments: str) -> int:
        mine = self.environ()
        os.environ.clear()
        os.environ.update(mine)
        os.chdir(self.folder)
        hand = self.hand
        SystemClock.now = lambda _: hand.now()
        said = os.fdopen(output, "w", buffering=1)
        with said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return run([self.digests.get(word, word) for word in arguments])

    # What is true of it.

    def rows(self, query: str, *values: object) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.root / "registry.db")) as connection:
            return connection.execute(query, values).fetchall()

    def trusted(self) -> set[str]:
        """Names of the models whose row says trusted."""
        names = {digest: name for name, digest in self.digests.items()}
        return {
            names.get(digest, digest)
            for (digest,) in self.rows("SELECT digest FROM model WHERE tier = 'trusted'")
        }

    def statuses(self) -> dict[str, str]:
        names = {digest: name for name, digest in self.digests.items()}
        return {names.get(d, d): status for d, status in self.rows("SELECT digest, status FROM model")}

    def laid_out(self) -> set[str]:
        """Names of the models that lie ready to be loaded."""
        found = {path.parent.name for path in self.root.glob("models/*/evidence") if any(path.iterdir())}
        return {name for name, digest in self.digests.items() if digest.partition(":")[2] in found}

    def admits_nothing_blocked(self) -> None:
        """What would have been blocked is neither in the trusted tier nor laid out, whatever happened."""
        assert not self.laid_out() & set(BLOCKED)
        with contextlib.suppress(sqlite3.DatabaseError):
            assert not self.trusted() & set(BLOCKED)

    def holds_what_it_said(self) -> None:
        """Each decision that was printed is there, logged, with its receipt; the whole registry is consistent."""
        deep = self.call("doctor", "--deep")
        assert deep.code == 0, deep.text
        self.stands()

    def stands(self) -> None:
        """What the rows can tell: each decision that was printed, each model once, nothing left over, nothing blocked."""
        for decision in self.acknowledged:
            rows = self.rows("SELECT receipt FROM decision WHERE id = ?", decision)
            assert rows, f"{decision} was said, and is gone"
            assert rows[0][0], f"{decision} was said, and is not logged"
        assert self.rows("SELECT count(*) FROM outbox WHERE done_at IS NULL") == [(0,)]
        assert self.rows("SELECT count(*) FROM decision WHERE receipt IS NULL") == [(0,)]
        for name, digest in self.digests.items():
            tiers = self.rows("SELECT tier, status FROM model WHERE digest = ?", digest)
            assert len(tiers) == 1, name
        self.admits_nothing_blocked()


def later(house: House, **spans: float) -> None:
    """Move the clock of a house."""
    house.hand.at += timedelta(**spans)


__all__ = ["BLOCKED", "SOUND", "START", "House", "Said", "later", "template"]
