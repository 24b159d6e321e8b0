"""The symbolic machine: every name and call is an event, nothing hides one, and what no pickler writes is told."""

import argparse
import collections
import datetime as dt
import io
import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pickle_builds import both_builds  # noqa: F401  each test runs on both

from weighbridge.formats.pickle_trace import trace

CALL = b"cos\nsystem\n(S'true'\ntR"


def events(data, kind=None):
    return [
        (event.kind, event.opcode, f"{event.module}.{event.name}")
        for event in trace(data).events
        if kind in (None, event.kind)
    ]


def codes(data):
    return [anomaly.code for anomaly in trace(data).anomalies]


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (CALL + b".", "REDUCE"),
        (CALL + b"0N.", "REDUCE"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "REDUCE"),
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no0N.", "OBJ"),
        (b"cos\nsystem\nS'true'\n\x85\x81.", "NEWOBJ"),
        (b"cos\nsystem\nS'true'\n\x85}\x92.", "NEWOBJ_EX"),
        (b"\x80\x02U\x02osU\x06system\x93U\x04true\x85R.", "REDUCE"),
        (b"Vo\\u0073\nVsyste\\u006d\n\x93S'tr\\x75e'\n\x85R.", "REDUCE"),
        (
            b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94000h\x00h\x01\x93N\x85R.".replace(b"000", b"00"),
            "REDUCE",
        ),
    ],
)
def test_every_way_to_call_is_an_event(data, opcode):
    assert ("call", opcode, "os.system") in events(data)
    assert trace(data).broken == ""


def test_the_arguments_of_a_call_are_told():
    (call,) = [event for event in trace(CALL + b".").events if event.kind == "call"]
    assert call.args is not None
    assert [(arg.kind, arg.text) for arg in call.args] == [("str", "true")]
    assert (call.pos, call.name_pos, call.name_opcode) == (len(CALL) - 1, 0, "GLOBAL")


def test_two_calls_that_differ_in_a_short_text_are_two_events():
    data = b"(" + CALL + CALL.replace(b"true", b"false") + CALL + b"t."
    assert len(events(data, "call")) == 2


def test_a_call_before_the_stream_breaks_is_told():
    one = trace(CALL + b"\xff")
    assert one.broken
    assert ("call", "REDUCE", "os.system") in events(CALL + b"\xff")


def test_arguments_that_are_not_spelled_out_are_unknown():
    data = b"\x80\x02)q\x00U\x01a\x85q\x01cos\nsystem\nh\x01R."
    assert [event.args for event in trace(data).events if event.kind == "call"] != [()]
    data = b"\x80\x02U\x01a\x85q\x01U\x01b\x85q\x02cos\nsystem\nh\x01R."
    assert [event.args for event in trace(data).events if event.kind == "call"] == [None]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"N\x8c\x06system\x93.", "computed-name"),
        (b"cos\nsystem\n\x8c\x06system\x93.", "computed-name"),
        (b"C\x02os\x8c\x06system\x93.", "computed-name"),
        (b"U\x02\xff\xfe\x8c\x06system\x93.", "computed-name"),
        (CALL + b")R.", "computed-call"),
        (b"\x8c\x02os)R.", "computed-call"),
        (b"\x82\x01.", "extension"),
        (b"\x84\x01\x00\x00\x00)R.", "extension"),
        (b"cos\npath\n}b.", "global-changed"),
        (b"cos\nenviron\nS'a'\nS'b'\ns.", "global-changed"),
        (b"cos\npath\nNa.", "global-changed"),
        (b"Nq\x00}b.", "target"),
        (b"N(Ne.", "target"),
        (b"]2a.", "dup"),
        (b"NN.", "leftover"),
        (b"N\x80\x02.", "proto"),
        (b"\x97.", "buffer"),
        (b"cx\ny\n)\x81}S'__class__'\nNsb.", "special-state"),
        (b"cx\ny\n)\x81}(S'__class__'\nNub.", "special-state"),
        (b"cx\ny\n)\x81(S'__class__'\nNdb.", "special-state"),
        (b"cx\ny\n)\x81N}S'__class__'\nNs\x86b.", "special-state"),
        (b"cx\ny\n)\x81}V\\u005f_class__\nNsb.", "special-state"),
        (b"\x80\x02]q\x00" + b"h\x00a" * 40 + b".", "expansion"),
        (b"\x80\x02]q\x00" + b"".join(b"](" + (b"h%c" % n) * 9 + b"eq%c" % (n + 1) for n in range(30)) + b"." , "expansion"),
        (b"\x80\x02K\x01\x85q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)) + b".", "expansion"),
    ],
)  # fmt: skip
def test_what_no_pickler_writes_is_an_anomaly(data, code):
    assert code in codes(data)


@pytest.mark.parametrize(
    "data",
    [
        b".", b"0.", b"(.", b"R.", b"NR.", b")R", b"b.", b"Nb.", b"a.", b"Na.", b"s.", b"NNs.", b"(u.", b"}(Nu.",
        b"t.", b"l.", b"o.", b"(o.", b"1.", b"2.", b"\x85.", b"N\x86.", b"q\x00.", b"h\x00.", b"g5\n.", b"\x94.",
        b"(\x85.", b"N(\x85.", b"N(R.", b"N(.", b"]N(a.", b"(Nd.", b"Q.", b"\x81.", b"\x92.", b"\x93.", b"\x98.",
    ],
)  # fmt: skip
def test_stack_memo_and_marks_are_kept_like_python_keeps_them(data):
    """Each of these ends in an error in CPython's unpickler (Modules/_pickle.c), so it must end in one here."""
    assert trace(data).broken


@pytest.mark.parametrize("protocol", range(6))
def test_what_picklers_write_is_whole(protocol):
    loop: list[object] = [1]
    loop.append(loop)
    tree = {"children": []}
    tree["children"] = [{"parent": tree, "name": f"n{number}"} for number in range(3000)]
    values = [
        loop, tree, {"shared": [loop, loop]}, collections.OrderedDict(a=1), collections.defaultdict(list),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC), {1, 2}, range(3), "x" * 70000, [b"y" * 70000, 1, 2],
        ["k" * 65535, "q" * 65531, b"q" * 65532], [["ab" * 1000] for _ in range(300)], list(range(100000)),
    ]  # fmt: skip
    for value in values:
        written = io.BytesIO()
        pickle._Pickler(written, protocol).dump(value)
        for data in (pickle.dumps(value, protocol), written.getvalue()):
            for form in (data, pickletools.optimize(data)):
                one = trace(form)
                assert one.whole, one.anomalies or one.broken
                assert one.end == len(form)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"\x8c\x05hello.",
        b"\x80\x04\x95" + struct.pack("<Q", 12) + b"N0\x95" + struct.pack("<Q", 2) + b"N.",
        b"\x80\x04\x95" + struct.pack("<Q", 5) + b"J\x01\x00\x00\x00.",
        b"\x80\x04N0\x95" + struct.pack("<Q", 2) + b"N.",
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.N",
    ],
)
def test_frames_stand_where_a_pickler_puts_them(data):
    assert "frame" in codes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"I0x10\ncos\nsystem\n.", "number"),
        (b"L1_0L\ncos\nsystem\n.", "number"),
        (b"F 1.5\ncos\nsystem\n.", "number"),
        (b"Np 0\n0g0_0\ncos\nsystem\n.", "number"),
        (b"I1\0x\ncos\nsystem\n.", "number"),
        (b"I" + b"9" * 5000 + b"\ncos\nsystem\n.", "number"),
        (b"c\nx\n0cos\nsystem\n.", "empty-name"),
        (b"cx\n\n0cos\nsystem\n.", "empty-name"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\xffcos\nsystem\n.", "frame"),
        (b"\x95" + struct.pack("<Q", 99) + b"cos\nsystem\n.", "frame"),
    ],
)
def test_where_one_unpickler_goes_on_the_machine_goes_on_with_an_anomaly(data, code):
    assert code in codes(data)
    assert ("global", "GLOBAL", "os.system") in events(data)


@pytest.mark.parametrize("data", [b"Ix\n.", b"Fx\n.", b"Lx\n.", b"Npx\n.", b"gx\n.", b"I\n.", b"F0x1\n."])
def test_where_no_unpickler_goes_on_the_stream_is_broken(data):
    assert trace(data).broken


@pytest.mark.parametrize("data", [b"cos\nsystemX", b"cos\nsystem\r", b"(ios\nsystemX", b"ios\nsystemX"])
def test_a_name_whose_line_does_not_end_is_told_as_the_unpickler_in_python_reads_it(data):
    assert trace(data).broken
    assert [(event.module, event.name) for event in trace(data).events if event.kind == "global"] == [
        ("os", "system")
    ]


def frame(body, length=None):
    return b"\x95" + struct.pack("<Q", len(body) if length is None else length) + body


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (frame(b"cos\nx") + b"abc\nsystem\n.", {"os.xabc", "os.abc"}),
        (frame(b"co") + b"s\nsystem\n.", {"os.system", "s.system"}),
        (frame(b"U\x02osU\x04e") + b"eva\x93.", {"os.eeva"}),
        (frame(b"U\x02osU\x04e") + b"eval\x93.", {"os.eval"}),
        (frame(b"N0" + frame(b"", 9) + b"N0") + b"cos\nsystem\n.", {"os.system"}),
    ],
)
def test_an_opcode_that_a_frame_cuts_is_read_in_each_way_that_a_loader_reads_it(data, names):
    found = {name for _, _, name in events(data, "global")}
    assert "frame" in codes(data)
    assert names <= found


def test_reading_again_ends_in_the_budget():
    data = b"".join(frame(b"cos\nx") + b"abc\n0" for _ in range(60)) + b"."
    assert trace(data).spent


def test_a_deep_stack_is_spent(monkeypatch):
    assert trace(b"N" * 4_200_000).spent


def test_budgets_are_said_and_not_silent():
    assert trace(b"N0" * 100 + b"N.", max_opcodes=50).spent
    names = b"".join(b"cm\nn%d\n0" % number for number in range(100)) + b"N."
    one = trace(names, max_events=10)
    assert one.spent
    assert len(one.events) == 11


def test_integers_of_any_length_are_no_matter():
    huge = (1 << 200_000).to_bytes(25_010, "little")
    data = b"cx\ny\n\x8b" + struct.pack("<i", len(huge)) + huge + b"\x85R."
    assert ("call", "REDUCE", "x.y") in events(data)


def test_memo_indices_may_leave_gaps():
    assert trace(b"\x80\x02Nr\xff\xff\xff\x7f0j\xff\xff\xff\x7f.").whole
    assert trace(b"(Np7\nNp0\nNp1\n\x94g7\ng3\nt.").whole


C = b"cx\nC\n)\x81"
D = b"cx\nD\n)\x81"


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (C + b"Na.", "APPEND"),
        (C + b"(NNe.", "APPENDS"),
        (C + b"NNs.", "SETITEM"),
        (C + b"(NNu.", "SETITEMS"),
        (C + b"(N\x90.", "ADDITEMS"),
        (C + b"q\x000h\x00Na.", "APPEND"),
    ],
)
def test_items_put_into_a_result_are_an_event(data, opcode):
    assert events(data, "items") == [("items", opcode, "x.C")]


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"}" + C + b"Ns.", "SETITEM"),
        (b"}(NN" + C + b"Nu.", "SETITEMS"),
        (b"(" + C + b"Nd.", "DICT"),
        (b"\x8f(N" + C + b"\x90.", "ADDITEMS"),
        (b"(N" + C + b"\x91.", "FROZENSET"),
        (b"}" + C + b"\x85Ns.", "SETITEM"),
        (b"}" + C + b"N\x86N\x86Ns.", "SETITEM"),
        (b"}(" + C + b"\x91Ns.", "FROZENSET"),
        (b"}" + C + b"q\x00h\x00\x85q\x010h\x01Ns.", "SETITEM"),
        (D + b"(" + C + b"Nu.", "SETITEMS"),
        (b"cbuiltins\nset\n](N" + C + b"e\x85R.", "REDUCE"),
        (b"c__builtin__\nfrozenset\n(" + C + b"t\x85R.", "REDUCE"),
        (b"cbuiltins\ndict\n](](" + C + b"Nee\x85R.", "REDUCE"),
        (b"ccollections\nOrderedDict\n](" + C + b"N\x86e\x85R.", "REDUCE"),
        (b"](](p0\nN" + C + b"ee0cbuiltins\nset\ng0\n\x85R.", None),
        (b"cbuiltins\nset\n]p0\n0]p1\ng0\na0g0\n" + C + b"a0g1\n\x85R.", "REDUCE"),
    ],
)
def test_a_result_that_is_hashed_is_an_event(data, opcode):
    found = [event for event in events(data, "key") if event[2] == "x.C"]
    assert found == ([("key", opcode, "x.C")] if opcode else [])


@pytest.mark.parametrize(
    "data",
    [
        b"}N" + C + b"s.",
        b"}(N" + C + b"u.",
        b"](" + C + b"e.",
        C + b"\x85.",
        b"(N" + C + b"d.",
        C + b"(N" + C + b"u.",
    ],
)
def test_a_result_that_is_only_held_is_not_hashed(data):
    assert events(data, "key") == []


@pytest.mark.parametrize(
    "data",
    [
        b"}cx\nD\n" + C + b"\x85\x81Ns.",
        b"}" + D + b"}N" + C + b"sbNs.",
        b"}" + D + b"p0\nNs0g0\n}N](" + C + b"esb.",
        b"}" + D + C + b"aNs.",
    ],
)
def test_what_a_hashed_result_holds_is_hashed_with_it(data):
    assert {name for _, _, name in events(data, "key")} == {"x.C", "x.D"}


def test_more_names_than_are_told_apart_are_all_hashed():
    held = b"".join(b"cx\nC%d\n)\x81" % number for number in range(100))
    data = b"(" + held + b"tp0\n0}g0\nNs."
    assert len(events(data, "key")) == 100


RECONSTRUCT = b"ccopy_reg\n_reconstructor\n(cx\nC\nc__builtin__\nobject\nNtR"


def test_what_copyreg_makes_of_a_class_is_a_call_of_the_class():
    data = RECONSTRUCT + b"}b."
    assert events(data, "call") == [
        ("call", "REDUCE", "copy_reg._reconstructor"),
        ("call", "RECONSTRUCT", "x.C"),
    ]
    (call,) = [event for event in trace(data).events if event.opcode == "RECONSTRUCT"]
    assert call.args == ()
    assert events(data, "build") == [("build", "BUILD", "x.C")]
    for protocol in (0, 1):
        written = pickle.dumps(argparse.Namespace(a=1), protocol)
        assert ("call", "RECONSTRUCT", "argparse.Namespace") in events(written)
        assert ("build", "BUILD", "argparse.Namespace") in events(written)


@pytest.mark.parametrize(
    "call",
    [
        RECONSTRUCT.replace(b"object", b"dict"),
        RECONSTRUCT.replace(b"__builtin__", b"builtins_"),
        RECONSTRUCT.replace(b"\nN", b"\n}"),
        RECONSTRUCT.replace(b"NtR", b"NNtR"),
        RECONSTRUCT.replace(b"cx\nC\n", b"N"),
        b"(" + RECONSTRUCT[1:-2].replace(b"(", b"", 1).join([b"c", b""]) + b"o",
    ],
)
def test_other_uses_of_the_reconstructor_make_nothing_of_the_class(call):
    assert [event for event in events(call + b"}b.") if event[1:] == ("RECONSTRUCT", "x.C")] == []
    assert events(call + b"}b.", "build") == [("build", "BUILD", "copy_reg._reconstructor")]


@pytest.mark.parametrize(
    ("name", "arguments", "opcode", "args"),
    [
        (b"__newobj__", b"(cx\nC\nK\x01t", "NEWOBJ", (("int", "1"),)),
        (b"__newobj_ex__", b"(cx\nC\n)}t", "NEWOBJ_EX", None),
    ],
)
def test_the_functions_of_copyreg_that_make_objects_are_calls_of_the_class(name, arguments, opcode, args):
    data = b"ccopyreg\n" + name + b"\n" + arguments + b"R}b."
    (call,) = [event for event in trace(data).events if (event.kind, event.name) == ("call", "C")]
    assert (call.opcode, call.args) == (opcode, args)
    assert events(data, "build") == [("build", "BUILD", "x.C")]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (b"N}\x86", "none dict"),
        (b"(NK\x01U\x01at", "none int str"),
        (b"N}\x86p0\n0]0g0\n", "none dict"),
        (b"(" + b"N" * 8 + b"t", " ".join(["none"] * 8)),
        (b"(" + b"N" * 9 + b"t", "…"),
        (b"K\x01K\x02\x86]\x86", "ints list"),
    ],
)
def test_the_kinds_of_what_a_tuple_holds_are_told(state, text):
    (build,) = [event for event in trace(C + state + b"b.").events if event.kind == "build"]
    assert [(arg.kind, arg.text) for arg in build.args] == [("tuple", text)]


def test_states_of_two_kinds_are_two_events():
    assert len(events(C + b"N}\x86b0" + C + b"]}\x86b0" + C + b"N}\x86b.", "build")) == 2


def test_many_texts_at_one_place_are_one_unknown_text():
    calls = b"".join(b"cx\ny\nU\x04%04dU\x01a\x86R0" % number for number in range(1000))
    found = [event for event in trace(calls + b"cx\ny\nU\x01zU\x01b\x86R.").events if event.kind == "call"]
    assert len(found) == 258
    assert [(arg.kind, arg.text) for arg in found[-1].args] == [("str", ""), ("str", "b")]


def test_special_names_that_come_late_are_seen():
    data = C + b"N}p0\n\x86p1\n0g0\nS'__class__'\nNs0g1\nb."
    assert "special-state" in codes(data)


OPCODES = st.sampled_from([op.code.encode("latin-1") for op in pickletools.opcodes])
PIECES = st.one_of(
    OPCODES,
    st.sampled_from(
        [b"cos\nsystem\n", b"K\x01", b"\x8c\x02os", b"U\x01a", b"]", b"}", b")", b"(", b"q\x00", b"h\x00"]
    ),
    st.binary(max_size=4),
)


@given(st.lists(PIECES, max_size=40))
def test_any_opcodes_are_traced_without_an_error(pieces):
    data = b"".join(pieces) + b"."
    one = trace(data)
    assert 0 <= one.end <= len(data)


KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none())
VALUES = st.recursive(
    st.one_of(KEYS, st.floats(), st.binary(max_size=5), st.dates(), st.complex_numbers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(KEYS, inner, max_size=5),
        st.tuples(inner),
        st.tuples(inner, inner),
    ),
    max_leaves=20,
)


@given(VALUES, st.integers(0, 5))
def test_any_value_is_whole_and_ends_where_its_pickle_ends(value, protocol):
    data = pickle.dumps([value, value], protocol)
    one = trace(data + b"N.")
    assert one.whole
    assert one.end == len(data)


@given(VALUES, st.integers(0, 5), st.integers(0, 2**16))
def test_a_pickle_that_is_cut_off_is_broken(value, protocol, cut):
    data = pickle.dumps(value, protocol)
    assert trace(data[: cut % len(data)]).broken
