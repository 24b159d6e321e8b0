"""Whatever is asked in whatever order, and wherever the power fails: one witness cosigns one history."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from witness_bench import ORIGIN, House

import weighbridge.ledger.witness_state as memory
from weighbridge.ledger.checkpoint import Checkpoint, sign_checkpoint
from weighbridge.ledger.witness import Request

SIZES = 9

asked = st.lists(
    st.tuples(
        st.integers(0, 1),  # which history
        st.integers(0, SIZES),  # from where
        st.integers(2, SIZES),  # up to where
        st.sampled_from(["honest", "none", "changed", "other"]),  # with which proof
    ),
    max_size=12,
)


def _proof(kind, logs, which, old, size):
    if kind == "none" or not 0 < old <= size:
        return ()
    log = logs[1 - which] if kind == "other" else logs[which]
    steps = list(log.consistency(old, size))
    if kind == "changed" and steps:
        steps[0] = bytes(32)
    return tuple(steps)


@given(asked)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_cosigned_is_always_one_growing_history(requests):
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        twin = house.twin()
        for number in range(2, SIZES):
            house.grow(f"true {number}")
            house.grow(f"false {number}", log=twin)
        logs, cosigned = (house.log, twin), []
        for which, old, size, kind in requests:
            note = sign_checkpoint(Checkpoint(ORIGIN, size, logs[which].root_at(size)), house.signer)
            body = Request(old, _proof(kind, logs, which, old, size), note).encode()
            status, _, text = house.ask(body, house.reopened())
            assert status in (200, 400, 409, 422)
            known = house.witness.last(ORIGIN)[1]
            if status == 200:
                cosigned.append((which, size))
                assert (known.size, known.root) == (size, logs[which].root_at(size))
            elif cosigned:
                assert known.size == cosigned[-1][1]
            if status == 409:
                assert text == f"{known.size}\n"
        sizes = [size for _, size in cosigned]
        assert sizes == sorted(sizes)
        assert len({which for which, size in cosigned if size > 2}) <= 1  # the first two entries are the same


class PowerCut(BaseException):
    """Not an Exception: nothing in the program may catch it, as nothing catches a power cut."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(4))
def test_wherever_the_power_fails_the_witness_goes_on_with_what_it_said(tmp_path, monkeypatch, step, after):
    """Four moments (both files written, both folders flushed), cut off before or after each."""
    house = House(tmp_path)
    assert house.ask(house.request(0))[0] == 200
    twin = house.twin()
    house.grow("the truth")
    house.grow("a lie", log=twin)
    done = []

    def cut(function):
        def run(*arguments, **options):
            if len(done) == step and not after:
                raise PowerCut
            function(*arguments, **options)
            done.append(function.__name__)
            if len(done) == step + 1 and after:
                raise PowerCut

        return run

    with monkeypatch.context() as patch:
        patch.setattr(memory, "write_durably", cut(memory.write_durably))
        patch.setattr(memory, "flush_folders", cut(memory.flush_folders))
        with pytest.raises(PowerCut):
            house.ask(house.request(2))
    witness = house.reopened()
    size = witness.last(ORIGIN)[1].size
    assert size == (2 if step == 0 and not after else 3)
    assert house.ask(house.request(size), witness)[0] == 200  # the honest log is never locked out
    assert house.ask(house.request(3, log=twin), witness)[0] == 409
    assert house.witness.last(ORIGIN)[1].root == house.log.root
