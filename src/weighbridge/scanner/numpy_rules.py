"""Rules on numpy files: raw arrays must fill the file exactly, object arrays are pickles."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.npy import MAX_HEADER, parse_header
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.pickle_rules import judge_streams

RULES = (
    RuleInfo("numpy-broken", "The array's header and its bytes do not agree", Verdict.BROKEN),
    RuleInfo("numpy-objects", "The array holds pickled Python objects", Verdict.NOTES),
)
EXPLAINS = frozenset({"npy"})


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Check the header against the size of the file; judge the pickle of an object array."""
    if file.kind != "npy":
        return
    try:
        header = parse_header(file.read(MAX_HEADER + 16))
    except Unreadable as error:
        yield _broken(file, 0, error.cause)
        return
    if not header.objects:
        if header.data_start + header.data_size != file.size:
            yield _broken(file, header.data_start, f"{header.data_size} bytes are declared, "
                                                   f"{file.size - header.data_start} are there")  # fmt: skip
        return
    yield Finding(
        rule="numpy-objects",
        verdict=Verdict.NOTES,
        severity=severity_of(Verdict.NOTES),
        location=file.at(0),
        message="the array holds Python objects, written as a pickle",
        why="numpy reads them only with allow_pickle=True; the pickle was judged like any other",
        help="save plain arrays, or safetensors",
        subject="objects",
    )
    yield from judge_streams(file, file.read(), header.data_start).findings


def _broken(file: ScannedFile, offset: int, reason: str) -> Finding:
    return Finding(
        rule="numpy-broken",
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=file.at(offset),
        message=f"this is not an array that numpy writes: {printable(reason)}",
        why="bytes that the header does not explain can be another file to another reader",
        help="save the array again",
        subject="header",
    )
