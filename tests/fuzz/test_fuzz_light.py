"""A few hundred inputs for every fuzz target: no crash, no hang, the same report twice. `make fuzz` is the long run."""

import random

import mutate
import pytest
import targets

INPUTS = 60


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_target_holds(name):
    target = targets.TARGETS[name]
    corpus = target.seeds()
    if not corpus:
        return
    rng = random.Random(f"light {name}")
    for data in rng.sample(corpus, min(len(corpus), 12)):
        assert target.run(data)
    for _ in range(INPUTS):
        data = mutate.changed(rng, target.changes, corpus)
        assert target.run(data), data


def test_every_target_has_seeds():
    assert {name for name, target in targets.TARGETS.items() if len(target.seeds()) < 2} == set()


def test_a_broken_promise_is_noticed(monkeypatch):
    def raises(*_args, **_kwargs):
        raise ValueError("x")

    monkeypatch.setattr(targets, "scan_files", raises)
    with pytest.raises(targets.Fault) as caught:
        targets.scan("a.bin", b"x")
    assert caught.value.kind == "crash"
