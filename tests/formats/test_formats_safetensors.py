"""The strict safetensors reader: each kind of lie has its own check id, and nothing is accepted that the library refuses."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from weighbridge.core.errors import Refused
from weighbridge.formats import safetensors as sf


def file_of(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def f32(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


def parse(data):
    return sf.parse_header(data, len(data))


RAW = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'

REFUSALS = [
    ("header", b""),
    ("header", b"\x01\x00\x00"),
    ("header", struct.pack("<Q", sf.MAX_HEADER + 1) + b"{}"),
    ("truncated", struct.pack("<Q", 2**40 % sf.MAX_HEADER) + b"{}"),
    ("header", file_of(b" {}")),
    ("header", file_of(b"\xef\xbb\xbf{}")),
    ("header", file_of(b"[]")),
    ("header", file_of(b"")),
    ("padding", file_of(b"{}\n")),
    ("padding", file_of(b"{}\0\0")),
    ("json", file_of(b"{} {}")),
    ("json", file_of(b'{"a\xff":1}')),
    ("json", file_of(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")),
    ("json", file_of(b'{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}')),
    ("json", file_of(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}')),
    ("json", file_of(b'{"a":{"dtype":"F32","shape":[1' + b"0" * 5000 + b'],"data_offsets":[0,0]}}')),
    ("json", file_of(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}')),
    ("json", file_of(b'{"__metadata__":{"a":"\\ud800"}}')),
    ("json", file_of(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8))),
    ("duplicate", file_of(RAW + b',"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8))),
    ("duplicate", file_of(b'{"\\u0061":1,' + RAW[1:] + b"}", bytes(8))),
    ("duplicate", file_of(b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}', bytes(8))),
    ("duplicate", file_of(b'{"__metadata__":{"x":"1","x":"2"}}')),
    ("metadata", file_of({"__metadata__": None})),
    ("metadata", file_of({"__metadata__": ["x"]})),
    ("metadata", file_of({"__metadata__": {"x": 1}})),
    ("metadata", file_of({"__metadata__": {"x": {"y": "z"}}})),
    ("entry", file_of({"a": f32(extra=1)}, bytes(8))),
    ("entry", file_of({"a": ["F32", [2], [0, 8]]}, bytes(8))),
    ("entry", file_of({"a": {"dtype": "F32", "shape": [2]}}, bytes(8))),
    ("name", file_of({"": f32()}, bytes(8))),
    ("name", file_of({"a\tb": f32()}, bytes(8))),
    ("dtype", file_of({"a": f32(dtype="F31")}, bytes(8))),
    ("dtype", file_of({"a": f32(dtype="f32")}, bytes(8))),
    ("dtype", file_of({"a": f32(dtype=None)}, bytes(8))),
    ("shape", file_of({"a": f32(shape=[2.0])}, bytes(8))),
    ("shape", file_of({"a": f32(shape=[True, 2])}, bytes(8))),
    ("shape", file_of({"a": f32(shape="2")}, bytes(8))),
    ("shape", file_of({"a": f32(shape=[2**62, 2**62, 0], data_offsets=[0, 0])})),
    ("shape", file_of({"a": f32(shape=[2**63], data_offsets=[0, 0])})),
    ("shape", file_of({"a": f32(shape=[2**60], data_offsets=[0, 2**62])})),
    ("shape", file_of({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, bytes(1))),
    ("offsets", file_of({"a": f32(data_offsets=[0])}, bytes(8))),
    ("offsets", file_of({"a": f32(data_offsets=[0, 8.0])}, bytes(8))),
    ("offsets", file_of({"a": f32(data_offsets=[False, 8])}, bytes(8))),
    ("offsets", file_of({"a": f32(data_offsets=[8, 0])}, bytes(8))),
    ("size", file_of({"a": f32(data_offsets=[0, 4])}, bytes(4))),
    ("overlap", file_of({"a": f32(), "b": f32(data_offsets=[4, 12])}, bytes(12))),
    ("overlap", file_of({"a": f32(), "b": f32()}, bytes(8))),
    ("overlap", file_of({"a": f32(shape=[0], data_offsets=[4, 4]), "b": f32()}, bytes(8))),
    ("hole", file_of({"a": f32(), "b": f32(data_offsets=[16, 24])}, bytes(24))),
    ("hole", file_of({"a": f32(data_offsets=[8, 16])}, bytes(16))),
    ("trailing", file_of({"a": f32()}, bytes(9))),
    ("trailing", file_of({}, b"x")),
    ("truncated", file_of({"a": f32()}, bytes(7))),
]


@pytest.mark.parametrize(("check", "data"), REFUSALS, ids=[f"{i}-{c}" for i, (c, _) in enumerate(REFUSALS)])
def test_each_lie_is_refused_by_name(check, data):
    with pytest.raises(Refused) as caught:
        parse(data)
    assert caught.value.check == f"safetensors.{check}"
    assert caught.value.remedy


def test_an_honest_file_is_read():
    data = file_of({"__metadata__": {"format": "pt"}, "b": f32(data_offsets=[8, 16]), "a": f32()}, bytes(16))
    header = parse(data)
    assert [t.name for t in header.tensors] == ["a", "b"]
    assert header.metadata == {"format": "pt"}
    assert header.parameters == 4
    assert header.data_start == len(data) - 16
    assert sf.parse_header(lambda at, n: data[at : at + n], len(data)) == header
    assert sf.parse_header(memoryview(data), len(data)) == header


def test_a_reader_that_gives_less_than_it_has_is_refused():
    data = file_of({"a": f32()}, bytes(8))
    with pytest.raises(Refused) as caught:
        sf.parse_header(lambda at, n: data[at : at + n][:20], len(data))
    assert caught.value.check == "safetensors.truncated"


@pytest.mark.parametrize("dtype", sorted(sf.DTYPE_BITS))
def test_every_dtype_we_know_the_library_knows_with_the_same_width(dtype):
    data = file_of(
        {"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, sf.DTYPE_BITS[dtype]]}},
        bytes(sf.DTYPE_BITS[dtype]),
    )
    assert parse(data).tensors[0].elements == 8
    assert len(deserialize(data)) == 1


def test_the_library_names_no_dtype_that_we_do_not_know():
    with pytest.raises(SafetensorError) as caught:
        deserialize(file_of({"a": f32(dtype="?")}, bytes(8)))
    named = set(
        str(caught.value).split("expected one of ")[1].split(" at line")[0].replace("`", "").split(", ")
    )
    assert named == set(sf.DTYPE_BITS)


names = st.text(max_size=6)
numbers = st.one_of(
    st.integers(0, 20), st.sampled_from([2**31, 2**62, 2**63 - 1, 2**63, 2**64, -1, True, 1.0])
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*sf.DTYPE_BITS, "F32", "F32", "X"]),
        "shape": st.lists(numbers, max_size=3),
        "data_offsets": st.tuples(numbers, numbers).map(list),
    }
)


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(names, entries, max_size=3),
    st.one_of(st.none(), st.dictionaries(names, st.one_of(names, st.integers()), max_size=2)),
    st.binary(max_size=40),
    st.sampled_from([b"", b" ", b"\n", b"\0"]),
    st.booleans(),
)
def test_what_we_accept_the_library_accepts(header, metadata, data, padding, ascii_only):
    if metadata is not None:
        header = {"__metadata__": metadata, **header}
    try:
        raw = json.dumps(header, ensure_ascii=ascii_only).encode() + padding
    except UnicodeEncodeError:
        return
    agree(file_of(raw, data))


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
rows = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable() and s != sf.METADATA),
    st.tuples(st.sampled_from([d for d, bits in sf.DTYPE_BITS.items() if bits >= 8]), shapes),
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(rows, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3), st.data())
def test_what_we_write_both_read_and_a_changed_byte_never_makes_us_more_tolerant(table, metadata, data):
    placed = sf.lay_out((name, dtype, shape) for name, (dtype, shape) in table.items())
    head = sf.write_header(placed, metadata)
    assert len(head) % 8 == 0
    assert head == sf.write_header(
        sorted(placed, key=lambda t: t.end), dict(reversed(list(metadata.items())))
    )
    whole = head + bytes(max((t.end for t in placed), default=0))
    header = parse(whole)
    assert header.metadata == metadata
    assert sorted(header.tensors, key=lambda t: t.name) == sorted(placed, key=lambda t: t.name)
    assert all(t.start % (sf.DTYPE_BITS[t.dtype] // 8) == 0 for t in placed)
    assert {n for n, _ in deserialize(whole)} == set(table)
    at = data.draw(st.integers(0, len(head) - 1))
    agree(whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :])


def agree(data):
    try:
        ours = parse(data)
    except Refused:
        return
    theirs = {name: (row["dtype"], tuple(row["shape"])) for name, row in deserialize(data)}
    assert {t.name for t in ours.tensors} == set(theirs)
    assert all(theirs[t.name][1] == t.shape for t in ours.tensors)


@given(st.binary(max_size=60))
def test_noise_ends_in_a_refusal_or_a_header_never_elsewhere(noise):
    agree(noise)
    agree(file_of(b"{" + noise + b"}"))


def test_tensor_digests_follow_the_written_recipe():
    import hashlib

    digest = sf.tensor_digest("F32", (2, 3), [b"abc", memoryview(b"def")])
    assert digest.hex == hashlib.sha256(b"F32:2,3\0abcdef").hexdigest()
    scalar = sf.tensor_digest("F32", (), [b"abcd"])
    rows = [("b", "F32", (2, 3), digest), ("a", "F32", (), scalar)]
    expected = f"weighbridge-tensor-set/v1\na\tF32\t\t{scalar.hex}\nb\tF32\t2,3\t{digest.hex}\n".encode()
    assert sf.tensor_set_root(rows).hex == hashlib.sha256(expected).hexdigest()
    assert sf.tensor_set_root(rows) == sf.tensor_set_root(reversed(rows))


def test_a_tensor_name_cannot_forge_a_row():
    digest = sf.tensor_digest("U8", (0,), [])
    for bad in ("a\tU8\t0\tx\nb", "a\nb", ""):
        with pytest.raises(Refused) as caught:
            sf.tensor_set_root([(bad, "U8", (0,), digest)])
        assert caught.value.check == "safetensors.name"
    with pytest.raises(Refused):
        sf.tensor_set_root([("a", "U8", (0,), digest), ("a", "U8", (0,), digest)])


def test_a_writer_cannot_write_what_the_reader_refuses():
    holes = [sf.TensorInfo("a", "U8", (1,), 0, 1), sf.TensorInfo("b", "U8", (1,), 2, 3)]
    with pytest.raises(Refused) as caught:
        sf.write_header(holes, {})
    assert caught.value.check == "safetensors.hole"
    with pytest.raises(Refused):
        sf.write_header([sf.TensorInfo(sf.METADATA, "U8", (1,), 0, 1)], {})
