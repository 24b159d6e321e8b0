"""The index of a sharded model: each tensor lies in the file that is named for it, once."""

import io
import json

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.finding import Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.safetensors import lay_out, write_header
from weighbridge.scanner.engine import scan_files


def shard(*names):
    return write_header(lay_out([(name, "F32", (2,)) for name in names]), {"format": "pt"}) + bytes(
        8 * len(names)
    )


def scanned(index, **shards):
    files = {f"m/{name}.safetensors": data for name, data in shards.items()}
    files["m/model.safetensors.index.json"] = json.dumps(
        {"metadata": {"total_size": 16}, "weight_map": index}
    ).encode()
    rows = tuple(FileEntry(path, len(data), Digest.of(data)) for path, data in sorted(files.items()))
    report = scan_files("m", Manifest(rows), lambda entry: io.BytesIO(files[entry.path]))
    return {(finding.rule, finding.subject, finding.verdict) for finding in report.findings}


A, B = "a.safetensors", "b.safetensors"


def test_an_honest_index_passes():
    assert scanned({"x": A, "y": B}, a=shard("x"), b=shard("y")) == set()


def test_a_missing_file_is_not_this_rules_business():
    assert {rule for rule, _, _ in scanned({"x": A, "y": B}, a=shard("x"))} <= {"config-path"}


@pytest.mark.parametrize(
    ("index", "shards", "subject"),
    [
        ({"x": A, "y": A}, {"a": shard("x")}, "place y"),
        ({"x": A, "y": A}, {"a": shard("x"), "b": shard("y")}, "place y"),
        ({"x": A, "y": B}, {"a": shard("x", "y"), "b": shard("y")}, "twice y"),
        ({"x": 7}, {"a": shard("x")}, "value"),
    ],
)
def test_an_index_that_lies_is_broken(index, shards, subject):
    assert ("safetensors-shards", subject, Verdict.BROKEN) in scanned(index, **shards)


def test_a_tensor_outside_of_the_index_is_noted():
    assert scanned({"x": A}, a=shard("x", "z")) == {("safetensors-shards", "extra z", Verdict.NOTES)}
