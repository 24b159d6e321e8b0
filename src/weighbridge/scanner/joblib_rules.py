"""Rules on joblib files: pickles with raw arrays between their opcodes, judged as joblib reads them and as pickle does."""

from __future__ import annotations

from collections.abc import Iterable

from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.limits import Limits
from weighbridge.formats.pickle_events import Event, InlineArray, Trace
from weighbridge.formats.pickle_trace import trace
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of
from weighbridge.scanner.pickle_rules import Judgement, judge, judge_streams, run

RULES: tuple[RuleInfo, ...] = ()
EXPLAINS = frozenset({"joblib"})

_MARK = b"NumpyArrayWrapper"
_WINDOW = 1024 * 1024
_NUMPY = ("dtype", "ndarray", "_reconstruct", "_frombuffer", "scalar", "encode")
_FRAMING = ("frame", "proto", "leftover")


def is_joblib(file: ScannedFile) -> bool:
    """Tell whether a pickle names joblib's array wrapper somewhere, and so may hold raw arrays."""
    with file.open() as stream:
        kept = b""
        while data := stream.read(_WINDOW):
            if _MARK in kept + data:
                return True
            kept = data[-len(_MARK) :]
    return False


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge every stream of a joblib file in both ways it can be read."""
    if file.kind != "joblib":
        return ()
    data = file.read()
    result = Judgement()
    streams = 0
    while result.end < len(data):
        one = read_past(data, result.end, file.budget.limits)
        if not one.arrays:
            # No raw array after all: what is left is pickles, or bytes that belong to nothing.
            rest = judge_streams(file, data, result.end)
            return [*result.findings, *rest.findings]
        judge(file, one, result)
        _plainly(file, data, result, one)
        streams += 1
        result.end = one.end
        if one.broken or one.spent:
            break
        if streams == file.budget.limits.max_streams:
            return [*result.findings, _too_many(file, result.end)]
    return result.findings


def read_past(data: bytes, start: int, limits: Limits) -> Trace:
    """Trace the stream at `start` as joblib reads it: past the raw arrays that its wrappers announce."""
    return trace(
        data,
        start,
        max_opcodes=limits.max_opcodes,
        max_events=limits.max_events,
        max_expansion=limits.max_expansion,
        joblib=True,
    )


def _plainly(file: ScannedFile, data: bytes, result: Judgement, one: Trace) -> None:
    """Judge what pickle.load would make of the bytes of the arrays: noise, unless somebody wrote opcodes there."""
    first = one.arrays[0].offset
    plain = run(data, result.end, file.budget.limits)
    known = {(event.kind, event.pos, event.module, event.name) for event in one.events}
    found = tuple(
        event
        for event in plain.events
        if event.pos >= first
        and _plausible(event)
        and (event.kind, event.pos, event.module, event.name) not in known
        and not (event.name in _NUMPY and any(_inside(array, event.pos) for array in one.arrays))
    )
    if found:
        # Frames inside of frames come with every array of objects, which is a pickle of its own to joblib.
        changed = tuple(odd for odd in plain.anomalies if odd.pos >= first and odd.code not in _FRAMING)
        judge(file, Trace(found, changed, plain.end, "", False), result)


def _inside(array: InlineArray, pos: int) -> bool:
    """Tell whether a position lies in an array of objects.

    That is a pickle with a memo of its own. Read on with the memo of the outer one, numpy's few names in it come out
    as attributes of whatever text stands under the same number, and importing that fails.
    """
    return "O" in array.dtype and array.offset <= pos < array.offset + array.length


def _plausible(event: Event) -> bool:
    """Tell whether a name could be imported at all; the opcodes that noise spells name nothing."""
    parts = f"{event.module}.{event.name}".split(".")
    return event.kind != "persistent" and all(part.isidentifier() for part in parts)


def _too_many(file: ScannedFile, offset: int) -> Finding:
    return Finding(
        rule="unread-budget",
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(offset),
        message="more pickles follow each other than a scan reads",
        why="what was not read cannot be called harmless",
        help="split the file",
        subject="pickle",
    )
