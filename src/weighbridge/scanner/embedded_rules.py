"""Rules on pickles that are written into texts as base64: some libraries keep them in JSON and unpickle them on load."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.json_text import looks_like_json, read_json, walk
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of
from weighbridge.scanner.pickle_rules import judge_streams
from weighbridge.scanner.routing import acts_as_pickle

RULES = (RuleInfo("pickle-embedded", "A text holds a pickle, written as base64", Verdict.NOTES),)
EXPLAINS: frozenset[str] = frozenset()

MAX_CANDIDATES = 500_000
"""Runs of base64 letters that are tried in one file."""

_RUN = re.compile(
    r"(?:[A-Za-z0-9+/_-]{60,}(?:\\n|\r?\n[ \t]*))+[A-Za-z0-9+/_-]+={0,2}|[A-Za-z0-9+/_-]{20,}={0,2}"
)
_BREAKS = re.compile(r"\\n|\s+")
_ESCAPED = re.compile(r"\\(?:/|u00[2-7][0-9a-fA-F])")
_URL_SAFE = str.maketrans("-_", "+/")


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Judge every pickle that stands in a text; raises OutOfBudget when there is too much to try."""
    if file.text is None:
        return
    for count, (offset, data) in enumerate(_decoded(_plain(file.text))):
        if count == MAX_CANDIDATES:
            raise OutOfBudget(
                f"more than {count} runs of base64 letters in one text",
                remedy="leave the file out of the model if it is not needed",
                check="budget.embedded",
            )
        if not acts_as_pickle(data, is_text=False):
            continue
        yield Finding(
            rule="pickle-embedded",
            verdict=Verdict.NOTES,
            severity=severity_of(Verdict.NOTES),
            location=file.at(offset),
            message=f"the text holds a pickle of {len(data)} bytes, written as base64",
            why="a library that keeps pickles in texts unpickles this one; it was judged like any other",
            help="ask who published the model for one without pickles",
            subject=f"base64 {len(data)}",
        )
        yield from judge_streams(file.inside(f"base64 at {offset}", data), data).findings


def _plain(text: str) -> str:
    """Return the text, or the texts of JSON in which letters are written as escapes."""
    if not _ESCAPED.search(text) or not looks_like_json(text):
        return text
    try:
        return "\n \n".join(place.value for place in walk(read_json(text)) if isinstance(place.value, str))
    except (Refused, OutOfBudget):
        return text  # the configuration rules say so


def _decoded(text: str) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each run that is base64, with or without its padding."""
    for match in _RUN.finditer(text):
        run = _BREAKS.sub("", match[0]).translate(_URL_SAFE).rstrip("=")
        try:
            yield match.start(), base64.b64decode(run + "=" * (-len(run) % 4), validate=True)
        except binascii.Error:
            continue  # one letter too many: no decoder takes it
