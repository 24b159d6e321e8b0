"""Plans: which files are converted, kept, dropped or refused, and that each path stands in exactly one row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.conversion.plan import plan, target_name
from weighbridge.core.digest import Digest
from weighbridge.core.manifest import FileEntry, Manifest


def manifest(*paths):
    return Manifest.of(FileEntry(path, 1, Digest.of(path.encode())) for path in paths)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("pytorch_model.bin", "model.safetensors"),
        ("unet/pytorch_model.bin", "unet/model.safetensors"),
        ("pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"),
        ("full.pth", "full.safetensors"),
        ("a/b.v2.PT", "a/b.v2.safetensors"),
        ("last.ckpt", "last.safetensors"),
        ("weights", "weights.safetensors"),
        (".pt", ".pt.safetensors"),
        ("model.weights", "model.weights.safetensors"),
    ],
)
def test_targets(path, target):
    assert target_name(path) == target


def test_a_hub_repository():
    paths = [
        "config.json",
        "pytorch_model.bin",
        "tokenizer.json",
        "training_args.bin",
        "optimizer.pt",
        "README.md",
    ]
    formats = dict.fromkeys(["pytorch_model.bin", "training_args.bin", "optimizer.pt"], "torch-zip")
    planned = plan(manifest(*paths), formats)
    assert planned.convert == (("pytorch_model.bin", "model.safetensors"),)
    assert planned.keep == ("README.md", "config.json", "tokenizer.json")
    assert [path for path, _ in planned.drop] == ["optimizer.pt", "training_args.bin"]
    assert planned.refuse == ()


def test_a_safetensors_twin_is_kept_and_the_pickle_dropped():
    planned = plan(manifest("pytorch_model.bin", "model.safetensors"), {"pytorch_model.bin": "torch-zip"})
    assert planned.keep == ("model.safetensors",)
    assert planned.drop[0][0] == "pytorch_model.bin"
    assert planned.convert == ()


def test_two_files_never_become_one():
    planned = plan(manifest("full.pt", "full.pth"), {"full.pt": "torch-zip", "full.pth": "torch-legacy"})
    assert planned.convert == (("full.pt", "full.safetensors"),)
    assert planned.refuse[0][0] == "full.pth"


@pytest.mark.parametrize("kind", ["pickle", "torchscript", "torch-package", "torch-tar", "tar", "7z"])
def test_what_holds_more_than_tensors_is_refused(kind):
    assert plan(manifest("a.json", "m.bin"), {"m.bin": kind}).refuse[0][0] == "m.bin"


def test_a_pickled_name_without_a_known_format_is_refused():
    for name in ("m.pkl", "m.BIN", "m.pt", "m.ckpt", "m.joblib"):
        assert plan(manifest(name), {}).refuse[0][0] == name


def test_shards_with_an_index_are_refused():
    planned = plan(manifest("pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"),
                   {"pytorch_model-00001-of-00001.bin": "torch-zip"})  # fmt: skip
    assert planned.refuse[0][0] == "pytorch_model.bin.index.json"


NAMES = st.sampled_from(
    ["pytorch_model.bin", "model.safetensors", "full.pt", "full.pth", "full.safetensors", "config.json",
     "optimizer.pt", "x.pkl", "a/m.ckpt"]
)  # fmt: skip


@given(st.lists(NAMES, min_size=1, unique=True), st.data())
def test_every_path_stands_in_one_row_and_no_target_twice(paths, data):
    kinds = st.sampled_from(["", "torch-zip", "torch-legacy", "torchscript", "pickle", "safetensors", "text"])
    formats = {path: data.draw(kinds) for path in paths}
    planned = plan(manifest(*paths), formats)
    rows = [path for path, _ in planned.convert + planned.drop + planned.refuse] + list(planned.keep)
    assert sorted(rows) == sorted(paths)
    written = [target for _, target in planned.convert] + list(planned.keep)
    assert len(set(written)) == len(written)


def test_joblib_files_and_packed_pickles_are_converted():
    formats = {
        "a.joblib": "joblib",
        "b.pkl.gz": "gzip",
        "c.joblib": "zlib",
        "notes.txt.gz": "gzip",
        "d.npz": "npz",
    }
    planned = plan(manifest(*formats), formats)
    assert planned.convert == (
        ("a.joblib", "a.safetensors"), ("b.pkl.gz", "b.pkl.gz.safetensors"), ("c.joblib", "c.safetensors"),
    )  # fmt: skip
    assert planned.keep == ("d.npz", "notes.txt.gz")
    assert planned.refuse == ()
