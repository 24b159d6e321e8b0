"""Objects that numpy believes: each is given its state once, before anything uses it, as numpy itself writes it."""

import pickle
import struct
import subprocess
import sys

import pytest
from pickle_builds import both_builds  # noqa: F401  each test runs on both

from weighbridge.formats.pickle_trace import trace


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module, attribute):
    return text(module) + text(attribute) + b"\x93"


def number(value):
    return b"J" + struct.pack("<i", value)


def long(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def raw(value):
    return b"B" + struct.pack("<I", len(value)) + value


def row(*parts):
    return b"(" + b"".join(parts) + b"t"


def table(*parts):
    return b"}(" + b"".join(parts) + b"u"


def items(*parts):
    return b"](" + b"".join(parts) + b"e"


def put(index):
    return b"q" + bytes([index])


def get(index):
    return b"h" + bytes([index])


def made(code, copy=b"\x88"):
    """numpy.dtype(code), before it is given its state."""
    return name("numpy", "dtype") + row(text(code), b"\x89", copy) + b"R"


def state(order="|", sub=b"N", names=b"N", fields=b"N", size=-1, align=-1, flags=0, version=3, more=b""):
    return (
        row(number(version), text(order), sub, names, fields, number(size), number(align), number(flags), more) + b"b"
    )  # fmt: skip


def blank(shape=None, kind="ndarray"):
    made_of = row(name("numpy", kind), shape or row(number(0)), raw(b"b"))
    return name("numpy._core.multiarray", "_reconstruct") + made_of + b"R"


def filled(shape, dtype, content):
    return row(number(1), shape, dtype, b"\x89", content) + b"b"


def structure(*fields, size=8, flags=16, names=None):
    """The state of a type with fields: (name, type, offset)."""
    keys = [text(field) for field, _, _ in fields]
    rows = [
        part for key, (_, kind, at) in zip(keys, fields, strict=True) for part in (key, row(kind, number(at)))
    ]
    return state(names=row(*(names or keys)), fields=table(*rows), size=size, align=1, flags=flags)


def scalar(dtype, content):
    return name("numpy._core.multiarray", "scalar") + row(dtype, content) + b"R"


F8 = made("f8") + state("<")
O8 = made("O8") + state(flags=63)
VOID = made("V8")
ONE = row(number(1))
EIGHT = raw(b"A" * 8)
LATER = structure(("a", O8, 0), flags=27)
PLAIN = structure(("a", F8, 0))


def random_state(place, inner=True):
    key = blank() + filled(row(number(624)), made("u4") + state("<"), raw(bytes(2496)))
    held = table(text("key"), key, text("pos"), place) if inner else place
    rest = (text("has_gauss"), number(0), text("gauss"), b"G" + bytes(8))
    return table(text("bit_generator"), text("MT19937"), text("state"), held, *rest) + b"b"


MAKE_RANDOM = name("numpy.random", "__RandomState_ctor") + b")R"
USED_BY = {
    "an array": blank() + filled(ONE, get(0), EIGHT),
    "a number": scalar(get(0), EIGHT),
    "a tuple": get(0) + b"\x85",
    "a list": b"]" + get(0) + b"a",
    "a list, later": items(b"N", get(0)),
    "a dict": table(text("x"), get(0)),
    "a dict, as key": b"}" + get(0) + b"Ns",
    "a set": b"\x8f(" + get(0) + b"\x90",
    "an old list": b"(" + get(0) + b"l",
    "an old dict": b"(" + text("x") + get(0) + b"d",
    "another type": made("V8") + structure(("x", get(0), 0)),
    "a sub-array": made("V8") + state(sub=row(get(0), row(number(1))), size=8, align=1),
    "an object": b"(" + name("numpy._core.multiarray", "scalar") + get(0) + EIGHT + b"o",
    "an old object": b"(" + get(0) + EIGHT + b"inumpy._core.multiarray\nscalar\n",
    "a state": name("argparse", "Namespace") + b")R" + get(0) + b"b",
    "arguments": name("numpy.dtype", "type") + get(0) + b"\x85R",
}
HOSTILE = {
    **{f"used by {what}": VOID + put(0) + use + b"0" + get(0) + LATER for what, use in USED_BY.items()},
    "given twice": VOID + put(0) + PLAIN + get(0) + LATER,
    "not a copy": made("f8", b"\x89") + state(">"),
    "fields changed later": VOID
    + state(names=row(text("a")), fields=table(text("a"), row(F8, number(0))) + put(0), size=8, align=1, flags=16)
    + get(0) + text("a") + row(O8, number(0)) + b"s0",
    "fields known in part": b"}" + put(0) + text("evil") + row(O8, number(0)) + b"s0" + VOID
    + state(names=row(text("evil")), fields=get(0) + text("a") + row(F8, number(0)) + b"s", size=8, align=1, flags=16),
    "a number over an object": VOID + structure(("a", O8, 0), ("b", F8, 0), flags=27),
    "a number in an object": made("V16") + structure(("a", F8, 4), ("b", O8, 8), size=16, flags=27),
    "two objects": made("V12") + structure(("a", O8, 0), ("b", O8, 4), size=12, flags=27),
    "an object in the middle": made("V24")
    + structure(("a", made("V24") + state(size=24, align=1), 0), ("b", O8, 8), size=24, flags=27),
    "names of no field": VOID + structure(("a", F8, 0), names=[text("b")]),
    "names in a list": VOID + state(names=items(text("a")), fields=table(text("a"), row(F8, number(0))), size=8, align=1, flags=16),
    "no names": VOID + state(fields=table(text("a"), row(F8, number(0))), size=8, align=1, flags=16),
    "a shape with a truth in it": VOID + state(sub=row(F8, row(number(1 << 28), b"\x88")), size=8, align=8),
    "a shape that is a number made by a call": VOID
    + state(sub=row(F8, scalar(made("i8") + state("<"), raw(struct.pack("<q", 1 << 28)))), size=8, align=8),
    "a shape below zero": made("V0") + state(sub=row(F8, row(number(-1))), size=0, align=8),
    "a record of no size as field": VOID
    + structure(("a", name("numpy", "dtype") + row(name("numpy", "record"), b"\x89", b"\x88") + b"R", 9)),
    "compared without Python": VOID + structure(("a", F8, 0), flags=0),
    "objects that are not counted": VOID + structure(("a", O8, 0), flags=16),
    "objects that do not begin as nothing": VOID + structure(("a", O8, 0), flags=1 | 2 | 16),
    "a sub-array of objects without their flags": VOID + state(sub=row(O8, row(number(1))), size=8, align=8, flags=27),
    "a time without its unit": made("M8") + state("<"),
    "a time with half of its unit": made("m8") + state("<", version=4, more=row(b"N")),
    "notes that are no dict": made("f8") + state("<", version=4, more=number(5)),
}  # fmt: skip
ARRAYS = {
    "the state comes from elsewhere": row(number(1), row(number(1 << 20)), O8, b"\x89", b"]") + put(0) + b"0"
    + blank() + row(number(1), number(2)) + b"0" + get(0) + b"b",
    "the list is made by a call": blank() + filled(row(number(1 << 20)), O8, name("builtins", "list") + b")R"),
    "the list is too short": blank() + filled(row(number(3)), O8, items(b"N", b"N")),
    "the shape is too large": blank() + filled(row(long(1 << 32), long(1 << 32)), F8, raw(b"")),
    "the shape is below zero": blank() + filled(row(number(-1)), F8, raw(b"")),
    "the shape is made by a call": blank() + filled(name("torch", "Size") + row(row(number(1))) + b"R", F8, EIGHT),
    "the state has too few parts": blank() + row(row(number(1)), F8, EIGHT) + b"b",
    "the content is nothing": blank() + filled(ONE, F8, b"N"),
}  # fmt: skip
GENERATORS = {
    "a place behind the end": MAKE_RANDOM + random_state(number(625)),
    "a place before the begin": MAKE_RANDOM + random_state(number(-5)),
    "a place that is no number": MAKE_RANDOM + random_state(b"N"),
    "a place made by a call": MAKE_RANDOM + random_state(scalar(made("i8") + state("<"), EIGHT)),
    "a state that is no dict": MAKE_RANDOM + random_state(name("collections", "OrderedDict") + b")R", inner=False),
    "an old place": MAKE_RANDOM + row(text("MT19937"), EIGHT, number(700)) + b"b",
    "a buffer": name("numpy.random._pickle", "__bit_generator_ctor") + row(text("Philox")) + b"R"
    + table(text("buffer_pos"), number(-9)) + b"b",
    "a generator of another one": name("numpy.random._pickle", "__generator_ctor") + row(text("Philox")) + b"R"
    + row(table(text("buffer_pos"), number(5)), b"N") + b"b",
    "a key that is no text": MAKE_RANDOM + table(number(5), number(5)) + b"b",
}  # fmt: skip


def codes(stream):
    return {anomaly.code for anomaly in trace(b"\x80\x04" + stream + b".").anomalies} - {"leftover"}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE)
def test_a_type_that_would_turn_bytes_into_addresses_is_refused(stream):
    assert codes(stream) >= {"dtype-state"}


@pytest.mark.parametrize("stream", ARRAYS.values(), ids=ARRAYS)
def test_an_array_gets_as_much_as_its_shape_says(stream):
    assert codes(stream) >= {"array-items"}


@pytest.mark.parametrize("stream", GENERATORS.values(), ids=GENERATORS)
def test_a_generator_stands_inside_of_its_buffer(stream):
    assert codes(stream) == {"random-state"}


def test_an_array_gets_its_state_once_and_has_no_elements_before():
    again = blank() + put(0) + filled(ONE, F8, EIGHT) + b"0" + get(0) + filled(ONE, F8, EIGHT)
    assert codes(again) == {"array-state"}
    assert codes(blank(row(number(1000))) + filled(ONE, F8, EIGHT)) == {"array-made"}
    assert codes(blank(b")") + filled(ONE, F8, EIGHT)) == {"array-made"}
    masked = name("numpy.ma.core", "_mareconstruct") + row(
        name("numpy.ma.core", "MaskedArray"), name("numpy", "ndarray"), row(number(9)), raw(b"b")
    )
    assert codes(masked + b"R") == {"array-made"}


@pytest.mark.parametrize(
    "stream",
    [
        blank() + filled(ONE, VOID + PLAIN, EIGHT),
        blank() + filled(ONE, VOID + LATER, items(row(b"N"))),
        blank() + filled(ONE, VOID + put(0) + PLAIN, EIGHT) + b"0" + blank() + filled(ONE, get(0), EIGHT),
        VOID + put(0) + b"0" + get(0) + PLAIN,
        blank() + filled(ONE, made("f8", b"\x89"), EIGHT),
        made("V16") + structure(("a", F8, 0), ("b", made("i4") + state("<"), 4), size=16),
        made("V24") + structure(("a", F8, 0), ("b", O8, 8), ("c", F8, 16), size=24, flags=27),
        VOID + state(sub=row(F8, row(number(1))), size=8, align=8),
        VOID + state(sub=row(O8, row(number(1))), size=8, align=8, flags=63),
        made("V24")
        + structure(
            ("a", made("V24") + state(sub=row(O8, row(number(3))), size=24, align=8, flags=63), 0),
            size=24,
            flags=27,
        ),
        made("M8") + state("<", version=4, more=row(b"N", row(raw(b"ns"), number(1), number(1), number(1)))),
        name("numpy", "dtype") + row(name("numpy", "record"), b"\x89", b"\x88") + b"R" + PLAIN,
        MAKE_RANDOM + random_state(number(624)),
        MAKE_RANDOM + row(text("MT19937"), EIGHT, number(624), number(0), b"G" + bytes(8)) + b"b",
        blank() + put(0) + filled(ONE, O8, items(get(0))),
    ],
)
def test_what_numpy_writes_is_left_alone(stream):
    assert codes(stream) == set()


def test_many_arrays_inside_of_an_array_are_counted():
    inner = blank() + filled(row(number(0)), F8, raw(b""))
    one = trace(b"\x80\x04" + blank() + filled(row(number(5000)), O8, items(inner * 5000)) + b".")
    assert one.whole, one.anomalies


def test_what_numpy_pickles_passes():
    numpy = pytest.importorskip("numpy")
    kind = numpy.dtype([("a", "f8"), ("b", "O"), ("c", "U3"), ("d", "i4", (2, 3))])
    titled = numpy.dtype([(("long name", "a"), "f8"), ("b", "O")])
    over = numpy.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2], "itemsize": 8})
    itself = numpy.empty(1, object)
    itself[0] = [itself]
    values = [
        *(numpy.zeros(2, row) for row in (kind, titled, over, numpy.dtype([("x", "O", (2,))]), numpy.dtype([("u", "U2")]), numpy.dtype([("x", kind)]), "M8[D]", "S5", "V7", ">i4")),
        numpy.ma.array([1, 2], mask=[0, 1]), numpy.ma.array(["a", None], dtype=object), numpy.float64(2), itself,
        numpy.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), numpy.array(3.0), numpy.zeros((0, 4)),
        numpy.random.RandomState(1), numpy.random.default_rng(1), numpy.random.Generator(numpy.random.Philox(1)),
        *(getattr(numpy.random, row)(1) for row in ("MT19937", "PCG64", "Philox", "SFC64")),
    ]  # fmt: skip
    for protocol in range(6):
        for value in values:
            one = trace(pickle.dumps([value, value], protocol))
            assert one.whole, (value, protocol, one.anomalies)


def test_the_danger_is_real():
    """Elsewhere, in a process of its own: numpy takes what is refused here for addresses, and dies of it."""
    pytest.importorskip("numpy")
    kind = VOID + put(0) + b"0" + blank() + filled(ONE, get(0), EIGHT) + put(1) + get(0) + LATER + b"0" + b"."
    program = "import pickle, sys; pickle.loads(sys.stdin.buffer.read()).tolist()"
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"\x80\x04" + kind, capture_output=True, check=False
    )
    assert done.returncode < 0
    assert codes(kind[:-1]) >= {"dtype-state"}
