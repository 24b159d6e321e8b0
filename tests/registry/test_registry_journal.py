"""Folders of one log that follow a journal: they come to the same, and what is not in the journal does not count."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.core.errors import Locked, Refused, RegistryUnusable, Unreadable
from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import origin_of
from weighbridge.ledger.journal import decode, encode
from weighbridge.ledger.sequencer import Log
from weighbridge.registry.journal import RecordsJournal
from weighbridge.store import schema
from weighbridge.store.sql import Records

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = generate("ed25519")
ORIGIN = origin_of("0123456789abcdef", 7)
RECORD = {"schema_version": 1, "project": "*", "actor": "me", "created_at": "2026-11-22T12:00:00Z"}


class House:
    """A journal, and folders that follow it."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.records = Records.open(folder / "registry.db", create=True)
        self.journal = RecordsJournal(self.records, lambda: RECORD)
        self.first = Log.create(
            folder / "first", ORIGIN, KEY, now=NOW, genesis=[b"one", b"two"], journal=self.journal
        )

    def follow(self, name):
        return Log.follow(self.folder / name, ORIGIN, KEY.public_pem, self.journal)

    def sql(self, text):
        with self.records.write() as connection:
            connection.exec_driver_sql(text)

    def commits(self):
        return list(self.journal.since(ORIGIN, 0))


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.records.close()


def add(log, *bodies):
    return log.append(list(bodies), signer=KEY, now=NOW)


def test_an_empty_folder_is_written_from_the_journal(house):
    for number in range(3):
        add(house.first, *(f"{number}.{at}".encode() for at in range(200)))
    log = house.follow("second")
    assert log.checkpoint_text == house.first.checkpoint_text
    assert log.verify_all() == 602
    assert [entry.body for entry in log.entries()] == [entry.body for entry in house.first.entries()]
    assert log.find(b"2.199") == 601


def test_each_appends_to_what_the_others_did(house):
    logs = [house.first, house.follow("second"), house.follow("third")]
    for number in range(12):
        [entry] = add(logs[number % 3], f"entry {number}".encode())
        assert entry.index == number + 2
    for log in logs:
        log.refresh()
        assert log.verify_all() == 14
    assert len({log.checkpoint_text for log in logs}) == 1
    assert all(one.size == next_.before for one, next_ in pairwise(house.commits()))


def lose(house, log, *bodies):
    """Append by somebody who stands still at the moment before it counts, while another appends."""
    add_to, other = house.journal.add, house.follow("other")

    def late(commit, *, after):
        log._journal.add = add_to
        add(other, b"in between")
        add_to(commit, after=after)

    log._journal = RecordsJournal(house.records, lambda: RECORD)
    log._journal.add = late
    with pytest.raises(Locked) as caught:
        add(log, *bodies)
    log._journal = house.journal
    return caught.value, other


def test_whoever_comes_late_appends_nothing(house):
    log = house.follow("second")
    error, other = lose(house, log, b"late", b"later", b"too late")
    assert error.check == "log.journal"
    add(log, b"after that")
    other.refresh()
    assert [entry.body for entry in log.entries(2)] == [b"in between", b"after that"]
    assert log.find(b"late") is None
    assert log.checkpoint_text == other.checkpoint_text
    assert log.verify_all() == other.verify_all() == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 100, 254, 257]), st.booleans()), max_size=5
    )
)
def test_tiles_of_appends_that_came_late_hurt_nobody(tmp_path_factory, steps):
    house = House(tmp_path_factory.mktemp("house"))
    logs = [house.first, house.follow("second"), house.follow("third")]
    for step, (who, count, late) in enumerate(steps):
        bodies = [f"{step}.{at}".encode() for at in range(count)]
        if late:
            lose(house, logs[who], *bodies)
        else:
            add(logs[who], *bodies)
    sizes = set()
    for log in logs:
        log.refresh()
        sizes.add(log.verify_all())
    expected = 2 + sum(1 if late else count for _, count, late in steps)
    assert sizes == {expected}
    house.records.close()


def test_an_append_that_counts_and_could_not_be_written_here_is_there(house, monkeypatch):
    replace = os.replace

    def full(source, target):
        if str(target).endswith("/checkpoint"):
            raise OSError(28, "no space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(Unreadable):
            add(house.first, b"is it there?")
    house.first.refresh()
    assert house.first.find(b"is it there?") == 2
    assert house.follow("second").find(b"is it there?") == 2


def test_a_log_that_was_frozen_is_frozen_everywhere(house):
    log = house.follow("second")
    house.first.freeze(signer=KEY, now=NOW)
    with pytest.raises(Refused) as caught:
        add(log, b"no")
    assert caught.value.check == "log.frozen"
    assert house.follow("third").head.frozen
    assert house.first.freeze(signer=KEY, now=NOW) == log.checkpoint_text


def test_a_log_begins_once(house):
    with pytest.raises(Locked) as caught:
        Log.create(
            house.folder / "again", ORIGIN, KEY, now=NOW, genesis=[b"other", b"words"], journal=house.journal
        )
    assert caught.value.check == "log.journal"


def test_a_folder_with_something_of_its_own_is_refused(house):
    log = house.follow("second")
    log._journal = None
    add(log, b"by itself")
    add(house.first, b"something else")
    with pytest.raises(RegistryUnusable) as caught:
        house.follow("second")
    assert caught.value.check == "log.journal"


def test_a_journal_that_was_put_back_is_refused_by_who_was_further(house):
    add(house.first, b"more")
    house.sql("DELETE FROM log_commit WHERE size = 3")
    for look in (house.first.refresh, lambda: add(house.first, b"on top")):
        with pytest.raises(RegistryUnusable) as caught:
            look()
        assert caught.value.check == "log.journal"


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM log_commit WHERE sequence = 1",
        "UPDATE log_commit SET checkpoint = replace(checkpoint, '3', '4') WHERE sequence = 1",
        "UPDATE log_commit SET entries = (SELECT entries FROM log_commit WHERE sequence = 2) WHERE sequence = 1",
        "UPDATE log_commit SET entries = substr(entries, 1, length(entries) - 1) WHERE sequence = 1",
        "UPDATE log_commit SET entries = x'' WHERE sequence = 1",
        "UPDATE log_commit SET checkpoint = (SELECT checkpoint FROM log_commit WHERE sequence = 2) WHERE sequence = 1",
        "UPDATE log_commit SET size_before = 1 WHERE sequence = 1",
    ],
)
def test_a_journal_that_was_changed_is_not_followed(house, change):
    add(house.first, b"a")
    add(house.first, b"b")
    house.sql(change)
    with pytest.raises(RegistryUnusable) as caught:
        house.follow("second")
    assert caught.value.check == "log.damaged"
    assert not (house.folder / "second" / "checkpoint").exists()


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_entries_come_back_as_they_were_kept(bodies):
    from weighbridge.ledger.entry import LogEntry

    entries = tuple(LogEntry(7 + at, at, body, body[::-1]) for at, body in enumerate(bodies))
    assert decode(encode(entries), 7, len(entries)) == entries


def test_what_everybody_keeps_of_a_log_is_one_row_for_each_append(house):
    add(house.first, b"a", b"b")
    table = schema.log_commit
    with house.records.read() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c.sequence)).mappings().all()
    assert [(row["sequence"], row["size_before"], row["size"], row["actor"]) for row in rows] == [
        (0, 0, 2, "me"),
        (1, 2, 4, "me"),
    ]
