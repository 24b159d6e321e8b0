"""Tiles on disk: names and bundles as C2SP tlog-tiles has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import RegistryUnusable
from weighbridge.ledger import merkle, tiles


@pytest.mark.parametrize(
    ("kind", "number", "width", "name"),
    [
        ("tile/0", 0, 256, "tile/0/000"),
        ("tile/0", 0, 5, "tile/0/000.p/5"),
        ("tile/2", 999, 256, "tile/2/999"),
        ("tile/entries", 1000, 256, "tile/entries/x001/000"),
        ("tile/0", 1234067, 256, "tile/0/x001/x234/067"),
        ("tile/0", 1234067, 255, "tile/0/x001/x234/067.p/255"),
    ],
)
def test_names_are_those_of_the_specification(kind, number, width, name):
    assert tiles.tile_name(kind, number, width) == name


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_entry_bundles_survive_the_road(bodies):
    data = tiles.encode_entries(bodies)
    assert tiles.decode_entries(data, len(bodies)) == bodies
    for damaged in (data + b"\0", data[:-1] if data else b"\0"):
        with pytest.raises(RegistryUnusable):
            tiles.decode_entries(damaged, len(bodies))
    with pytest.raises(RegistryUnusable):
        tiles.decode_entries(data, len(bodies) + 1)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=100)), max_size=5))
def test_promises_survive_the_road(rows):
    data = tiles.encode_promises(rows)
    assert tiles.decode_promises(data, len(rows)) == rows
    for damaged in (data + b"\0", data[:-1] if data else b"\0"):
        with pytest.raises(RegistryUnusable):
            tiles.decode_promises(damaged, len(rows))
    with pytest.raises(RegistryUnusable):
        tiles.decode_promises(data, len(rows) + 1)


def test_a_length_is_a_big_endian_u16():
    assert tiles.encode_entries([b"a" * 258]) == b"\x01\x02" + b"a" * 258


def test_widths_follow_from_the_size_alone(tmp_path):
    of = tiles.Tiles(tmp_path, 256 * 256 + 256 * 3 + 7)
    assert [of.width(0, n) for n in (0, 258, 259, 260)] == [256, 256, 7, 0]
    assert [of.width(1, n) for n in (0, 1, 2)] == [256, 3, 0]
    assert [of.width(2, n) for n in (0, 1)] == [1, 0]


def test_a_tile_of_the_wrong_length_is_damage(tmp_path):
    path = tmp_path / "tile/0/000.p/2"
    path.parent.mkdir(parents=True)
    for data in (b"", bytes(63), bytes(65), bytes(96)):
        path.write_bytes(data)
        with pytest.raises(RegistryUnusable):
            tiles.Tiles(tmp_path, 2).hashes(0, 0)


def test_the_root_over_a_part_of_a_tile():
    leaves = [merkle.leaf_hash(b"%d" % n) for n in range(8)]
    node = merkle.nodes_of(leaves)
    data = b"".join(leaves)
    assert tiles.perfect_root(data, 4, 4) == node(2, 1)
    assert tiles.perfect_root(data, 0, 8) == node(3, 0)
    assert tiles.perfect_root(data, 7, 1) == leaves[7]
