"""The raw arrays of joblib files are read past by exactly their length, and whatever makes the length a guess is refused."""

import struct

import pytest
from pickle_builds import both_builds  # noqa: F401  each test runs on both

from weighbridge.formats.pickle_trace import trace

WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"


def text(value):
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def dtype(code, endianness="<", size=-1, flags=0, version=3, more=b""):
    """What numpy pickles of a dtype: the call and its state."""
    state = (
        b"K%c" % version
        + text(endianness)
        + b"NNN"
        + b"J"
        + struct.pack("<i", size)
        + b"J\xff\xff\xff\xff"
        + b"K%c" % flags
        + more
    )
    return b"cnumpy\ndtype\n" + text(code) + b"\x89\x88\x87R(" + state + b"tb"


def wrapped(shape=b"K\x03\x85", kind=None, order="C", raw=b"", **keys):
    """A wrapper with its state, and behind it the bytes of the array."""
    rows = {
        "subclass": b"cnumpy\nndarray\n",
        "shape": shape,
        "order": text(order),
        "dtype": kind or dtype("f8"),
        "allow_mmap": b"\x88",
    } | keys
    state = b"}(" + b"".join(text(key) + value for key, value in rows.items() if value is not None) + b"u"
    return WRAPPER + state + b"b" + raw


def stream(*parts):
    return b"\x80\x02(" + b"".join(parts) + b"t."


def read(data):
    return trace(data, joblib=True)


@pytest.mark.parametrize(
    ("kind", "shape", "length", "told"),
    [
        (dtype("f8"), b"K\x03\x85", 24, "<f8"),
        (dtype("f8"), b")", 8, "<f8"),
        (dtype("i4", ">"), b"K\x02K\x03\x86", 24, ">i4"),
        (dtype("b1", "|"), b"K\x07\x85", 7, "|b1"),
        (dtype("U2", "<", 8), b"K\x03\x85", 24, "<U2"),
        (dtype("S5", "|", 5), b"K\x02\x85", 10, "|S5"),
        (dtype("V16", "|", 16, 0), b"K\x02\x85", 32, "|V16"),
        (dtype("M8", "<", -1, 0, 4, b"N(C\x01DK\x01K\x01K\x01t\x86"), b"K\x02\x85", 16, "<M8"),
        (dtype("f8"), b"K\x00\x85", 0, "<f8"),
        (dtype("f8"), b"K\x00\x8a\x09" + b"\xff" * 8 + b"\x00\x86", 0, "<f8"),
        (dtype("c16"), b"(K\x01K\x02K\x01K\x02K\x01t", 64, "<c16"),
    ],
)
def test_the_length_of_an_array_is_what_its_state_says(kind, shape, length, told):
    data = stream(wrapped(shape, kind, raw=b"." * length), b"K\x05")
    one = read(data)
    assert one.whole, one.broken
    (array,) = one.arrays
    assert (array.length, array.dtype, array.order) == (length, told, "C")
    assert data[array.offset : array.offset + length] == b"." * length
    assert not trace(data).arrays


@pytest.mark.parametrize("padding", [1, 7, 16])
def test_padding_is_counted(padding):
    raw = bytes((padding,)) + b"\xff" * padding + b"x" * 24
    one = read(stream(wrapped(raw=raw, numpy_array_alignment_bytes=b"K\x10")))
    assert one.whole
    assert one.arrays[0].length == 24
    assert read(stream(wrapped(raw=b"x" * 24, numpy_array_alignment_bytes=b"N"))).whole


@pytest.mark.parametrize(
    ("raw", "alignment"),
    [
        (b"\x11" + b"\xff" * 17 + b"x" * 24, b"K\x10"),
        (b"\x02\xff\x00" + b"x" * 24, b"K\x10"),
        (b"\x10\xff", b"K\x10"),
        (b"", b"K\x10"),
        (b"\x01\xff" + b"x" * 24, b"K\x00"),
        (b"\x01\xff" + b"x" * 24, b"M\x00\x01"),
        (b"\x01\xff" + b"x" * 24, b"U\x01a"),
    ],
)
def test_padding_that_joblib_does_not_write_is_refused(raw, alignment):
    data = b"\x80\x02(" + wrapped(raw=raw, numpy_array_alignment_bytes=alignment)
    assert read(data + (b"t." if len(raw) > 20 else b"")).broken


NESTED = b"\x80\x02]q\x00(cos\nsystem\nU\x04true\x85RK\x01e."


def test_objects_stand_in_a_pickle_of_their_own():
    kind = dtype("O8", "|", -1, 63)
    data = stream(wrapped(kind=kind, raw=NESTED, numpy_array_alignment_bytes=b"K\x10"), b"K\x01")
    one = read(data)
    assert one.whole, one.broken
    assert ("os", "system", "call") in {(event.module, event.name, event.kind) for event in one.events}
    assert data[one.arrays[0].offset :].startswith(NESTED)
    assert one.arrays[0].length == len(NESTED)
    assert not read(
        stream(wrapped(kind=dtype("V8", "|", 8, 27), raw=NESTED))
    ).whole  # objects without a field
    assert read(stream(wrapped(kind=kind, raw=NESTED[:-1]))).broken


def test_a_nested_pickle_has_a_memo_and_a_stack_of_its_own():
    kind = dtype("O8", "|", -1, 63)
    assert read(stream(b"Nq\x00", wrapped(kind=kind, raw=b"\x80\x02h\x00."))).broken
    assert read(stream(wrapped(kind=kind, raw=b"\x80\x02Nq\x05."), b"h\x05")).broken
    assert read(stream(wrapped(kind=kind, raw=b"\x80\x020."))).broken


def test_a_wrapper_in_a_nested_pickle_is_no_array():
    kind = dtype("O8", "|", -1, 63)
    inner = b"\x80\x02" + wrapped(raw=b"") + b"."
    one = read(stream(wrapped(kind=kind, raw=inner)))
    assert one.whole
    assert len(one.arrays) == 1


def test_a_dtype_may_come_from_the_memo():
    first = wrapped(kind=dtype("f4")[: -len(b"tb")] + b"tbq\x09", raw=b"x" * 12)
    one = read(stream(first, wrapped(kind=b"h\x09", raw=b"y" * 12)))
    assert one.whole
    assert [array.dtype for array in one.arrays] == ["<f4", "<f4"]


def test_arrays_stand_between_frames():
    head = b"\x80\x04"
    body = b"(" + wrapped(raw=b"")
    tail = b"K\x01t."
    data = head + b"\x95" + struct.pack("<Q", len(body)) + body + b"x" * 24
    assert read(data + tail).whole
    assert read(data + b"\x95" + struct.pack("<Q", len(tail) + 2) + b"N0" + tail).whole
    inside = head + b"\x95" + struct.pack("<Q", len(body) + 4) + body + b"x" * 24 + tail
    assert "middle of a frame" in read(inside).broken


@pytest.mark.parametrize(
    "part",
    [
        wrapped(raw=b"x" * 24, shape=None),
        wrapped(raw=b"x" * 24, dtype=None),
        wrapped(raw=b"x" * 24, order="K"),
        wrapped(raw=b"x" * 24, extra=b"N"),
        wrapped(raw=b"x" * 24, shape=b"N"),
        wrapped(raw=b"x" * 24, shape=b"K\x03N\x86"),
        wrapped(raw=b"x" * 24, shape=b"J\xff\xff\xff\xff\x85"),
        wrapped(raw=b"x" * 24, subclass=b"cos\nsystem\n"),
        wrapped(raw=b"x" * 24, subclass=b"N"),
        wrapped(raw=b"x" * 24, allow_mmap=b"N"),
        wrapped(raw=b"x" * 24, kind=b"N"),
        wrapped(raw=b"x" * 24, kind=dtype("f3")),
        wrapped(raw=b"x" * 24, kind=dtype("f8", flags=1)),
        wrapped(raw=b"x" * 24, kind=dtype("O8", "|", -1, 0)),
        wrapped(raw=b"x" * 24, kind=dtype("S5", "|", 6)),
        wrapped(raw=b"x" * 24, kind=dtype("f8", size=4)),
        wrapped(raw=b"x" * 24, kind=dtype("f8", "x")),
        wrapped(raw=b"x" * 24, kind=dtype("f8", version=2)),
        wrapped(raw=b"x" * 23, shape=b"M\xff\xff\x85"),
        wrapped(raw=b"x" * 24, shape=b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"),
        WRAPPER[:-2] + b"N\x85\x81}b",
        WRAPPER[:-1] + b"R}b",
        WRAPPER + b"q\x01" + wrapped()[len(WRAPPER) :] + b"x" * 24 + b"h\x01" + wrapped()[len(WRAPPER) :] + b"x" * 24,
        WRAPPER + b"}(" + text("order") + text("C") + text("order") + text("C") + b"ub",
    ],
)  # fmt: skip
def test_what_joblib_does_not_write_is_refused(part):
    one = read(stream(part))
    assert one.broken
    assert "not an opcode" not in one.broken


def test_state_that_was_forgotten_is_not_taken_for_all_of_it():
    hidden = b"}" + text("numpy_array_alignment_bytes") + b"K\x10sq\x07"
    whole = wrapped()[len(WRAPPER) :]
    later = b"h\x07" + whole[1:-1] + b"b"
    assert "how long" in read(stream(hidden, b"}NNs0" * 10000, WRAPPER, later, b"x" * 24)).broken


def test_the_budget_counts_the_nested_pickle_too():
    data = stream(wrapped(kind=dtype("O8", "|", -1, 63), raw=b"\x80\x02" + b"N0" * 500 + b"N."))
    assert trace(data, joblib=True, max_opcodes=300).spent
