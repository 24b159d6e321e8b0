"""Read a CatBoost model: a mark, a length, a flatbuffer of numbers and names, and tables of statistics.

Source: catboost/libs/model/flatbuffers/*.fbs of CatBoost 1.2. The parts after the core hold statistics of
categories; parts of another name have no reader.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.flatbuffer import Flatbuffer

MAGIC = b"CBM1"
MAX_MODEL = 2**30
_CATEGORIES = "static_provider_v1"
TABLES = {
    "TModelCore": {0: "s", 1: "TModelTrees", 2: "*TKeyValue", 3: "*s"},
    "TKeyValue": {0: "s", 1: "s"},
    "TModelTrees": {
        0: "4", 1: "*4", 2: "*4", 3: "*4", 4: "*TCatFeature", 5: "*TFloatFeature", 6: "*TOneHotFeature",
        7: "*TCtrFeature", 8: "*8", 9: "*8", 10: "*4", 11: "*4", 12: "*TCatFeature", 13: "*TEstimatedFeature", 14: "8",
        15: "8", 16: "*8", 17: "*4",
        18: "*TEmbeddingFeature",
    },
    "TFloatFeature": {0: "1", 1: "4", 2: "4", 3: "*4", 4: "s", 5: "1"},
    "TCatFeature": {0: "4", 1: "4", 2: "s", 3: "1"},
    "TEmbeddingFeature": {0: "4", 1: "4", 2: "s", 3: "4", 4: "1"},
    "TEstimatedFeature": {0: "4", 1: "16", 2: "4", 3: "*4"},
    "TOneHotFeature": {0: "4", 1: "*4", 2: "*s"},
    "TCtrFeature": {0: "TModelCtr", 1: "*4"},
    "TModelCtr": {0: "TModelCtrBase", 1: "4", 2: "4", 3: "4", 4: "4", 5: "4"},
    "TModelCtrBase": {0: "TFeatureCombination", 1: "1", 2: "4"},
    "TCtrValueTable": {0: "TModelCtrBase", 1: "*1", 2: "*1", 3: "4", 4: "4"},
    "TFeatureCombination": {0: "*4", 1: "*8", 2: "*8"},
}  # fmt: skip
"""As in `tflite_tables`; vectors of structures are vectors of as many bytes."""


def read_catboost(stream: BinaryIO, size: int) -> tuple[str, ...]:
    """Read a model of `size` bytes; return what is there and not known. Raises Unreadable (`catboost.*`), OutOfBudget."""
    if size > MAX_MODEL:
        raise OutOfBudget(
            f"a model of {size} bytes", cause="that is more than is read", remedy="use a smaller model",
            check="budget.catboost",
        )  # fmt: skip
    stream.seek(0)
    data = stream.read(size)
    (length,) = struct.unpack("<I", data[4:8].ljust(4, b"\0"))
    buffer = Flatbuffer(data[8 : 8 + length], TABLES, {}, "TModelCore", check="catboost", identified=False)
    if not data.startswith(MAGIC) or length > size - 8:
        raise buffer.damaged("truncated", f"{length} bytes are announced, {size - 8} are there")
    if buffer.string(buffer.root.fields.get(0)) != "FlabuffersModel_v1":
        raise buffer.damaged("version", "the version of the format is not known")
    if buffer.unknown:
        return tuple(f"the field {slot} of {kind}" for kind, slot in list(buffer.unknown)[:20])
    _covered(buffer)
    rest = data[8 + length :]
    parts = buffer.root.fields.get(3)
    if (
        isinstance(parts, tuple)
        and parts[1] == 1
        and buffer.string(buffer.text(buffer.offset(parts[0]))) == _CATEGORIES
    ):
        return _categories(buffer, rest)
    return (f"{len(rest)} bytes of other parts",) if rest else ()


def _covered(buffer: Flatbuffer) -> None:
    """Each byte of a flatbuffer belongs to something, or is zero and aligns its end."""
    end = buffer.cover()
    if buffer.data[end:].strip(b"\0") or len(buffer.data) - end > 64:
        raise buffer.damaged("hole", f"bytes {end} to {len(buffer.data)} belong to nothing")


def _categories(core: Flatbuffer, data: bytes) -> tuple[str, ...]:
    """Read the tables of category statistics: their number, then each with its length."""
    place = 4
    for _ in range(int.from_bytes(data[:4], "little")):
        length = int.from_bytes(data[place : place + 4], "little")
        if not length or place + 4 + length > len(data):
            raise core.damaged("truncated", f"a table of {length} bytes")
        one = data[place + 4 : place + 4 + length]
        table = Flatbuffer(one, TABLES, {}, "TCtrValueTable", check="catboost", identified=False)
        if table.unknown:
            return tuple(f"the field {slot} of {kind}" for kind, slot in list(table.unknown)[:20])
        _covered(table)
        place += 4 + length
    if place != len(data):
        raise core.damaged("trailing", f"{len(data) - place} bytes follow the last table")
    return ()
