"""Views are held against their storages: a tensor that reaches outside of its own is told."""

import struct

import pytest

from weighbridge.core.errors import OutOfBudget, Unreadable
from weighbridge.formats.pickle_graph import GraphLimits
from weighbridge.formats.torch_views import view_outside


def number(value):
    return b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(
    numel=24, first=0, shape=(2, 3, 4), stride=(12, 4, 1), function="_rebuild_tensor_v2", rest=b"\x89N"
):
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + number(numel)
        + b"tQ"
    )
    view = number(first) + numbers(shape) + numbers(stride)
    return b"\x80\x02ctorch._utils\n" + function.encode() + b"\n(" + storage + view + rest + b"tR."


@pytest.mark.parametrize(
    "changes",
    [{}, {"numel": 30, "first": 6}, {"shape": (0, 3), "stride": (3, 1), "numel": 0}, {"shape": (), "stride": (), "numel": 1},
     {"shape": (5,), "stride": (0,), "numel": 1}, {"function": "_rebuild_tensor", "rest": b""}],
)  # fmt: skip
def test_views_inside_their_storage_pass(changes):
    assert view_outside(tensor(**changes)) == ""


@pytest.mark.parametrize(
    "changes",
    [{"numel": 23}, {"first": 1}, {"first": -1}, {"stride": (12, 4, -1)}, {"shape": (2, -3, 4)}, {"stride": (12, 4)},
     {"shape": (2**31 - 1,) * 3, "stride": (0, 0, 0)}, {"function": "_rebuild_tensor", "rest": b"", "numel": 1}],
)  # fmt: skip
def test_views_outside_of_their_storage_are_told(changes):
    assert "storage" in view_outside(tensor(**changes))


def test_what_cannot_be_followed_is_unreadable():
    for data in (b"", b"\x80\x02(icollections\nCounter\n.", b"\x80\x02}}b."):
        with pytest.raises(Unreadable):
            view_outside(data)
    with pytest.raises(OutOfBudget):
        view_outside(b"\x80\x02" + b"]0" * 100 + b"N.", limits=GraphLimits(max_opcodes=50))


def test_other_names_stay_labels():
    assert view_outside(b"\x80\x02cmy\nModel\n)\x81}X\x01\x00\x00\x00aK\x01sb.") == ""
