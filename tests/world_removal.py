"""One bucket under garbage collection: requests that arrive late or twice, processes that put, record, collect and die, clocks that differ."""

import hashlib
import random
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.registry import removing
from weighbridge.store.removal import SECONDS, Listed, Removal
from world_schedule import Book, Schedule

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
GRACE = timedelta(seconds=1000)
NAMES = [Digest("sha256", hashlib.sha256(b"%d" % number).hexdigest()) for number in range(4)]


class Bucket:
    """A store with a clock of its own, which refuses what was signed for a time that is over, and does the rest at any time."""

    def __init__(self, draw):
        self.draw, self.time = draw, START
        self.blobs, self.notes, self.under_way = {}, {}, []
        self.late = 0

    def put(self, digest):
        if digest in self.blobs:
            self.notes[digest] = self.time
        else:
            self.blobs[digest] = self.time

    def arrive(self, removal):
        """Do what a request asks for, if it counts still; tells whether it was believed."""
        if self.time > removal.until:
            self.late += 1
            return False
        self.blobs.pop(removal.digest, None)
        return True


class Client:
    """`registry.removing.Removing` as one process has it: its own clock, and a line on which requests are lost, late and doubled."""

    def __init__(self, bucket, schedule, apart):
        self.bucket, self.schedule, self.apart = bucket, schedule, apart

    def now(self):
        self.schedule.step("now")
        return self.bucket.time

    def has(self, digest):
        self.schedule.step("has")
        return digest in self.bucket.blobs

    def hold(self, digest):
        self.schedule.step("note")
        self.bucket.notes[digest] = self.bucket.time
        return self.has(digest)

    def put(self, digest):
        self.schedule.step("put")
        self.bucket.put(digest)

    def blobs(self):
        self.schedule.step("list")
        return [Listed(digest, put, 1) for digest, put in self.bucket.blobs.items()]

    def notes(self):
        self.schedule.step("notes")
        return dict(self.bucket.notes)

    def prepare(self, digest):
        self.schedule.step("sign")
        return Removal(digest, "", self.bucket.time + self.apart + timedelta(seconds=SECONDS))

    def send(self, removal):
        self.schedule.step("send")
        bucket, chance = self.bucket, self.bucket.draw.random()
        if chance < 0.25:
            return "lost"
        if chance < 0.6:
            bucket.under_way.append(removal)
            return "no answer in time"
        if chance < 0.7:
            bucket.under_way.append(removal)  # and another time, by whoever stands between
        return "" if bucket.arrive(removal) else "refused"

    def forget(self, digests):
        for digest in digests:
            self.schedule.step("forget")
            self.bucket.notes.pop(digest, None)


class RowsBook(Book):
    """Records that know what goes besides what is referred to."""

    def __init__(self, schedule):
        super().__init__(schedule)
        self.going = {}

    @contextmanager
    def page(self, *, changes=None):
        after = {}
        with self.writing(changes=changes) as referenced:
            after.update(self.going)
            page = _Page(frozenset(referenced), after)
            mine = self.holder
            yield page
            self.schedule.step("commit of what goes")
            if self.holder is not mine:  # lost: nothing of it counts, and whoever writes is told
                raise Refused("the transaction was lost", remedy="again", check="lost")
            self.going = after


class _Page:
    def __init__(self, referenced, rows):
        self.referenced, self._rows = referenced, rows

    def going(self):
        return dict(self._rows)

    def note_going(self, digest, until):
        assert digest not in self._rows
        self._rows[digest] = until

    def clear(self, digest):
        del self._rows[digest]


class Scene:
    """A bucket, a book, and processes."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.grace = self.draw.choice((timedelta(0), GRACE))
        kills = self.draw.choice((0.0, 0.0, 0.02, 0.1))
        self.schedule = Schedule(self.draw, kills=kills, every=self.nothing_lost)
        self.book = RowsBook(self.schedule)
        self.bucket = Bucket(self.draw)
        self.refused = 0

    def client(self):
        apart = self.draw.choice((0, 0, -500, 500, 5000))
        return Client(self.bucket, self.schedule, timedelta(seconds=apart))

    def play(self):
        for digest in self.draw.sample(NAMES, self.draw.randrange(4)):
            self.bucket.put(digest)
        self.bucket.time += 2 * GRACE
        for number in range(self.draw.randrange(1, 4)):
            self.schedule.add(f"intake-{number}", lambda number=number: self.intake(number))
        for number in range(self.draw.randrange(1, 3)):
            self.schedule.add(f"gc-{number}", self.collect)
        self.schedule.add("time", self.passing)
        if self.draw.random() < 0.4:
            self.schedule.add("losses", self.losses)
        self.schedule.run()
        self.nothing_lost()
        self.nothing_stays()

    def intake(self, number):
        client = self.client()
        for turn in range(self.draw.randrange(1, 4)):
            wanted = frozenset(self.draw.sample(NAMES, self.draw.randrange(1, 4)))
            for digest in sorted(wanted):
                if self.draw.random() < 0.5 or not client.hold(digest):
                    client.put(digest)
            if self.draw.random() < 0.3:
                continue
            changes = {}
            try:
                with self.book.page(changes=changes) as page:
                    removing.check(page, sorted(wanted), client.now)
                    if all(client.has(digest) for digest in sorted(wanted)):
                        changes[number, turn] = wanted
            except Refused:
                self.refused += 1

    def collect(self):
        for _ in range(self.draw.randrange(1, 3)):
            try:
                removing.BucketCollector(self.client(), self.book.page, self.grace).run()
            except Refused as error:
                if error.check not in ("gc.clock", "lost"):
                    raise

    def passing(self):
        """Let time pass, and let what is under way arrive."""
        for _ in range(self.draw.randrange(4, 16)):
            self.schedule.step("time")
            self.bucket.time += timedelta(seconds=self.draw.choice((1, 30, 100, 400, 2000)))
            if self.bucket.under_way and self.draw.random() < 0.7:
                self.bucket.arrive(self.bucket.under_way.pop(self.draw.randrange(len(self.bucket.under_way))))

    def losses(self):
        for _ in range(3):
            self.schedule.step("loss")
            self.book.lose()

    def nothing_lost(self):
        for digests in self.book.kept.values():
            for digest in digests:
                assert digest in self.bucket.blobs, (digest, self.schedule.trace)

    def nothing_stays(self):
        kept = frozenset().union(*self.book.kept.values())
        self.schedule.now = None
        self.book.holder = None
        client = Client(self.bucket, self.schedule, timedelta(0))
        client.send = lambda removal: "" if self.bucket.arrive(removal) else "refused"
        self.schedule.now = self.schedule.actors[0]  # the test collects in their stead
        for _ in range(3):
            self.bucket.time += 2 * GRACE
            for removal in self.bucket.under_way:
                self.bucket.arrive(removal)
            removing.BucketCollector(client, self.book.page, GRACE).run()
            self.nothing_lost()
        assert set(self.bucket.blobs) == kept, self.schedule.trace
        assert not self.book.going
        assert not set(self.bucket.notes) - kept


def play(seeds):
    """Play a schedule for each seed; returns how many requests came too late to count, and how many intakes were refused."""
    late = refused = 0
    for seed in seeds:
        scene = Scene(seed)
        try:
            scene.play()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        late += scene.bucket.late
        refused += scene.refused
    return late, refused
