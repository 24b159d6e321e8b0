"""Each tensor is held against its partner, figures are what numpy says they are, and the picture shows it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import world_tensors as world
from weighbridge.core.envelope import envelope
from weighbridge.tensors.difference import State, differ, place
from weighbridge.tensors.picture import heat, picture, short

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "reference" / "schemas" / "diff.schema.json").read_text("utf-8")
)


def closed(value):
    """Close every object of the schema, so that what is written and not described fails."""
    if isinstance(value, dict):
        value = {key: closed(item) for key, item in value.items()}
        return value | {"additionalProperties": False} if "properties" in value else value
    return [closed(item) for item in value] if isinstance(value, list) else value


def held(first, second, **options):
    with world.opened(first) as one, world.opened(second) as other:
        found = differ(one, other, names=("first", "second"), **options)
    document = json.loads(json.dumps(envelope("diff", [found.to_json()]), allow_nan=False))
    jsonschema.Draft202012Validator(closed(SCHEMA)).validate(document)
    ET.fromstring(picture(found))
    return found


def rows_of(found):
    return {row.name: row for row in found.rows}


def test_every_state_has_its_tensor(tmp_path):
    one = world.model()
    other = dict(one)
    other["new.weight"] = world.random("new").normal(size=(70, 64)).astype(np.float32)
    other["new.name"] = other.pop("layers.0.q.weight")
    other["layers.0.k.weight"] = other["layers.0.k.weight"].astype(np.float16)
    other["layers.0.v.weight"] = other["layers.0.v.weight"] * np.float32(1.25)
    other["layers.1.up.weight"] = one["layers.1.up.weight"][:100]
    del other["layers.2.q.bias"]
    found = held(
        world.safetensors(tmp_path / "a" / "m.safetensors", one),
        world.safetensors(tmp_path / "b" / "m.safetensors", other),
    )
    rows = rows_of(found)
    assert rows["new.weight"].state is State.ADDED
    assert (rows["layers.0.q.weight"].state, rows["layers.0.q.weight"].second.name) == (
        State.RENAMED,
        "new.name",
    )
    assert rows["layers.0.k.weight"].state is State.CAST
    assert rows["layers.0.v.weight"].state is State.CHANGED
    assert rows["layers.1.up.weight"].state is State.RESHAPED
    assert rows["layers.2.q.bias"].state is State.REMOVED
    assert found.counts[State.SAME] == len(one) - 5
    assert [row.state for row in found.rows[:2]] == [State.CHANGED, State.RESHAPED]


def test_figures_are_those_of_numpy(tmp_path):
    one = world.model()
    other = world.adapter(one, rank=3, names=["layers.0.up.weight"])
    found = held(
        world.safetensors(tmp_path / "a" / "m.safetensors", one),
        world.safetensors(tmp_path / "b" / "m.safetensors", other),
    )
    row = rows_of(found)["layers.0.up.weight"]
    a, b = (side["layers.0.up.weight"].astype(np.float64) for side in (one, other))
    assert row.measure.relative == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-6)
    assert row.measure.cosine == pytest.approx(
        (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-9
    )
    assert row.measure.correlation == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], rel=1e-9)
    values = np.linalg.svd(b - a, compute_uv=False)
    assert row.spectrum.largest == pytest.approx(values[0], rel=1e-4)
    assert row.spectrum.stable == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-3)
    assert row.spectrum.rank == 3
    assert row.spectrum.captured == pytest.approx(1, abs=1e-5)
    layer = next(layer for layer in found.layers if layer.name == "layers.0")
    assert (layer.changed, layer.tensors) == (1, 10)
    assert layer.relative == pytest.approx(row.measure.relative)


def test_a_change_in_all_directions_has_no_small_rank(tmp_path):
    one = {"w": world.random("w").normal(size=(400, 300)).astype(np.float32), "v": np.float32(np.eye(64))}
    moved = one | {"w": one["w"] + world.random("d").normal(size=(400, 300)).astype(np.float32) * 0.1}
    row = rows_of(held(
        world.safetensors(tmp_path / "a" / "m.safetensors", one),
        world.safetensors(tmp_path / "b" / "m.safetensors", moved),
    ))["w"]  # fmt: skip
    assert row.spectrum.rank is None
    values = np.linalg.svd(moved["w"] - one["w"], compute_uv=False)
    assert row.spectrum.largest == pytest.approx(values[0], rel=0.05)  # a flat spectrum is the worst case
    assert row.spectrum.captured < 0.6


def test_two_runs_agree_and_windows_agree_with_the_whole(tmp_path):
    one = world.safetensors(tmp_path / "a" / "m.safetensors", world.model(side=128))
    other = world.safetensors(tmp_path / "b" / "m.safetensors", world.noise(world.model(side=128)))
    first, again, glance = held(one, other), held(one, other), held(one, other, complete=False, spectra=0)
    assert first.to_json() == again.to_json()
    assert not glance.complete
    for name, row in rows_of(glance).items():
        assert row.measure.relative == pytest.approx(rows_of(first)[name].measure.relative, rel=0.1)


def test_what_is_not_finite_is_left_out_and_said(tmp_path):
    one, other = world.model(), world.noise(world.model())
    one["layers.0.q.weight"][0, :3] = [np.nan, np.inf, -np.inf]
    other["layers.0.k.weight"][:] = np.nan
    other["layers.0.v.weight"] = (other["layers.0.v.weight"] * np.float32(1e38)).astype(np.float32)
    rows = rows_of(held(
        world.safetensors(tmp_path / "a" / "m.safetensors", one),
        world.safetensors(tmp_path / "b" / "m.safetensors", other),
    ))  # fmt: skip
    assert not rows["layers.0.q.weight"].measure.finite
    assert rows["layers.0.q.weight"].measure.cosine > 0.99
    assert (rows["layers.0.k.weight"].measure.finite, rows["layers.0.k.weight"].measure.correlation) == (
        False,
        0.0,
    )


def test_formats_mix(tmp_path):
    arrays = world.model(side=128)
    np.savez(tmp_path / "a.npz", **arrays)
    one = world.safetensors(tmp_path / "b" / "m.safetensors", arrays)
    assert set(held(tmp_path / "a.npz", one).counts) == {State.SAME}
    small = world.as_gguf(tmp_path / "c" / "m.gguf", arrays, world.q8_0, "Q8_0")
    found = held(tmp_path / "a.npz", small)
    assert found.kinship.kin == "quantization"
    assert found.counts[State.CHANGED] == len(world.matrices(arrays))


def test_files_of_one_folder_do_not_mix(tmp_path):
    for side, seed in (("a", "x"), ("b", "y")):
        world.safetensors(tmp_path / side / "encoder.safetensors", world.model("same"))
        world.safetensors(tmp_path / side / "decoder.safetensors", world.model(seed))
    found = held(tmp_path / "a", tmp_path / "b")
    assert {row.state for name, row in rows_of(found).items() if name.startswith("encoder")} == {State.SAME}
    assert found.kinship.kin == "shares-tensors"


@pytest.mark.parametrize(("name", "expected"), [
    ("encoder.layer.11.attention.self.query.weight", ("encoder.layer", 11, "attention.self.query.weight")),
    ("blk.3.ffn_up.weight", ("blk", 3, "ffn_up.weight")),
    ("model.layers.2.experts.7.w1.weight", ("model.layers", 2, "experts.*.w1.weight")),
    ("embed.weight", ("", None, "embed.weight")),
    ("0.auto_model.x", ("", 0, "auto_model.x")),
    ("conv1.weight", ("", None, "conv1.weight")),
    ("", ("", None, "")),
])  # fmt: skip
def test_places(name, expected):
    assert place(name) == expected


def test_the_picture_holds_no_markup_of_a_name_and_stays_bounded(tmp_path):
    evil = '"><script>alert(1)</script>\N{RIGHT-TO-LEFT OVERRIDE}&amp;'
    many = {
        f"layers.{n}.{evil}{n % 200}": np.float32(world.random(str(n)).normal(size=70)) for n in range(400)
    }
    found = held(
        world.safetensors(tmp_path / "a" / "m.safetensors", many),
        world.safetensors(tmp_path / "b" / "m.safetensors", world.noise(many)),
    )
    drawn = picture(found)
    assert "<script" not in drawn
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in drawn
    assert drawn.count("<g>") <= 96 * 72
    assert len(drawn) < 4_000_000


def test_colours_run_from_little_to_all():
    assert [heat(value) for value in (0, 1e-4, 1e-2, 1.0, 1e9)] == [0, 0, 3, 6, 6]
    assert [short(value) for value in (0.00001, 0.0002, 0.012, 0.35, 4.0, 12.0, 1e9)] == [
        "<.01%", "0.02%", "1.2%", "35%", "400%", "12x", ">1kx",
    ]  # fmt: skip
