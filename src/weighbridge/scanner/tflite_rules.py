"""Rules on TensorFlow Lite models: built-in operators only, each byte in its place, packed labels judged like any file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.tflite import TfliteModel, read_tflite
from weighbridge.scanner import archives
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile

BROKEN = RuleInfo(
    "tflite-broken", "A TensorFlow Lite model whose offsets and bytes do not agree", Verdict.BROKEN
)
UNLISTED = RuleInfo(
    "tflite-unlisted", "A TensorFlow Lite model with an operator that is not built in", Verdict.UNLISTED
)
UNREAD = RuleInfo("tflite-unread", "A part of a TensorFlow Lite model that is not known here", Verdict.UNREAD)
RULES = (BROKEN, UNLISTED, UNREAD)

LISTED = frozenset({
    "TFLite_Detection_PostProcess", "Convolution2DTransposeBias", "Landmarks2TransformMatrix", "MaxPoolingWithArgmax2D",
    "MaxUnpooling2D", "Resampler", "TransformLandmarks", "TransformTensorBilinear",
})  # fmt: skip
"""Custom operators that only compute: the one of TensorFlow Lite itself, and those of MediaPipe."""
_NO_MEMBERS = re.compile(rb"\0{0,64}PK\x05\x06\0{12}[\s\S]{4}\0\0")
"""The archive without members that some tools leave behind a model."""
_PADDING = 64
_CALLS_OUT = ("STABLEHLO_CUSTOM_CALL", "DELEGATE")
_WHY = "such an operator is native code that the program must have loaded under this name"
_HELP = "convert the model again with built-in operators only"


def read(file: ScannedFile, descend: Descend) -> Part:
    """Walk over the flatbuffer, judge operators by name, and the zip archive of labels that may follow it."""
    try:
        with file.open() as stream:
            model = read_tflite(stream, file.size)
    except Unreadable as error:
        return Part((refused(file, BROKEN, error),), Coverage(file.size, file.size), "tflite")
    findings = list(_judge(file, model))
    if model.end == file.size:
        return Part(tuple(findings), Coverage(file.size, file.size), "tflite")
    with file.open() as stream:
        stream.seek(model.end)
        rest = stream.read(2 * _PADDING)
    if (len(rest) <= _PADDING and not rest.strip(b"\0")) or _NO_MEMBERS.fullmatch(rest):
        return Part(tuple(findings), Coverage(file.size, file.size), "tflite")
    if rest.lstrip(b"\0").startswith(b"PK\3\4"):
        return _packed(file, descend, model.end, findings)
    return Part((*findings, _behind(file, model.end)), Coverage(file.size, file.size), "tflite")


def _packed(file: ScannedFile, descend: Descend, end: int, findings: list[Finding]) -> Part:
    """Judge an archive behind the model, whose first member must begin where the model ends."""
    part = archives.read(file, descend)
    model = {f"prefix {place} bytes belong to no member" for place in range(end, end + _PADDING)}
    rest = [row for row in part.findings if row.rule != "archive-hidden" or row.subject not in model]
    if len(rest) == len(part.findings):
        rest.append(_behind(file, end))
    seen = part.coverage
    read_bytes = min(file.size, seen.bytes_read + end + _PADDING)
    coverage = Coverage(file.size, read_bytes, seen.members_present, seen.members_read)
    return Part((*findings, *rest), coverage, "tflite")


def _judge(file: ScannedFile, model: TfliteModel) -> Iterator[Finding]:
    for name in model.custom:
        if name not in LISTED:
            flex = ", which has TensorFlow itself run one of its operators" if name.startswith("Flex") else ""
            yield finding(
                file,
                UNLISTED,
                f"the operator {name!r} is not built in{flex}",
                why=_WHY,
                help=_HELP,
                subject=name,
            )
    for name in model.operators:
        if name in _CALLS_OUT:
            yield finding(
                file,
                UNLISTED,
                f"the operator {name} hands over to other code",
                why=_WHY,
                help=_HELP,
                subject=name,
            )
    strange = [*model.strange, *(("data in other files",) if model.external else ())]
    for what in strange:
        yield finding(
            file, UNREAD, f"the model holds {what}, which is not known here", subject=what, help=_HELP,
            why="what was not read cannot be called harmless",
        )  # fmt: skip


def _behind(file: ScannedFile, end: int) -> Finding:
    """Report bytes after the model."""
    return finding(
        file, BROKEN, f"{file.size - end} bytes follow the end of the model", offset=end, subject="tflite.trailing",
        why="bytes that belong to nothing can be another file to another reader",
        help="pack labels as a zip archive that begins where the model ends, or beside the model",
    )  # fmt: skip
