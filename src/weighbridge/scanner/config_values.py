"""Judge one key and its value, in JSON or YAML alike: whether some library would import what stands there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from weighbridge.core.finding import Verdict
from weighbridge.scanner.config_names import (
    ACTIVATION,
    CALLED_KEYS,
    CLASSES,
    KERAS_MODULES,
    MLFLOW_LOADERS,
    OBJECT_KEYS,
    PARENT_LIBRARY,
    nemo_classes,
)
from weighbridge.scanner.names import danger

WHY_IMPORT = "the library that loads this model imports what the configuration names"
WHY_CODE = "loading the model puts this code on Python's path, or runs it"
_DOTTED = re.compile(r"[A-Za-z_]\w{0,80}(\.[A-Za-z_]\w{0,80}){1,12}")
_MEGATRON = re.compile(r"megatron\.core")
_PATTERNS = {
    "activation_fn": ACTIVATION, "activation_function": ACTIVATION, "sbert_ce_default_activation_function": ACTIVATION,
    "keras_module": KERAS_MODULES, "loader_module": MLFLOW_LOADERS, "megatron_core": _MEGATRON,
    "parent_library": PARENT_LIBRARY,
}  # fmt: skip
_ONLY_DOTTED = frozenset({"activation_fn", "activation_function", "sbert_ce_default_activation_function"})


@dataclass(frozen=True, slots=True)
class Remark:
    """One value that is not plainly data."""

    rule: str
    verdict: Verdict
    message: str
    subject: str
    why: str = WHY_IMPORT


def named(key: str, value: str, siblings: Collection[str]) -> Iterator[Remark]:
    """Yield a remark when `value` under `key` would be imported and is not listed; `siblings` are the keys beside it."""
    pattern = _PATTERNS.get(key)
    if key in ("py/reduce", "py/repr"):
        yield Remark("config-object", Verdict.DANGEROUS, f"{key} names {value!r}", value)
    elif key in OBJECT_KEYS:
        yield _class(key, value)
    elif key in CALLED_KEYS or (key == "target" and _is_target(value, siblings)):
        if value not in CLASSES and not (value.startswith("nemo.") and value in nemo_classes()):
            yield _class(key, value)
    elif pattern is not None and not pattern.fullmatch(value) and ("." in value or key not in _ONLY_DOTTED):
        yield _class(key, value)
    elif key == "model_code_path" and value:
        yield Remark("config-code", Verdict.UNLISTED, f"{key} names the code {value!r}", value, WHY_CODE)


def _is_target(value: str, siblings: Collection[str]) -> bool:
    """Whether a plain `target` names a class, as OmegaConf users write it, and not a layer or a label."""
    if not _DOTTED.fullmatch(value) or value.startswith("torch.ops."):
        return False  # operators of an exported graph: no module that a configuration could have imported
    module, _, name = value.rpartition(".")
    camel = name[:1].isupper() and not name.isupper() and "." in module
    return "params" in siblings or camel or bool(danger(module, name))


def _class(key: str, value: str) -> Remark:
    module, _, name = value.rpartition(".")
    known = danger(module, name) if module else ""
    if known:
        return Remark("config-object", Verdict.DANGEROUS, f"{key} names {value!r}: it {known}", value)
    return Remark("config-class", Verdict.UNLISTED, f"{key} names {value!r}", value)


def leaves(name: str) -> bool:
    """Tell whether a file name in a configuration leads out of the model."""
    parts = name.replace("\\", "/").split("/")
    return (
        not name
        or name.startswith(("/", "~"))
        or ".." in parts
        or ":" in name
        or "\\" in name
        or "\0" in name
    )
