"""`weighbridge diff`: paths and kept models, text and data, a picture, and exit codes as for the other verbs."""

import json

import numpy as np
import pytest

import world_tensors as tensors
from weighbridge.registry.intake import take_folder


@pytest.fixture
def base(world):
    return tensors.safetensors(world.folder / "base" / "model.safetensors", tensors.model()).parent


@pytest.fixture
def merged(world):
    arrays = tensors.adapter(tensors.model())
    return tensors.safetensors(world.folder / "merged" / "model.safetensors", arrays).parent


def test_text_says_how_they_relate_and_what_changed(call, base, merged):
    code, out, err = call("diff", "./base", "./merged", "--top", "2")
    assert (code, err) == (0, "")
    assert out.startswith("adapter-merged: strong, unknown, drawn as adapter\n")
    assert "layers.0" in out
    assert out.count("changed  0.05") == 2


def test_data_is_one_envelope(call, base, merged):
    code, out, _ = call("diff", "./base", "./merged", "--format", "json")
    document = json.loads(out)
    assert (code, document["schema"]) == (0, "weighbridge.diff/1")
    (found,) = document["diffs"]
    assert (found["first"], found["second"], found["complete"]) == ("./base", "./merged", True)
    assert found["kinship"]["kin"] == "adapter-merged"
    assert sum(found["counts"].values()) == len(found["tensors"]) == len(tensors.model())


def test_kinship_looks_at_windows_only(call, base, merged):
    _, out, _ = call("diff", "./base", "./merged", "--kinship", "--format", "json")
    found = json.loads(out)["diffs"][0]
    assert (found["complete"], found["kinship"]["kin"]) == (False, "adapter-merged")
    assert all(row["spectrum"] is None for row in found["tensors"])


def test_a_kept_model_is_a_side_like_any_other(call, world, base):
    kept = take_folder(world.registry, base)
    packed = tensors.as_gguf(world.folder / "small" / "m.gguf", tensors.model(), tensors.q8_0, "Q8_0")
    code, out, _ = call("diff", str(kept.digest), packed)
    assert code == 0
    assert out.startswith("quantization: strong, second-from-first")
    code, out, _ = call("diff", "./base", kept.digest.hex[:12].join(["wb1:", ""]))
    assert out.startswith("identical")


def test_a_picture_is_written_beside_what_is_printed(call, world, base, merged):
    code, _, err = call("diff", "./base", "./merged", "--picture", "heat.svg")
    assert code == 0
    assert "heat.svg" in err
    assert (world.folder / "heat.svg").read_text(encoding="utf-8").startswith("<svg ")
    code, _, err = call("diff", "./base", "./merged", "--picture", "heat.png")
    assert (code, "heat.png" in err) == (2, True)
    code, _, err = call("diff", "./base", "./merged", "--picture", "no/such/folder/heat.svg")
    assert code == 3


def test_exit_codes(call, world, base, merged):
    assert call("diff", "./base", "./base", "--fail-on", "changed")[0] == 0
    assert call("diff", "./base", "./merged", "--fail-on", "changed")[0] == 1
    tensors.safetensors(world.folder / "other" / "m.safetensors", tensors.model("b"))
    code, out, _ = call("diff", "./base", "./other", "--fail-on", "unrelated")
    assert (code, out.startswith("unrelated")) == (1, True)
    assert call("diff", "./base", "./other")[0] == 0
    assert call("diff", "./base", "./nowhere")[0] == 2
    assert call("diff", "./base")[0] == 2


def test_what_could_not_be_read_is_said_and_counts(call, world, base, merged):
    (merged / "second.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    code, out, _ = call("diff", "./base", "./merged")
    assert code == 3
    assert "second: second.safetensors was not read" in out
    empty = world.folder / "empty"
    empty.mkdir()
    (empty / "README.md").write_text("nothing here")
    code, _, err = call("diff", "./base", "./empty")
    assert (code, "no tensor could be read in ./empty" in err) == (3, True)


def test_names_from_a_model_are_harmless_on_a_terminal(call, world):
    evil = {f"layers.0.\u202eevil{n}": np.float32(tensors.random(str(n)).normal(size=500)) for n in range(3)}
    tensors.safetensors(world.folder / "one" / "m.safetensors", evil)
    tensors.safetensors(world.folder / "two" / "m.safetensors", tensors.noise(evil))
    _, out, _ = call("diff", "./one", "./two")
    assert "\u202e" not in out
    assert "\\u202e" in out
