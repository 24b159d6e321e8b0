"""Garbage collection under random schedules: nothing referred to is lost, nothing unreferred stays for ever.

`tests/full` plays ten thousand of them.
"""

import pytest

from weighbridge.registry.gc import Collector
from weighbridge.store.aside import Aside
from world_gc import play


def test_three_hundred_schedules(monkeypatch):
    assert play(range(300), monkeypatch) == 300


def _never_looks_again(self, digests):
    for digest in digests:
        self.store.drop(digest)


def _looks_with_what_it_knew(self, digests):
    known = getattr(self, "known", frozenset())
    with self.references() as referenced:
        self.known = frozenset(referenced)
    for digest in digests:
        if digest in known or (self.store.idle(digest) or 0.0) < self.grace:
            self.store.bring_back(digest)
        else:
            self.store.drop(digest)


def _takes_no_note(self, digest):
    return self._path(digest).exists() or self.bring_back(digest)


def _brings_nothing_back(self, digest):
    return False


@pytest.mark.parametrize(
    ("where", "name", "broken", "seeds"),
    [
        (Collector, "_settle", _never_looks_again, (617, 1885, 1957)),
        (Collector, "_settle", _looks_with_what_it_knew, (1885, 2808)),
        (Aside, "hold", _takes_no_note, (77, 615, 680)),
        (Aside, "bring_back", _brings_nothing_back, (617, 658, 1111)),
    ],
)
def test_a_step_left_out_shows(where, name, broken, seeds, monkeypatch):
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError, match="schedule"):
        play(seeds, monkeypatch)
