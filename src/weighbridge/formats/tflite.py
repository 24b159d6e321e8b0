"""Read a TensorFlow Lite model strictly: its operators, its metadata, and that each byte belongs to something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget
from weighbridge.formats.flatbuffer import Flatbuffer, Table
from weighbridge.formats.tflite_tables import CUSTOM, OPERATORS, TABLES, UNIONS

MAX_MODEL = 2**31
_VERSION, _CODES, _SUBGRAPHS, _BUFFERS, _METADATA, _GROUPS, _EXTERNAL = 0, 1, 2, 4, 6, 8, 9
_ONLY_VERSION = 3


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """`operators` are names of built-in operators, `custom` those of others; `end` is where the model ends."""

    operators: tuple[str, ...]
    custom: tuple[str, ...]
    strange: tuple[str, ...]
    """What the definition of the format does not know."""
    external: bool
    """The model keeps data in other files."""
    end: int


def read_tflite(stream: BinaryIO, size: int) -> TfliteModel:
    """Read a model of `size` bytes; raises Unreadable (checks `tflite.*`) and OutOfBudget."""
    if size > MAX_MODEL:
        raise OutOfBudget(
            f"a model of {size} bytes", cause="flatbuffers of this size are not read", remedy="use a smaller model",
            check="budget.tflite",
        )  # fmt: skip
    stream.seek(0)
    buffer = Flatbuffer(stream.read(size), TABLES, UNIONS, "Model", check="tflite")
    root = buffer.root
    operators: dict[str, None] = {}
    custom: dict[str, None] = {}
    strange = {f"the field {slot} of {kind}": None for kind, slot in list(buffer.unknown)[:20]}
    for code in _tables(root, _CODES):
        number = max(_number(code, 0), _number(code, 3))
        name = buffer.string(code.fields.get(1))
        if number == CUSTOM or name:
            custom[name] = None
        elif number in OPERATORS:
            operators[OPERATORS[number]] = None
        else:
            strange[f"the operator number {number}"] = None
    _check_codes(buffer, root)
    _outside(buffer, root)
    external = any(slot in root.fields for slot in (_GROUPS, _EXTERNAL))
    # What hangs on an unknown field cannot be told from a hole; the model is unread then as it is.
    end = size if buffer.unknown else buffer.cover()
    return TfliteModel(tuple(operators), tuple(custom), tuple(strange), external, end)


def _tables(table: Table, slot: int) -> list[Table]:
    rows = table.fields.get(slot, [])
    return rows if isinstance(rows, list) else []


def _number(table: Table, slot: int) -> int:
    value = table.fields.get(slot, 0)
    return value if isinstance(value, int) else 0


def _check_codes(buffer: Flatbuffer, root: Table) -> None:
    """Check that what every interpreter asks for is there, and that numbers of rows lie inside of their lists."""
    if _number(root, _VERSION) != _ONLY_VERSION or not _tables(root, _SUBGRAPHS):
        raise buffer.damaged("missing", "the model has no graph, or is not of version 3")
    codes, buffers = len(_tables(root, _CODES)), len(_tables(root, _BUFFERS))
    for graph in _tables(root, _SUBGRAPHS):
        for operator in _tables(graph, 3):
            if _number(operator, 0) >= codes:
                raise buffer.damaged("index", f"an operator is number {_number(operator, 0)} of {codes}")
        for tensor in _tables(graph, 0):
            if _number(tensor, 2) >= max(buffers, 1):
                raise buffer.damaged("index", f"a tensor lies in buffer {_number(tensor, 2)} of {buffers}")
    for row in _tables(root, _METADATA):
        if _number(row, 1) >= max(buffers, 1):
            raise buffer.damaged("index", f"metadata lies in buffer {_number(row, 1)} of {buffers}")


def _outside(buffer: Flatbuffer, root: Table) -> None:
    """Count data that lies after the flatbuffer, as very large models keep it, as part of the model."""
    rows = [(table, 1, 2) for table in _tables(root, _BUFFERS)]
    rows += [(operator, 9, 10) for graph in _tables(root, _SUBGRAPHS) for operator in _tables(graph, 3)]
    for table, first, second in rows:
        offset, length = _number(table, first), _number(table, second)
        if offset > 1:
            buffer.span(offset, offset + length)
