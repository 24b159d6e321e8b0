"""Rules on safetensors files: every byte belongs to one tensor and the header says nothing untrue."""

from __future__ import annotations

from collections.abc import Iterable

from weighbridge.core.errors import Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.safetensors import parse_header
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("safetensors-broken", "A safetensors file whose header and bytes do not agree", Verdict.BROKEN),
)
EXPLAINS = frozenset({"safetensors"})


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Check the header against the size of the file; the tensors' bytes are inert and are not read."""
    if file.kind != "safetensors":
        return
    with file.open() as stream:

        def read(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        try:
            parse_header(read, file.size)
        except Refused as refusal:
            yield Finding(
                rule="safetensors-broken",
                verdict=Verdict.BROKEN,
                severity=severity_of(Verdict.BROKEN),
                location=file.at(0),
                message=printable(refusal.problem),
                why="readers that are less strict would take other bytes for the same tensor, or hide bytes in the file",
                help=refusal.remedy,
                evidence=(printable(refusal.cause),) if refusal.cause else (),
                subject=refusal.check,
            )
