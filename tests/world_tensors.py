"""Weights for tests and benchmarks: safetensors and GGUF files of given arrays, and what is commonly done to a model."""

import struct
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from weighbridge.formats.gguf import NAMES
from weighbridge.formats.safetensors import lay_out, write_header
from weighbridge.source.local import open_folder
from weighbridge.tensors.compare import side
from weighbridge.tensors.fingerprint import of_weights
from weighbridge.tensors.reading import open_weights
from weighbridge.tensors.values import to_bf16

TYPES = {
    "<f4": "F32",
    "<f2": "F16",
    "<f8": "F64",
    "|i1": "I8",
    "<i8": "I64",
    "|u1": "U8",
    "<i4": "I32",
    "<u2": "BF16",
}
"""Arrays of unsigned 16-bit integers stand for bfloat16 here."""


def safetensors(path, arrays, metadata=None):
    """Write one safetensors file; returns its path."""
    rows = {
        name: np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        for name, array in arrays.items()
    }
    layout = lay_out((name, TYPES[array.dtype.str], array.shape) for name, array in rows.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(write_header(layout, metadata or {"format": "pt"}))
        for info in layout:
            file.write(rows[info.name].tobytes())
    return path


def sharded(folder, arrays, count=3):
    """Write the arrays as so many shards."""
    names = sorted(arrays)
    for at in range(count):
        part = {name: arrays[name] for name in names[at::count]}
        safetensors(folder / f"model-{at + 1:05d}-of-{count:05d}.safetensors", part)
    return folder


def gguf(path, rows, alignment=32):
    """Write a GGUF file, version 3, of rows (name, type, shape slowest first, bytes); returns its path."""
    numbers = {name: number for number, name in NAMES.items()}

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("test")
    data = b""
    for name, kind, shape, raw in rows:
        data += bytes(-len(data) % alignment)
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", numbers[kind], len(data))
        data += raw
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % alignment) + data + bytes(-len(data) % alignment))
    return path


def q8_0(array):
    """Pack as ggml's Q8_0: of each 32 the largest magnitude becomes 127."""
    rows = array.reshape(-1, 32).astype(np.float32)
    scale = (np.abs(rows).max(axis=1, keepdims=True) / 127).astype(np.float16)
    inverse = np.divide(1, scale.astype(np.float32), out=np.zeros(scale.shape, np.float32), where=scale != 0)
    codes = np.clip(np.rint(rows * inverse), -127, 127).astype(np.int8)
    return np.concatenate((scale.view(np.uint8), codes.view(np.uint8)), axis=1).tobytes()


def q4_0(array):
    """Pack as ggml's Q4_0: of each 32 the largest magnitude becomes -8."""
    rows = array.reshape(-1, 32).astype(np.float32)
    top = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    scale = (top / -8).astype(np.float16)
    inverse = np.divide(1, scale.astype(np.float32), out=np.zeros(scale.shape, np.float32), where=scale != 0)
    codes = np.clip(np.floor(rows * inverse + 8.5), 0, 15).astype(np.uint8)
    return np.concatenate((scale.view(np.uint8), codes[:, :16] | codes[:, 16:] << 4), axis=1).tobytes()


def as_gguf(path, arrays, pack, kind):
    """Write the arrays as GGUF under names of its own: matrices packed where rows allow, all else as F32."""
    rows = []
    for at, (name, array) in enumerate(sorted(arrays.items())):
        if array.dtype.kind != "f":
            continue
        label = f"blk.{at}.{'weight' if array.ndim > 1 else 'norm'}"
        if array.ndim > 1 and array.shape[-1] % 32 == 0 and name:
            rows.append((label, kind, array.shape, pack(array)))
        else:
            rows.append((label, "F32", array.shape, array.astype("<f4").tobytes()))
    return gguf(path, rows)


def random(name):
    """Return a generator whose numbers depend on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def matrices(arrays, least=2048):
    """Return the names of matrices."""
    return [
        name for name, a in sorted(arrays.items()) if a.ndim > 1 and a.size >= least and a.dtype.kind == "f"
    ]


def changed(arrays, change, names=None):
    """Return the arrays, those named changed."""
    chosen = set(matrices(arrays) if names is None else names)
    return {name: change(name, array) if name in chosen else array for name, array in arrays.items()}


def adapter(arrays, *, rank=8, size=0.05, names=None):
    """Merge a random update of low rank into some matrices: half of those with two sides unless named."""
    flat = [name for name in matrices(arrays) if arrays[name].ndim == 2]
    chosen = flat[1::2] if names is None else names

    def merged(name, array):
        rng = random(name)
        down, up = rng.normal(size=(rank, array.shape[1])), rng.normal(size=(array.shape[0], rank))
        update = up @ down
        return (array + update * (size * np.linalg.norm(array) / np.linalg.norm(update))).astype(array.dtype)

    return changed(arrays, merged, chosen)


def noise(arrays, size=0.02):
    """Move every float array by random noise of so much of its norm: a small fine-tune of everything."""

    def moved(name, array):
        return (array + random(name).normal(size=array.shape) * size * (array.std() or 1)).astype(array.dtype)

    return changed(arrays, moved, [n for n, a in arrays.items() if a.dtype.kind == "f"])


def pruned(arrays, share=0.3):
    """Set the smallest magnitudes of each matrix to zero."""

    def thinned(_, array):
        return np.where(np.abs(array) < np.quantile(np.abs(array), share), 0, array).astype(array.dtype)

    return changed(arrays, thinned)


def int8(arrays):
    """Pack matrices into bytes, a scale for each row, under the same names; norms stay."""
    made = dict(arrays)
    for name in matrices(arrays):
        array = arrays[name].astype(np.float32)
        flat = array.reshape(array.shape[0], -1)
        scale = np.abs(flat).max(axis=1, keepdims=True) / 127
        scale[scale == 0] = 1
        made[name] = np.clip(np.rint(flat / scale), -127, 127).astype(np.int8).reshape(array.shape)
        made[f"{name}_scale"] = scale.astype(np.float32)
    return made


def simulated(arrays, levels=127):
    """Pack and unpack again: floats that hold few values a row."""
    made = {}
    for name, array in int8(arrays).items():
        if not name.endswith("_scale") and array.dtype == np.int8:
            scale = arrays[name].reshape(array.shape[0], -1)
            scale = np.abs(scale).max(axis=1).reshape(-1, *[1] * (array.ndim - 1)) / levels
            made[name] = (array * scale).astype(arrays[name].dtype)
        elif name in arrays:
            made[name] = array
    return made


def bf16(arrays):
    """Round everything to bfloat16."""
    return {name: to_bf16(a.astype(np.float32)) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def f16(arrays):
    """Round everything to float16."""
    return {name: a.astype(np.float16) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def wide(arrays):
    """Undo bfloat16: the same values as float32."""
    return {
        name: (a.astype(np.uint32) << 16).view(np.float32) if a.dtype == np.uint16 else a
        for name, a in arrays.items()
    }


def renamed(arrays):
    """Give every array another name, and another order."""
    return {f"x{at:03d}.w": arrays[name] for at, name in enumerate(sorted(arrays, reverse=True))}


def arrays_of(path):
    """Return the arrays of a model: float32 for floats, integers as they are."""
    with opened(path) as model:
        return {name: array_of(tensor) for name, tensor in model.tensors.items()}


def array_of(tensor):
    """Return one tensor whole."""
    if tensor.dtype in ("I64", "I32"):
        raw = b"".join(tensor.pieces())
        return np.frombuffer(raw, "<i8" if tensor.dtype == "I64" else "<i4").reshape(tensor.shape)
    return tensor.numbers(0, tensor.elements).reshape(tensor.shape)


@contextmanager
def opened(path):
    """Open a folder or file as one side of a comparison."""
    with ExitStack() as held:
        tree = held.enter_context(open_folder(Path(path)))
        weights = held.enter_context(open_weights(tree.files(), lambda file: file.open()))
        yield side(of_weights(weights), weights)


def model(seed="a", layers=3, side=64):
    """Return the arrays of a small transformer-like model: as if trained, with norms near one."""
    rng = random(seed)
    arrays = {"embed.weight": rng.normal(size=(256, side)), "final.norm": 1 + 0.2 * rng.normal(size=side)}
    for layer in range(layers):
        for part in ("q", "k", "v", "o"):
            arrays[f"layers.{layer}.{part}.weight"] = rng.normal(size=(side, side)) * 0.3
            arrays[f"layers.{layer}.{part}.bias"] = rng.normal(size=side) * 0.05
        arrays[f"layers.{layer}.up.weight"] = rng.standard_t(5, size=(4 * side, side)) * 0.2
        arrays[f"layers.{layer}.norm.weight"] = 1 + 0.2 * rng.normal(size=side)
    return {name: array.astype(np.float32) for name, array in arrays.items()}
