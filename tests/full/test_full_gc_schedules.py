"""Ten thousand random schedules of garbage collection in a folder (`world_gc`), and as many in a bucket (`world_removal`)."""

import pytest

import world_removal
from world_gc import play

pytestmark = pytest.mark.full


@pytest.mark.parametrize("part", range(10))
def test_a_thousand_schedules(part, monkeypatch):
    assert play(range(1000 * part, 1000 * part + 1000), monkeypatch) == 1000


@pytest.mark.parametrize("part", range(2))
def test_five_thousand_schedules_in_a_bucket(part):
    late, refused = world_removal.play(range(5000 * part, 5000 * part + 5000))
    assert late > 1000
    assert refused > 500
