"""Torch checkpoints as containers: the two layouts described, and everything that lies about itself refused."""

import io
import struct
import zipfile
import zlib

import pytest

from weighbridge.core.errors import ConversionRefused, OutOfBudget, Unreadable, WeighbridgeError
from weighbridge.formats.pickle_graph import DictNode, GraphLimits
from weighbridge.formats.torch import CheckpointLimits, StorageInfo, read_checkpoint, recognise
from weighbridge.formats.torch_values import Tensor
from world_checkpoints import Call, Checkpoint, G, Pid, Raw, emit, parameter, pickled, simple, storage, tensor


def describe(data, **limits):
    return read_checkpoint(io.BytesIO(data), len(data), CheckpointLimits(**limits))


def refusal(data):
    with pytest.raises(ConversionRefused) as caught:
        describe(data)
    return caught.value


def one(value, content=bytes(24), key="0"):
    """Return a checkpoint of one tensor named t over one storage."""
    return Checkpoint({"t": value}, {key: content})


def test_zip_layout():
    data = simple().zip()
    assert recognise(io.BytesIO(data), len(data)) == "torch-zip"
    checkpoint = describe(data)
    assert checkpoint.kind == "torch-zip"
    weight = dict(checkpoint.root.items)["weight"]
    assert isinstance(weight, Tensor)
    assert (weight.shape, weight.stride, weight.offset, weight.dtype) == ((2, 3), (3, 1), 0, "F32")
    info = checkpoint.storages["0"]
    content = struct.pack("<6f", *range(6))
    assert info == StorageInfo("F32", 6, info.offset, 24, zlib.crc32(content))
    assert data[info.offset : info.offset + 24] == struct.pack("<6f", *range(6))


def test_legacy_layout():
    data = simple().legacy()
    assert recognise(io.BytesIO(data), len(data)) == "torch-legacy"
    checkpoint = describe(data)
    assert checkpoint.kind == "torch-legacy"
    info = checkpoint.storages["1"]
    assert data[info.offset :] == struct.pack("<3f", 7, 8, 9)


def test_any_root_folder_and_no_byte_order():
    checkpoint = describe(simple().zip(root="model_4", byteorder=None))
    assert isinstance(checkpoint.root, DictNode)
    extra = [
        ("m/.format_version", b"1"),
        ("m/.storage_alignment", b"64"),
        ("m/.data/serialization_id", b"1" * 40),
    ]
    assert len(describe(simple().zip(root="m", extra=extra)).storages) == 2


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\x03\x04", b"\x80\x02", bytes(64), b"not a checkpoint at all", pickled({})]
)
def test_what_is_no_checkpoint(data):
    assert recognise(io.BytesIO(data), len(data)) == ""
    assert refusal(data).check in ("torch.layout", "torch.container")


def test_torchscript_is_named():
    for extra in ("archive/constants.pkl", "archive/code/__torch__.py"):
        data = simple().zip(extra=[(extra, b"")])
        assert recognise(io.BytesIO(data), len(data)) == "torchscript"
        assert refusal(data).check == "torch.torchscript"


def rewritten(build):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        build(archive)
    return out.getvalue()


def duplicated(archive):
    archive.writestr("a/data.pkl", pickled({"t": tensor(storage("0", numel=1), (1,))}))
    archive.writestr("a/data/0", b"1234")
    archive.writestr("a/data/0", b"5678")


def packed_storage(archive):
    archive.writestr("a/data.pkl", pickled({"t": tensor(storage("0", numel=100), (100,))}))
    archive.writestr("a/data/0", bytes(400), compress_type=zipfile.ZIP_DEFLATED)


def packed_pickle(archive):
    archive.writestr("a/data.pkl", pickled({}), compress_type=zipfile.ZIP_DEFLATED)


def two_roots(archive):
    archive.writestr("a/data.pkl", pickled({"t": tensor(storage("0", numel=1), (1,))}))
    archive.writestr("b/data/0", b"1234")


def no_root(archive):
    archive.writestr("data.pkl", pickled({}))


def test_archives_that_two_readers_could_read_differently(recwarn):
    good = simple().zip()
    swapped = good.replace(b"archive/data/1", b"archive/data/7", 1)
    cases = {
        "duplicate": rewritten(duplicated),
        "prefix": b"x" * 8 + good,
        "trailing": good + b"x",
        "local-name": swapped,
        "truncated": good[:-30],
        "no-directory": good[: good.index(b"PK\x01\x02")],
    }
    for case, data in cases.items():
        assert refusal(data).check in ("torch.container", "torch.layout"), case


def test_members():
    assert refusal(rewritten(packed_storage)).check == "torch.packed"
    assert refusal(rewritten(packed_pickle)).check == "torch.packed"
    assert refusal(rewritten(two_roots)).check == "torch.member"
    assert refusal(rewritten(no_root)).check == "torch.layout"
    for name in (
        "archive/data/9",
        "archive/data/a/b",
        "archive/data/",
        "archive/evil.py",
        "elsewhere",
    ):
        assert refusal(simple().zip(extra=[(name, b"1234")])).check == "torch.member", name
    assert refusal(simple().zip(extra=[("archive/data/0/", b"1234")])).check == "torch.container"
    long_version = simple().zip(extra=[("archive/.format_version", bytes(5000))])
    assert refusal(long_version).check == "torch.member"


def test_bytes_behind_the_pickle_are_refused():
    data = simple()
    assert (
        refusal(data.zip(data=pickled(data.root) + b"cposix\nsystem\n(S'true'\ntR.")).check
        == "torch.container"
    )


def test_a_damaged_pickle_member_is_unreadable():
    data = simple().zip().replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9", 1)
    with pytest.raises(Unreadable) as caught:
        describe(data)
    assert caught.value.check == "archive.crc"


def test_byte_order():
    assert refusal(simple().zip(byteorder=b"big")).check == "torch.byteorder"
    assert refusal(simple().zip(byteorder=b"")).check == "torch.byteorder"
    for said in (False, None, 1, "yes"):
        assert refusal(simple().legacy(little=said)).check == "torch.byteorder"
    twice = Raw(b"}(" + 2 * (emit("little_endian") + emit(True)) + b"u")
    for system in ({}, [], None, twice):
        parts = [pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, system, {}, [])]
        assert refusal(b"".join(parts)).check == "torch.byteorder"
    for magic, protocol in ((1, 1001), (0x1950A86A20F9469CFC6C, 1000)):
        parts = [pickled(part) for part in (magic, protocol, {"little_endian": True}, {}, [])]
        assert refusal(b"".join(parts)).check == "torch.layout"


def test_a_storage_that_lies_about_its_size():
    for numel in (5, 7, 2**62, 2**63 - 1):
        value = tensor(storage("0", numel=numel), (1,))
        for data in (one(value).zip(), one(value).legacy()):
            assert refusal(data).check == "torch.storage", numel
    for numel in (-1, 2**63, 1.0, True, None, "6"):
        assert refusal(one(tensor(storage("0", numel=numel), (1,))).zip()).check == "torch.storage"
    honest = one(tensor(storage("0", numel=6), (6,)))
    assert refusal(honest.legacy(counts={"0": 5})).check == "torch.storage"
    assert refusal(honest.legacy(counts={"0": -1})).check == "torch.storage"


def test_storages_and_members_must_match():
    value = tensor(storage("0", numel=6), (6,))
    assert refusal(Checkpoint({"t": value}, {}).zip()).check == "torch.storage"
    assert refusal(Checkpoint({"t": value}, {"0": bytes(24), "1": b""}).zip()).check == "torch.member"
    assert refusal(one(value).legacy(keys=[])).check == "torch.storage"
    assert refusal(one(value).legacy(keys=["0", "0"])).check == "torch.storage"
    assert refusal(one(value).legacy(keys=["0", "1"])).check == "torch.storage"
    assert refusal(one(value).legacy(keys=[0])).check == "torch.storage"
    assert refusal(one(value).legacy(keys={"0": 1})).check == "torch.storage"
    assert refusal(one(value).legacy(tail=b"x")).check == "torch.container"
    assert refusal(one(value).legacy()[:-1]).check == "torch.storage"
    assert refusal(one(value).legacy()[:-25]).check == "torch.storage"


def test_one_storage_declared_in_two_ways():
    again = {"a": tensor(storage("0", numel=6), (6,)), "b": tensor(storage("0", "IntStorage", 6), (6,))}
    assert refusal(Checkpoint(again, {"0": bytes(24)}).zip()).check == "torch.storage"


VIEWS = {
    "offset": ((6,), (1,), 1),
    "shape": ((7,), (1,), 0),
    "stride": ((2, 3), (4, 1), 0),
    "far-offset": ((1,), (1,), 2**62),
    "empty-behind-the-end": ((0,), (1,), 7),
    "scalar-outside": ((), (), 6),
    "product-overflow": ((2**40, 2**40), (0, 0), 0),
    "overflow-behind-a-zero": ((2**40, 2**40, 0), (0, 0, 0), 0),
    "stride-overflow": ((2, 2), (2**62, 2**62), 0),
    "negative-stride": ((2, 2), (-1, 1), 2),
    "negative-offset": ((2,), (1,), -1),
    "negative-shape": ((-2,), (1,), 0),
    "one-stride-missing": ((2, 2), (1,), 0),
    "huge-side": ((2**63,), (1,), 0),
    "many-dimensions": ((1,) * 65, (1,) * 65, 0),
}


@pytest.mark.parametrize("case", VIEWS)
@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_no_view_reaches_outside_its_storage(case, layout):
    shape, stride, offset = VIEWS[case]
    checkpoint = one(tensor(storage("0", numel=6), shape, stride, offset))
    assert refusal(getattr(checkpoint, layout)()).check == "torch.view"


def test_views_that_touch_the_very_end_are_let_through():
    for shape, stride, offset in (
        ((6,), (1,), 0),
        ((1,), (9,), 5),
        ((2, 2), (3, 2), 0),
        ((), (), 5),
        ((0,), (1,), 6),
    ):
        describe(one(tensor(storage("0", numel=6), shape, stride, offset)).zip())


def test_ten_thousand_dimensions_are_refused_before_any_work():
    assert (
        refusal(one(tensor(storage("0", numel=6), (1,) * 10_000, (1,) * 10_000)).zip()).check == "torch.view"
    )


V2 = G("torch._utils", "_rebuild_tensor_v2")
V3 = G("torch._utils", "_rebuild_tensor_v3")
HOOKS = Call(G("collections", "OrderedDict"), ())
STORE = storage("0", numel=6)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        ("torch.metadata", tensor(STORE, (6,), metadata=({"conj": True},))),
        ("torch.metadata", tensor(STORE, (6,), metadata=({"neg": True},))),
        ("torch.metadata", tensor(STORE, (6,), metadata=(1,))),
        ("torch.hooks", Call(V2, (STORE, 0, (6,), (1,), False, {"hook": G("posix", "system")}))),
        ("torch.hooks", Call(G("torch._utils", "_rebuild_parameter"), (tensor(STORE, (6,)), True, [1]))),
        ("torch.view", parameter("no tensor")),
        ("torch.view", Call(V2, (STORE, 0, (6,)))),
        ("torch.view", Call(V2, ("0", 0, (6,), (1,), False, HOOKS))),
        ("torch.view", Call(V2, (STORE, 0, 6, 1, False, HOOKS))),
        ("torch.view", Call(V2, (STORE, True, (6,), (1,), False, HOOKS))),
        ("torch.dtype", Call(V3, (STORE, 0, (6,), (1,), False, HOOKS, G("torch", "float4")))),
        ("torch.dtype", Call(V3, (STORE, 0, (6,), (1,), False, HOOKS, "F8"))),
        ("torch.view", Call(V3, (STORE, 0, (6,), (1,), False, HOOKS, G("torch", "uint16")))),
        ("torch.quantized", Call(G("torch._utils", "_rebuild_qtensor"), ())),
        ("torch.sparse", Call(G("torch.serialization", "_get_layout"), ("torch.sparse_coo",))),
        ("torch.nested", Call(G("torch._utils", "_rebuild_nested_tensor"), ())),
        ("torch.meta", Call(G("torch._utils", "_rebuild_meta_tensor_no_storage"), ())),
        ("torch.subclass", Call(G("torch._tensor", "_rebuild_from_type_v2"), ())),
        ("torch.torchscript", Call(G("torch.jit._pickle", "build_intlist"), ([1],))),
        ("torch.meta", tensor(storage("0", numel=6, location="meta"), (6,))),
        ("torch.complex128", tensor(storage("0", "ComplexDoubleStorage", 6), (6,))),
        ("torch.quantized", tensor(storage("0", "QUInt8Storage", 6), (6,))),
        ("torch.storage", tensor(storage("0", "MyStorage", 6), (6,))),
        ("torch.storage", tensor(storage("0", numel=6, module="os"), (6,))),
        ("torch.storage", tensor(storage("0", numel=6, tail=(("0", 0, 6),)), (6,))),
        ("torch.storage", tensor(storage(0, numel=6), (6,))),
        ("torch.storage", tensor(Pid(("tensor", G("torch", "FloatStorage"), "0", "cpu", 6)), (6,))),
        ("torch.storage", tensor(Pid(("storage", "torch.FloatStorage", "0", "cpu", 6)), (6,))),
        ("graph.persistent", tensor(Pid("storage"), (6,))),
        ("graph.opcode", Raw(b"P0\n")),
        ("torch.argument", Call(G("collections", "OrderedDict"), ([[1, 2, 3]],))),
        ("torch.argument", Call(G("collections", "OrderedDict"), ({},))),
        ("torch.argument", Call(G("builtins", "set"), ((),))),
        ("torch.argument", Call(G("torch", "device"), (G("os", "x"),))),
        ("torch.argument", Call(G("torch", "Size"), ())),
        ("torch.view", Call(G("torch", "Size"), ("66",))),
        ("graph.call", Call(G("posix", "system"), ("true",))),
    ],
)
def test_what_is_no_plain_tensor_is_refused_with_its_reason(check, value):
    for data in (one(value).zip(), one(value).legacy()):
        assert refusal(data).check == check


def test_limits():
    data = simple()
    with pytest.raises(OutOfBudget) as spent:
        describe(data.zip(), max_pickle=50)
    assert spent.value.check == "torch.budget"
    with pytest.raises(OutOfBudget):
        describe(data.legacy(), max_pickle=50)
    with pytest.raises(OutOfBudget):
        describe(data.zip(), graph=GraphLimits(max_nodes=5))


def test_a_file_shorter_than_announced():
    data = simple().zip()
    with pytest.raises(Unreadable) as caught:
        read_checkpoint(io.BytesIO(data), len(data) + 1)
    assert caught.value.check == "torch.truncated"


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_every_truncation_is_refused(layout):
    data = getattr(simple(), layout)()
    for length in range(len(data)):
        with pytest.raises(WeighbridgeError):
            describe(data[:length])


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_a_flipped_byte_is_refused_or_is_in_the_tensors(layout):
    data = getattr(simple(), layout)()
    for place in range(len(data)):
        mutant = bytearray(data)
        mutant[place] ^= 0x11
        try:
            checkpoint = describe(bytes(mutant))
        except WeighbridgeError:
            continue
        for info in checkpoint.storages.values():
            assert info.offset + info.size <= len(mutant)


def test_a_large_legacy_pickle_is_read_past_the_first_mebibyte():
    root = {"t": tensor(storage("0", numel=6), (6,)), "text": "x" * 3_000_000}
    checkpoint = describe(Checkpoint(root, {"0": bytes(24)}).legacy())
    assert checkpoint.storages["0"].size == 24
