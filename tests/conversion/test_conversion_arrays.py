"""Arrays of numpy and joblib become safetensors: the same numbers under their names, or a refusal and no file."""

import gzip
import io
import lzma
import struct
import zipfile
import zlib

import numpy as np
import pytest
from safetensors.numpy import load_file

from weighbridge.conversion.convert import convert_checkpoint
from weighbridge.core.errors import OutOfBudget, Refused, WeighbridgeError
from weighbridge.formats.limits import Limits
from weighbridge.formats.torch import CheckpointLimits

ARRAYS = {
    "a": np.arange(24, dtype="<f4").reshape(2, 3, 4),
    "b": np.asfortranarray(np.arange(6, dtype="<f8").reshape(2, 3)),
    "c": np.array([True, False]),
    "d": np.array(7, dtype="<i8"),
    "e": np.zeros((0, 3), dtype="<f2"),
    "f": np.array([1 + 2j], dtype="<c8"),
    "g": np.arange(5, dtype="u1"),
}


def convert(folder, data, **options):
    source = folder / "source"
    source.write_bytes(data)
    with source.open("rb") as file:
        return convert_checkpoint(file, len(data), folder / "out.safetensors", **options)


def refused(folder, data, error=Refused):
    with pytest.raises(error) as caught:
        convert(folder, data)
    assert [path.name for path in folder.iterdir()] == ["source"]
    return caught.value


def same(path, arrays):
    found = load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def saved(save, **arrays):
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_archives_become_tensors(tmp_path, save):
    made = convert(tmp_path, saved(save, **ARRAYS))
    assert (made.kind, made.tensors, made.equivalence) == ("npz", len(ARRAYS), "proven")
    assert made.source_root == made.output_root
    same(tmp_path / "out.safetensors", ARRAYS)


def test_one_array_becomes_one_tensor(tmp_path):
    out = io.BytesIO()
    np.save(out, ARRAYS["b"])
    assert convert(tmp_path, out.getvalue()).kind == "npy"
    same(tmp_path / "out.safetensors", {"tensor": ARRAYS["b"]})


@pytest.mark.parametrize(
    "array",
    [np.array(["text"]), np.array([None], dtype=object), np.zeros(2, ">f4"), np.zeros(1, "c16"), np.zeros(1, "M8[s]"),
     np.zeros(1, [("a", "f4")])],
)  # fmt: skip
def test_what_is_no_array_of_numbers_is_refused(tmp_path, array):
    out = io.BytesIO()
    np.savez(out, array, allow_pickle=True)
    assert refused(tmp_path, out.getvalue()).check == "joblib.object"


def test_a_damaged_npz_is_refused(tmp_path):
    data = saved(np.savez, a=np.arange(4.0))
    refused(tmp_path, data.replace(struct.pack("<d", 3.0), struct.pack("<d", 4.0)), WeighbridgeError)
    refused(tmp_path, data + b"behind", WeighbridgeError)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", data)
    refused(tmp_path, out.getvalue(), WeighbridgeError)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def wrapper(array, *, aligned=True):
    """Return one array as joblib writes it, protocol 2: a wrapper, padding, raw bytes."""
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    shape = b"(" + b"".join(b"K" + bytes([side]) for side in array.shape) + b"t"
    marks = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    dtype = (
        b"cnumpy\ndtype\n"
        + text(array.dtype.str[1:])
        + b"\x89\x88\x87R(K\x03"
        + text(array.dtype.str[0])
        + marks
    )
    state = (
        b"}(" + text("subclass") + b"cnumpy\nndarray\n" + text("shape") + shape + text("order") + text(order)
    )
    state += text("dtype") + dtype + text("allow_mmap") + b"\x88"
    if aligned:
        state += text("numpy_array_alignment_bytes") + b"K\x10"
    padding = b"\x03" + b"\xff" * 3 if aligned else b""
    raw = array.tobytes(order)
    return b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + state + b"ub" + padding + raw


def dumped(tail=b"", **arrays):
    return (
        b"\x80\x02}(" + b"".join(text(key) + wrapper(array) for key, array in arrays.items()) + tail + b"u."
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zlib.compress, lzma.compress])
def test_joblib_arrays_become_tensors(tmp_path, pack):
    made = convert(tmp_path, pack(dumped(**ARRAYS)))
    assert (made.kind, made.equivalence) == ("joblib", "proven")
    same(tmp_path / "out.safetensors", ARRAYS)


def test_a_single_array_and_lists_have_names(tmp_path):
    assert convert(tmp_path, b"\x80\x02" + wrapper(ARRAYS["a"], aligned=False) + b".").tensors == 1
    same(tmp_path / "out.safetensors", {"tensor": ARRAYS["a"]})
    (tmp_path / "out.safetensors").unlink()
    convert(tmp_path, b"\x80\x02](" + wrapper(ARRAYS["b"]) + wrapper(ARRAYS["a"]) + b"e.")
    same(tmp_path / "out.safetensors", {"0": ARRAYS["b"], "1": ARRAYS["a"]})


def test_what_is_no_array_stands_beside_them(tmp_path):
    made = convert(tmp_path, dumped(text("classes") + b"](K\x01K\x02e", a=ARRAYS["a"]))
    assert made.side["content"]["dict"]["classes"] == [1, 2]


@pytest.mark.parametrize(
    "tail",
    [
        text("x") + b"csklearn.svm._classes\nSVC\n)\x81}" + text("C") + b"K\x01sb",
        text("x") + b"csklearn.svm._classes\nSVC\n)\x81",
        text("x") + b"csklearn.svm._classes\nSVC\n",
        text("x") + b"cos\nsystem\n" + text("id") + b"\x85R",
    ],
)
def test_objects_and_calls_are_refused_with_a_remedy(tmp_path, tail):
    error = refused(tmp_path, dumped(tail, a=ARRAYS["a"]))
    assert error.check == "joblib.object"
    assert "skops" in error.remedy


def test_damage_is_refused(tmp_path):
    data = dumped(a=ARRAYS["a"])
    for broken in (data + b"x", data[:-30], data.replace(b"NumpyArrayWrapper", b"NumpyArrayWrappe2")):
        refused(tmp_path, broken, WeighbridgeError)
    packed = gzip.compress(data)
    refused(tmp_path, packed + b"x", WeighbridgeError)
    refused(tmp_path, packed[:-1], WeighbridgeError)
    refused(tmp_path, packed + packed, WeighbridgeError)


def test_a_bomb_meets_the_budget(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(gzip.compress(bytes(50_000_000)))
    from weighbridge.conversion.opened import opened

    limits = CheckpointLimits(container=Limits(max_unpacked=1_000_000))
    with source.open("rb") as file, pytest.raises(OutOfBudget), opened(file, source.stat().st_size, limits):
        pass
