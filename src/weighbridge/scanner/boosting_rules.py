"""Rules on models of boosting libraries in their own formats: XGBoost's UBJSON is numbers and names, nothing that acts."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.ubjson import READER, read_ubjson
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile

BROKEN = RuleInfo("boosting-broken", "A model in UBJSON that is not as its library writes it", Verdict.BROKEN)
UNLISTED = RuleInfo("boosting-unlisted", "UBJSON that is not a model of XGBoost", Verdict.UNLISTED)
RULES = (BROKEN, UNLISTED)
EXPLAINS = frozenset({"ubjson"})
READERS: tuple[str, ...] = (READER,)

_KEYS = frozenset({b"learner", b"version", b"Config"})
_LENGTHS = frozenset(b"iUIlL}$#")


def probe(file: ScannedFile) -> str | None:
    """Recognise an object whose first key has a binary length."""
    head = file.head
    return "ubjson" if len(head) > 3 and head[:1] == b"{" and head[1] in _LENGTHS else None


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the object to its last byte."""
    if file.kind != "ubjson":
        return
    try:
        with file.open() as stream:
            keys = read_ubjson(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    if not keys <= _KEYS or b"learner" not in keys:
        shown = ", ".join(repr(key[:40].decode("latin-1")) for key in sorted(keys)[:8])
        yield finding(
            file, UNLISTED, f"the object holds {shown}", subject="keys", why="nobody knows which program reads it, and how",
            help="use a model saved by XGBoost's save_model",
        )  # fmt: skip
