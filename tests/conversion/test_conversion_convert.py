"""Conversion from end to end: the same tensors under the same names, proven, or no file at all."""

import errno
import hashlib
import io
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from weighbridge.conversion import rebuild
from weighbridge.conversion.convert import ConversionLimits, convert_checkpoint
from weighbridge.conversion.names import read_aliases
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    CannotTell,
    ConversionRefused,
    OutOfBudget,
    Unreadable,
    UsageError,
    WeighbridgeError,
)
from weighbridge.formats.safetensors import parse_header, tensor_digest, tensor_set_root
from world_checkpoints import Call, Checkpoint, G, New, parameter, simple, storage, tensor


def convert(folder, data, **options):
    source = folder / "source.pt"
    source.write_bytes(data)
    with source.open("rb") as file:
        return convert_checkpoint(file, len(data), folder / "out.safetensors", **options)


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def header_of(path):
    return parse_header(path.read_bytes(), path.stat().st_size)


def refused(folder, data, error=ConversionRefused, **options):
    with pytest.raises(error) as caught:
        convert(folder, data, **options)
    assert listed(folder) == ["source.pt"]
    return caught.value


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_the_reference_library_reads_what_was_written(tmp_path, layout):
    result = convert(tmp_path, getattr(simple(), layout)())
    found = load_file(tmp_path / "out.safetensors")
    assert set(found) == {"weight", "bias"}
    assert found["weight"].tobytes() == struct.pack("<6f", *range(6))
    assert found["weight"].shape == (2, 3)
    assert found["bias"].tolist() == [7, 8, 9]
    assert (result.method, result.equivalence, result.tensors) == ("rebuilt", "proven", 2)
    assert result.kind == f"torch-{layout}"
    assert result.side == {"schema": "weighbridge.side/1", "content": {"tensors": ""}}


def test_the_facts_are_those_of_the_file(tmp_path):
    result = convert(tmp_path, simple().zip())
    data = (tmp_path / "out.safetensors").read_bytes()
    assert result.bytes == len(data)
    assert result.output_sha256 == Digest.of(data)
    assert result.side_digest == Digest.of(canonical(result.side))
    rows = [
        ("weight", "F32", (2, 3), tensor_digest("F32", (2, 3), [struct.pack("<6f", *range(6))])),
        ("bias", "F32", (3,), tensor_digest("F32", (3,), [struct.pack("<3f", 7, 8, 9)])),
    ]
    assert result.source_root == result.output_root == tensor_set_root(rows)
    assert result.to_json()["output_sha256"] == str(result.output_sha256)
    assert header_of(tmp_path / "out.safetensors").metadata == {"format": "pt"}


def test_the_output_is_the_same_bit_for_bit(tmp_path):
    digests = set()
    for number, data in enumerate((simple().zip(), simple().zip(root="other"), simple().legacy())):
        folder = tmp_path / str(number)
        folder.mkdir()
        digests.add(convert(folder, data).output_sha256)
    assert len(digests) == 1


KINDS = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?", "ComplexFloatStorage": "<c8",
}  # fmt: skip


@settings(max_examples=150)
@given(st.data(), st.sampled_from(sorted(KINDS)), st.sampled_from(["zip", "legacy"]))
def test_any_view_of_any_dtype_gives_its_elements_in_order(tmp_path_factory, data, kind, layout):
    count = data.draw(st.integers(0, 200))
    content = data.draw(st.binary(min_size=count, max_size=count))
    width = np.dtype(KINDS[kind]).itemsize
    base = np.frombuffer(content * width, dtype=f"<u{width}" if width < 8 else "<u8")
    sides = data.draw(st.lists(st.integers(0, 5), max_size=4))
    steps = [data.draw(st.integers(0, 9)) for _ in sides]
    offset = data.draw(st.integers(0, count))
    span = (
        sum((side - 1) * step for side, step in zip(sides, steps, strict=True)) + 1 if 0 not in sides else 0
    )
    folder = tmp_path_factory.mktemp("view")
    store = storage("0", kind, count)
    checkpoint = Checkpoint({"t": tensor(store, sides, steps, offset)}, {"0": content * width}, {"0": width})
    if offset + span > count:
        assert refused(folder, getattr(checkpoint, layout)()).check == "torch.view"
        return
    convert(folder, getattr(checkpoint, layout)())
    places = [offset + sum(i * s for i, s in zip(at, steps, strict=True)) for at in np.ndindex(*sides)]
    path = folder / "out.safetensors"
    header = header_of(path)
    assert header.tensors[0].shape == tuple(sides)
    assert path.read_bytes()[header.data_start :] == base[places].tobytes() if places else True


@given(arrays.arrays(np.int16, arrays.array_shapes(max_dims=4, max_side=6)))
@settings(max_examples=50)
def test_transposed_arrays(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("array")
    turned = array.T
    steps = [step // 2 for step in turned.strides]
    value = tensor(storage("0", "ShortStorage", array.size), turned.shape, steps)
    convert(folder, Checkpoint({"t": value}, {"0": array.tobytes()}).zip())
    assert np.array_equal(load_file(folder / "out.safetensors")["t"], turned)


def test_a_strided_view_larger_than_one_block(tmp_path):
    array = np.arange(3 * 1024 * 1024, dtype=np.int32).reshape(1024, 3072)
    cube = array.reshape(64, 16, 3072)
    values = {
        "t": tensor(storage("0", "IntStorage", array.size), (3072, 1024), (1, 3072)),
        "cube": tensor(storage("0", "IntStorage", array.size), (3072, 64, 16), (1, 16 * 3072, 3072)),
        "wide": tensor(storage("0", "IntStorage", array.size), (2, 2_000_000), (5, 1), 3),
    }
    result = convert(tmp_path, Checkpoint(values, {"0": array.tobytes()}).zip())
    found = load_file(tmp_path / "out.safetensors")
    assert np.array_equal(found["t"], array.T)
    assert np.array_equal(found["cube"], cube.transpose(2, 0, 1))
    assert np.array_equal(found["wide"][1], array.ravel()[8:2_000_008])
    assert result.was_view == ("cube", "t", "wide")


def test_tied_tensors_are_written_once_and_every_name_is_there(tmp_path):
    content = struct.pack("<4f", 1, 2, 3, 4)
    one = tensor(storage("0", numel=4), (2, 2))
    values = {
        "embed": one, "head": parameter(one), "part": tensor(storage("0", numel=4), (2,), (1,), 1),
        "turned": tensor(storage("0", numel=4), (2, 2), (1, 2)), "empty": tensor(storage("0", numel=4), (0,)),
        "empty-too": tensor(storage("0", numel=4), (0,)),
    }  # fmt: skip
    result = convert(tmp_path, Checkpoint(values, {"0": content}).zip())
    header = header_of(tmp_path / "out.safetensors")
    assert {info.name for info in header.tensors} == {"embed", "part", "turned", "empty", "empty-too"}
    assert read_aliases(header.metadata) == result.aliases == {"head": "embed"}
    assert header.metadata["weighbridge.aliases"] == '{"head":"embed"}'
    assert result.tensors == 6
    assert result.was_view == ("empty", "empty-too", "part", "turned")
    rows = []
    for name, kept in {**{info.name: info.name for info in header.tensors}, "head": "embed"}.items():
        info = next(info for info in header.tensors if info.name == kept)
        data = (tmp_path / "out.safetensors").read_bytes()[header.data_start :][info.start : info.end]
        rows.append((name, info.dtype, info.shape, tensor_digest(info.dtype, info.shape, [data])))
    assert result.output_root == tensor_set_root(rows)


def test_expanded_views_have_a_budget(tmp_path):
    value = {"t": tensor(storage("0", numel=1), (1000, 1000), (0, 0))}
    data = Checkpoint(value, {"0": bytes(4)}).zip()
    assert (
        refused(tmp_path, data, OutOfBudget, limits=ConversionLimits(max_growth=3_000_000)).check
        == "conversion.budget"
    )
    assert convert(tmp_path, data, limits=ConversionLimits(max_growth=4_000_000)).bytes > 4_000_000


def test_a_view_of_billions_is_refused_at_once(tmp_path):
    value = {"t": tensor(storage("0", numel=1), (2**31, 2**31), (0, 0))}
    assert (
        refused(tmp_path, Checkpoint(value, {"0": bytes(4)}).zip(), OutOfBudget).check == "conversion.budget"
    )


def test_as_many_dimensions_as_torch_has(tmp_path):
    shape, steps = (1,) * 60 + (2, 1, 3, 1), (7,) * 60 + (1, 9, 2, 9)
    value = {"t": tensor(storage("0", numel=6), shape, steps)}
    convert(tmp_path, Checkpoint(value, {"0": struct.pack("<6f", *range(6))}).zip())
    path = tmp_path / "out.safetensors"
    assert path.read_bytes()[header_of(path).data_start :] == struct.pack("<6f", 0, 2, 4, 1, 3, 5)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_any_flipped_byte_gives_a_refusal_or_a_proven_file(tmp_path, layout):
    values = {
        "a": tensor(storage("0", numel=6), (3, 2), (1, 3)),
        "b": tensor(storage("0", numel=6), (2,), (1,), 2),
    }
    data = getattr(Checkpoint(values | {"n": [1, None, "x"]}, {"0": bytes(range(24))}), layout)()
    source, target = tmp_path / "source.pt", tmp_path / "out.safetensors"
    for place in range(len(data)):
        source.write_bytes(data[:place] + bytes((data[place] ^ 0xFF,)) + data[place + 1 :])
        try:
            with source.open("rb") as file:
                result = convert_checkpoint(file, len(data), target)
        except WeighbridgeError:
            assert not target.exists()
        else:
            assert result.output_sha256 == Digest.of(target.read_bytes())
            target.unlink()
    assert listed(tmp_path) == ["source.pt"]


# --- nothing runs


def test_a_pickle_that_calls_the_shell_is_refused_and_nothing_ran(tmp_path):
    marker = tmp_path / "ran"
    for label in (G("posix", "system"), G("os", "system"), G("builtins", "eval"), G("subprocess", "Popen")):
        root = {"t": tensor(storage("0", numel=1), (1,)), "x": Call(label, (f"touch {marker}",))}
        checkpoint = Checkpoint(root, {"0": bytes(4)})
        for data in (checkpoint.zip(), checkpoint.legacy()):
            error = refused(tmp_path, data)
            assert error.check == "graph.call"
            assert f"{label.module}.{label.name}" in error.problem
    assert not marker.exists()


def test_no_import_no_process_and_no_unpickler_is_reached(tmp_path):
    """Run under an audit hook, which the interpreter calls for every import, process and find_class."""
    thing = New(G("evil_module", "Thing"), (), {"a": G("os", "system")})
    root = {"t": tensor(storage("0", numel=1), (1,)), "x": thing}
    (tmp_path / "warm.pt").write_bytes(simple().zip())
    (tmp_path / "in.pt").write_bytes(Checkpoint(root, {"0": bytes(4)}).zip())
    program = """
        import sys
        from pathlib import Path
        from weighbridge.conversion.convert import convert_checkpoint

        def convert(name):
            source = Path(sys.argv[1]) / name
            with source.open("rb") as file:
                return convert_checkpoint(file, source.stat().st_size, source.with_suffix(".safetensors"))

        convert("warm.pt")  # codecs of the standard library are imported on first use
        seen = []
        sys.addaudithook(lambda event, args: seen.append(event))
        done = convert("in.pt")
        bad = {"import", "exec", "compile", "marshal.loads", "pickle.find_class", "subprocess.Popen"}
        bad |= {"os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"}
        assert not bad & set(seen), bad & set(seen)
        assert "open" in seen
        assert "pickle" not in sys.modules and "evil_module" not in sys.modules
        assert done.side["content"]["dict"]["x"]["object"] == ["evil_module", "Thing"]
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- the disk


def test_the_kernel_copy_and_its_fallbacks_give_the_same(tmp_path, monkeypatch):
    def failing(code):
        def copy(*_):
            raise OSError(code, os.strerror(code))

        return copy

    def halves(source, target, length, start, offset):
        return os.pwrite(target, os.pread(source, max(1, length // 2), start), offset)

    expected = None
    codes = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
    for number, copy in enumerate([None, lambda *_: 0, halves, *map(failing, codes), "absent"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with monkeypatch.context() as patch:
            if copy == "absent":
                patch.delattr(os, "copy_file_range", raising=False)
            elif copy is not None:
                patch.setattr(os, "copy_file_range", copy, raising=False)
            digest = convert(folder, simple().zip()).output_sha256
        expected = expected or digest
        assert digest == expected


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_the_disk_leaves_nothing_behind(tmp_path, monkeypatch, code):
    def copy(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", copy, raising=False)
    assert refused(tmp_path, simple().zip(), CannotTell).check == "conversion.write"


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_an_error_at_the_end_leaves_nothing_behind(tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(errno.EIO, "no luck")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "rename")), fail)
    assert refused(tmp_path, simple().zip(), CannotTell).check == "conversion.write"


def test_a_full_disk_leaves_no_partial_file(tmp_path):
    value = {"t": tensor(storage("0", numel=1_000_000), (1_000_000,))}
    (tmp_path / "in.pt").write_bytes(Checkpoint(value, {"0": bytes(4_000_000)}).zip())
    program = """
        import resource, sys
        from pathlib import Path
        from weighbridge.conversion.convert import convert_checkpoint
        from weighbridge.core.errors import CannotTell
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        source = Path(sys.argv[1])
        try:
            with source.open("rb") as file:
                convert_checkpoint(file, source.stat().st_size, source.with_name("out.safetensors"))
        except CannotTell as error:
            sys.exit(7 if error.check == "conversion.write" else 8)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "in.pt")]
    assert subprocess.run(command, check=False).returncode == 7
    assert listed(tmp_path) == ["in.pt"]


def test_memory_does_not_grow_with_the_model(tmp_path):
    count = 64 * 1024 * 1024
    values = {
        "t": tensor(storage("0", numel=count), (count,)),
        "u": tensor(storage("0", numel=count), (1024, 1024), (1, 1024)),
    }
    empty = Checkpoint(values, {"0": b""}).legacy()
    with (tmp_path / "in.pt").open("wb") as file:
        file.write(empty[:-8] + struct.pack("<q", count))
        file.truncate(len(empty) + 4 * count)
    program = """
        import resource, sys
        from pathlib import Path
        from weighbridge.conversion.convert import convert_checkpoint
        import numpy
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source = Path(sys.argv[1])
        with source.open("rb") as file:
            convert_checkpoint(file, source.stat().st_size, source.with_name("out.safetensors"))
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "in.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64, "MiB beyond what was there before, for 256 MiB of tensors"


# --- the target


def test_a_target_is_never_written_over(tmp_path):
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError) as caught:
        convert(tmp_path, simple().zip())
    assert caught.value.check == "conversion.target"
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    (tmp_path / "out.safetensors").unlink()
    (tmp_path / "out.safetensors").symlink_to("elsewhere")
    with pytest.raises(UsageError):
        convert(tmp_path, simple().zip())
    assert listed(tmp_path) == ["out.safetensors", "source.pt"]


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "source.pt").write_bytes(simple().zip())
    with (tmp_path / "source.pt").open("rb") as file, pytest.raises(UsageError) as caught:
        convert_checkpoint(file, (tmp_path / "source.pt").stat().st_size, tmp_path / "no" / "out.safetensors")
    assert caught.value.check == "conversion.target"


def test_a_descriptor_as_target(tmp_path):
    expected = convert(tmp_path, simple().zip())
    with (tmp_path / "source.pt").open("rb") as file, (tmp_path / "by-fd").open("wb+") as target:
        found = convert_checkpoint(file, (tmp_path / "source.pt").stat().st_size, target.fileno())
        assert found == expected
        with pytest.raises(UsageError):
            convert_checkpoint(file, (tmp_path / "source.pt").stat().st_size, target.fileno())
    assert (tmp_path / "by-fd").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_a_descriptor_is_empty_again_after_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(rebuild.Source, "read", lambda *_: iter([b"other"]))
    (tmp_path / "source.pt").write_bytes(simple().zip())
    with (tmp_path / "source.pt").open("rb") as file, (tmp_path / "by-fd").open("wb+") as target:
        with pytest.raises(ConversionRefused):
            convert_checkpoint(file, (tmp_path / "source.pt").stat().st_size, target.fileno())
        assert os.fstat(target.fileno()).st_size == 0


def test_a_source_without_a_descriptor_is_an_error_of_use():
    data = simple().zip()
    with pytest.raises(UsageError) as caught:
        convert_checkpoint(io.BytesIO(data), len(data), Path("nowhere") / "out.safetensors")
    assert caught.value.check == "conversion.source"


# --- the proof


def test_a_byte_that_differs_is_found(tmp_path, monkeypatch):
    """Break the writing, byte by byte of the first tensor, and see the proof fail each time."""
    honest = rebuild.Source.write
    for place in range(24):

        def write(self, tensor, target, offset, place=place):
            honest(self, tensor, target, offset)
            if tensor.shape == (2, 3):
                byte = os.pread(target, 1, offset + place)[0]
                os.pwrite(target, bytes((byte ^ 1,)), offset + place)

        monkeypatch.setattr(rebuild.Source, "write", write)
        error = refused(tmp_path, simple().zip())
        assert error.check == "conversion.equivalence"
        assert "'weight'" in error.problem


def broken_header(change):
    from weighbridge.conversion import convert as room

    honest = room.write_header
    return lambda layout, metadata: change(honest(layout, metadata))


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.replace(b'"weight"', b'"height"'),
        lambda head: head.replace(b"[2,3]", b"[3,2]"),
        lambda head: head.replace(b'"F32"', b'"I32"', 1),
        lambda head: head.replace(b"}", b"]", 1),
        lambda head: head.replace(b'"format":"pt"', b'"format":2   '),
        lambda head: head[:8] + head[8:].replace(b"[24,36]", b"[25,37]").replace(b"[12,36]", b"[13,37]"),
    ],
)
def test_a_header_that_says_something_else_is_found(tmp_path, monkeypatch, change):
    monkeypatch.setattr("weighbridge.conversion.convert.write_header", broken_header(change))
    assert refused(tmp_path, simple().zip()).check == "conversion.equivalence"


@pytest.mark.parametrize(
    "aliases", ['{"head":"nobody"}', '{"embed":"embed"}', "{}", '["head"]', "not JSON", '{"head":1}']
)
def test_an_alias_map_that_says_something_else_is_found(tmp_path, monkeypatch, aliases):
    monkeypatch.setattr(
        "weighbridge.conversion.convert.metadata_of",
        lambda _: {"format": "pt", "weighbridge.aliases": aliases},
    )
    one = tensor(storage("0", numel=1), (1,))
    error = refused(tmp_path, Checkpoint({"embed": one, "head": one}, {"0": bytes(4)}).zip())
    assert error.check in ("conversion.equivalence", "conversion.aliases")


def test_bytes_added_behind_the_tensors_are_found(tmp_path, monkeypatch):
    honest = rebuild.write_all

    def longer(target, data, offset):
        honest(target, data, offset)
        os.ftruncate(target, 5000)

    monkeypatch.setattr("weighbridge.conversion.convert.write_all", longer)
    assert refused(tmp_path, simple().zip()).check == "conversion.equivalence"


@pytest.mark.parametrize("shape", [((6,), (1,)), ((3, 2), (1, 3))])
def test_a_source_that_shrinks_meanwhile_is_unreadable(tmp_path, monkeypatch, shape):
    from weighbridge.conversion import convert as room

    data = Checkpoint({"t": tensor(storage("0", numel=6), *shape)}, {"0": bytes(24)}).legacy()
    (tmp_path / "source.pt").write_bytes(data)
    honest = room.write_header

    def shrink(*args):
        os.truncate(tmp_path / "source.pt", len(data) - 5)
        return honest(*args)

    monkeypatch.setattr(room, "write_header", shrink)
    with (tmp_path / "source.pt").open("rb") as file, pytest.raises(Unreadable) as caught:
        convert_checkpoint(file, len(data), tmp_path / "out.safetensors")
    assert caught.value.check == "conversion.read"
    assert listed(tmp_path) == ["source.pt"]


def test_a_storage_with_a_wrong_checksum_is_unreadable(tmp_path):
    data = simple().zip()
    place = data.index(struct.pack("<6f", *range(6)))
    error = refused(tmp_path, data[:place] + b"\x01" + data[place + 1 :], Unreadable)
    assert error.check == "conversion.checksum"


def test_a_disk_that_cannot_be_read(tmp_path):
    class Bad(io.FileIO):
        def read(self, *_):
            raise OSError(errno.EIO, "no luck")

    (tmp_path / "source.pt").write_bytes(simple().zip())
    with Bad(tmp_path / "source.pt") as file, pytest.raises(Unreadable) as caught:
        convert_checkpoint(file, 100, tmp_path / "out.safetensors")
    assert caught.value.check == "conversion.read"


def test_the_two_ways_to_a_strided_tensor_are_told_apart(tmp_path, monkeypatch):
    """Break one way only: the proof must not share it."""
    value = {"t": tensor(storage("0", numel=6), (3, 2), (1, 3))}
    data = Checkpoint(value, {"0": struct.pack("<6f", *range(6))}).zip()
    monkeypatch.setattr(rebuild.Source, "_blocks", lambda *_: iter([bytes(24)]))
    assert refused(tmp_path, data).check == "conversion.equivalence"
    monkeypatch.undo()
    monkeypatch.setattr(rebuild.Source, "_gathered", lambda *_: iter([bytes(24)]))
    assert refused(tmp_path, data).check == "conversion.equivalence"


def test_the_digest_is_of_the_whole_file(tmp_path):
    result = convert(tmp_path, simple().zip())
    assert result.output_sha256.hex == hashlib.sha256((tmp_path / "out.safetensors").read_bytes()).hexdigest()
