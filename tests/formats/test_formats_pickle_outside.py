"""Persistent ids, attributes of named globals, and objects made of a dict: what the machine reports of them."""

import copyreg
import datetime as dt
import pickle
import zoneinfo

import pytest
from pickle_builds import both_builds  # noqa: F401  each test runs on both

from weighbridge.formats.pickle_trace import trace

GETATTR = b"cbuiltins\ngetattr\n"
FOUND = GETATTR + b"(cx\nC\nVread\ntR"


def rows(data, kind):
    return [
        (event.opcode, f"{event.module}.{event.name}", event.args)
        for event in trace(data).events
        if event.kind == kind
    ]


def ids(data, **budgets):
    return [event.args for event in trace(data, **budgets).events if event.kind == "persistent"]


def texts(data):
    return [tuple(arg.text for arg in args) for args in ids(data)]


def row(*items):
    return b"(" + b"".join(items) + b"tQ0"


# Persistent ids.


def test_ids_that_differ_anywhere_are_told_apart():
    a, b, one, two = b"Va\n", b"Vb\n", b"K\x01", b"K\x02"
    spelled = [(a, a, a, a, one), (b, a, a, a, one), (a, b, a, a, one), (a, a, b, a, one), (a, a, a, b, one), (a, a, a, a, two)]  # fmt: skip
    data = b"".join(row(*items) for items in spelled + spelled) + b"N."
    assert texts(data) == [
        ("a", "a", "a", "a", "1"), ("b", "a", "a", "a", "1"), ("a", "b", "a", "a", "1"),
        ("a", "a", "b", "a", "1"), ("a", "a", "a", "b", "1"), ("a", "a", "a", "a", "2"),
    ]  # fmt: skip


def test_one_key_in_two_encodings_is_one_key():
    short, long, line = b"\x8c\x02\xc3\xa9", b"X\x02\0\0\0\xc3\xa9", b"V\\u00e9\n"
    data = b"".join(row(b"N", b"N", key, b"N", b"K\x01") for key in (short, long, line)) + b"N."
    assert texts(data) == [("", "", "é", "", "1")]


def test_half_a_surrogate_pair_is_a_key():
    data = row(b"N", b"N", b"X\x03\0\0\0\xed\xa0\x80", b"N", b"N") + row(b"N", b"\x93", b"N") + b"N."
    assert len(ids(data)) == 1
    named = b"X\x03\0\0\0\xed\xa0\x80X\x01\0\0\0a\x93"
    assert len(ids(row(named, b"N", b"N") * 2 + b"N.")) == 1


def test_ids_stand_among_the_other_events_where_they_happen():
    data = b"ca\nb\n0" + row(b"N", b"N", b"Va\n") + row(b"N", b"N", b"Vb\n") + b"cc\nd\n0" + row(b"N", b"N", b"Vc\n") + b"N."  # fmt: skip
    told = trace(data).events
    assert [event.kind for event in told] == ["global", "persistent", "persistent", "global", "persistent"]
    assert [event.pos for event in told] == sorted(event.pos for event in told)
    assert all(data[event.pos : event.pos + 1] == b"Q" for event in told if event.kind == "persistent")


def test_ids_count_against_the_budget_of_events():
    data = b"".join(row(b"N", b"N", b"V%d\n" % number) for number in range(50)) + b"N."
    one = trace(data, max_events=20)
    assert one.spent
    assert len(one.events) == 21
    assert not trace(data, max_events=50).spent


def test_what_is_shared_by_two_ids_is_not_changed_by_the_second():
    a, b = b"Va\n", b"Vb\n"
    data = row(a, b"ca\nb\n", a, a, b"K\x01") + row(b, b"cc\nd\n", b, b, b"K\x02") + row(a, b"ca\nb\n", b, a, b"K\x03") + b"N."  # fmt: skip
    assert texts(data) == [("a", "a.b", "a", "a", "1"), ("b", "c.d", "b", "b", "2"), ("a", "a.b", "b", "a", "3")]  # fmt: skip


def test_the_events_of_a_trace_are_the_same_each_time():
    one = trace(row(b"N", b"N", b"Va\n") + b"cos\nsystem\n.")
    assert one.events is one.events
    assert one == trace(row(b"N", b"N", b"Va\n") + b"cos\nsystem\n.")
    assert one != trace(row(b"N", b"N", b"Vb\n") + b"cos\nsystem\n.")


# getattr of a named global.


def test_an_attribute_written_out_has_a_name_of_its_own():
    data = FOUND + b"(Va\ntR."
    (_, _, (_, attribute)) = rows(data, "call")[0]
    assert attribute.text == "read"
    assert [(opcode, name) for opcode, name, _ in rows(data, "global")] == [
        ("GLOBAL", "builtins.getattr"), ("GLOBAL", "x.C"), ("GETATTR", "x.C.read"),
    ]  # fmt: skip
    assert rows(data, "call")[1][:2] == ("REDUCE", "x.C.read")
    assert not trace(data).anomalies


@pytest.mark.parametrize("protocol", range(6))
def test_a_time_with_a_zone_calls_what_zoneinfo_says(protocol):
    value = dt.datetime(2024, 5, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    one = trace(pickle.dumps([value, value.replace(year=2025)], protocol))
    assert one.whole
    (called,) = [event for event in one.events if event.kind == "call" and "_unpickle" in event.name]
    assert (called.module, called.name) == ("zoneinfo", "ZoneInfo._unpickle")
    assert (called.args[0].kind, called.args[0].text) == ("str", "Europe/Berlin")


@pytest.mark.parametrize(
    "lookup",
    [
        b"(cx\nC\nV__init__\ntR",
        b"(cx\nC\nV__mangled\ntR",
        b"(cx\nC\nVa.b\ntR",
        b"(cx\nC\nV\ntR",
        b"(cx\nC\nV1a\ntR",
        b"(cx\nC.D\nVread\ntR",
        b"(cx\nC\nVread\nNtR",
        b"(cx\nC\n)RVread\ntR",
        b"(Vx\nVread\ntR",
        b"(" + FOUND + b"Vread\ntR",
        b"(cx\nC\n(Vread\nltR",
        b"(cx\nC\nVread\ntp0\n0N0g0\nR",
        b"(cx\nC\nVread\nt\x81",
        b"(cx\nC\ncx\nname\ntR",
    ],
)
def test_what_getattr_finds_otherwise_cannot_be_called(lookup):
    data = GETATTR + lookup + b"(Va\ntR."
    if b"p0" in lookup:  # the tuple was kept, and is still the one that was made last
        assert "computed-call" not in {odd.code for odd in trace(data).anomalies}
        return
    assert "computed-call" in {odd.code for odd in trace(data).anomalies}


def test_what_getattr_finds_is_a_callee_and_nothing_else():
    for use in (b")\x81", b")}\x92"):
        assert "computed-call" in {odd.code for odd in trace(FOUND + use + b".").anomalies}
    assert "computed-call" in {odd.code for odd in trace(b"(" + FOUND + b"o.").anomalies}
    assert "global-changed" in {odd.code for odd in trace(FOUND + b"}b.").anomalies}
    assert "global-changed" in {odd.code for odd in trace(FOUND + b"Na.").anomalies}


def test_an_attribute_is_another_thing_than_a_dotted_name():
    data = b"cx\nC.read\n0" + FOUND + b"."
    assert ("GLOBAL", "x.C.read", None) in rows(data, "global")
    assert ("GETATTR", "x.C.read", None) in rows(data, "global")


# Objects made of a dict.


class Table(dict):
    """A dict with attributes."""

    def __reduce__(self):
        return object.__reduce__(self)


def test_an_object_made_of_a_dict_is_a_call_of_its_class():
    value = Table(a=1)
    value.shape = (1, 2)
    assert value.__reduce__()[0] is copyreg._reconstructor
    for protocol in range(6):
        made = [one for one in rows(pickle.dumps(value, protocol), "call") if one[0] == "RECONSTRUCT"]
        assert [(name, [arg.kind for arg in args]) for _, name, args in made] == [
            (f"{__name__}.Table", ["dict"])
        ]
        assert rows(pickle.dumps(value, protocol), "build")[0][1] == f"{__name__}.Table"


@pytest.mark.parametrize(
    "operands",
    [
        b"cx\nD\n}",
        b"c__builtin__\nlist\n]",
        b"c__builtin__\ndict\n]",
        b"c__builtin__\ndict\nN",
        b"c__builtin__\nobject\n}",
        b"c__builtin__\ndict\ncx\nD\n)R",
        b"c__builtin__\ndict\n}N",
    ],
)
def test_other_bases_and_states_make_nothing_of_a_name(operands):
    data = b"ccopyreg\n_reconstructor\n(cx\nC\n" + operands + b"tR}b."
    assert [one for one in rows(data, "call") if one[0] == "RECONSTRUCT"] == []
    assert rows(data, "build")[-1][1] == "copyreg._reconstructor"


def test_keys_of_the_dict_are_held_by_what_is_made_of_it():
    state = b"}(cx\nKey\n)RK\x01u"
    data = b"}(ccopyreg\n_reconstructor\n(cx\nC\nc__builtin__\ndict\n" + state + b"tRK\x01u."
    assert {name for _, name, _ in rows(data, "key")} == {"x.Key", "x.C"}
