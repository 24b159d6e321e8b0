"""One store under garbage collection: processes that put, record, collect, turn clocks and die, at every step of each other."""

import hashlib
import os
import random
import shutil
import tempfile
from pathlib import Path

from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.registry.gc import Collector
from weighbridge.store import aside, files
from weighbridge.store.files import FileBlobs
from world_schedule import Book, Schedule

GRACE = 1000.0
POOL = tuple(f"blob {number}".encode() for number in range(4))
NAMES = {data: Digest("sha256", hashlib.sha256(data).hexdigest()) for data in POOL}


class Scene:
    """One store, one book of records, and processes that put, record, collect, turn clocks and die."""

    def __init__(self, folder, seed):
        self.root, self.draw = Path(folder), random.Random(seed)
        self.jumps = self.draw.random() < 0.4
        self.grace = self.draw.choice((0.0, GRACE, GRACE))
        kills = self.draw.choice((0.0, 0.0, 0.02, 0.1))
        self.schedule = Schedule(self.draw, kills=kills, every=self.nothing_lost)
        self.book = Book(self.schedule)
        self.refused = 0
        self.blobs = FileBlobs(self.root)

    def play(self):
        for data in self.draw.sample(POOL, self.draw.randrange(4)):
            self.blobs.put([data])
        self.age(2 * GRACE)
        for number in range(self.draw.randrange(1, 4)):
            self.schedule.add(f"intake-{number}", lambda number=number: self.intake(number))
        for number in range(self.draw.randrange(1, 3)):
            self.schedule.add(f"gc-{number}", self.collect)
        if self.jumps:
            self.schedule.add("clock", self.clock)
        if self.draw.random() < 0.4:
            self.schedule.add("losses", self.losses)
        self.schedule.run()
        self.nothing_lost()
        if self.grace and not self.jumps:
            assert not self.refused, "an intake within the grace was refused"
        self.nothing_stays()

    # The processes.

    def intake(self, number):
        blobs, wanted = FileBlobs(self.root), self.draw.sample(POOL, self.draw.randrange(1, 4))
        abandoned = self.draw.random() < 0.3
        for data in wanted:
            if self.draw.random() < 0.5 or not blobs.hold(NAMES[data]):
                blobs.put([data])
        if abandoned:
            return
        digests = frozenset(NAMES[data] for data in wanted)
        changes = {}
        with self.book.writing(changes=changes):
            if all(blobs.hold(digest) for digest in sorted(digests)):
                changes[number] = digests
            else:
                self.refused += 1

    def collect(self):
        blobs = FileBlobs(self.root)
        Collector(blobs.aside, blobs.digests, self.book.writing, self.grace).run()

    def clock(self):
        for _ in range(self.draw.randrange(1, 4)):
            self.schedule.step("clock")
            self.age(self.draw.choice((-5 * GRACE, -GRACE, GRACE / 2, 2 * GRACE, 5 * GRACE)))

    def losses(self):
        for _ in range(3):
            self.schedule.step("loss")
            self.book.lose()

    def age(self, seconds):
        """Let time pass: that is the same as files that were written earlier."""
        for path in (self.root / "sha256").rglob("*"):
            if path.is_file():
                info = path.stat()
                os.utime(path, (info.st_atime, info.st_mtime - seconds))

    # What must hold.

    def nothing_lost(self):
        for digests in self.book.kept.values():
            for digest in digests:
                places = (
                    self.root / "sha256" / digest.hex[:2] / digest.hex,
                    self.root / "sha256" / ".aside" / digest.hex,
                )
                assert any(place.exists() for place in places), (digest, self.schedule.trace)

    def nothing_stays(self):
        kept = frozenset().union(*self.book.kept.values())
        blobs = FileBlobs(self.root)
        for _ in range(10 if self.jumps else 2):
            self.book.holder = None
            self.schedule.now = self.schedule.actors[0]  # the test collects in their stead
            self.age(2 * GRACE + aside.SKEW)
            Collector(blobs.aside, blobs.digests, self.book.writing, GRACE).run()
        assert set(blobs.digests()) == kept, self.schedule.trace
        assert not blobs.aside.aside()
        assert not [p for p in (self.root / "sha256" / ".held").glob("*") if p.name != ".now"]
        for data, digest in NAMES.items():
            if digest in kept:
                with blobs.open(digest) as stream:
                    assert stream.read() == data
                assert blobs.verify(digest)


def play(seeds, monkeypatch):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    played = 0
    for seed in seeds:
        folder = tempfile.mkdtemp(dir=memory)
        try:
            scene = Scene(folder, seed)
            monkeypatch.setattr(aside, "os", scene.schedule.system())
            monkeypatch.setattr(files, "os", scene.schedule.system())
            scene.play()
            played += 1
        except (AssertionError, WeighbridgeError, OSError) as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        finally:
            shutil.rmtree(folder)
    return played
