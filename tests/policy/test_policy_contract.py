"""The contract: exactly one shape of answer is an answer."""

import json

import good_evidence as g
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.decision import Outcome
from weighbridge.core.tier import Origin
from weighbridge.policy.contract import no_answer, printable, query_for, question, read_answer
from weighbridge.policy.floor import floor

ROW = {"rule": "scan.age", "msg": "the scan is old"}


def test_allow_without_denials_is_the_only_yes():
    answer = read_answer({"allow": True, "deny": []}, engine="e/1", policy="sha256:aa")
    assert answer.outcome is Outcome.PASS
    assert (answer.engine, answer.policy, answer.problem) == ("e/1", "sha256:aa", "")


def test_everything_that_may_stand_in_an_answer():
    answer = read_answer(
        {
            "allow": False,
            "deny": [ROW, {**ROW, "severity": "error"}],
            "warn": [{"rule": "w", "msg": "m"}],
            "obligations": [],
        }
    )
    assert answer.outcome is Outcome.FAIL
    assert answer.denials == (("scan.age", "the scan is old"),) * 2
    assert answer.warnings == (("w", "m"),)


def test_a_no_without_reasons_is_a_no():
    assert read_answer({"allow": False, "deny": []}).outcome is Outcome.FAIL


NO_OBJECT = "it is undefined or no object"
NO_ALLOW = "allow is undefined or not a boolean"
NO_LIST = "deny is not a list of at most 1000"
NO_ROW = "each deny is {rule, msg}, perhaps with severity"
NO_NAME = "a rule of deny is not a name of lower-case letters, digits, '.', '_' and '-'"
NO_MESSAGE = "scan.age gives no message"


def deny(row):
    return {"allow": False, "deny": [row]}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, NO_OBJECT),
        ({}, NO_OBJECT),
        ([], NO_OBJECT),
        (True, NO_OBJECT),
        ("allow", NO_OBJECT),
        (1, NO_OBJECT),
        ([{"allow": True, "deny": []}], NO_OBJECT),
        ({"allow": True}, "deny is undefined"),
        ({"deny": []}, NO_ALLOW),
        ({"allow": None, "deny": []}, NO_ALLOW),
        ({"allow": 1, "deny": []}, NO_ALLOW),
        ({"allow": "true", "deny": []}, NO_ALLOW),
        ({"allow": [True], "deny": []}, NO_ALLOW),
        ({"allow": True, "deny": None}, NO_LIST),
        ({"allow": True, "deny": {}}, NO_LIST),
        ({"allow": True, "deny": "no"}, NO_LIST),
        ({"allow": False, "deny": [ROW] * 1001}, NO_LIST),
        ({"allow": True, "deny": [ROW]}, "it allows and denies at once"),
        ({"allow": True, "deny": [], "warn": None}, "warn is not a list of at most 1000"),
        ({"allow": True, "deny": [], "warn": [1]}, "each warn is {rule, msg}, perhaps with severity"),
        ({"allow": True, "deny": [], "obligations": {}}, "obligations are a list"),
        (
            {"allow": True, "deny": [], "helper": 3},
            "it has the unknown member helper; helpers belong in another package",
        ),
        ({"allow": True, "deny": [], 7: 3}, "it has the unknown member 7; helpers belong in another package"),
        (deny("a string"), NO_ROW),
        (deny(None), NO_ROW),
        (deny(["rule", "msg"]), NO_ROW),
        (deny({}), NO_ROW),
        (deny({"rule": "r"}), NO_ROW),
        (deny({"msg": "m"}), NO_ROW),
        (deny({**ROW, "more": 1}), NO_ROW),
        (deny({**ROW, "rule": 1}), NO_NAME),
        (deny({**ROW, "rule": ""}), NO_NAME),
        (deny({**ROW, "rule": "Has Spaces"}), NO_NAME),
        (deny({**ROW, "rule": "line\nbreak"}), NO_NAME),
        (deny({**ROW, "rule": "x" * 65}), NO_NAME),
        (deny({**ROW, "msg": ""}), NO_MESSAGE),
        (deny({**ROW, "msg": None}), NO_MESSAGE),
        (deny({**ROW, "msg": 7}), NO_MESSAGE),
        (deny({**ROW, "severity": "fatal"}), "the severity of scan.age is none of note, warning, error"),
        (deny({**ROW, "severity": []}), "the severity of scan.age is none of note, warning, error"),
    ],
    ids=lambda value: json.dumps(value, skipkeys=True)[:60],
)
def test_anything_else_is_no_answer(value, words):
    answer = read_answer(value, engine="e/1", policy="sha256:aa")
    assert answer.outcome is Outcome.CANNOT_TELL
    assert answer.problem == f"the policy's answer has the wrong shape: {words}"
    assert (answer.denials, answer.warnings) == ((), ())
    assert (answer.engine, answer.policy) == ("e/1", "sha256:aa")


def test_a_thousand_denials_are_heard():
    assert len(read_answer({"allow": False, "deny": [ROW] * 1000}).denials) == 1000


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["allow", "deny", "warn", "rule", "msg", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_whatever_comes_only_the_one_shape_passes(value):
    answer = read_answer(value)
    yes = isinstance(value, dict) and value.get("allow") is True and value.get("deny") == []
    assert answer.outcome is not Outcome.PASS or yes


def test_what_a_policy_says_cannot_move_the_cursor():
    answer = read_answer({"allow": False, "deny": [{"rule": "r", "msg": "a\x1b[2J\u202eb\n"}]})
    assert answer.denials == (("r", "a\\x1b[2J\\u202eb\\n"),)
    assert printable("x" * 3000) == "x" * 2000 + "…"
    assert printable("x" * 2000) == "x" * 2000
    assert printable("größer 是") == "größer 是"


def test_no_answer_says_why():
    answer = no_answer("it\ntook too long", engine="e/1")
    assert (answer.outcome, answer.problem) == (Outcome.CANNOT_TELL, "it\\ntook too long")


@pytest.mark.parametrize(
    ("origin", "query"),
    [(Origin.OWN, "own"), (Origin.THIRD_PARTY, "third_party"), (Origin.LEGACY, "legacy")],
)
def test_each_class_has_its_query(origin, query):
    assert query_for(origin) == f"data.weighbridge.{query}"


def test_the_question_carries_evidence_floor_and_time():
    evidence = g.own()
    asked = question(evidence, floor(evidence, g.NOW), g.NOW, "promote")
    assert asked["evaluated_at"] == "2026-11-22T12:00:00Z"
    assert asked["evidence"] == evidence.to_json()
    assert asked["action"] == "promote"
    assert [row["id"] for row in asked["floor"]] == [check.id for check in floor(evidence, g.NOW)]
    assert set(asked) == {"evidence", "floor", "evaluated_at", "action"}
