"""Canonical JSON against an implementation that is not ours, and strict parsing."""

import json
import math
import struct
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from weighbridge.core.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, _plain, _write, canonical, parse

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_bytes_are_those_of_another_implementation(value):
    assert canonical(value) == rfc8785.dumps(value)


@given(VALUES | st.recursive(st.integers() | st.floats() | TEXT, st.tuples, max_leaves=3))
def test_the_compiled_encoder_is_used_only_where_it_writes_the_same(value):
    if _plain(value):
        parts = []
        _write(value, parts, 0)
        assert canonical(value) == "".join(parts).encode()


def test_ordinary_documents_take_the_compiled_encoder_and_odd_ones_do_not():
    assert _plain({"a": [1, True, None, "ä", 0.91, -12.5, ({},)], "b": {}})
    for odd in ({"ä": 1}, {1: 1}, 1e300, 2.0, -0.0, 2**53, math.nan, b"", {"a": {1}}, StrEnum("E", ["A"]).A):
        assert not _plain(odd)


def test_a_list_in_itself_is_refused_and_not_followed():
    looped = []
    looped += [looped, looped, looped]
    with pytest.raises(ValueError, match="nested deeper"):
        canonical(looped)


@given(st.integers(0, 2**64 - 1))
@example(0x0000000000000001)
@example(0x7FEFFFFFFFFFFFFF)
@example(0x8000000000000000)
@example(0x4340000000000001)
@example(0x444B1AE4D6E2EF4F)
@example(0x3EB0C6F7A0B5ED8D)
@example(0x41B3DE4355555553)
def test_every_double_is_written_as_ecmascript_writes_it(bits):
    value = struct.unpack(">d", struct.pack(">Q", bits))[0]
    if math.isfinite(value):
        assert canonical(value) == rfc8785.dumps(value)
        assert float(canonical(value)) == value
    else:
        with pytest.raises(ValueError, match="not JSON"):
            canonical(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [  # RFC 8785, appendix B
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (1e21, "1e+21"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e-7, "1e-7"),
        (0.000001, "0.000001"),
        (333333333.3333332, "333333333.3333332"),
        (1424953923781206.2, "1424953923781206.2"),
        (4.5, "4.5"),
        (100.0, "100"),
    ],
)
def test_numbers_of_the_rfc(value, text):
    assert canonical(value) == text.encode()


def test_keys_are_sorted_by_utf16_code_units():
    """RFC 8785 section 3.2.3: an emoji's surrogates sort before U+FB33, its code point after."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    assert list(json.loads(canonical(dict.fromkeys(keys, 0)))) == [
        "\r",
        "1",
        "\u0080",
        "\u00f6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


def test_strings_escape_what_the_rfc_names_and_nothing_else():
    assert (
        canonical('\u20ac$\x0f\nA\'B"\\\\"/\x7f\u2028')
        == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f\xe2\x80\xa8"'
    )


def has_double_like_a_large_integer(value) -> bool:
    """2**54 as a double is written without a point, as the RFC asks, and read as an integer that is refused."""
    if isinstance(value, float):
        return MAX_SAFE_INTEGER < abs(value) < 1e21
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(has_double_like_a_large_integer, inner))


@given(VALUES.filter(lambda value: not has_double_like_a_large_integer(value)))
def test_writing_what_was_read_gives_the_same_bytes(value):
    assert canonical(parse(canonical(value))) == canonical(value)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [(Colour.RED, b'"red"'), ((1, 2), b"[1,2]"), ({"a": (True,)}, b'{"a":[true]}'), ([], b"[]"), ({}, b"{}")],
)
def test_what_is_json_in_spirit_is_written(value, text):
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        MAX_SAFE_INTEGER + 1,
        -MAX_SAFE_INTEGER - 1,
        10**400,
        "\ud800",
        {"\udc00": 1},
        {1: 2},
        {None: 1},
        {b"a": 1},
        b"bytes",
        bytearray(b"x"),
        {1, 2},
        object(),
        1j,
        [[math.nan]],
    ],
)
def test_what_is_no_json_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        canonical(value)


def nested(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded():
    assert canonical(nested(MAX_DEPTH)).count(b"[") == MAX_DEPTH + 1
    with pytest.raises(ValueError, match="deeper"):
        canonical(nested(MAX_DEPTH + 1))
    endless: list = []
    endless.append(endless)
    with pytest.raises(ValueError, match="deeper"):
        canonical(endless)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"a":1,"a":1}]',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"[1,]",
        b"{'a':1}",
        b"",
        b"\xff",
        b"\xef\xbb\xbf1",
        b"01",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b"1 2",
    ],
)
def test_parsing_is_strict(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_parsing_anything_is_a_value_or_a_value_error(data):
    try:
        value = parse(data)
    except ValueError:
        return
    assert value == json.loads(data)
