"""A program: run a scenario in a child process per kill, SIGKILL it at its n-th file operation, look at what is left.

    python killing.py FOLDER SCENARIO     prints how many children were killed

A process of its own, with one thread, because it forks. The kernel keeps what a killed process wrote, so flushing
is counted as an operation and not done; what a power cut loses is another test's matter.
"""

import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from weighbridge.core.errors import Refused
from weighbridge.keys.files import generate
from weighbridge.ledger import lookup, merkle
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.ledger.sequencer import Log

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
GENESIS = [b"genesis one", b"genesis two"]
KEY = generate("ed25519")
MODES = ("before", "after", "torn")
OPERATIONS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir")

# name: form, entries before, bodies of each append
APPENDS = {
    "few": ("v1", 2, [1, 2, 3]),
    "edge": ("v1", 254, [1, 1, 1]),
    "many": ("v1", 2, [300]),
    "plain": ("v2", 255, [1, 258]),
    "index": ("v2", 508, [3, 2, 600]),
}


def main(folder, name):
    os.fsync = lambda _: None
    lookup.PART, lookup.PART_LEVEL = 512, 9  # so that a small log has indexes
    template = folder / "template"
    scenario = {"create": Create, "freeze": Freeze, "cosigned": Cosigned, "export": Export}.get(name, Append)(
        name, template
    )
    kills = 0
    for mode in MODES:
        number = 1
        while True:
            place = folder / "now"
            shutil.rmtree(place, ignore_errors=True)
            if template.exists():
                shutil.copytree(template, place)
            killed, told = child(scenario, place, number, mode)
            scenario.check(place, told, killed=killed)
            if not killed:
                break
            kills += 1
            number += 1
    sys.stdout.write(f"{kills}\n")


def child(scenario, place, number, mode):
    """Return whether the child was killed, and how many steps it announced as done."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            announce = os.write
            sabotage(number, mode)
            scenario.run(place, lambda: announce(writer, b"."))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    told = b""
    while part := os.read(reader, 100):
        told += part
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True, len(told)
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return False, len(told)


def sabotage(number, mode):
    """Kill this process before or after its n-th file operation; `torn` counts writes only, and half-does them."""
    count = 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def wrap(name, call):
        def step(*arguments, **named):
            nonlocal count
            if mode == "torn" and name != "write":
                return call(*arguments, **named)
            count += 1
            if count == number and mode == "before":
                die()
            if count == number and mode == "torn":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                die()
            result = call(*arguments, **named)
            if count == number:
                die()
            return result

        return step

    for name in OPERATIONS:
        setattr(os, name, wrap(name, getattr(os, name)))


def leaves(bodies):
    return merkle.nodes_of([merkle.leaf_hash(body) for body in bodies])


def refused(check, work):
    found = ""
    try:
        work()
    except Refused as error:
        found = error.check
    assert found == check


class Append:
    """Several appends; each is announced when it returned."""

    def __init__(self, name, template):
        self.form, start, self.steps = APPENDS.get(name, ("v1", 2, []))
        self.origin = "weighbridge.test - 7" if self.form == "v1" else "log.example"
        self.bodies = [*GENESIS, *(b"entry %d" % number for number in range(2, start + sum(self.steps)))]
        self.sizes = [start + sum(self.steps[:at]) for at in range(len(self.steps) + 1)]
        self.roots = [merkle.root(size, leaves(self.bodies)) for size in self.sizes]
        log = Log.create(template, self.origin, KEY, now=NOW, genesis=GENESIS, form=self.form)
        if start > 2:
            log.append(self.bodies[2:start], signer=KEY, now=NOW)

    def run(self, place, announce):
        log = Log.open(place, KEY.public_pem)
        for old, new in zip(self.sizes, self.sizes[1:], strict=False):
            log.append(self.bodies[old:new], signer=KEY, now=NOW)
            announce()

    def check(self, place, told, *, killed):
        log = Log.open(place, KEY.public_pem)
        reached = self.sizes.index(log.size)  # all of an append or nothing of it
        assert told <= reached <= told + 1, (told, reached)
        assert killed or told == len(self.steps)
        self.history(log, reached)
        for at in range(
            reached, len(self.steps)
        ):  # it goes on where it was, and what was begun is not there twice
            body = self.bodies[self.sizes[at]]
            assert log.find(body) is None
            log.append(self.bodies[self.sizes[at] : self.sizes[at + 1]], signer=KEY, now=NOW)
        self.history(log, len(self.steps))
        log.verify_all(promises=False)
        assert not list(place.rglob("*.p/*.tmp"))

    def history(self, log, at):
        assert (log.size, log.root) == (self.sizes[at], self.roots[at])
        for index in {0, log.size // 2, log.size - 1}:
            assert log.entry(index).body == self.bodies[index]
            assert log.find(self.bodies[index]) == index


class Create(Append):
    """Making a log."""

    def __init__(self, name, template):
        super().__init__(name, template)
        shutil.rmtree(template)

    def run(self, place, announce):
        Log.create(place, self.origin, KEY, now=NOW, genesis=GENESIS)
        announce()

    def check(self, place, told, *, killed):
        if not (place / "checkpoint").exists():
            assert told == 0
            Log.create(place, self.origin, KEY, now=NOW, genesis=GENESIS)
        assert Log.open(place, KEY.public_pem).verify_all() == 2


class Freeze(Append):
    """Freezing: once it was announced, nobody appends again."""

    def run(self, place, announce):
        Log.open(place, KEY.public_pem).freeze(signer=KEY, now=NOW)
        announce()

    def check(self, place, told, *, killed):
        log = Log.open(place, KEY.public_pem)
        assert (log.size, log.root) == (2, self.roots[0])
        assert log.head.frozen or not told
        note = log.freeze(signer=KEY, now=NOW)
        assert parse_checkpoint(note)[0].frozen
        refused("log.frozen", lambda: log.append([b"late"], signer=KEY, now=NOW))


class Cosigned(Append):
    """Keeping a cosigned checkpoint: the old one or the new one is there, and the log is as it was."""

    def run(self, place, announce):
        log = Log.open(place, KEY.public_pem)
        log.cosigned(self.note(log))
        announce()
        log.append([b"next"], signer=KEY, now=NOW)
        announce()

    def note(self, log):
        return log.checkpoint_text + "— witness.example AAAAAAAA\n"

    def check(self, place, told, *, killed):
        log = Log.open(place, KEY.public_pem)
        assert log.cosigned_text in ("", log.cosigned_text and self.note_of(place))
        assert bool(log.cosigned_text) or not told
        assert log.size == 3 or told < 2
        log.cosigned(self.note(log))
        assert log.proof(1).checkpoint == self.note(log)
        log.verify_all()

    def note_of(self, place):
        return (place / "cosigned").read_text()


class Export(Append):
    """Copying: the copy is of this log's past whenever it has a checkpoint, and the next copy completes it."""

    def run(self, place, announce):
        log = Log.open(place, KEY.public_pem)
        log.export(place / "copy")
        announce()
        log.append([b"entry %d" % number for number in range(2, 300)], signer=KEY, now=NOW)
        log.export(place / "copy")
        announce()

    def check(self, place, told, *, killed):
        log, copy = Log.open(place, KEY.public_pem), place / "copy"
        if (copy / "checkpoint").exists():
            kept = Log.open(copy, KEY.public_pem)
            kept.verify_all(promises=False)
            assert kept.root == log.root_at(kept.size)
            assert kept.size == 300 or told < 2
            refused("log.mirror", lambda: kept.append([b"fork"], signer=KEY, now=NOW))
        else:
            assert told == 0
        log.export(copy)
        kept = Log.open(copy, KEY.public_pem)
        assert kept.checkpoint_text == log.checkpoint_text
        assert kept.verify_all(promises=False) == log.size


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
