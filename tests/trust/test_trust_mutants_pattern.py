"""The edges of patterns for names: the last that is read, the first that is not, and why."""

import pytest

from weighbridge.core.errors import UsageError
from weighbridge.trust.pattern import MAX_GROUPS, MAX_PATTERN, MAX_STEPS, MAX_TEXT, Pattern, _One, _Program


def cause(source):
    with pytest.raises(UsageError) as caught:
        Pattern(source)
    return caught.value.cause


def test_texts_and_patterns_have_a_length():
    assert Pattern(".*").matches("a" * MAX_TEXT)
    assert not Pattern(".*").matches("a" * (MAX_TEXT + 1))
    assert Pattern("a" * MAX_PATTERN).matches("a" * MAX_PATTERN)
    assert "longer" in cause("a" * (MAX_PATTERN + 1))


def test_steps_and_repetitions_have_a_number():
    assert Pattern(f"a{{{MAX_STEPS - 1}}}").matches("a" * (MAX_STEPS - 1))
    assert "steps" in cause(f"a{{{MAX_STEPS}}}")
    assert "steps" in cause(f"a{{0,{MAX_STEPS}}}")
    assert Pattern(f"(?:){{{MAX_STEPS}}}").matches("")
    for bounds in (f"{MAX_STEPS + 1}", f"{MAX_STEPS + 1},", f"0,{MAX_STEPS + 1}", "2,1"):
        assert "out of bounds" in cause(f"(?:){{{bounds}}}")
    for bounds in ("{5", "{,5}", "{}", "{\u0663}", "{a}"):
        assert "is not {m}" in cause(f"a{bounds}")


@pytest.mark.parametrize("twice", ["a**", "a*{2}", "a{2}+", "a?+"])
def test_a_repetition_is_not_repeated(twice):
    assert "repeated" in cause(twice)


def test_groups_have_a_depth():
    assert Pattern("(" * MAX_GROUPS + "a" + ")" * MAX_GROUPS).matches("a")
    assert "deeply" in cause("(" * (MAX_GROUPS + 1) + "a" + ")" * (MAX_GROUPS + 1))


@pytest.mark.parametrize("source", [r"[\w-z]", r"[a-\w]", r"[\d-z]", r"[a-\d]"])
def test_a_range_runs_between_two_characters(source):
    assert "from one character" in cause(source)


def test_ranges_end_where_they_say():
    assert Pattern("[a-a]").matches("a")
    assert "backwards" in cause("[b-a]")
    assert Pattern(r"[!-\.]").matches(".")
    assert not Pattern(r"[!-\.]").matches("A")
    assert Pattern("[^\x00-\U0010fffe]").matches("\U0010ffff")
    assert not Pattern("[^\x00-\U0010ffff]").matches("\U0010ffff")
    assert "not known" in cause("\\\u00e9")
    assert "not known" in cause("\\\u00bf")


def test_the_budget_for_repetitions_ends_where_it_says():
    program = _Program()
    program.spent = 10 * MAX_STEPS - 1
    program.add(_One(((97, 97),)), 0)
    with pytest.raises(UsageError, match="not a pattern"):
        program.add(_One(((97, 97),)), 0)
