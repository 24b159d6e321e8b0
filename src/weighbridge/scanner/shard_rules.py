"""Rules on the index of a model in several safetensors files: each tensor lies in the file that the index names, once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from weighbridge.core.errors import OutOfBudget, Refused, WeighbridgeError
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import read_json
from weighbridge.formats.safetensors import parse_header
from weighbridge.scanner.damage import finding
from weighbridge.scanner.file import RuleInfo, ScannedFile
from weighbridge.scanner.outside import leads_out

SHARDS = RuleInfo(
    "safetensors-shards", "An index that does not agree with the files it names", Verdict.BROKEN
)
RULES = (SHARDS,)
EXPLAINS: frozenset[str] = frozenset()

MAX_SHARDS = 4096
_WHY = "loaders that follow the index and loaders that read every file take different weights"
_HELP = "fetch the model again; if that changes nothing, its publisher must write the index anew"


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Compare a `weight_map` with the headers of the safetensors files beside it."""
    text = file.text
    if (
        file.kind != "json"
        or text is None
        or "weight_map" not in text
        or file.members
        or file.neighbour is None
    ):
        return
    try:
        (root, *_) = read_json(text)
    except (Refused, OutOfBudget, ValueError):
        return  # the configuration rules say so
    mapped = root.get("weight_map") if isinstance(root, dict) else None
    if isinstance(mapped, dict):
        yield from _compare(file, mapped)


def _compare(file: ScannedFile, mapped: dict[str, Any]) -> Iterator[Finding]:
    odd = next((name for name, shard in mapped.items() if not isinstance(shard, str)), None)
    if odd is not None:
        yield _finding(file, f"the index gives no file name for {odd!r}", "value")
        return
    folder = file.path.rpartition("/")[0]
    names = sorted({shard for shard in mapped.values() if not leads_out(shard)})
    held: dict[str, str] = {}
    read: set[str] = set()
    for name in names[:MAX_SHARDS]:
        tensors = _tensors(file, f"{folder}/{name}" if folder else name)
        if tensors is None:
            continue
        read.add(name)
        for tensor in tensors:
            if tensor in held:
                yield _finding(
                    file, f"the tensor {tensor!r} lies in {held[tensor]!r} and in {name!r}", f"twice {tensor}"
                )
                return
            held[tensor] = name
    for tensor, name in mapped.items():
        if name in read and held.get(tensor) != name:
            where = f"in {held[tensor]!r}" if tensor in held else "nowhere"
            yield _finding(
                file, f"the tensor {tensor!r} is said to lie in {name!r} and lies {where}", f"place {tensor}"
            )
            return
    extra = next((tensor for tensor in held if tensor not in mapped), None)
    if extra is not None:
        yield finding(
            file, SHARDS, f"the tensor {extra!r} lies in {held[extra]!r} and is not in the index", why=_WHY, help=_HELP,
            subject=f"extra {extra}", verdict=Verdict.NOTES,
        )  # fmt: skip


def _tensors(file: ScannedFile, path: str) -> list[str] | None:
    """Return the names in the header of a safetensors file, or None when it is none: its own findings say why."""
    other = file.neighbour(path) if file.neighbour is not None else None
    if other is None:
        return None
    with other.open() as stream:

        def read(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        try:
            return [tensor.name for tensor in parse_header(read, other.size).tensors]
        except WeighbridgeError:
            return None


def _finding(file: ScannedFile, message: str, subject: str) -> Finding:
    return finding(file, SHARDS, message, why=_WHY, help=_HELP, subject=subject)
