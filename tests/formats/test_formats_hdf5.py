"""HDF5: honest files are walked to their last byte, each lie of the structure is refused, nothing leads out."""

import io
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.hdf5 import read_hdf5

sys.path.insert(0, str(Path(__file__).parent.parent / "fuzz"))
from seeds_hdf5 import NOWHERE, Forge, attribute, external, message, newest, seeds, weights


def read(data):
    return read_hdf5(io.BytesIO(data), len(data))


def codes(data):
    return [anomaly.code for anomaly in read(data).anomalies]


@pytest.mark.parametrize("data", [weights(), weights(config={"a": 1}), newest()])
def test_every_byte_of_an_honest_file_belongs_to_something(data):
    tree = read(data)
    assert tree.anomalies == []
    assert tree.datasets == 1
    assert all(not data[start:stop].strip(b"\0") for start, stop in tree.holes())


def test_texts_are_read_where_they_stand_and_from_the_heap():
    tree = read(weights(config={"a": 1}))
    texts = {(path, one.name): one.texts for path, one in tree.attributes}
    assert texts["/", "keras_version"] == (b"2.15.0",)
    assert texts["/", "model_config"] == (b'{"a": 1}',)
    assert texts["/dense", "weight_names"] == (b"kernel",)


def root(*messages, children=None):
    forge = Forge()
    return forge.finish(forge.group(children or {}, *messages))


def link_message(kind, value):
    return message(6, struct.pack("<BBBB", 1, 8, kind, 1) + b"x" + struct.pack("<H", len(value)) + value)


def test_what_leads_elsewhere_is_named():
    assert codes(weights(external())) == ["external-storage"]
    assert codes(root(children={"a": "/b"})) == ["soft-link"]
    assert codes(root(link_message(64, b"\0other.h5\0/x\0"))) == ["external-link"]
    assert codes(root(link_message(70, b"abc"))) == ["user-link"]
    assert codes(root(message(0x14, bytes(16)))) == ["driver"]
    assert codes(root(message(8, struct.pack("<BBQI", 4, 3, 0, 0)))) == ["virtual"]
    assert codes(root(message(0xB, struct.pack("<BB6xHHHH", 1, 1, 32015, 0, 0, 0)))) == ["filter"]
    assert codes(root(message(0xB, struct.pack("<BB6xHHHH", 1, 1, 32000, 0, 0, 0)))) == []
    assert codes(root(message(0x77, bytes(8)))) == ["message"]


def test_what_stands_before_and_after_is_named():
    good = weights()
    assert codes(good + b"x") == ["trailing"]
    assert codes(bytes(512) + good) == ["user-block"]
    assert codes(good[:-8] + good[-8:] * 2)[0] == "trailing"


def loop():
    forge = Forge()
    place = len(forge.data)
    body = message(0x10, struct.pack("<QQ", place + 16, 24))
    return forge.finish(forge.header(body))


def tree_loop():
    forge = Forge()
    heap, _ = forge.heap(["a"])
    place = len(forge.data) + -len(forge.data) % 8
    node = b"TREE\0\1" + struct.pack("<H", 1) + NOWHERE * 2 + struct.pack("<QQQ", 0, place, 0)
    assert forge.put(node.ljust(544, b"\0")) == place
    return forge.finish(forge.header(message(0x11, struct.pack("<QQ", place, heap))))


def far(kind, body):
    return root(message(kind, body))


@pytest.mark.parametrize(
    "data",
    [
        loop(),
        tree_loop(),
        weights()[:-40],
        weights()[:50],
        far(8, struct.pack("<BBQQ", 3, 1, 96, 1 << 40)),
        far(8, struct.pack("<BBQQ", 3, 1, 1 << 63, 8)),
        far(8, struct.pack("<BBQQ", 9, 1, 96, 8)),
        far(0x11, struct.pack("<QQ", 0, 0)),
        far(0xC, struct.pack("<BBHHH", 1, 0, 60000, 8, 8)),
        far(6, b"\7\0"),
        b"\x89HDF\r\n\x1a\n\x63" + bytes(200),
        b"no signature" * 100,
    ],
)
def test_a_structure_that_lies_is_refused(data):
    with pytest.raises(Unreadable) as caught:
        read(data).holes()
    assert caught.value.check.startswith("hdf5.")


def test_data_that_lies_upon_structure_is_refused():
    data = far(8, struct.pack("<BBQQ", 3, 1, 0, 90))
    with pytest.raises(Unreadable, match="damaged"):
        read(data).holes()


def test_forms_that_are_not_covered_are_said_to_be():
    dense = struct.pack("<BB", 0, 0) + bytes(16)
    for data in (far(2, dense), far(0x15, dense), far(8, struct.pack("<BBB", 4, 2, 0))):
        with pytest.raises(Unreadable) as caught:
            read(data)
        assert caught.value.check == "hdf5.uncovered"


def test_one_object_with_many_names_is_read_once_and_many_objects_end():
    forge = Forge()
    one = forge.dataset(bytes(16))
    tree = read(forge.finish(forge.group({f"n{i}": one for i in range(8)})))
    assert tree.datasets == 1


def test_a_node_that_holds_more_than_it_has_room_for_is_refused():
    forge = Forge()
    one = forge.dataset(bytes(16))
    with pytest.raises(Unreadable):
        read(forge.finish(forge.group({f"n{i}": one for i in range(9)})))


@given(
    st.sampled_from(seeds()[:5]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8),
)
def test_whatever_is_changed_the_reader_answers_or_refuses(data, changes):
    changed = bytearray(data)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    try:
        read(bytes(changed)).holes()
    except (Unreadable, OutOfBudget) as error:
        assert error.check.startswith("hdf5.")  # noqa: PT017  both outcomes are right


def test_an_attribute_of_numbers_has_no_text():
    name = b"n\0"
    body = (
        struct.pack("<BBHHH", 1, 0, 2, 8, 8) + name.ljust(8, b"\0") + struct.pack("<B3sI", 0x10, b"\0\0\0", 4)
    )
    tree = read(root(message(0xC, body + struct.pack("<BBBB4x", 1, 0, 0, 0) + bytes(8))))
    assert [(one.name, one.texts) for _, one in tree.attributes] == [("n", ())]
    assert read(root(attribute("a", b"x\0\0\0"))).attributes[0][1].texts == (b"x",)
