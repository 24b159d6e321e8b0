"""Evidence comes back from its JSON to the byte, and nothing that is not evidence is read as such."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.core.advisory import Advised, AdvisorySeverity
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.digest import HEX_LENGTH, Digest
from weighbridge.core.evidence import Evidence
from weighbridge.core.evidence_json import NamedAdvisory
from weighbridge.core.lineage import AdvisoryKind, Grade, Parentage, Relation

TEXT = st.text(st.characters(codec="utf-8"), max_size=10)
FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
"""Each example is a whole document of evidence."""
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXT | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


class Anything:
    """Stands for the JSON type in annotations."""


@st.composite
def digests(draw):
    algorithm = draw(st.sampled_from(sorted(HEX_LENGTH)))
    return Digest(
        algorithm, draw(st.text("0123456789abcdef", min_size=1, max_size=1)) * HEX_LENGTH[algorithm]
    )


def times():
    whole = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
    return whole.map(lambda moment: moment.replace(microsecond=0))


@st.composite
def advised(draw):
    advisory = NamedAdvisory(
        draw(st.sampled_from(AdvisoryKind)), (), draw(TEXT), draw(st.sampled_from(AdvisorySeverity)), draw(TEXT),
        "", draw(TEXT), name=draw(TEXT),
    )  # fmt: skip
    return Advised(advisory, draw(digests()), tuple(draw(st.lists(of(Parentage), max_size=1))))


def of(hint):
    """Make values of a class by its annotations."""
    known = {
        Digest: digests(),
        datetime: times(),
        Advised: advised(),
        str: TEXT,
        bool: st.booleans(),
        Anything: VALUES,
    }
    if hint in known:
        return known[hint]
    if hint is int:
        return st.integers(-(2**53) + 1, 2**53 - 1)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        [kind] = [one for one in inner if one is not type(None)]
        return st.none() | of(kind)
    if origin is tuple and inner[1:] == (Ellipsis,):
        return st.lists(of(inner[0]), max_size=1).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, inner))
    if origin is Mapping:
        return st.dictionaries(TEXT, of(inner[1]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    assert is_dataclass(hint), hint
    hints = typing.get_type_hints(hint, localns={"JSON": Anything})
    return st.builds(hint, **{row.name: of(hints[row.name]) for row in fields(hint)})


@FEW
@given(of(Evidence))
def test_evidence_comes_back_to_the_byte(evidence):
    text = canonical(evidence.to_json())
    again = Evidence.from_json(parse(text))
    assert canonical(again.to_json()) == text
    assert again.digest == evidence.digest


def full(hint):
    """Make one value of a class by its annotations, with something in every list."""
    known = {
        Digest: Digest("sha256", "0" * 64), datetime: datetime(2026, 11, 22, tzinfo=UTC), str: "x", bool: True, int: 1,
        Anything: 1, Advised: Advised(ADVISORY, Digest("sha256", "0" * 64), (full_parentage(),)),
    }  # fmt: skip
    if hint in known:
        return known[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return full(next(one for one in inner if one is not type(None)))
    if origin is tuple:
        return tuple(full(one) for one in inner if one is not Ellipsis)
    if origin is Mapping:
        return {"x": full(inner[1])}
    if issubclass(hint, Enum):
        return next(iter(hint))
    hints = typing.get_type_hints(hint, localns={"JSON": Anything})
    return hint(**{row.name: full(hints[row.name]) for row in fields(hint)})


def full_parentage():
    return Parentage(Digest("wb1", "1" * 64), Digest("wb1", "2" * 64), Relation.MERGE, Grade.ATTESTED, "x")


ADVISORY = NamedAdvisory(AdvisoryKind.CODE, (), "x", AdvisorySeverity.LOW, "x", "", "x", name="adv-1")


def objects(value, where=()):
    """Yield the place of every object that a fact is read from: not those whose content is anybody's."""
    if isinstance(value, dict):
        if "x" not in value:
            yield where
            for name, item in value.items():
                yield from objects(item, (*where, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from objects(item, (*where, number))


def at(value, where):
    for step in where:
        value = value[step]
    return value


def document():
    return parse(canonical(full(Evidence).to_json()))


def test_a_member_that_nobody_writes_is_refused_everywhere():
    places = list(objects(document()))
    assert len(places) > 15
    for where in places:
        spoiled = document()
        at(spoiled, where)["nobody-writes-this"] = 1
        with pytest.raises(ValueError, match="unknown member"):
            Evidence.from_json(spoiled)


def test_a_member_that_is_left_out_is_refused_unless_older_versions_had_none():
    optional = 0
    for where in objects(document()):
        for name in at(document(), where):
            spoiled = document()
            del at(spoiled, where)[name]
            try:
                again = Evidence.from_json(spoiled)
            except ValueError:
                continue
            optional += 1
            assert canonical(again.to_json()) != canonical(spoiled)  # it takes its default, and that shows
    assert optional


def test_a_value_of_another_type_is_refused_or_comes_back_as_it_was():
    for where in objects(document()):
        for name in at(document(), where):
            for value in (None, True, 7, -1.5, "", "y", [], [1], {}, {"x": [None]}, [[]]):
                spoiled = document()
                at(spoiled, where)[name] = value
                try:
                    again = Evidence.from_json(spoiled)
                except ValueError:
                    continue
                assert canonical(again.to_json()) == canonical(spoiled), (where, name, value)


@pytest.mark.parametrize("value", [None, 1, [], {}, {"schema": "weighbridge.evidence/2"}, "text"])
def test_what_is_no_evidence(value):
    with pytest.raises(ValueError, match="this is not"):
        Evidence.from_json(value)
