"""Rules on models of boosting libraries in their own formats: numbers and names, nothing that acts."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.catboost import read_catboost
from weighbridge.formats.ubjson import read_ubjson
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile

BROKEN = RuleInfo("boosting-broken", "A boosted model that is not as its library writes it", Verdict.BROKEN)
UNLISTED = RuleInfo("boosting-unlisted", "UBJSON that is not a model of XGBoost", Verdict.UNLISTED)
UNREAD = RuleInfo("boosting-unread", "A CatBoost model with parts that are not known here", Verdict.UNREAD)
RULES = (BROKEN, UNLISTED, UNREAD)
EXPLAINS = frozenset({"ubjson", "catboost"})

_KEYS = frozenset({b"learner", b"version", b"Config"})
_LENGTHS = frozenset(b"iUIlL}$#")


def probe(file: ScannedFile) -> str | None:
    """Recognise an object whose first key has a binary length."""
    head = file.head
    return "ubjson" if len(head) > 3 and head[:1] == b"{" and head[1] in _LENGTHS else None


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the model to its last byte."""
    if file.kind == "catboost":
        yield from _catboost(file)
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


def _catboost(file: ScannedFile) -> Iterator[Finding]:
    try:
        with file.open() as stream:
            strange = read_catboost(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    for what in strange:
        yield finding(
            file, UNREAD, f"the model holds {what}, for which there is no reader", subject=what,
            why="what was not read cannot be called harmless", help="save the model as JSON, or as ONNX",
        )  # fmt: skip
