"""What the few names in a torch checkpoint mean: storages, views of them, parameters, ordered dicts.

Each rebuild function of `torch._utils` is read as data: which storage, from which element, in which
shape and strides. A view is held against its storage here, before any byte is looked at. What safetensors
has no encoding for is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Never

from weighbridge.core.errors import ConversionRefused
from weighbridge.formats.pickle_graph import Call, DictNode, Global, SetNode, Value, describe
from weighbridge.formats.safetensors import DTYPE_BITS

MAX_DEVICE = 80
MAX_DIMENSIONS = 64
MAX_ELEMENTS = 2**63 - 1

_STORAGES = {
    "FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8",
}  # fmt: skip
_DTYPES = {
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip
_NO_ENCODING = {
    "ComplexDoubleStorage": "complex128", "QUInt8Storage": "quantized", "QInt8Storage": "quantized",
    "QInt32Storage": "quantized", "QUInt4x2Storage": "quantized", "QUInt2x4Storage": "quantized",
}  # fmt: skip


def width(dtype: str) -> int:
    """Return the bytes of one element of a safetensors dtype that torch can store."""
    return DTYPE_BITS[dtype] // 8


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of elements as a persistent id declares it: key of its bytes, dtype, number of elements."""

    key: str
    dtype: str
    numel: int

    @property
    def size(self) -> int:
        """Bytes that this storage must occupy in the file."""
        return self.numel * width(self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; `offset` and `stride` count elements of `dtype`, as torch does."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of elements the view shows."""
        return _product(self.shape)

    @property
    def size(self) -> int:
        """Bytes of the view written out."""
        return self.numel * width(self.dtype)

    @property
    def contiguous(self) -> bool:
        """Tell whether the elements lie one after the other in row-major order."""
        expected = 1
        for side, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if side != 1 and stride != expected:
                return self.numel == 0
            expected *= side
        return True

    @property
    def view(self) -> tuple[object, ...]:
        """What makes two tensors the same one: tied tensors have equal views."""
        return (self.storage.key, self.dtype, self.offset, self.shape, self.stride)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def persistent_of(args: tuple[Value, ...], offset: int) -> Storage | Global:
    """Read a persistent id of torch.serialization: a storage, or in legacy files a class with its source.

    `("module", <class>, path, source)` stands for the class; the source is text that nobody runs.
    """
    if len(args) == 4 and args[0] == "module" and isinstance(args[1], Global):
        return args[1]
    return storage_of(args, offset)


def storage_of(args: tuple[Value, ...], offset: int) -> Storage:
    """Read a persistent id `("storage", <type>, key, location, numel[, view])` (torch.serialization)."""
    if len(args) not in (5, 6) or args[0] != "storage" or not isinstance(args[1], Global):
        raise refused("storage", "a persistent id is not a storage", offset)
    kind, key, location, numel = args[1], args[2], args[3], args[4]
    if len(args) == 6 and args[5] is not None:
        raise refused("storage", "a storage is a view of another storage", offset)
    if kind.name in _NO_ENCODING and kind.module == "torch":
        reason = _NO_ENCODING[kind.name]
        raise refused(reason, f"the checkpoint holds {reason} tensors", offset)
    if kind.module not in ("torch", "torch.storage") or kind.name not in _STORAGES:
        raise refused("storage", f"the storage type {kind} is unknown", offset)
    if type(key) is not str or type(location) is not str or not _is_count(numel):
        raise refused("storage", "a storage has an ill-formed key, location or size", offset)
    if location == "meta":
        raise refused("meta", "the checkpoint holds meta tensors, which have no data", offset)
    assert isinstance(numel, int)
    return Storage(key, _STORAGES[kind.name], numel)


def _is_count(value: Value) -> bool:
    return type(value) is int and 0 <= value <= MAX_ELEMENTS


def _counts(value: Value, what: str, offset: int) -> tuple[int, ...]:
    numbers = list(value) if isinstance(value, (tuple, list)) else None
    if numbers is None or len(numbers) > MAX_DIMENSIONS or not all(_is_count(item) for item in numbers):
        raise refused(
            "view", f"the {what} of a tensor is not at most {MAX_DIMENSIONS} numbers from 0 up", offset
        )
    return tuple(numbers)


def _tensor(args: tuple[Value, ...], dtype: str | None, at: int) -> Tensor:
    storage, first, shape, stride = args[:4]
    if not isinstance(storage, Storage):
        raise refused("view", f"a tensor is made of {describe(storage)}, not of a storage", at)
    sides, steps = _counts(shape, "shape", at), _counts(stride, "stride", at)
    if not isinstance(first, int) or not _is_count(first) or len(sides) != len(steps):
        raise refused("view", "the offset, shape and stride of a tensor do not fit together", at)
    tensor = Tensor(storage, dtype or storage.dtype, first, sides, steps)
    if dtype is not None and storage.dtype != "U8":
        raise refused("view", "a tensor reads its storage as another type", at)
    _check_bounds(tensor, at)
    return tensor


def _check_bounds(tensor: Tensor, at: int) -> None:
    """Refuse a view that reaches outside its storage (the class of CVE-2026-24747) or counts past 2**63."""
    available = tensor.storage.size // width(tensor.dtype)
    count = 1
    for side in tensor.shape:
        count *= side
        if count > MAX_ELEMENTS:
            raise refused("view", "the shape of a tensor overflows", at)
    need = tensor.offset
    if count:
        need += sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride, strict=True)) + 1
    if need > available:
        raise refused(
            "view",
            f"a view needs {need} elements of storage {tensor.storage.key[:80]!r}, which has {available}",
            at,
        )


def _no_hooks(value: Value, at: int) -> None:
    if value is not None and not (isinstance(value, DictNode) and not value.items):
        raise refused("hooks", "a tensor carries backward hooks, which are code", at)


def _no_metadata(value: Value, at: int) -> None:
    if value is not None and not (isinstance(value, DictNode) and not value.items):
        raise refused("metadata", "a tensor carries conj, neg or other bits that safetensors cannot say", at)


def _rebuild_tensor(args: tuple[Value, ...], at: int) -> Value:
    if len(args) != 4:
        raise refused("view", "_rebuild_tensor takes four arguments", at)
    return _tensor(args, None, at)


def _rebuild_tensor_v2(args: tuple[Value, ...], at: int) -> Value:
    if len(args) not in (6, 7):
        raise refused("view", "_rebuild_tensor_v2 takes six or seven arguments", at)
    _no_hooks(args[5], at)
    _no_metadata(args[6] if len(args) == 7 else None, at)
    return _tensor(args, None, at)


def _rebuild_tensor_v3(args: tuple[Value, ...], at: int) -> Value:
    if len(args) not in (7, 8):
        raise refused("view", "_rebuild_tensor_v3 takes seven or eight arguments", at)
    _no_hooks(args[5], at)
    _no_metadata(args[7] if len(args) == 8 else None, at)
    kind = args[6]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in _DTYPES:
        raise refused("dtype", f"the element type {describe(kind)} has no safetensors encoding", at)
    return _tensor(args, _DTYPES[kind.name], at)


def _rebuild_parameter(args: tuple[Value, ...], at: int) -> Value:
    if len(args) != 3 or not isinstance(args[0], Tensor):
        raise refused("view", "_rebuild_parameter takes a tensor, a flag and hooks", at)
    _no_hooks(args[2], at)
    return args[0]


def _ordered_dict(args: tuple[Value, ...], at: int) -> Value:
    pairs: list[tuple[Value, Value]] = []
    if len(args) > 1 or (args and not isinstance(args[0], list)):
        raise refused("argument", "an OrderedDict is made of something other than a list of pairs", at)
    for pair in args[0] if args and isinstance(args[0], list) else []:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise refused("argument", "an OrderedDict is made of something other than a list of pairs", at)
        pairs.append((pair[0], pair[1]))
    return DictNode(pairs, "OrderedDict")


def _set(args: tuple[Value, ...], at: int) -> Value:
    if len(args) != 1 or not isinstance(args[0], list):
        raise refused("argument", "a set is made of something other than a list", at)
    return SetNode(list(args[0]))


def _size(args: tuple[Value, ...], at: int) -> Value:
    if len(args) != 1:
        raise refused("argument", "torch.Size takes one argument", at)
    return _counts(args[0], "size", at)


@dataclass(frozen=True, slots=True)
class Device:
    """A torch.device as it was written: `cpu`, `cuda:0`."""

    text: str


def _device(args: tuple[Value, ...], at: int) -> Value:
    well = 1 <= len(args) <= 2 and type(args[0]) is str and len(args[0]) <= MAX_DEVICE
    if not well or not all(_is_count(index) for index in args[1:]):
        raise refused("argument", "torch.device takes a type and an index", at)
    return Device(":".join(str(part) for part in args))


def _refusal(check: str, what: str) -> Call:
    def call(_: tuple[Value, ...], at: int) -> Never:
        raise refused(check, f"the checkpoint holds {what}", at)

    return call


_SPARSE = "sparse tensors, for which safetensors has no encoding"
_SUBCLASS = "a tensor subclass or a tensor with attributes of its own, which are rebuilt by code"

CALLS: Mapping[tuple[str, str], Call] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("collections", "OrderedDict"): _ordered_dict,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("torch", "Size"): _size,
    ("torch", "device"): _device,
    # Known, and refused with the reason rather than as an unknown name.
    ("torch._utils", "_rebuild_qtensor"): _refusal("quantized", "quantized tensors"),
    ("torch.serialization", "_get_layout"): _refusal("sparse", _SPARSE),
    ("torch._utils", "_rebuild_sparse_tensor"): _refusal("sparse", _SPARSE),
    ("torch._utils", "_rebuild_sparse_csr_tensor"): _refusal("sparse", _SPARSE),
    ("torch._utils", "_rebuild_nested_tensor"): _refusal("nested", "nested tensors"),
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): _refusal("meta", "meta tensors, which have no data"),
    ("torch._utils", "_rebuild_parameter_with_state"): _refusal("subclass", _SUBCLASS),
    ("torch._utils", "_rebuild_wrapper_subclass"): _refusal("subclass", _SUBCLASS),
    ("torch._tensor", "_rebuild_from_type_v2"): _refusal("subclass", _SUBCLASS),
    ("torch.jit._pickle", "build_intlist"): _refusal("torchscript", "a TorchScript program"),
}
"""What a REDUCE of each name means; names that are missing here are refused by the graph machine."""


def refused(check: str, problem: str, offset: int | None = None) -> ConversionRefused:
    """Build the refusal of a checkpoint; `offset` is the place in its pickle."""
    return ConversionRefused(
        problem if offset is None else f"{problem} (offset {offset})",
        cause="it cannot be written as plain tensors without guessing or running code",
        remedy="ask the publisher for safetensors, or save a plain `model.state_dict()` where the model is trusted",
        check=f"torch.{check}",
    )
