"""docs/reference/manifest.md, reimplemented by a stranger: hashlib and json, no line of the package."""

import hashlib
import json
import re
import unicodedata
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core import manifest as ours
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest, is_excluded

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
VECTORS = json.loads((REFERENCE / "vectors" / "manifest.json").read_bytes())
PAGE = (REFERENCE / "manifest.md").read_text()

# The stranger's program ---------------------------------------------------------------------------

WEIGHTS = re.search(r"It ends in one of:\n\n(.*?)\n\n", PAGE, re.DOTALL)[1].replace("`", "").split()


def stranger(files: dict[str, bytes]) -> tuple[bytes, str, str | None]:
    rows = [
        {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for path, data in sorted(files.items(), key=lambda item: item[0].encode("utf-8"))
    ]
    weights = [row for row in rows if row["path"].lower().endswith(tuple(WEIGHTS))]
    whole = write(rows, "weighbridge.manifest/1")
    part = hashlib.sha256(write(weights, "weighbridge.weights/1")).hexdigest()
    return whole, "wb1:" + hashlib.sha256(whole).hexdigest(), f"wbw1:{part}" if weights else None


def write(rows: list[dict], schema: str) -> bytes:
    value = {"files": rows, "schema": schema}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")


def refusal(paths: list[str]) -> str:
    spelled: dict[str, str] = {}
    if not paths:
        return "manifest.empty"
    for path in paths:
        categories = {unicodedata.category(character) for character in path}
        if (
            {"", ".", ".."} & set(path.split("/"))
            or "\\" in path
            or categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}
            or len(path.encode()) > 1024
            or unicodedata.normalize("NFC", path) != path
        ):
            return "manifest.path"
    names = [name for path in paths for name in (*folders(path), path)]
    for name in names:
        key = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
        if spelled.setdefault(key, name) != name:
            return "manifest.collision"
    is_folder = {folder.rstrip("/") for path in paths for folder in folders(path)}
    if len(set(paths)) != len(paths) or is_folder & set(paths):
        return "manifest.collision"
    return ""


def folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


# Held against ours, and both against the vectors --------------------------------------------------


def manifest_of(files: dict[str, bytes]) -> Manifest:
    return Manifest.of(FileEntry(path, len(data), Digest.of(data)) for path, data in files.items())


def our_refusal(paths: list[str]) -> str:
    try:
        Manifest.of(FileEntry(path, 0, Digest.of(b"")) for path in paths)
    except BadManifest as error:
        return error.check
    return ""


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vectors(vector):
    files = {file["path"]: bytes.fromhex(file["hex"]) for file in vector["files"]}
    expected = (vector["canonical"].encode(), vector["wb1"], vector["wbw1"])
    assert stranger(files) == expected
    found = manifest_of(files)
    assert (
        found.canonical_bytes,
        str(found.digest),
        str(found.weights) if found.weights else None,
    ) == expected
    assert Manifest.from_json(found.canonical_bytes) == found


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
def test_refused_vectors(vector):
    assert refusal(vector["paths"]) == vector["check"]
    assert our_refusal(vector["paths"]) == vector["check"]
    assert our_refusal(vector["paths"][::-1]) == vector["check"]


@pytest.mark.parametrize("vector", VECTORS["excluded"], ids=lambda vector: vector["path"])
def test_excluded_vectors(vector):
    assert is_excluded(vector["path"]) is vector["excluded"]


def test_chunk_vectors():
    rows, ours_rows = [], []
    for file in VECTORS["chunks"]["files"]:
        data = bytes(range(256)) * file["repeat"] if "repeat" in file else bytes.fromhex(file["hex"])
        parts = [blake3(data[at : at + 16 * 2**20]).hexdigest() for at in range(0, len(data), 16 * 2**20)]
        rows.append({"path": file["path"], "blake3": blake3(data).hexdigest(), "chunks": parts})
        ours_rows.append(FileChunks(file["path"], blake3(data).hexdigest(), tuple(parts)))
    table = VECTORS["chunks"]["table"]
    assert table == {"schema": "weighbridge.chunks/1", "chunk_size": 16 * 2**20, "files": rows}
    assert ChunkTable(tuple(ours_rows[::-1])).to_json() == table
    assert ChunkTable.from_json(table) == ChunkTable(tuple(ours_rows))


def test_the_vectors_cover_every_check_the_page_names():
    named = set(re.findall(r"`(manifest\.\w+)`", PAGE)) - {"manifest.json", "manifest.size"}
    assert named == {vector["check"] for vector in VECTORS["refused"]}


def test_the_page_names_the_limits_of_the_code():
    assert sorted(WEIGHTS) == sorted(ours.WEIGHT_SUFFIXES)
    for text in (
        f"{ours.MAX_FILES // 1000} 000 files",
        f"{ours.MAX_PATH_BYTES} bytes",
        ours.SCHEMA,
        ours.WEIGHTS_SCHEMA,
        ours.CHUNKS_SCHEMA,
        str(ours.CHUNK_SIZE),
    ):
        assert text in PAGE


LETTERS = st.sampled_from(
    [*"aAbBzZ019._-/ \\'\"", "\u00e9", "\u0301", "\u00df", "\u212b", "\U0001f600", "\u200b", "\n", "\uffee"]
)
PATHS = st.text(LETTERS, max_size=8)


@given(st.lists(PATHS, max_size=6))
def test_both_refuse_the_same_names(paths):
    assert (our_refusal(paths) == "") == (refusal(paths) == "")


@given(
    st.dictionaries(PATHS, st.binary(max_size=20), min_size=1, max_size=6).filter(
        lambda f: not refusal(list(f))
    )
)
def test_both_give_the_same_digests(files):
    found = manifest_of(files)
    assert stranger(files) == (
        found.canonical_bytes,
        str(found.digest),
        str(found.weights) if found.weights else None,
    )
