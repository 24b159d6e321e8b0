"""Rules on ONNX models: only listed operators, bytes that the schema explains, and data files inside the model."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.onnx import OnnxModel, read_onnx
from weighbridge.scanner.damage import finding, lacking, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile
from weighbridge.scanner.onnx_ops import ACTING, OPERATORS, PYTHON_PREFIXES
from weighbridge.scanner.outside import OutsideData, leads_out

BROKEN = RuleInfo("onnx-broken", "An ONNX model that two readers may read differently", Verdict.BROKEN)
CODE = RuleInfo("onnx-code", "An ONNX model with an operator that runs other code", Verdict.DANGEROUS)
UNLISTED = RuleInfo("onnx-unlisted", "An ONNX model with an operator that nobody listed", Verdict.UNLISTED)
PATH = RuleInfo(
    "onnx-path", "An ONNX model that reads its tensors from outside of the model", Verdict.DANGEROUS
)
UNREAD = RuleInfo("onnx-unread", "A part of an ONNX model that could not be read", Verdict.UNREAD)
RULES = (BROKEN, CODE, UNLISTED, PATH, UNREAD)
EXPLAINS = frozenset({"onnx", "onnx-data"})

_MAX_SHOWN = 40
_WHY_CODE = (
    "an operator outside of the listed ones is native or Python code that somebody registered under its name"
)
_HELP = "export the model again with standard operators only"


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the model; judge operators by exact name, external data by where it lies."""
    if file.kind == "onnx-data":
        yield from OUTSIDE.check(file, BROKEN)
    if file.kind != "onnx":
        return
    try:
        with file.open() as stream:
            model = read_onnx(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    for message, number, offset in model.unknown:
        yield finding(
            file, UNREAD, f"{message} holds the field {number}, which the schema does not know",
            why="what a field means that is not in the schema, nobody can say", subject=f"{message} {number}", offset=offset,
            help="export the model again with a released version of onnx",
        )  # fmt: skip
    yield from lacking(file, BROKEN, model.missing)
    yield from _operators(file, model)
    yield from _external(file, model)


def probe(file: ScannedFile) -> str | None:
    """Say whether an ONNX model beside this file keeps tensors in it."""
    return "onnx-data" if OUTSIDE.claimed(file) else None


def _operators(file: ScannedFile, model: OnnxModel) -> Iterator[Finding]:
    shown = 0
    for (domain, name), offset in sorted(model.operators.items()):
        full = f"{domain or 'ai.onnx'}::{name}"
        acting = ACTING.get((domain, name), "")
        if not acting and name.startswith(PYTHON_PREFIXES):
            acting = "runs Python that is registered under its name"
        if not acting and ((domain, name) in model.functions or name in OPERATORS.get(domain, ())):
            continue
        shown += 1
        if shown > _MAX_SHOWN:
            yield finding(
                file, UNLISTED, "more unlisted operators", why=_WHY_CODE, help=_HELP, subject="more"
            )
            return
        message = f"the operator {full} {acting}" if acting else f"the operator {full} is not listed"
        yield finding(
            file, CODE if acting else UNLISTED, message, why=_WHY_CODE, help=_HELP, subject=full, offset=offset
        )  # fmt: skip
    if model.full:
        yield finding(
            file, UNREAD, "more names than are remembered", why="what was not read cannot be called harmless", help=_HELP,
            subject="full",
        )  # fmt: skip


def _external(file: ScannedFile, model: OnnxModel) -> Iterator[Finding]:
    """Judge where tensors lie that are not in the model's own file."""
    for offset in model.mixed[:3]:
        yield finding(
            file, BROKEN, "a tensor is described both as inside of the file and as outside, or neither",
            why="two readers may take different bytes for the same tensor", help=_HELP, subject=f"mixed {offset}", offset=offset,
        )  # fmt: skip
    seen: set[str] = set()
    for row in model.external:
        if len(seen) > _MAX_SHOWN:
            return
        other = None if leads_out(row.location) else OUTSIDE.sibling(file, row.location)
        end = row.offset + max(row.length, 0)
        if other is not None and 0 <= row.offset <= end <= other.size:
            continue
        if row.location in seen:
            continue
        seen.add(row.location)
        if leads_out(row.location):
            yield finding(
                file, PATH, f"a tensor is read from {row.location!r}", offset=row.place, subject=row.location,
                why="a runtime that follows it reads a file, or memory, that is not part of this model",
                help="save the model again with its data beside it",
            )  # fmt: skip
        elif other is None:
            yield finding(
                file, UNREAD, f"a tensor lies in {row.location!r}, which is not part of what is scanned", offset=row.place,
                why="what is not here was not read", help="fetch the whole model, and scan its folder", subject=row.location,
            )  # fmt: skip
        else:
            yield finding(
                file, BROKEN, f"a tensor lies at {row.offset} to {end} of {row.location!r}, which has {other.size} bytes",
                why="a runtime may read past the end of the file", help="fetch the file again", offset=row.place,
                subject=f"onnx.outside {row.location}",
            )  # fmt: skip


def _claims(file: ScannedFile) -> list[tuple[str, int, int]]:
    """Return (location, offset, length) of each tensor that an ONNX model keeps elsewhere."""
    with file.open() as stream:
        model = read_onnx(stream, file.size)
    return [(row.location, row.offset, row.length) for row in model.external]


OUTSIDE = OutsideData((".onnx",), b"\x08", _claims, largest_gap=1 << 17)
