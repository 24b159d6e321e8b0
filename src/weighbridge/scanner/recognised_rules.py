"""Say what a text is that another language would load as data with code in it, and for which there is no reader."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.damage import finding
from weighbridge.scanner.file import RuleInfo, ScannedFile

UNREAD = RuleInfo(
    "unread-text", "Data of another language, written as text, without a reader", Verdict.UNREAD
)
RULES = (UNREAD,)
EXPLAINS: frozenset[str] = frozenset()

_TEXTS = (
    (re.compile(r"(?:RD[AX][123]\n)?A\n[123]\n[0-9]{1,12}\n[0-9]{1,12}\n"), "R data, written as text"),
    (re.compile(r"RD[AX][123]\n"), "R data"),
    (re.compile(r"7767517\n"), "the plan of an ncnn model"),
    (re.compile(r"(?:O|a|C):[0-9]{1,9}:[\"{]"), "data of PHP"),
)


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Look at the first characters of a text."""
    text = file.text
    if text is None:
        return
    for pattern, what in _TEXTS:
        if pattern.match(text):
            yield finding(
                file, UNREAD, f"this is {what}; there is no reader for it yet", subject=what,
                why="loading such data can run code that it carries",
                help="leave it out of the model, or export what it holds as safetensors, ONNX or JSON",
            )  # fmt: skip
            return
