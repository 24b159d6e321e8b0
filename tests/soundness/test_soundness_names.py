"""Whatever any of CPython's unpicklers asks for before it stops is among our events, on both builds of the machine."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from soundness_oracle import missed
from soundness_streams import GENERATORS

from weighbridge.formats import pickle_build, pickle_machine
from weighbridge.formats.pickle_trace import MAX_EVENTS, MAX_EXPANSION

BUDGETS = (1_000_000, MAX_EVENTS, MAX_EXPANSION)


def check(data):
    traced = pickle_machine.run_trace(data, 0, BUDGETS, False)
    if pickle_build.compiled():
        twin = pickle_build.machine()
        assert twin.run_trace(data, 0, BUDGETS, False) == traced
        assert twin.run_trace(data, 0, BUDGETS, True) == pickle_machine.run_trace(data, 0, BUDGETS, True)
    assert missed(data, traced) == {}


@pytest.mark.parametrize("kind", GENERATORS)
@given(seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_no_name_is_missed(kind, seed):
    check(GENERATORS[kind](random.Random(seed)))


@given(data=st.binary(max_size=60))
@example(b"cos\nsystemX")
@example(b"cos")
@example(b"c\nsystem\n.")
@example(b"cos\n\n.")
@example(b"ios\nsystem\n")
@example(b"(ios\nsystem")
@example(b"I0x10\ncos\nsystem\n.")
@example(b"I010\ncos\nsystem\n.")
@example(b"I1\0x\ncos\nsystem\n.")
@example(b"L1_0L\ncos\nsystem\n.")
@example(b"F 1.5 \ncos\nsystem\n.")
@example(b"Np 0\n0g0_0\ncos\nsystem\n.")
@example(b"\x95\xff\0\0\0\0\0\0\0cos\nsystem\n.")
@example(b"\x80\x04\x95\x11\0\0\0\0\0\0\0B\x01\0\0\0x0U\x03m.nVeval\n\x93)\x810")
@example(b"\x80\x04\x95\x05\0\0\0\0\0\0\0cos\nxabc\nsystem\n.")
@settings(deadline=None, max_examples=200)
def test_no_name_is_missed_in_any_bytes(data):
    check(data)
