"""Decide what a file is and who reads it: content first, the name only ever adds a rule."""

from __future__ import annotations

import dataclasses
import importlib
import re
from functools import cache
from types import ModuleType
from typing import BinaryIO

from weighbridge.core.manifest import is_weight_file
from weighbridge.formats.archive import read_zip
from weighbridge.formats.pickle_events import Event, PickleBroken, Trace
from weighbridge.formats.pickle_ops import CODES, COUNTED, WIDTH, span
from weighbridge.formats.pickle_ops import KINDS as KIND_OF
from weighbridge.formats.pickle_trace import trace
from weighbridge.formats.sniff import as_text, sniff
from weighbridge.scanner import PROBES, joblib_rules, torch_layout
from weighbridge.scanner.file import ScannedFile
from weighbridge.scanner.names import danger

KINDS: dict[str, str] = {
    "safetensors": "tensors in the safetensors format",
    "torch-zip": "a torch checkpoint (zip)",
    "torch-legacy": "a torch checkpoint of the older layout",
    "torchscript": "a TorchScript program",
    "torch-export": "a program of torch.export (pt2)",
    "torch-package": "an archive of torch.package",
    "pickle": "a Python pickle",
    "joblib": "a Python pickle with raw arrays (joblib)",
    "zip": "a zip archive",
    "npy": "a numpy array",
    "npz": "numpy arrays in a zip archive",
    "json": "JSON",
    "python": "Python source",
    "jinja": "a Jinja template",
    "text": "plain text",
    "empty": "an empty file",
    "gguf": "a GGUF model",
    "hdf5": "an HDF5 file (Keras models and weights)",
    "keras": "a Keras model (zip)",
    "skops": "a skops file (zip)",
    "tflite": "a TensorFlow Lite model",
    "gzip": "data packed with gzip",
    "zlib": "data packed with zlib",
    "zfile": "data packed by an old joblib",
    "lzma": "data packed with lzma",
    "bzip2": "data packed with bzip2",
    "xz": "data packed with xz",
    "zstd": "data packed with zstd",
    "lz4": "data packed with lz4",
    "7z": "a 7z archive",
    "rar": "a RAR archive",
    "tar": "a tar archive",
    "torch-tar": "a torch checkpoint of the oldest layout (tar)",
    "elf": "a native program or library",
    "pe": "a Windows program or library",
    "macho": "a macOS program or library",
    "wasm": "a WebAssembly program",
    "png": "a picture (PNG)",
    "jpeg": "a picture (JPEG)",
    "gif": "a picture (GIF)",
    "sqlite": "an SQLite database",
    "parquet": "a Parquet table",
    "pdf": "a PDF document",
    "onnx": "an ONNX model",
    "onnx-data": "tensors of an ONNX model",
    "savedmodel": "a TensorFlow SavedModel",
    "graphdef": "a TensorFlow graph",
    "tf-fingerprint": "the fingerprint of a SavedModel",
    "keras-metadata": "what Keras adds to a SavedModel",
    "sentencepiece": "a SentencePiece tokenizer",
    "coreml": "a Core ML model",
    "paddle": "a Paddle program",
    "webp": "a picture (WebP)",
    "wav": "a sound (WAV)",
    "metagraph": "a TensorFlow graph with its functions",
    "tf-index": "the index of a TensorFlow checkpoint",
    "tf-data": "tensors of a TensorFlow checkpoint",
    "tfevents": "an event file of TensorBoard",
    "ubjson": "a model in UBJSON (XGBoost)",
    "msgpack": "a checkpoint in MessagePack (Flax)",
    "java": "serialised objects of Java",
    "r-data": "R data",
    "tensorrt": "a TensorRT engine",
    "matlab": "MATLAB data",
    "arrow": "an Arrow table",
    "catboost": "a CatBoost model",
    "fasttext": "a fastText model",
    "ggml": "a model of the older GGML layouts",
    "ort": "a model in ONNX Runtime's own format",
    "torch-mobile": "a PyTorch Mobile model",
    "executorch": "an ExecuTorch model",
    "audio": "a sound",
    "video": "a film or sound (MP4)",
    "tiff": "a picture (TIFF)",
    "unknown": "data of an unknown format",
}
"""Every kind a file can be given, with the words for it."""

_TEXT_KINDS = {
    ".py": "python", ".pyi": "python", ".pyw": "python", ".json": "json", ".ipynb": "json",
    ".jinja": "jinja", ".jinja2": "jinja", ".j2": "jinja",
}  # fmt: skip
_PROBE_OPCODES = 200_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_FIRST = 64 * 1024
_WINDOW = 1024 * 1024
_TAIL = 64 * 1024 + 22
_MAX_JUMPS = 8
_EMPTY_TEXT = b"\x8c\x00"


def identify(file: ScannedFile) -> ScannedFile:
    """Return `file` with its kind, and with its text where it is one; raises core errors."""
    kind = sniff(file.head, file.size)
    if kind == "pickle" and torch_layout.MAGIC.match(file.head):
        return dataclasses.replace(file, kind="torch-legacy")
    if kind == "pickle":
        return dataclasses.replace(file, kind=_pickle_kind(file))
    if kind not in ("unknown", "pe"):
        return dataclasses.replace(file, kind=kind)
    if file.size > file.budget.limits.max_text:
        return dataclasses.replace(file, kind=_probed(file) if kind == "unknown" else kind)
    data = file.read()
    text = as_text(data)
    if acts_as_pickle(data, is_text=text is not None and not is_weight_file(file.name)):
        return dataclasses.replace(file, kind=_pickle_kind(file))
    if text is None:
        return dataclasses.replace(file, kind=_probed(file) if kind == "unknown" else kind)
    return dataclasses.replace(file, kind=_text_kind(file.name), text=text)


def _pickle_kind(file: ScannedFile) -> str:
    return "joblib" if joblib_rules.is_joblib(file) else "pickle"


@cache
def _probes() -> tuple[ModuleType, ...]:
    return tuple(importlib.import_module(name) for name in PROBES)


def _probed(file: ScannedFile) -> str:
    """Ask the probes about a file that has no magic number and is no text."""
    for module in _probes():
        kind: str | None = module.probe(file)
        if kind is not None:
            return kind
    return "unknown"


def _text_kind(name: str) -> str:
    dot = name.rfind(".")
    return _TEXT_KINDS.get(name[dot:], "text") if dot >= 0 else "text"


def acts_as_pickle(data: bytes, *, is_text: bool) -> bool:
    """Tell whether data without a pickle's first bytes would still act as one (protocols 0 and 1 have no magic).

    Text counts as pickle when a loader would call something or fetch something dangerous before it breaks
    off, or would read all of it as one pickle; an ordinary text does none of that. What is not text, or
    bears the name of a weight file, counts already when it resolves a plausible name.
    """
    one = trace(data, max_opcodes=_PROBE_OPCODES, max_events=1000)
    for event in one.events:
        plausible = _plausible(event)
        if event.kind == "call" and (plausible or event.opcode != "INST"):
            return True  # "(in brackets" alone is an INST of nonsense; other calls take more than chance
        if plausible and (not is_text or danger(event.module, event.name)):
            return True
    if one.spent:
        return True  # nothing else reads as so many opcodes in a row; what follows them is for the rules on pickles
    if one.broken:
        return False
    return one.end == len(data.rstrip()) or bool(one.events)


def hides_zip(stream: BinaryIO, size: int) -> bool:
    """Tell whether a file that does not begin as a zip archive would be opened as one all the same."""
    stream.seek(max(0, size - _TAIL))
    if b"PK\x05\x06" not in stream.read(_TAIL):
        return False
    archive = read_zip(stream, size)
    return bool(archive.members) and not any(anomaly.code == "no-end" for anomaly in archive.anomalies)


def _settled(window: bytes, one: Trace) -> bool:
    """Tell whether more bytes would change nothing: the trace ended for a reason that lies within the window."""
    if one.spent:
        return False
    if not one.broken:
        return one.end < len(window)
    if one.end >= len(window):
        return False
    code, before = window[one.end], window[max(0, one.end - 1)]
    in_line = before == 0x0A or (
        before in KIND_OF and KIND_OF[before] >= COUNTED and not WIDTH[KIND_OF[before]]
    )
    if in_line and b"\n" not in window[one.end :]:
        return False
    if code not in KIND_OF:
        return True
    try:
        return span(window, one.end) <= len(window) and code != CODES["FRAME"]
    except PickleBroken:
        return False


def also_pickle(file: ScannedFile) -> Trace | None:
    """Return what a pickle loader would do with a file that is something else; None when it would do nothing.

    A safetensors file can be written so that its first bytes are opcodes that jump into a payload, and raw tensors
    can begin with such a jump by chance. So jumps are followed, a few of them; more is no accident.
    """
    window, shift = file.read(_FIRST), 0
    one = trace(window, max_opcodes=_PROBE_OPCODES, max_events=1000)
    if not _decided(window, one, shift, file.size):
        window = file.read(_WINDOW)
        one = trace(window, max_opcodes=_PROBE_OPCODES, max_events=1000)
    for _ in range(_MAX_JUMPS):
        target = _jump(window, one, shift, file.size)
        if target is None or _decided(window, one, shift, file.size):
            break
        with file.open() as stream:
            stream.seek(target)
            kept = window[: one.end] + _EMPTY_TEXT  # in place of what was jumped over
            window, shift = kept + stream.read(_WINDOW), target - len(kept)
        one = trace(window, max_opcodes=_PROBE_OPCODES, max_events=1000)
    if not _decided(window, one, shift, file.size):
        if _jump(window, one, shift, file.size) is not None:
            return one
        # Thousands of opcodes without a fault, or one that does not end here: all of it decides, or nobody can tell.
        one = trace(file.read(), max_opcodes=file.budget.limits.max_opcodes, max_events=1000)
        if one.spent:
            return one
    return one if any(_plausible(event) for event in one.events) else None


def _decided(window: bytes, one: Trace, shift: int, size: int) -> bool:
    """Tell whether more of the file would change nothing."""
    return _settled(window, one) or (len(window) + shift == size and not one.spent)


def _plausible(event: Event) -> bool:
    return bool(_NAME.fullmatch(event.module) and _NAME.fullmatch(event.name))


def _jump(window: bytes, one: Trace, shift: int, size: int) -> int | None:
    """Return the offset further on in the file to which the first step leads that cannot be followed in `window`."""
    if not one.broken or one.end >= len(window):
        return None
    kind = KIND_OF.get(window[one.end], 0)
    begin = one.end + 1 + WIDTH[kind]
    jump = begin + int.from_bytes(window[one.end + 1 : begin], "little") + shift
    leads = kind >= COUNTED and bool(WIDTH[kind]) and len(window) + shift < jump < size
    return jump if leads else None
