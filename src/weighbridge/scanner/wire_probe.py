"""Tell messages of protocol buffers apart: they have no magic number, but the outermost fields of each differ.

A wrong answer here admits nothing: the reader of the kind that is named must explain every byte. Fields whose bytes
would be read by the loader of another kind are held to be single lines of text there (`formats.protobuf`).
"""

from __future__ import annotations

from typing import BinaryIO

from weighbridge.formats.protobuf import Outline, outline
from weighbridge.scanner.file import RuleInfo, ScannedFile

RULES: tuple[RuleInfo, ...] = ()

_FIRST = frozenset({0x08, 0x0A})
_LENGTH = frozenset({2})
_NUMBER = frozenset({0})
_CORE_ML_MODELS = range(200, 3001)


def probe(file: ScannedFile) -> str | None:
    """Return the kind of message the file is, or None."""
    if not file.head or file.head[0] not in _FIRST:
        return None
    with file.open() as stream:
        found = outline(stream, 0, file.size)
        if found is None:
            return None
        return _by_number(found) if file.head[0] == 0x08 else _by_message(found, stream)


def _by_number(found: Outline) -> str | None:
    """Tell apart what begins with a version number."""
    wires = found.wires
    if wires[1] != _NUMBER:
        return None
    numbers = set(wires)
    if (
        numbers <= {1, 2, 3, 4, 5, 6, 7}
        and all(wires[number] == _NUMBER for number in numbers & {2, 3, 4, 5})
        and 2 in numbers
    ):
        return "tf-fingerprint"
    if wires.get(7) == _LENGTH:
        return "onnx"
    if numbers == {1, 2} and wires[2] == _LENGTH:
        return "savedmodel"
    if any(number in _CORE_ML_MODELS for number in numbers):
        return "coreml"
    return None


def _by_message(found: Outline, stream: BinaryIO) -> str | None:
    """Tell apart what begins with a repeated message, by the fields of the first."""
    offset, length = found.first[1]
    inner = outline(stream, offset, offset + length)
    if inner is None or found.wires[1] != _LENGTH:
        return None
    wires = inner.wires
    if wires.get(1) == _LENGTH and wires.get(2) == frozenset({5}) and 2 in found.wires:
        return "sentencepiece"
    if wires.get(1) == _NUMBER and wires.get(2) == _NUMBER:
        return "paddle"
    if wires.get(1) == _LENGTH and wires.get(2) == _LENGTH:
        return "graphdef"
    if wires.get(5) == _LENGTH and 1 not in wires:
        return "metagraph" if 2 in found.wires else "keras-metadata"
    return None
