"""The contract with engines as JSON Schema says what the code asks and accepts, in both directions."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from good_evidence import NOW, own, third_party
from hypothesis import example, given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource

from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Outcome
from weighbridge.policy.contract import question, read_answer
from weighbridge.policy.floor import floor
from weighbridge.policy.lint import NOTHING

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"


def validator(name):
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.schema.json")]
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in documents])
    wanted = next(one for one in documents if one["title"] == f"weighbridge.{name}/1")
    return jsonschema.Draft202012Validator(wanted, registry=registry)


ASKED, ANSWER = validator("policy-input"), validator("policy-answer")


def asked(evidence):
    return json.loads(canonical(question(evidence, floor(evidence, NOW), NOW, "promote")))


@pytest.mark.parametrize("evidence", [own(), third_party(), own(scan=None)], ids=["own", "third", "bare"])
def test_what_is_asked_is_as_described(evidence):
    ASKED.validate(asked(evidence))


def test_a_question_without_a_member_or_with_another_is_not():
    good = asked(own())
    for member in good:
        assert not ASKED.is_valid({key: value for key, value in good.items() if key != member})
        assert not ASKED.is_valid(good | {member: 7})
    assert not ASKED.is_valid(good | {"more": 1})
    assert not ASKED.is_valid(good | {"evaluated_at": f"{good['evaluated_at']}\n"})
    worse = copy.deepcopy(good)
    del worse["evidence"]["claims"]
    assert not ASKED.is_valid(worse)
    worse = copy.deepcopy(good)
    worse["floor"][0]["outcome"] = "perhaps"
    assert not ASKED.is_valid(worse)


def test_the_questions_without_evidence_are_none():
    assert [words for words, one in NOTHING.items() if ASKED.is_valid(json.loads(canonical(one)))] == []


TEXT = st.text(max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(allow_nan=False) | TEXT
RULES = st.sampled_from(
    ["a", "scan.age", "a-b_c.9", "A", "", "-a", "a-", "a\n", "a" * 64, "a" * 65, "ä", 1, None]
)
ROWS = st.one_of(
    st.fixed_dictionaries(
        {"rule": RULES, "msg": st.sampled_from(["m", "", "ü\n", 1, None])},
        optional={"severity": st.sampled_from(["note", "warning", "error", "fatal", "", None, 1, []]), "more": SCALARS},
    ),
    st.fixed_dictionaries({"rule": st.just("a.b"), "msg": st.just("m")}, optional={"severity": st.just("note")}),
    SCALARS,
    st.just({"rule": "a"}),
)  # fmt: skip
LISTS = st.lists(ROWS, max_size=3) | st.just([]) | SCALARS | st.just({})
ANSWERS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "allow": SCALARS,
            "deny": LISTS,
            "warn": LISTS,
            "obligations": st.lists(SCALARS, max_size=2) | SCALARS,
            "more": SCALARS,
        },
    ),
    st.fixed_dictionaries({"allow": st.booleans(), "deny": LISTS}, optional={"warn": LISTS}),
    SCALARS,
    st.lists(SCALARS, max_size=2),
)
ROW = {"rule": "a", "msg": "m"}


@settings(max_examples=2000)
@given(ANSWERS)
@example({"allow": True, "deny": []})
@example({"allow": True, "deny": [ROW]})
@example({"allow": False, "deny": [ROW]})
@example({"allow": False, "deny": [ROW] * 1000})
@example({"allow": False, "deny": [ROW] * 1001})
@example({"allow": False, "deny": [], "warn": [ROW] * 1001})
@example({"allow": 1, "deny": []})
@example({"allow": 1.0, "deny": []})
@example({"allow": True, "deny": {}})
@example({"allow": True})
@example({"deny": []})
@example({})
def test_the_schema_accepts_exactly_what_is_accepted(value):
    read = read_answer(value)
    assert (read.outcome is not Outcome.CANNOT_TELL) == ANSWER.is_valid(value), read.problem


def test_both_sides_of_that_are_met():
    good = [
        {"allow": True, "deny": []},
        {"allow": False, "deny": [ROW | {"severity": "note"}], "obligations": [1]},
    ]
    assert all(ANSWER.is_valid(one) for one in good)
    assert [read_answer(one).outcome for one in good] == [Outcome.PASS, Outcome.FAIL]
