"""joblib and numpy themselves write the files: the scan leaves them alone, and the conversion gives the same arrays."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from weighbridge.conversion.convert import convert_checkpoint
from weighbridge.core.digest import Digest
from weighbridge.core.errors import ConversionRefused
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.scanner.engine import scan_files

pytestmark = pytest.mark.full

ARRAYS = {
    "weights": np.random.default_rng(1).random((40, 30)),
    "half": np.arange(100, dtype="float16"),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "flags": np.array([True, False]),
    "many": np.arange(200_000, dtype="int32"),
}
PACKED = [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3), ("lz4", 3)]


def scan(path):
    data = path.read_bytes()
    return scan_files("m", Manifest.of([FileEntry(path.name, len(data), Digest.of(data))]), lambda _: data)


def convert(source, target):
    with source.open("rb") as file:
        return convert_checkpoint(file, source.stat().st_size, target)


@pytest.mark.parametrize("compress", PACKED, ids=str)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_joblib_files_of_arrays(tmp_path, compress, protocol):
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "arrays.joblib"
    joblib.dump(ARRAYS, path, compress=compress, protocol=protocol)
    report = scan(path)
    assert report.verdict.passes
    assert report.coverage.complete
    made = convert(path, tmp_path / "out.safetensors")
    assert (made.kind, made.equivalence) == ("joblib", "proven")
    found = load_file(tmp_path / "out.safetensors")
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


def test_estimators_are_refused_with_a_remedy(tmp_path):
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    path = tmp_path / "model.joblib"
    joblib.dump(linear.LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), path)
    with pytest.raises(ConversionRefused) as caught:
        convert(path, tmp_path / "out.safetensors")
    assert caught.value.check == "joblib.object"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_objects_are_pickles_inside_and_pass(tmp_path, protocol):
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "objects.joblib"
    value = {
        "text": np.array(["a", None, 1], dtype=object),
        "arrays": np.array([np.arange(3), "b"], dtype=object),
    }
    joblib.dump([value, np.arange(4)], path, protocol=protocol)
    report = scan(path)
    assert report.verdict.passes, [finding.message for finding in report.findings]
    with pytest.raises(ConversionRefused):
        convert(path, tmp_path / "out.safetensors")
