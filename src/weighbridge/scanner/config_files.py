"""Judge configuration files that a library knows by their name: module lists, pipelines, adapters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import NoneType
from typing import Any

from weighbridge.core.finding import Verdict
from weighbridge.scanner.config_names import DIFFUSERS_LIBRARIES, SENTENCE_MODULES
from weighbridge.scanner.config_values import WHY_IMPORT, Remark, leaves

_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def judge_file(name: str, value: Any) -> Iterator[Remark]:
    """Judge the whole content of a JSON file by the name it bears, lower-cased."""
    if name == "modules.json":
        yield from _modules(value)
    elif not isinstance(value, dict):
        return
    elif name in ("model_index.json", "modular_model_index.json"):
        yield from _pipeline(value)
    elif name == "adapter_config.json":
        yield from _adapter(value)
    if isinstance(value, dict) and isinstance(value.get("types"), dict) and _is_router(name, value):
        yield from _router(value["types"])


def _modules(value: Any) -> Iterator[Remark]:
    """Judge a sentence-transformers module list: exact class names, paths inside the model."""
    for index, row in enumerate(value if isinstance(value, list) else []):
        kind = row.get("type") if isinstance(row, dict) else None
        path = row.get("path") if isinstance(row, dict) else None
        if not isinstance(kind, str) or kind not in SENTENCE_MODULES:
            message = f"module {index} is of the class {kind!r}"
            yield Remark("config-class", Verdict.UNLISTED, message, f"/{index}/type {kind}")
        if isinstance(path, str) and path and leaves(path):
            message = f"module {index} lies at {path!r}"
            yield Remark("config-path", Verdict.DANGEROUS, message, f"/{index}/path {path}")


def _is_router(name: str, value: dict[str, Any]) -> bool:
    return name == "router_config.json" or "structure" in value


def _router(types: dict[str, Any]) -> Iterator[Remark]:
    """Judge the parts of a sentence-transformers Router, whose classes are imported by these names."""
    for part, kind in types.items():
        if not isinstance(kind, str) or kind not in SENTENCE_MODULES:
            yield Remark("config-class", Verdict.UNLISTED, f"the part {part!r} is of the class {kind!r}", f"/types/{part} {kind}")  # fmt: skip
        if leaves(part):
            yield Remark("config-path", Verdict.DANGEROUS, f"a part lies at {part!r}", f"/types {part}")


def _pipeline(value: dict[str, Any]) -> Iterator[Remark]:
    """Judge a diffusers index: each part is [library, class], the library must be listed."""
    for name, row in value.items():
        library = row[0] if isinstance(row, list) and row else None
        if not isinstance(library, (str, NoneType)) or library not in DIFFUSERS_LIBRARIES:
            yield Remark("config-class", Verdict.UNLISTED, f"the part {name!r} comes from {library!r}", f"/{name} {library}", WHY_IMPORT)  # fmt: skip
        elif library is not None and not _plain_class(row):
            shown = row[1] if len(row) > 1 else None
            yield Remark("config-class", Verdict.UNLISTED, f"the part {name!r} is of the class {shown!r}", f"/{name} {shown}")  # fmt: skip


def _plain_class(row: list[Any]) -> bool:
    return len(row) in (2, 3) and isinstance(row[1], str) and _CLASS.fullmatch(row[1]) is not None


def _adapter(value: dict[str, Any]) -> Iterator[Remark]:
    """Note an adapter whose base model is not pinned: what it adapts may change under it."""
    base = value.get("base_model_name_or_path")
    if isinstance(base, str) and _HUB_ID.fullmatch(base) and not value.get("revision"):
        why = "whoever loads the adapter loads the base model as it is that day"
        yield Remark(
            "config-unpinned",
            Verdict.NOTES,
            f"the base model {base!r} is named without a revision",
            base,
            why,
        )
