"""The manifest as a value: order, identity, strict reading."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core import manifest as module
from weighbridge.core.canonical import MAX_SAFE_INTEGER, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest
from weighbridge.core.manifest import ChunkTable, FileEntry, Manifest, check_path, is_weight_file

A, B = FileEntry("a.bin", 1, Digest.of(b"1")), FileEntry("b.json", 2, Digest.of(b"22"))


def test_order_does_not_matter_and_everything_else_does():
    base = Manifest.of([A, B])
    assert Manifest.of([B, A]) == base
    assert Manifest.of(iter([B, A])).digest == base.digest
    others = [
        [A],
        [A, FileEntry("c.json", 2, B.sha256)],
        [A, FileEntry("b.json", 3, B.sha256)],
        [A, FileEntry("b.json", 2, Digest.of(b"23"))],
    ]
    digests = {Manifest.of(files).digest for files in others} | {base.digest}
    assert len(digests) == 5


def test_the_weights_digest_ignores_all_but_weights_and_is_never_the_identity():
    both, alone = Manifest.of([A, B]), Manifest.of([A])
    assert both.weights == alone.weights
    assert both.digest != alone.digest
    assert alone.weights.hex != alone.digest.hex
    assert (alone.digest.algorithm, alone.weights.algorithm) == ("wb1", "wbw1")
    assert Manifest.of([B]).weights is None


def test_size_and_entries():
    found = Manifest.of([B, A])
    assert found.size == 3
    assert found.entry("a.bin") == A
    assert found.entry("A.bin") is None
    assert [entry.path for entry in found.files] == ["a.bin", "b.json"]


@pytest.mark.parametrize("size", [-1, MAX_SAFE_INTEGER + 1])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(BadManifest) as caught:
        Manifest.of([FileEntry("a", size, Digest.of(b""))])
    assert caught.value.check == "manifest.size"
    assert Manifest.of([FileEntry("a", MAX_SAFE_INTEGER, Digest.of(b""))]).size == MAX_SAFE_INTEGER


def test_too_many_files_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 3)
    entries = [FileEntry(str(n), 0, Digest.of(b"")) for n in range(4)]
    assert Manifest.of(entries[:3])
    with pytest.raises(BadManifest) as caught:
        Manifest.of(entries)
    assert caught.value.check == "manifest.size"


@pytest.mark.parametrize(
    "digest", [Digest("blake3", "0" * 64), Digest("wb1", "0" * 64), Digest("sha1", "0" * 40)]
)
def test_only_sha256_stands_in_a_manifest(digest):
    with pytest.raises(BadManifest):
        Manifest.of([FileEntry("a", 0, digest)])


@pytest.mark.parametrize("path", ["\ud800", "a\udcff", "\udc80/b"])
def test_a_path_that_is_no_utf8_is_refused_and_sorting_survives_it(path):
    with pytest.raises(BadManifest) as caught:
        Manifest.of([A, FileEntry(path, 0, Digest.of(b""))])
    assert caught.value.check == "manifest.path"
    with pytest.raises(BadManifest):
        check_path(path)


def row(**changes):
    return {"path": "a", "sha256": "0" * 64, "size": 1} | changes


def text(*rows, schema="weighbridge.manifest/1", **more):
    return canonical({"files": list(rows), "schema": schema} | more)


def test_the_canonical_bytes_are_read_back():
    assert Manifest.from_json(text(row())).canonical_bytes == text(row())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"files"',
        b"\xff\xfe",
        b"9" * 5000,
        b"[" * 10_000,
        b'{"files":' * 10_000,
        text(),
        text(row(), schema="weighbridge.manifest/2"),
        text(row(), schema="weighbridge.weights/1"),
        text(row(), more=1),
        text(row(more=1)),
        text({"path": "a", "size": 1}),
        text(row(size="1")),
        text(row(size=True)),
        text(row(size=None)),
        text(row(size=1.5)),
        text(row(size=-1)),
        text(row(path=1)),
        text(row(path=None)),
        text(row(path="")),
        text(row(path="../a")),
        text(row(sha256="0" * 63)),
        text(row(sha256="A" * 64)),
        text(row(sha256="g" * 64)),
        text(row(sha256=0)),
        text(row(), row()),
        text(row(path="b"), row(path="a")),
        text(row(path="a"), row(path="A")),
        text(row()) + b"\n",
        b" " + text(row()),
        b"\xef\xbb\xbf" + text(row()),
        text(row()).replace(b'"size":1', b'"size":1,"size":1'),
        text(row()).replace(b'"size":1', b'"size":1.0'),
        text(row()).replace(b'"size":1', b'"size":1e0'),
        text(row()).replace(b'"size":1', b'"size":01'),
        text(row()).replace(b'"size":1', b'"size":NaN'),
        text(row()).replace(b'"path":"a"', b'"path":"\\u0061"'),
        text(row()).replace(b'"path":"a"', b'"path":"\\ud800"'),
        json.dumps({"files": [row()], "schema": "weighbridge.manifest/1"}).encode(),
        json.dumps({"schema": "weighbridge.manifest/1", "files": [row()]}, separators=(",", ":")).encode(),
    ],
)
def test_anything_else_is_refused_as_a_manifest(data):
    with pytest.raises(BadManifest):
        Manifest.from_json(data)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_stumble(data):
    with pytest.raises(BadManifest):
        Manifest.from_json(data)


@given(st.data())
def test_one_changed_byte_is_another_model_or_none(data):
    good = Manifest.of([A, B]).canonical_bytes
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        digest = Manifest.from_json(bytes(changed)).digest
    except BadManifest:
        digest = None
    assert digest != Manifest.of([A, B]).digest


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("a.safetensors", True),
        ("A.PT", True),
        ("x/y.onnx_data", True),
        (".bin", True),
        ("bin", False),
        ("a.bin.txt", False),
        ("spiece.model", True),
    ],
)
def test_the_suffix_decides_what_are_weights(path, answer):
    assert is_weight_file(path) is answer


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"schema": "x", "chunk_size": 1, "files": []},
        {"schema": "weighbridge.chunks/1", "chunk_size": 1, "files": []},
    ],
)
def test_another_chunk_table_is_not_read(value):
    with pytest.raises((ValueError, KeyError)):
        ChunkTable.from_json(value)
