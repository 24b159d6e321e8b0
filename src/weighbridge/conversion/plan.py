"""Decide which files of a model are converted, kept, dropped or refused, from names and formats alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weighbridge.core.errors import BadManifest
from weighbridge.core.manifest import Manifest, check_path

CONVERTIBLE = ("torch-zip", "torch-legacy", "joblib")
"""Format names that `convert.convert_checkpoint` reads and that run code when loaded otherwise."""
PACKED = ("gzip", "zlib", "zfile", "bzip2", "xz", "lzma", "lz4", "zstd")
"""Format names of packed streams: converted when the name says pickle, for then so does what is inside."""
PICKLED = (
    "pickle", "torchscript", "torch-tar", "torch-package", "torch-export", "numpy-object", "tar", "7z",
)  # fmt: skip
"""Format names that run code when loaded and are not tensors alone."""

_PICKLE_SUFFIXES = (".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_WEIGHT_NAME = re.compile(r"pytorch_model(?P<shard>-\d{5}-of-\d{5})?\.bin")
_TRAINING_STATE = re.compile(
    r"(training_args\.bin|optimizer\.(pt|bin)|scheduler\.(pt|bin)|scaler\.pt|rng_state(_\d+)?\.pth)"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each file of a model; every path of the manifest stands in exactly one row."""

    convert: tuple[tuple[str, str], ...]
    """(path, path of the safetensors file it becomes); the pickled original is not in the converted model."""
    keep: tuple[str, ...]
    drop: tuple[tuple[str, str], ...]
    """(path, reason): pickled files that the converted model does without."""
    refuse: tuple[tuple[str, str], ...]
    """(path, reason): while there is one, the model as a whole cannot be converted."""


def plan(manifest: Manifest, formats: Mapping[str, str]) -> Plan:
    """Plan the conversion of a model; `formats` gives each path's format name as found in its bytes.

    Pure: nothing is opened. A file that looks like a pickle by its name and has no format is refused.
    """
    paths = {entry.path for entry in manifest.files}
    convert: dict[str, str] = {}
    keep, drop, refuse = [], [], []
    for path in sorted(paths):
        kind = formats.get(path, "")
        if reason := _refusal(path, kind):
            refuse.append((path, reason))
        elif kind not in CONVERTIBLE and not (kind in PACKED and _named_pickle(path)):
            keep.append(path)
        elif _TRAINING_STATE.fullmatch(path.rsplit("/", 1)[-1]):
            drop.append((path, "it is training state, not weights"))
        elif (target := target_name(path)) in paths:
            drop.append((path, f"{target} is there already and is kept; the two were not compared"))
        elif target in convert.values():
            refuse.append((path, f"another file becomes {target} too"))
        elif problem := _path_problem(target):
            refuse.append((path, problem))
        else:
            convert[path] = target
    return Plan(tuple(convert.items()), tuple(keep), tuple(drop), tuple(refuse))


def target_name(path: str) -> str:
    """Return what a checkpoint is called once converted: pytorch_model.bin becomes model.safetensors."""
    folder, slash, name = path.rpartition("/")
    if match := _WEIGHT_NAME.fullmatch(name):
        return f"{folder}{slash}model{match['shard'] or ''}.safetensors"
    stem, dot, suffix = name.rpartition(".")
    known = dot and f".{suffix.lower()}" in _PICKLE_SUFFIXES and stem
    return f"{folder}{slash}{stem if known else name}.safetensors"


def _named_pickle(path: str) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    return name.endswith(_PICKLE_SUFFIXES) or name.rpartition(".")[0].endswith(_PICKLE_SUFFIXES)


def _refusal(path: str, kind: str) -> str:
    name = path.rsplit("/", 1)[-1].lower()
    if kind in PICKLED:
        return f"it is {kind}, which holds more than tensors"
    if name.endswith(".bin.index.json"):
        return "it is the index of a sharded checkpoint, which is not rewritten yet"
    if not kind and name.endswith(_PICKLE_SUFFIXES):
        return "its name says pickle, and its format is not known"
    return ""


def _path_problem(path: str) -> str:
    try:
        check_path(path)
    except BadManifest as error:
        return error.cause
    return ""
