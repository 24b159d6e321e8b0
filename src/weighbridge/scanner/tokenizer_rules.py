"""Rules on tokenizers that are neither text nor JSON: a SentencePiece model is pieces and numbers, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.sentencepiece import read_sentencepiece
from weighbridge.scanner.damage import finding, lacking, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile

BROKEN = RuleInfo(
    "tokenizer-broken", "A SentencePiece tokenizer that is not as its library writes it", Verdict.BROKEN
)
UNREAD = RuleInfo(
    "tokenizer-unread", "A SentencePiece tokenizer with a part that is not known here", Verdict.UNREAD
)
RULES = (BROKEN, UNREAD)
EXPLAINS = frozenset({"sentencepiece"})


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the model to its last byte."""
    if file.kind != "sentencepiece":
        return
    try:
        with file.open() as stream:
            walked = read_sentencepiece(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    yield from lacking(file, BROKEN, walked.missing)
    for message, number, offset in walked.unknown:
        yield finding(
            file, UNREAD, f"{message} holds the field {number}, which the schema does not know", offset=offset,
            why="what a field means that is not in the schema, nobody can say", subject=f"{message} {number}",
            help="use a tokenizer written by a released version of SentencePiece",
        )  # fmt: skip
