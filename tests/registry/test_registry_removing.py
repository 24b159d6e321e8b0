"""Garbage in buckets: random schedules of late, lost and doubled requests (`world_removal`), and that they notice a missing step."""

from contextlib import nullcontext
from datetime import timedelta

import pytest

import world_removal
from weighbridge.core.errors import Refused
from weighbridge.registry import removing
from weighbridge.registry.removing import BucketCollector, is_old, prepared
from weighbridge.store.removal import Listed
from world_removal import GRACE, NAMES, START, Bucket, Client, play
from world_schedule import Schedule

SEEDS = range(20_000, 21_000)


def test_nothing_referred_to_is_lost_and_nothing_else_stays():
    late, refused = play(SEEDS)
    assert late > 100, "no request came too late: the schedules are no test of what the store refuses"
    assert refused > 50, "no intake met what was being removed"


def test_without_an_end_of_requests_something_is_lost(monkeypatch):
    def arrive(bucket, removal):
        bucket.blobs.pop(removal.digest, None)
        return True

    monkeypatch.setattr(Bucket, "arrive", arrive)
    with pytest.raises(AssertionError, match="schedule"):
        play(SEEDS)


def test_without_the_look_at_what_is_going_something_is_lost(monkeypatch):
    monkeypatch.setattr(removing, "check", lambda _page, _digests, _now: None)
    with pytest.raises(AssertionError, match="schedule"):
        play(SEEDS)


def test_without_waiting_for_the_end_something_is_lost(monkeypatch):
    monkeypatch.setattr(removing, "MARGIN", -timedelta(seconds=3600))
    with pytest.raises(AssertionError, match="schedule"):
        play(SEEDS)


def test_when_requests_are_sent_before_they_are_recorded_something_is_lost(monkeypatch):
    class Hasty(Client):
        def prepare(self, digest):
            request = super().prepare(digest)
            self.bucket.under_way.append(request)
            return request

    monkeypatch.setattr(world_removal, "Client", Hasty)
    with pytest.raises(AssertionError, match="schedule"):
        play(SEEDS)


def test_a_clock_that_is_far_from_the_stores_removes_nothing():
    store = Client(Bucket(None), Schedule(None), timedelta(hours=1))
    with pytest.raises(Refused) as caught:
        prepared(store, NAMES[0], START)
    assert caught.value.check == "gc.clock"
    assert prepared(Client(Bucket(None), Schedule(None), timedelta(minutes=9)), NAMES[0], START)


def test_what_was_needed_within_the_grace_is_young():
    blob = Listed(NAMES[0], START, 1)
    assert is_old(blob, {}, START + GRACE, GRACE)
    assert not is_old(blob, {NAMES[0]: START + GRACE}, START + GRACE, GRACE)
    assert not is_old(Listed(NAMES[0], START + 2 * GRACE, 1), {}, START, GRACE)
    assert is_old(blob, {NAMES[0]: START - GRACE}, START + GRACE, GRACE), (
        "an old note makes nothing older or younger"
    )


def test_what_is_left_over_is_said_and_looked_at_again():
    bucket = Bucket(None)
    bucket.put(NAMES[0])
    bucket.time += 2 * GRACE
    client = Client(bucket, Schedule(None), timedelta(0))
    client.send = lambda _removal: "the store answered 503"
    book = world_removal.RowsBook(client.schedule)
    book.writing = lambda **_: nullcontext(frozenset())
    first = BucketCollector(client, book.page, GRACE).run()
    assert (first.left, first.removed) == ({NAMES[0]: "the store answered 503"}, [])
    second = BucketCollector(client, book.page, GRACE).run()
    assert (second.going, second.left) == (1, {})
    bucket.time += timedelta(minutes=8)
    client.send = lambda removal: "" if bucket.arrive(removal) else "refused"
    third = BucketCollector(client, book.page, GRACE).run()
    assert third.removed == [NAMES[0]]
