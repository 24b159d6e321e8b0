"""The hub client's cache read in place: its own links into its own blobs, and no other."""

import hashlib
import os
from pathlib import Path

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, NotFound, Unreadable, VerificationFailed
from weighbridge.source.cache import CachedModel, cached_models, default_cache
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from world_hub import Hub

COMMIT = "a" * 40
WEIGHTS = b"w" * 5000
CONFIG = b'{"model_type": "bert"}'


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def cached(root: Path, files: dict[str, bytes], *, lfs=(), repo="models--org--name", commit=COMMIT) -> Path:
    """Lay a cache out by hand, as the client documents it."""
    blobs = root / repo / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    snapshot = root / repo / "snapshots" / commit
    for name, data in files.items():
        etag = hashlib.sha256(data).hexdigest() if name in lfs else git_blob(data)
        (blobs / etag).write_bytes(data)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / etag, link.parent))
    return snapshot


@pytest.fixture
def snapshot(tmp_path):
    files = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "onnx/deep/model.onnx": WEIGHTS + b"o"}
    return cached(tmp_path / "hub", files, lfs=["model.safetensors", "onnx/deep/model.onnx"])


def read(path):
    with open_folder(path) as tree:
        return read_tree(tree).manifest


def test_a_snapshot_is_read_in_place_through_its_own_links(snapshot, tmp_path):
    plain = tmp_path / "plain"
    for name in ("config.json", "model.safetensors", "onnx/deep/model.onnx"):
        (plain / name).parent.mkdir(parents=True, exist_ok=True)
        (plain / name).write_bytes((snapshot / name).read_bytes())
    assert read(snapshot) == read(plain)


def test_the_names_of_blobs_are_what_the_hub_announced(snapshot):
    with open_folder(snapshot) as tree:
        announced = {file.path: file.announced for file in tree.files()}
        assert tree.model_hint == "org/name"
        assert dict(tree.origin) == {"scheme": "path", "repository": "org/name", "commit": COMMIT}
    assert announced["config.json"] == (Digest("sha1", git_blob(CONFIG)),)
    assert announced["model.safetensors"] == (Digest.of(WEIGHTS),)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "onnx/deep/model.onnx"])
def test_a_blob_that_is_not_what_its_name_says_is_refused(snapshot, name):
    blob = (snapshot / name).resolve()
    data = bytearray(blob.read_bytes())
    data[0] ^= 1
    blob.write_bytes(data)
    with pytest.raises(VerificationFailed) as caught:
        read(snapshot)
    assert caught.value.check == "source.announced"
    assert name in caught.value.problem


def test_a_folder_and_a_file_of_a_snapshot_can_be_read_alone(snapshot):
    assert [e.path for e in read(snapshot / "onnx").files] == ["deep/model.onnx"]
    assert [e.path for e in read(snapshot / "model.safetensors").files] == ["model.safetensors"]
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(b"W" * 5000)
    with pytest.raises(VerificationFailed):
        read(snapshot / "model.safetensors")


@pytest.mark.parametrize(
    "target",
    [
        "../../../other/blobs/{sha}",
        "../../blobs/../blobs/{sha}",
        "../../blobs/{sha}/",
        "../../blobs//{sha}",
        "./../../blobs/{sha}",
        "../../../models--org--name/blobs/{sha}",
        "../../blobs/sub",
        "../../blobs/.",
        "../../blobs/..",
        "../../blobs/",
        "../../blobs/{short}",
        "../../../../../../../../etc/hostname",
        "/etc/hostname",
        "{absolute}",
        "config.json",
        "../../refs/main",
    ],
)
def test_any_other_link_in_a_snapshot_is_refused(snapshot, target):
    blob = (snapshot / "model.safetensors").resolve()
    (blob.parent / "sub").write_bytes(b"x")
    (snapshot / "extra").symlink_to(target.format(sha=blob.name, short=blob.name[:39], absolute=blob))
    with pytest.raises(BadManifest) as caught:
        read(snapshot)
    assert "extra" in caught.value.problem


def test_a_link_of_the_wrong_depth_is_refused(snapshot):
    blob = (snapshot / "model.safetensors").resolve()
    (snapshot / "onnx" / "shallow").symlink_to(f"../../blobs/{blob.name}")
    with pytest.raises(BadManifest):
        read(snapshot)


def test_a_blob_that_is_a_link_out_of_the_cache_is_refused(snapshot, tmp_path):
    blob = (snapshot / "model.safetensors").resolve()
    (tmp_path / "outside").write_bytes(WEIGHTS)
    blob.unlink()
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(BadManifest):
        read(snapshot)


def test_blobs_that_are_a_link_themselves_are_not_followed(snapshot, tmp_path):
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable):
        read(snapshot)


def test_a_link_whose_blob_is_gone_is_unreadable_and_not_skipped(snapshot):
    (snapshot / "model.safetensors").resolve().unlink()
    with pytest.raises(Unreadable) as caught:
        read(snapshot)
    assert "model.safetensors" in caught.value.problem


def test_a_model_that_only_looks_like_a_cache_gets_no_links(tmp_path):
    """The exception is for a snapshot that was named; a model cannot bring it along in a folder of its own."""
    cached(tmp_path / "model", {"x.bin": WEIGHTS}, lfs=["x.bin"])
    with pytest.raises(BadManifest):
        read(tmp_path / "model")


XET = "ab" + "c" * 62


def shared(snapshot: Path, name: str, target: str = f"../../blobs/ab/{XET}") -> Path:
    """Move a blob to the store that newer clients keep for the whole cache."""
    blob = (snapshot / name).resolve()
    store = snapshot.parents[2] / "blobs" / "ab"
    store.mkdir(parents=True)
    blob.rename(store / XET)
    blob.symlink_to(target)
    return store / XET


def test_a_blob_shared_by_the_whole_cache_is_found(snapshot):
    before = read(snapshot)
    shared(snapshot, "model.safetensors")
    assert read(snapshot) == before


@pytest.mark.parametrize(
    "target",
    [f"../../blobs/ac/{XET}", f"../../blobs/{XET}", f"../../../blobs/ab/{XET}", f"../blobs/ab/{XET}"],
)
def test_a_shared_blob_anywhere_else_is_refused(snapshot, target):
    shared(snapshot, "model.safetensors", target)
    with pytest.raises(BadManifest):
        read(snapshot)


def test_a_shared_blob_must_be_a_file(snapshot):
    store = shared(snapshot, "model.safetensors")
    store.rename(store.with_name("aside"))
    store.symlink_to("aside")
    with pytest.raises(BadManifest):
        read(snapshot)


def test_a_shared_blob_is_compared_with_the_announced_digest(snapshot):
    shared(snapshot, "model.safetensors").write_bytes(b"W" * 5000)
    with pytest.raises(VerificationFailed):
        read(snapshot)


def test_a_repository_folder_stands_for_main(tmp_path):
    cached(tmp_path, {"a": b"1"}, commit="1" * 40)
    newer = cached(tmp_path, {"a": b"2"}, commit="2" * 40)
    repo = newer.parent.parent
    with pytest.raises(NotFound) as caught:
        open_folder(repo)
    assert "1" * 40 in caught.value.remedy
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("2" * 40)
    assert read(repo) == read(newer)


def test_a_repository_folder_with_one_snapshot_needs_no_ref(snapshot):
    assert read(snapshot.parent.parent) == read(snapshot)


def test_cached_models_lists_snapshots_of_models_with_their_refs(tmp_path):
    cached(tmp_path, {"a": b"1"}, commit="1" * 40)
    second = cached(tmp_path, {"a": b"2"}, commit="2" * 40)
    plain = cached(tmp_path, {"a": b"3"}, repo="models--gpt2", commit="3" * 40)
    cached(tmp_path, {"a": b"4"}, repo="datasets--org--data", commit="4" * 40)
    refs = second.parent.parent / "refs"
    (refs / "refs" / "pr").mkdir(parents=True)
    (refs / "main").write_text("2" * 40)
    (refs / "refs" / "pr" / "1").write_text("2" * 40 + "\n")
    (refs / "odd").write_text("not a commit")
    (refs / "loop").symlink_to(".")
    (tmp_path / "models--org--empty").mkdir()
    (tmp_path / "version.txt").write_text("1")
    assert cached_models(tmp_path) == [
        CachedModel("gpt2", "3" * 40, plain),
        CachedModel("org/name", "1" * 40, second.parent / ("1" * 40)),
        CachedModel("org/name", "2" * 40, second, ("main", "refs/pr/1")),
    ]


def test_no_cache_holds_no_models(tmp_path):
    assert cached_models(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HOME": "/h"}, "/h/.cache/huggingface/hub"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "/f"}, "/f/hub"),
        ({"HF_HOME": "/f", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/f", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "/c"}, "/c"),
        ({"HOME": "/h", "HF_HOME": "~/f"}, "/h/f/hub"),
        ({"HOME": "/h", "HF_HOME": ""}, "/h/.cache/huggingface/hub"),
    ],
)
def test_the_default_cache_is_where_the_client_keeps_it(environment, expected):
    assert default_cache(environment) == (Path(expected) if expected else None)


def test_what_the_unmodified_client_caches_is_read_in_place(tmp_path):
    from huggingface_hub import snapshot_download

    files = {"config.json": CONFIG, "onnx/model.onnx": WEIGHTS, "model.safetensors": WEIGHTS + b"2"}
    with Hub() as hub:
        commit = hub.add_repo("org/name", files, lfs=["onnx/model.onnx", "model.safetensors"])
        where = snapshot_download("org/name", endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
    (model,) = cached_models(tmp_path)
    assert (model.repository, model.commit, model.path) == ("org/name", commit, Path(where))
    assert model.refs == ("main",)
    assert {e.path: e.sha256 for e in read(model.path).files} == {n: Digest.of(d) for n, d in files.items()}
    assert read(tmp_path / "models--org--name") == read(model.path)
