"""Which names could be taken for each other, and which are honest neighbours."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weighbridge.core.lookalike import BOASTS, alike
from weighbridge.core.reference import is_name

LETTERS = string.ascii_lowercase
NAMES = st.from_regex(r"[a-z][a-z0-9._-]{2,30}[a-z0-9]", fullmatch=True)
WORDS = st.text(LETTERS, min_size=4, max_size=20)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("bert_base", "bert-base"),
        ("bertbase", "bert.base"),
        ("b3rt", "bert"),
        ("m1ni-search", "mini-search"),
        ("rnini", "rmini"),
        ("minii", "mini"),
        ("encodr", "encoder"),
        ("encoderr", "encoder"),
        ("ecnoder", "encoder"),
        ("encoder-official", "encoder"),
        ("the-encoder", "encoder"),
        ("official-encoder", "encoder_verified"),
        ("opena1", "openai"),
        ("0-1", "o-l"),
    ],
)
def test_these_could_be_taken_for_each_other(name, other):
    assert alike(name, other)
    assert alike(other, name)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("encoder", "encoder"),
        ("encoder-2", "encoder-3"),
        ("encoder-v2", "encoder-v10"),
        ("llama-7b", "llama-8b"),
        ("llama7b", "llama70b"),
        ("all-minilm-l6-v2", "all-minilm-l12-v2"),
        ("search", "chat"),
        ("ab", "ac"),
        ("a", "b"),
        ("encoder", "encoder-large"),
        ("official", "verified"),
        ("2024", "2025"),
    ],
)
def test_these_are_honest_neighbours(name, other):
    assert alike(name, other) == ""
    assert alike(other, name) == ""


@given(NAMES, NAMES)
def test_it_is_the_same_both_ways(name, other):
    assert bool(alike(name, other)) == bool(alike(other, name))
    assert alike(name, name) == ""


@given(WORDS, st.data())
def test_one_letter_more_less_or_other_is_alike(name, data):
    place = data.draw(st.integers(0, len(name)))
    letter = data.draw(st.sampled_from(LETTERS))
    more = name[:place] + letter + name[place:]
    assert alike(more, name)
    if place < len(name):
        other = name[:place] + letter + name[place + 1 :]
        assert bool(alike(other, name)) is (other != name)
    if place < len(name) > 4:
        assert alike(name[:place] + name[place + 1 :], name)


@given(WORDS, st.data())
def test_two_neighbours_exchanged_are_alike(name, data):
    place = data.draw(st.integers(0, len(name) - 2))
    other = name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    assert bool(alike(other, name)) is (other != name)


@given(st.lists(st.text(LETTERS, min_size=2, max_size=6), min_size=2, max_size=4), st.data())
def test_other_separators_are_alike(parts, data):
    marks = st.sampled_from(["-", "_", ".", "", "--"])
    one, other = ("".join(part + data.draw(marks) for part in parts[:-1]) + parts[-1] for _ in range(2))
    assert is_name(one)
    assert bool(alike(one, other)) is (one != other)


@given(WORDS, st.sampled_from(sorted(BOASTS)), st.sampled_from("-_."), st.booleans())
def test_a_word_that_boasts_makes_no_other_name(name, boast, mark, before):
    assume(name not in BOASTS)
    other = f"{boast}{mark}{name}" if before else f"{name}{mark}{boast}"
    assert alike(other, name)


@given(WORDS, st.integers(0, 999), st.integers(0, 999), st.sampled_from(["-", "-v", "_", "."]))
def test_another_version_is_another_name(name, one, other, mark):
    assert alike(f"{name}{mark}{one}", f"{name}{mark}{other}") == ""


@given(WORDS, st.sampled_from(["o0", "l1", "e3", "s5", "li"]), st.data())
def test_characters_that_look_the_same_are_alike(name, pair, data):
    place = data.draw(st.integers(1, len(name)))
    one, other = (name[:place] + sign + name[place:] + "x" for sign in pair)
    assert alike(one, other)
