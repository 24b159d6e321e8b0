"""Each condition of the floor is taken out, and the attack that it stops is seen to succeed.

An attack (floor_attacks.py) is evidence as the gate would gather it when somebody tries that. With the whole floor it is
refused by exactly the conditions named; without them the judge allows it; and where several are named, each of
them alone still stops it. docs/reference/floor.md carries the same table.
"""

import re
from pathlib import Path

import pytest
from floor_attacks import ATTACKS
from good_evidence import NOW, own, third_party

from weighbridge.core.decision import EngineAnswer, Outcome
from weighbridge.core.tier import Mode, Stage
from weighbridge.policy import floor as floor_module
from weighbridge.policy import judge as judge_module
from weighbridge.policy.floor import FLOOR, floor, needed
from weighbridge.policy.judge import judge

DOC = Path(__file__).parents[2] / "docs/reference/floor.md"
YES = EngineAnswer(Outcome.PASS, policy="sha256:00", engine="double/1")


def refusals(evidence):
    decision = judge(floor(evidence, NOW), YES, NOW, mode=Mode.ENFORCE, digests={})
    assert decision.allow is not bool(decision.refusals)
    return {check.id for check in decision.refusals}


@pytest.fixture
def without(monkeypatch):
    """Judge by a floor from which these conditions were taken out."""

    def ask(evidence, *gone):
        with monkeypatch.context() as patch:
            left = tuple(row for row in FLOOR if row.id not in gone)
            stages = tuple(stage for stage in needed(evidence) if f"claims.{stage.value}" not in gone)
            patch.setattr(floor_module, "FLOOR", left)
            patch.setattr(floor_module, "needed", lambda _: stages)
            patch.setattr(judge_module, "FLOOR_IDS", frozenset(row.id for row in left))
            return refusals(evidence)

    return ask


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_the_floor_refuses_the_attack_by_exactly_these_conditions(attack):
    assert refusals(attack.evidence()) == set(attack.stops)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_without_them_the_attack_succeeds(attack, without):
    assert without(attack.evidence(), *attack.stops) == set()


@pytest.mark.parametrize(
    ("attack", "kept"),
    [(attack, stop) for attack in ATTACKS for stop in attack.stops if len(attack.stops) > 1],
    ids=lambda value: value if isinstance(value, str) else value.words,
)
def test_where_several_stop_it_each_alone_does(attack, kept, without):
    others = [stop for stop in attack.stops if stop != kept]
    assert without(attack.evidence(), *others) == {kept}


def test_what_is_taken_out_is_only_that(without):
    """The harness itself: without anything taken out it is the floor, and an honest model passes both."""
    for evidence in (own(), third_party()):
        assert without(evidence) == refusals(evidence) == set()
    for attack in ATTACKS:
        assert without(attack.evidence()) == set(attack.stops)


def test_every_condition_and_every_stage_has_its_attack():
    told = {attack.stops[0] for attack in ATTACKS} | {stop for attack in ATTACKS for stop in attack.stops}
    assert told == {row.id for row in FLOOR} | {f"claims.{stage.value}" for stage in Stage}
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)


def test_the_documented_table_is_this_one():
    page = (
        DOC.read_text(encoding="utf-8").split("## Taken out, one at a time", maxsplit=1)[1].split("\n## ")[0]
    )
    rows = re.findall(r"^\| (`[a-z.]+`(?:, `[a-z.]+`)*) \| ([^|]+) \|$", page, re.MULTILINE)
    documented = [(tuple(re.findall(r"`([a-z.]+)`", stops)), words) for stops, words in rows]
    assert documented == [(attack.stops, attack.words) for attack in ATTACKS]
