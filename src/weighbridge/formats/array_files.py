"""Describe numpy files as checkpoints: npy, npz, and joblib files of plain arrays; nothing is unpickled.

An array is a storage of its own and a view of it. What is no array of numbers (text, objects, structures, other
byte orders) is refused, and so is a joblib file that holds objects of any class: an estimator is more than its
arrays. Sources: the numpy.lib.format documentation; joblib's numpy_pickle.py, read as a specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from weighbridge.core.errors import ConversionRefused, OutOfBudget, Unreadable
from weighbridge.formats.archive import STORED, ZipMember, read_zip, stream_member
from weighbridge.formats.limits import Budget
from weighbridge.formats.npy import MAX_HEADER, NpyHeader, parse_header
from weighbridge.formats.pickle_events import InlineArray
from weighbridge.formats.pickle_graph import (
    Call,
    DictNode,
    Global,
    Opaque,
    SetNode,
    Value,
    read_graph,
)
from weighbridge.formats.pickle_trace import trace
from weighbridge.formats.torch import Checkpoint, CheckpointLimits, StorageInfo
from weighbridge.formats.torch_values import CALLS, Storage, Tensor, refused, width

NPY, NPZ, JOBLIB = "npy", "npz", "joblib"

_DTYPES = {
    "f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64", "u1": "U8", "u2": "U16",
    "u4": "U32", "u8": "U64", "b1": "BOOL", "c8": "C64",
}  # fmt: skip
_WRAPPER = "NumpyArrayWrapper"
_MODULES = ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
_MAX_FILE = 2048 * 1024 * 1024
_REMEDY = "keep estimators with skops, or export them to ONNX; save plain arrays where only arrays are needed"


def recognise(head: bytes, names: tuple[str, ...] | None) -> str:
    """Return `npy`, `npz` or an empty text, from the first bytes and the member names of a zip archive."""
    if head[:6] == b"\x93NUMPY":
        return NPY
    return NPZ if names and all(name.endswith(".npy") for name in names) else ""


def read_npy(file: BinaryIO, size: int) -> Checkpoint:
    """Describe one array file; raises ConversionRefused, or Unreadable for a damaged header."""
    file.seek(0)
    tensor, info = _array("0", parse_header(file.read(MAX_HEADER + 16)), 0, size)
    return Checkpoint(tensor, {"0": info}, NPY)


def read_npz(file: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    """Describe an archive of array files whose members are stored as they are; each checksum is checked."""
    archive = read_zip(file, size, limits.container)
    if archive.anomalies or archive.explained != size:
        first = archive.anomalies[0] if archive.anomalies else None
        reason = first.message if first else f"{size - archive.explained} bytes belong to nothing"
        raise refused("container", f"the archive is not well formed: {reason}")
    items: list[tuple[Value, Value]] = []
    storages: dict[str, StorageInfo] = {}
    budget = Budget(limits.container)
    for number, member in enumerate(archive.members):
        if not member.name.endswith(".npy") or member.method != STORED:
            raise refused("member", f"the archive holds {member.name[:120]!r}, which is no stored array")
        header = _header_of(file, member, budget)
        tensor, storages[str(number)] = _array(str(number), header, member.data_offset, member.size)
        items.append((member.name.removesuffix(".npy"), tensor))
    return Checkpoint(DictNode(items), storages, NPZ)


def _header_of(file: BinaryIO, member: ZipMember, budget: Budget) -> NpyHeader:
    head = b""
    for chunk in stream_member(file, member, budget):
        head = head or chunk[: MAX_HEADER + 16]
    return parse_header(head)


def _array(key: str, header: NpyHeader, start: int, size: int) -> tuple[Tensor, StorageInfo]:
    if header.objects:
        raise _not_plain("the array holds Python objects, which are a pickle")
    if header.data_start + header.data_size != size:
        raise Unreadable(
            "the array is not as long as its header says",
            remedy="fetch the file again, or have it written anew by its author",
            check="npy.size",
        )
    order = "F" if header.fortran else "C"
    return _plain(key, header.descr, header.shape, order, offset=start + header.data_start)


def _plain(
    key: str, descr: str, shape: tuple[int, ...], order: str, *, offset: int
) -> tuple[Tensor, StorageInfo]:
    """Return one array as a view of a storage of its own."""
    dtype = _DTYPES.get(descr.lstrip("<|=")) if descr[:1] != ">" or descr[2:] == "1" else None
    if dtype is None:
        raise _not_plain(f"the array type {descr[:40]!r} has no safetensors encoding, or is big-endian")
    if len(shape) > 64:
        raise _not_plain("the array has more than 64 dimensions")
    count = 1
    for side in shape:
        count *= side
    storage = Storage(key, dtype, count)
    tensor = Tensor(storage, dtype, 0, shape, _strides(shape, order))
    return tensor, StorageInfo(dtype, count, offset, count * width(dtype))


def _strides(shape: tuple[int, ...], order: str) -> tuple[int, ...]:
    sides = shape if order == "F" else tuple(reversed(shape))
    steps: list[int] = []
    step = 1
    for side in sides:
        steps.append(step)
        step *= max(side, 1)
    return tuple(steps if order == "F" else reversed(steps))


# joblib


def read_joblib(file: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    """Describe a joblib file of plain arrays in dicts, lists and tuples; raises ConversionRefused for anything else."""
    if size > _MAX_FILE:
        raise OutOfBudget(
            f"the joblib file has more than {_MAX_FILE} bytes",
            remedy="save the arrays with numpy.savez and convert that",
            check="joblib.budget",
        )
    file.seek(0)
    data = file.read(size)
    one = trace(data, joblib=True)
    if not one.whole or one.end != len(data):
        reason = one.broken or (one.anomalies[0].reason if one.anomalies else "bytes follow it")
        raise refused("container", f"the pickle is not well formed: {reason}", one.end)
    reader = _Joblib(one.arrays)
    try:
        graph = read_graph(
            _opcodes(data, one.arrays), calls=reader.calls, limits=limits.graph, built=reader.built
        )
    except ConversionRefused as error:
        if error.check in ("graph.call", "graph.object", "graph.build", "graph.persistent"):
            raise _not_plain(error.problem) from error
        raise
    if not plain_values(graph.root):
        raise _not_plain("there are objects or names of classes beside the arrays")
    if len(reader.storages) != len(one.arrays):
        raise refused("container", "the arrays of the file are not those of its pickle", graph.end)
    return Checkpoint(graph.root, reader.storages, JOBLIB)


class _Joblib:
    """What the few names of a joblib file of arrays mean."""

    def __init__(self, arrays: tuple[InlineArray, ...]) -> None:
        self.arrays = arrays
        self.storages: dict[str, StorageInfo] = {}
        self.calls: Mapping[tuple[str, str], Call] = {
            ("numpy", "dtype"): lambda args, at: Opaque(Global("numpy", "dtype"), args, at),
            ("collections", "OrderedDict"): CALLS["collections", "OrderedDict"],
            ("builtins", "set"): CALLS["builtins", "set"],
            ("__builtin__", "set"): CALLS["__builtin__", "set"],
        }

    def built(self, target: Opaque, at: int) -> Value:
        """Put an array in the place of the wrapper that announced it; an object of another class is refused."""
        if (target.label.module, target.label.name) == ("numpy", "dtype"):
            return target
        if target.label.name != _WRAPPER or target.label.module not in _MODULES:
            raise _not_plain(f"there is an object of {target.label} (offset {at}), which is no array")
        number = len(self.storages)
        if number >= len(self.arrays):
            raise refused("container", "an array is announced that is not in the file", at)
        array = self.arrays[number]
        key = str(number)
        tensor, self.storages[key] = _plain(key, array.dtype, array.shape, array.order, offset=array.offset)
        if self.storages[key].size != array.length:
            raise refused("container", "an array is not as long as announced", at)
        return tensor


def plain_values(value: Value) -> bool:
    """Tell whether a graph holds no object of any class: only containers, numbers, texts and arrays."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (Opaque, Global)):
            return False
        if isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, SetNode):
            waiting.extend(item.items)
        elif isinstance(item, DictNode):
            waiting.extend(part for pair in item.items for part in pair)
    return True


def _opcodes(data: bytes, arrays: tuple[InlineArray, ...]) -> bytes:
    """Return the pickle without its raw arrays and the padding before them."""
    parts, place = [], 0
    for array in arrays:
        parts.append(data[place : array.offset - _padding(data, array.offset)])
        place = array.offset + array.length
    return b"".join([*parts, data[place:]])


def _padding(data: bytes, offset: int) -> int:
    """Return how many bytes of padding stand between the BUILD of a wrapper and its array.

    Padding is one byte that counts, and as many bytes of 0xff. BUILD is the letter b, which no count can be.
    """
    if data[offset - 1] == 0x62:
        return 0
    return next(
        (count + 1 for count in range(17) if data[offset - 1 - count : offset - count] == bytes([count])), 0
    )


def _not_plain(problem: str) -> ConversionRefused:
    return ConversionRefused(
        problem,
        cause="only arrays of numbers in dicts, lists and tuples can be written as tensors without running code",
        remedy=_REMEDY,
        check="joblib.object",
    )
