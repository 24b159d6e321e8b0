"""What was done to a model is told from its tensors, and two models that have nothing in common are never tied."""

import itertools

import numpy as np
import pytest

import world_tensors as world
from weighbridge.core.lineage import Relation
from weighbridge.tensors.compare import Model, compare
from weighbridge.tensors.fingerprint import Fingerprint
from weighbridge.tensors.kinship import RELATIONS, Direction, Kin, Strength


def kin(first, second):
    with world.opened(first) as one, world.opened(second) as other:
        return compare(one, other)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return world.safetensors(tmp_path_factory.mktemp("base") / "model.safetensors", world.model())


CASES = {
    "identical": (
        Kin.IDENTICAL,
        lambda d, a: world.safetensors(d / "other.safetensors", a, {"format": "np"}),
    ),
    "reshard": (Kin.RESHARD, world.sharded),
    "rename": (Kin.RENAME, lambda d, a: world.safetensors(d / "m.safetensors", world.renamed(a))),
    "bf16": (Kin.CAST, lambda d, a: world.safetensors(d / "m.safetensors", world.bf16(a))),
    "f16": (Kin.CAST, lambda d, a: world.safetensors(d / "m.safetensors", world.f16(a))),
    "renamed bf16": (
        Kin.CAST,
        lambda d, a: world.safetensors(d / "m.safetensors", world.renamed(world.bf16(a))),
    ),
    "adapter": (Kin.ADAPTER_MERGED, lambda d, a: world.safetensors(d / "m.safetensors", world.adapter(a))),
    "adapter bf16": (
        Kin.ADAPTER_MERGED,
        lambda d, a: world.safetensors(d / "m.safetensors", world.bf16(world.adapter(a))),
    ),
    "int8": (Kin.QUANTIZATION, lambda d, a: world.safetensors(d / "m.safetensors", world.int8(a))),
    "int8 in floats": (
        Kin.QUANTIZATION,
        lambda d, a: world.safetensors(d / "m.safetensors", world.simulated(a)),
    ),
    "Q8_0": (Kin.QUANTIZATION, lambda d, a: world.as_gguf(d / "m.gguf", a, world.q8_0, "Q8_0")),
    "Q4_0": (Kin.QUANTIZATION, lambda d, a: world.as_gguf(d / "m.gguf", a, world.q4_0, "Q4_0")),
    "adapter in Q4_0": (
        Kin.QUANTIZATION,
        lambda d, a: world.as_gguf(d / "m.gguf", world.adapter(a), world.q4_0, "Q4_0"),
    ),
    "pruned": (Kin.PRUNING, lambda d, a: world.safetensors(d / "m.safetensors", world.pruned(a))),
    "tuned": (Kin.FINE_TUNE, lambda d, a: world.safetensors(d / "m.safetensors", world.noise(a))),
    "tuned and renamed": (
        Kin.FINE_TUNE,
        lambda d, a: world.safetensors(d / "m.safetensors", world.renamed(world.noise(a, 0.05))),
    ),
    "far": (Kin.SHARES_TENSORS, lambda d, a: world.safetensors(d / "m.safetensors", world.noise(a, 1.0))),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_done_is_told(name, base, tmp_path):
    expected, make = CASES[name]
    make(tmp_path, world.model())
    found = kin(base, tmp_path)
    assert (found.kin, found.relation) == (expected, RELATIONS[expected]), found
    assert found.evidence
    assert found.strength is not Strength.NONE


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_from_either_side(name, base, tmp_path):
    expected, make = CASES[name]
    make(tmp_path, world.model())
    there, back = kin(base, tmp_path), kin(tmp_path, base)
    assert (there.kin, back.kin) == (expected, expected)
    turned = {Direction.FORWARD: Direction.BACKWARD, Direction.BACKWARD: Direction.FORWARD}
    assert back.direction is turned.get(there.direction, Direction.UNKNOWN)


@pytest.mark.parametrize("name", ["bf16", "f16", "int8", "Q8_0", "Q4_0", "pruned"])
def test_lost_information_shows_which_came_first(name, base, tmp_path):
    CASES[name][1](tmp_path, world.model())
    assert kin(base, tmp_path).direction is Direction.FORWARD


def test_a_cast_that_lost_nothing_shows_no_direction(tmp_path):
    narrow = world.bf16(world.model())
    one = world.safetensors(tmp_path / "a" / "m.safetensors", narrow)
    other = world.safetensors(tmp_path / "b" / "m.safetensors", world.wide(narrow))
    found = kin(one, other)
    assert (found.kin, found.direction) == (Kin.CAST, Direction.UNKNOWN)


def test_strangers_of_one_architecture_are_strangers_whatever_was_done_to_them(tmp_path):
    for seed in "abc":
        arrays = world.model(seed)
        world.safetensors(tmp_path / f"{seed}1" / "m.safetensors", arrays)
        world.as_gguf(tmp_path / f"{seed}2" / "m.gguf", arrays, world.q4_0, "Q4_0")
        world.safetensors(tmp_path / f"{seed}3" / "m.safetensors", world.bf16(arrays))
        world.safetensors(tmp_path / f"{seed}4" / "m.safetensors", world.int8(arrays))
    for one, other in itertools.combinations(sorted(tmp_path.iterdir()), 2):
        found = kin(one, other)
        assert found.kin.related == (one.name[0] == other.name[0]), (one.name, other.name, found)
        if not found.kin.related:
            assert found.kin is Kin.UNRELATED


def test_what_everybody_has_ties_nobody(tmp_path):
    common = {
        "ones": np.ones((64, 64), np.float32),
        "positions": np.arange(512, dtype=np.int64),
        "filters": np.maximum(
            0, 1 - np.abs(np.linspace(-30, 30, 80)[:, None] - np.linspace(-30, 30, 201))
        ).astype(np.float32),
        "window": np.hanning(400).astype(np.float32),
        "sines": np.sin(np.arange(128)[:, None] / 10000 ** (np.arange(64) / 64)).astype(np.float32),
    }
    for seed in "ab":
        world.safetensors(tmp_path / seed / "m.safetensors", world.model(seed) | common)
    with world.opened(tmp_path / "a") as model:
        reasons = {p.name: p.common for p in model.printed.prints if p.name in common}
    assert reasons == {
        "ones": "constant", "positions": "not weights", "filters": "nearly all zeros", "window": "formula", "sines": "formula",
    }  # fmt: skip
    assert kin(tmp_path / "a", tmp_path / "b").kin is Kin.UNRELATED


def test_a_part_taken_over_is_found(tmp_path):
    one, other = world.model("a"), world.model("b")
    taken = {name: one[name] for name in one if name.startswith("layers.1.")}
    first = world.safetensors(tmp_path / "a" / "m.safetensors", one)
    second = world.safetensors(tmp_path / "b" / "m.safetensors", other | taken)
    found = kin(first, second)
    assert (found.kin, found.strength) == (Kin.SHARES_TENSORS, Strength.EXACT)
    assert found.relation is Relation.SHARED_TENSORS
    assert 0.2 < found.exact < 0.5


def test_buffers_that_a_library_leaves_out_change_nothing(tmp_path):
    arrays = world.model()
    more = arrays | {"position_ids": np.arange(512, dtype=np.int64)}
    found = kin(
        world.safetensors(tmp_path / "a" / "m.safetensors", arrays),
        world.safetensors(tmp_path / "b" / "m.safetensors", more),
    )
    assert found.kin is Kin.IDENTICAL
    tiny = arrays | {"head": np.ones(3, np.float32)}
    changed = tiny | {"head": np.zeros(3, np.float32)}
    found = kin(
        world.safetensors(tmp_path / "c" / "m.safetensors", tiny),
        world.safetensors(tmp_path / "d" / "m.safetensors", changed),
    )
    assert found.kin is Kin.SHARES_TENSORS


def test_too_little_to_go_by_is_said(base, tmp_path):
    world.safetensors(tmp_path / "a" / "m.safetensors", {"w": np.ones((4, 4), np.float32)})
    found = kin(base, tmp_path / "a")
    assert (found.kin, found.strength) == (Kin.CANNOT_TELL, Strength.NONE)


def test_strangers_with_something_unread_cannot_be_told(base, tmp_path):
    world.safetensors(tmp_path / "m.safetensors", world.model("other"))
    (tmp_path / "more.onnx").write_bytes(b"\x08\x01")
    found = kin(base, tmp_path)
    assert found.kin is Kin.CANNOT_TELL
    assert "more.onnx" in found.evidence[0]


@pytest.mark.parametrize(("name", "expected"), [
    ("identical", Kin.IDENTICAL), ("bf16", Kin.CAST), ("Q4_0", Kin.QUANTIZATION), ("tuned", Kin.SHARES_TENSORS),
    ("adapter", Kin.SHARES_TENSORS),
])  # fmt: skip
def test_without_bytes_digests_and_peaks_still_tie(name, expected, base, tmp_path):
    CASES[name][1](tmp_path, world.model())
    with world.opened(base) as one, world.opened(tmp_path) as other:
        found = compare(Model(one.printed, {}), Model(Fingerprint.from_json(other.printed.to_json()), {}))
    assert found.kin is expected


def test_shifted_layers_are_paired_by_content(tmp_path):
    arrays = world.model(layers=4)
    moved = {}
    for name, array in world.noise(arrays, 0.02).items():
        head, _, rest = name.removeprefix("layers.").partition(".")
        moved[f"layers.{(int(head) + 1) % 4}.{rest}" if head.isdigit() else name] = array
    one = world.safetensors(tmp_path / "a" / "m.safetensors", arrays)
    other = world.safetensors(tmp_path / "b" / "m.safetensors", moved)
    assert kin(one, other).kin is Kin.FINE_TUNE
