"""The tests that begin are there, and each test is run once, the long ones first with each worker."""

from pathlib import Path

import pytest

from long_tests import LONG, first

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", LONG)
def test_what_is_said_to_take_long_is_there(name):
    path, _, function = name.partition("::")
    assert f"def {function or 'test_'}" in (TESTS / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("short", [0, 5, 1000])
def test_every_test_runs_and_the_long_ones_begin(workers, short):
    long = [f"tests/{key}{'' if '::' in key else '::test'}[{number}]" for key in LONG for number in range(3)]
    names = [*(f"tests/a/test_a.py::test[{number}]" for number in range(short)), *long]
    order = first(names, workers)
    assert sorted(order) == list(range(len(names)))
    if short == 1000:
        size = len(names) // workers
        parts = [[names[one] for one in order[at : at + size]] for at in range(0, size * workers, size)]
        for part in parts:
            begins = [name in long for name in part]
            assert begins == sorted(begins, reverse=True)
            assert begins[0]
