"""Read the header of a numpy array file: data type, order, shape, and where the data begins.

Source: the numpy.lib.format documentation, versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

from weighbridge.core.errors import Unreadable

MAGIC = b"\x93NUMPY"
MAX_HEADER = 64 * 1024
_SIMPLE = re.compile(r"[<>|=]?([biufcSVUMm?])([0-9]{0,9})(\[[0-9]*[a-zA-Z]+\])?")
_MAX_DIMENSIONS = 64


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """`objects`: the data is a pickle. Otherwise it is exactly `data_size` raw bytes from `data_start`."""

    descr: str
    shape: tuple[int, ...]
    data_start: int
    data_size: int
    objects: bool
    fortran: bool = False


def parse_header(head: bytes) -> NpyHeader:
    """Read the header at the beginning of `head` (up to 64 KiB of the file); raises Unreadable."""
    if head[:6] != MAGIC or len(head) < 12:
        raise _damaged("it does not begin like a numpy file")
    if head[6] not in (1, 2, 3) or head[7] != 0:
        raise _damaged(f"version {head[6]}.{head[7]} of the format is not known")
    begin = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:begin], "little")
    if length > MAX_HEADER or begin + length > len(head):
        raise _damaged("its header is longer than the file, or than any honest header")
    fields = _literal(head[begin : begin + length])
    shape, descr = fields["shape"], fields["descr"]
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_DIMENSIONS
        or any(type(n) is not int or n < 0 for n in shape)
    ):
        raise _damaged("its shape is not a row of natural numbers")
    if type(fields["fortran_order"]) is not bool:
        raise _damaged("its order is neither True nor False")
    width, objects = _width(descr, 0)
    count = 1
    for extent in shape:
        count *= extent
    return NpyHeader(str(descr), shape, begin + length, count * width, objects, fields["fortran_order"])


def _literal(text: bytes) -> dict[str, Any]:
    try:
        # Python 2 wrote the letter L behind long numbers; numpy drops it as well.
        fields = ast.literal_eval(re.sub(r"(?<=[0-9])L(?=[,)])", "", text.decode("utf-8")))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise _damaged("its header is not a Python literal") from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise _damaged("its header does not hold exactly descr, fortran_order and shape")
    return fields


def _width(descr: object, depth: int) -> tuple[int, bool]:
    """Return the bytes of one element, and whether it holds Python objects."""
    if isinstance(descr, str):
        if descr.lstrip("<>|=") in ("O", "O4", "O8"):
            return 8, True
        match = _SIMPLE.fullmatch(descr)
        if match is None:
            raise _damaged(f"its data type {descr[:40]!r} is not known")
        letter, digits = match.group(1), match.group(2)
        if letter == "?":
            return 1, False
        width = int(digits) if digits else (8 if letter in "Mm" else 0)
        return (width * 4 if letter == "U" else width), False
    if isinstance(descr, list) and depth < 8:
        total, objects = 0, False
        for row in descr:
            if not isinstance(row, tuple) or len(row) not in (2, 3):
                raise _damaged("a field of its data type is malformed")
            width, holds = _width(row[1], depth + 1)
            for extent in row[2] if len(row) == 3 and isinstance(row[2], tuple) else ():
                if type(extent) is not int or extent < 0:
                    raise _damaged("a field of its data type is malformed")
                width *= extent
            total += width
            objects = objects or holds
        return total, objects
    raise _damaged("its data type is malformed")


def _damaged(cause: str) -> Unreadable:
    return Unreadable(
        "the numpy file cannot be read",
        cause=cause,
        remedy="fetch the file again, or have it written anew by its author",
        check="npy.header",
    )
