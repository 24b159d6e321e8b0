"""Damaged and hostile weights are said to be unread, or refused: never a traceback, and never a silent pass."""

import json
import struct

import numpy as np
import pytest

import world_tensors as world
from weighbridge.source.local import open_folder
from weighbridge.tensors.compare import compare
from weighbridge.tensors.difference import State, differ
from weighbridge.tensors.fingerprint import Fingerprint, fingerprint, places
from weighbridge.tensors.kinship import Kin


def printed(path):
    with open_folder(path) as tree:
        return fingerprint(tree.files(), lambda file: file.open())


def header(rows, size=0, extra=b""):
    raw = json.dumps(rows).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(size) + extra


def row(dtype, shape, start, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


BROKEN = {
    "empty": b"",
    "cut header": struct.pack("<Q", 4000) + b"{",
    "overlap": header({"a": row("F32", [4], 0, 16), "b": row("F32", [4], 8, 24)}, 24),
    "hole": header({"a": row("F32", [4], 0, 16), "b": row("F32", [4], 20, 36)}, 36),
    "wrong dtype": header({"a": row("F33", [4], 0, 16)}, 16),
    "wrong size": header({"a": row("F32", [5], 0, 16)}, 16),
    "huge": header({"a": row("F32", [2**62, 2**62], 0, 16)}, 16),
    "truncated": header({"a": row("F32", [1000], 0, 4000)}, 100),
    "name": header({"a\tb": row("F32", [4], 0, 16)}, 16),
    "not json": struct.pack("<Q", 8) + b"{broken}",
    "alias": header({"__metadata__": {"weighbridge.aliases": '{"b":"c"}'}, "a": row("F32", [4], 0, 16)}, 16),
    "nothing known": b"\x01\x02\x03\x04 something else entirely",
    "gguf cut": b"GGUF" + struct.pack("<IQQ", 3, 5, 0),
    "gguf type": b"GGUF"
    + struct.pack("<IQQ", 3, 1, 0)
    + struct.pack("<Q", 1)
    + b"a"
    + struct.pack("<IQIQ", 1, 32, 99, 0)
    + bytes(64),
    "gguf big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "zip": b"PK\x03\x04" + bytes(100),
    "pickle": b"\x80\x04cos\nsystem\n.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_listed_as_unread(name, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(BROKEN[name])
    found = printed(tmp_path)
    assert found.prints == ()
    assert [item.path for item in found.unread] == ["model.safetensors"]
    assert found.unread[0].reason
    assert Fingerprint.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_one_broken_file_does_not_hide_the_others(tmp_path):
    world.safetensors(tmp_path / "good.safetensors", world.model())
    (tmp_path / "bad.safetensors").write_bytes(BROKEN["overlap"])
    found = printed(tmp_path)
    assert len(found.prints) == len(world.model())
    assert [item.check for item in found.unread] == ["safetensors.overlap"]


def test_a_missing_shard_gives_no_root(tmp_path):
    world.sharded(tmp_path, world.model())
    whole = printed(tmp_path)
    assert len(whole.roots) == 1
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    part = printed(tmp_path)
    assert part.roots == ()
    assert part.unread[0].reason == "2 of 3 shards could be read"


def test_a_tensor_that_stands_in_two_shards_is_refused(tmp_path):
    for number in (1, 2):
        world.safetensors(
            tmp_path / f"model-{number:05d}-of-00002.safetensors", {"w": np.ones(5, np.float32)}
        )
    assert {item.check for item in printed(tmp_path).unread} == {"tensors.shards"}


def test_odd_shapes_are_read(tmp_path):
    odd = {
        "scalar": np.array(1.5, np.float32),
        "none": np.zeros((0, 7), np.float32),
        "deep": np.float32(world.random("d").normal(size=(2,) * 12)),
        "long": np.float32(world.random("l").normal(size=(1, 5000))),
    }
    one = world.safetensors(tmp_path / "a" / "m.safetensors", odd | world.model())
    other = world.safetensors(tmp_path / "b" / "m.safetensors", odd | world.noise(world.model()))
    with world.opened(one) as first, world.opened(other) as second:
        found = differ(first, second, names=("a", "b"))
    states = {row.name: row.state for row in found.rows}
    assert {states[name] for name in odd} == {State.SAME}


@pytest.mark.parametrize(("dtype", "width"), [("F32", 4), ("F64", 8), ("F16", 2), ("BF16", 2)])
def test_every_pattern_of_bits_is_a_number_or_none_and_warns_of_nothing(dtype, width, tmp_path):
    bits = np.random.default_rng(5).integers(0, 256, 1024 * width, dtype=np.uint8).tobytes()
    norm, matrix = row(dtype, [512], 0, 512 * width), row(dtype, [16, 32], 512 * width, 1024 * width)
    data = header({"norm": norm, "matrix": matrix}) + bits
    (tmp_path / "model.safetensors").write_bytes(data)
    found = printed(tmp_path)
    assert len(found.groups[0].prints) == 2
    assert found == printed(tmp_path)


def test_the_same_name_with_another_type_is_not_mistaken(tmp_path):
    one, other = world.model(), world.model()
    other["embed.weight"] = np.arange(256 * 64, dtype=np.int64).reshape(256, 64)
    first = world.safetensors(tmp_path / "a" / "m.safetensors", one)
    second = world.safetensors(tmp_path / "b" / "m.safetensors", other)
    with world.opened(first) as a, world.opened(second) as b:
        found = differ(a, b, names=("a", "b"))
        assert compare(a, b).kin is Kin.SHARES_TENSORS
    assert next(row for row in found.rows if row.name == "embed.weight").measure.correlation < 0.1


def test_a_file_that_shrinks_while_it_is_read_is_said(tmp_path):
    first = world.safetensors(tmp_path / "a" / "m.safetensors", world.model())
    second = world.safetensors(tmp_path / "b" / "m.safetensors", world.noise(world.model()))
    with world.opened(first) as one, world.opened(second) as other:
        with second.open("r+b") as file:
            file.truncate(20_000)
        found = differ(one, other, names=("a", "b"), spectra=4)
    assert found.counts[State.UNCOMPARED] > 5
    assert all(row.why for row in found.rows if row.state is State.UNCOMPARED)


def test_very_many_small_tensors_are_compared_one_by_one(tmp_path):
    count = 4_000
    data = np.float32(world.random("many").normal(size=(count, 4)))
    rows = {f"t.{n}.w": row("F32", [4], 16 * n, 16 * n + 16) for n in range(count)}
    (tmp_path / "m.safetensors").write_bytes(header(rows) + data.tobytes())
    with world.opened(tmp_path) as one, world.opened(tmp_path) as other:
        found = differ(one, other, names=("a", "b"))
    assert found.counts == {State.SAME: count}


def test_prints_of_names_alike_never_share_a_root(tmp_path):
    one = world.safetensors(
        tmp_path / "a" / "m.safetensors", {"a": np.ones(4, np.float32), "b": np.zeros(4, np.float32)}
    )
    other = world.safetensors(
        tmp_path / "b" / "m.safetensors", {"b": np.ones(4, np.float32), "a": np.zeros(4, np.float32)}
    )
    assert printed(one).roots != printed(other).roots


@pytest.mark.parametrize("elements", [0, 1, 63, 255, 2047, 2048, 4096, 5000, 131_072, 10**6, 10**10])
def test_windows_lie_inside_and_on_whole_blocks(elements):
    found = places(elements)
    assert len(found) <= 8
    assert all(start >= 0 and start + length <= elements and length <= 16_384 for start, length in found)
    if elements % 256 == 0:
        assert all(start % 256 == 0 and length % 256 == 0 for start, length in found)


def test_too_many_files_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("weighbridge.tensors.reading.MAX_FILES", 3)
    for number in range(5):
        world.safetensors(tmp_path / f"{number}.safetensors", {"w": np.full(9, number, np.float32)})
    found = printed(tmp_path)
    assert len(found.groups) == 3
    assert [item.check for item in found.unread] == ["tensors.files"] * 2
