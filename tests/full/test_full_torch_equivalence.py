"""The symbolic reader against torch itself: every tensor of every checkpoint that torch writes, byte for byte."""

import collections
import os
import pickle
import warnings
from pathlib import Path

import pytest

from weighbridge.conversion.convert import convert_checkpoint
from weighbridge.conversion.names import read_aliases
from weighbridge.core.errors import ConversionRefused
from weighbridge.formats.safetensors import parse_header

pytestmark = pytest.mark.full

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from safetensors.torch import load_file
except ImportError:
    if os.environ.get("FULL") == "1":
        raise
    pytest.skip("torch comes with `make test FULL=1`", allow_module_level=True)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.body = torch.nn.Sequential(
            torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 4, bias=False)
        )
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.note = {"epochs": 3, "rate": 0.1}


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def views():
    base = seeded(6, 8)
    line = seeded(40)
    return {
        "whole": base,
        "transposed": base.t(),
        "column": base[:, 3],
        "every-second": base[::2, 1::3],
        "row": base[2],
        "expanded": seeded(1, 5).expand(4, 5),
        "scalar-expanded": torch.tensor(3.0).expand(2, 3),
        "overlapping": line.as_strided((5, 6), (3, 1), 2),
        "diagonal": base.diagonal(),
        "permuted": seeded(2, 3, 4, 5).permute(3, 0, 2, 1),
        "middle": line[7:19],
        "broadcast-of-slice": line[3:7].reshape(1, 4, 1).expand(3, 4, 2),
    }


def dtypes():
    kinds = [
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
    ]
    made = {kind: (seeded(3, 5) * 9).abs().to(getattr(torch, kind)) for kind in kinds}
    return made | {f"{kind}.t": made[kind].t() for kind in ("bfloat16", "complex64", "bool", "int64")}


def new_dtypes():
    """Return the dtypes that have no storage type of their own; torch writes them to legacy files and cannot read them."""
    kinds = [
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "uint16",
        "uint32",
        "uint64",
    ]
    made = {kind: (seeded(3, 5) * 9).abs().to(getattr(torch, kind)) for kind in kinds}
    return made | {f"{kind}.t": made[kind].t()[1:] for kind in ("float8_e4m3fn", "uint32")}


def odd_shapes():
    return {
        "zero-dim": torch.tensor(1.5),
        "zero-dim-int": torch.tensor(-7),
        "empty": torch.empty(0),
        "empty-2d": torch.empty(0, 3),
        "empty-slice": seeded(9)[5:5],
        "one": torch.ones(1, 1, 1),
        "parameter": torch.nn.Parameter(seeded(3)),
        "frozen": torch.nn.Parameter(seeded(3), requires_grad=False),
    }


def tied():
    one, two = seeded(4, 4), seeded(4)
    return {"a": one, "z": two, "b": one, "same-view": one[:], "part": one[1:3], "c": {"d": [one, two]}}


def training():
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    model.body(model.embed(torch.tensor([1, 2, 3]))).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 7,
        "best": float("inf"),
    }


CASES = {
    "views": views,
    "dtypes": dtypes,
    "new-dtypes": new_dtypes,
    "odd": odd_shapes,
    "tied": tied,
    "state-dict": lambda: Net().state_dict(),
    "training": training,
    "list": lambda: [seeded(3), (seeded(4), {"x": seeded(2, 2)})],
    "single": lambda: seeded(3, 4).t(),
    "integer-keys": lambda: {0: seeded(2), "s": {5: seeded(3)}},
    "big-strided": lambda: {"t": torch.arange(3 * 1024 * 1024, dtype=torch.int32).reshape(1024, 3072).t()},
}


def flat(value, path=""):
    """Name tensors as docs/reference/conversion.md says."""
    if isinstance(value, torch.Tensor):
        yield path or "tensor", value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from flat(item, f"{path}.{place}" if path else str(place))


def convert(source, target):
    with source.open("rb") as file:
        return convert_checkpoint(file, source.stat().st_size, target)


def loaded(target):
    """Load the output with the reference library, and give every alias its tensor."""
    tensors = load_file(target)
    header = parse_header(target.read_bytes(), target.stat().st_size)
    aliases = read_aliases(header.metadata)
    return tensors | {other: tensors[kept] for other, kept in aliases.items()}


def same(left, right):
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    # Bytes, not values: NaN equals NaN, and -0.0 is not 0.0.
    left, right = left.detach().clone(memory_format=torch.contiguous_format), right.contiguous()
    return left.reshape(-1).view(torch.uint8).equal(right.reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_what_torch_loads(tmp_path, case, layout):
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    torch.save(CASES[case](), source, _use_new_zipfile_serialization=layout == "zip")
    result = convert(source, target)
    readable = (case, layout) != ("new-dtypes", "legacy")
    value = torch.load(source, weights_only=True, map_location="cpu") if readable else CASES[case]()
    expected, found = dict(flat(value)), loaded(target)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not same(expected[name], found[name])] == []
    assert result.kind == f"torch-{layout}"
    assert result.tensors == len(expected)
    assert result.source_root == result.output_root


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_every_pickle_protocol(tmp_path, layout, protocol):
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    value = collections.OrderedDict(views())
    torch.save(value, source, pickle_protocol=protocol, _use_new_zipfile_serialization=layout == "zip")
    convert(source, target)
    found = loaded(target)
    assert [name for name in value if not same(value[name], found[name])] == []


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_whole_module_has_the_names_of_its_state_dict(tmp_path, layout):
    source, target = tmp_path / "in.pt", tmp_path / "out.safetensors"
    model = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(model, source, _use_new_zipfile_serialization=layout == "zip")
    result = convert(source, target)
    expected, found = model.state_dict(), loaded(target)
    assert set(expected) == set(found)
    assert [name for name in expected if not same(expected[name], found[name])] == []
    assert result.aliases == {"head.weight": "embed.weight"}
    assert result.side["content"]["state"]["note"] == {"dict": {"epochs": 3, "rate": 0.1}}


REFUSED = {
    "torch.sparse": lambda: torch.eye(3).to_sparse(),
    "torch.quantized": lambda: torch.quantize_per_tensor(seeded(3), 0.1, 3, torch.quint8),
    "torch.complex128": lambda: seeded(3).to(torch.complex128),
    "torch.metadata": lambda: torch.conj(seeded(3).to(torch.complex64)),
    "torch.meta": lambda: torch.empty(3, device="meta"),
    "torch.nested": lambda: torch.nested.nested_tensor([seeded(2), seeded(3)]),
}


@pytest.mark.parametrize("layout", ["zip", "legacy"])
@pytest.mark.parametrize("check", REFUSED)
def test_what_safetensors_cannot_say_is_refused_with_the_reason(tmp_path, check, layout):
    source = tmp_path / "in.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"t": REFUSED[check]()}, source, _use_new_zipfile_serialization=layout == "zip")
    with pytest.raises(ConversionRefused) as refusal:
        convert(source, tmp_path / "out.safetensors")
    assert refusal.value.check == check
    assert list(tmp_path.iterdir()) == [source]


def test_a_torchscript_program_is_refused(tmp_path):
    source = tmp_path / "in.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(source)
    with pytest.raises(ConversionRefused) as refusal:
        convert(source, tmp_path / "out.safetensors")
    assert refusal.value.check == "torch.torchscript"


def published():
    folder = Path(os.environ.get("CHECKPOINTS", "/nowhere"))
    return sorted(path for path in folder.rglob("*") if path.suffix in (".pt", ".pth"))


@pytest.mark.skipif(not published(), reason="CHECKPOINTS names no folder of checkpoints")
@pytest.mark.parametrize("source", published(), ids=lambda path: path.name)
def test_published_checkpoints(tmp_path, source):
    convert(source, tmp_path / "out.safetensors")
    try:
        value = torch.load(source, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        pytest.skip(f"torch does not load it without running code: {str(error)[:80]}")
    expected, found = dict(flat(value)), loaded(tmp_path / "out.safetensors")
    assert expected.keys() == found.keys()
    assert [name for name in expected if not same(expected[name], found[name])] == []
