"""Rules on GGUF models: tables and data agree to the last byte, and the templates inside are judged like any other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.gguf import Gguf, read_gguf
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile
from weighbridge.scanner.template_rules import judge_text

BROKEN = RuleInfo("gguf-broken", "A GGUF model whose tables and bytes do not agree", Verdict.BROKEN)
UNREAD = RuleInfo("gguf-unread", "A GGUF model with tensors of a type that is not known here", Verdict.UNREAD)
SHARDS = RuleInfo("gguf-shards", "A part of a GGUF model whose other parts are missing", Verdict.NOTES)
RULES = (BROKEN, UNREAD, SHARDS)
EXPLAINS = frozenset({"gguf"})

_PART = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)
_MARKS = (b"{{", b"{%", b"{#")


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Check header, tables and padding; judge each string that is a template or looks like one."""
    if file.kind != "gguf":
        return
    try:
        with file.open() as stream:
            model = read_gguf(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    if model.unknown_types:
        types = ", ".join(map(str, model.unknown_types[:8]))
        yield finding(
            file, UNREAD, f"tensors of the types {types}, whose sizes are not known",
            why="without their sizes the bytes of the data section cannot be accounted for",
            help="use the model in a common quantisation, or wait for a ruleset that knows the type", subject=types,
        )  # fmt: skip
    yield from _templates(file, model)
    yield from _shards(file, model)


def _templates(file: ScannedFile, model: Gguf) -> Iterator[Finding]:
    for key, raw in model.texts:
        declared = "chat_template" in key and not key.endswith("chat_templates")
        if not declared and not any(mark in raw for mark in _MARKS):
            continue
        try:
            source = raw.decode("utf-8")
        except UnicodeDecodeError:
            yield finding(
                file, BROKEN, f"the text of {key!r} is not UTF-8", subject=f"gguf.text {key}",
                why="a program that renders it decodes it in its own way", help="use a model with a plain template",
            )  # fmt: skip
            continue
        yield from judge_text(file, source, key, declared=declared)


def _shards(file: ScannedFile, model: Gguf) -> Iterator[Finding]:
    """Compare what a split model says of its parts with its name and the files beside it."""
    count, number = model.numbers.get("split.count", 0), model.numbers.get("split.no", 0)
    if not count:
        return
    if not 0 <= number < count or model.numbers.get("split.tensors.count", 0) < model.tensors:
        yield finding(
            file, BROKEN, f"this calls itself part {number} of {count}, and counts tensors that it does not",
            why="a loader trusts these numbers when it opens the other parts", subject="gguf.split",
            help="split the model again, or use it in one file",
        )  # fmt: skip
    match = _PART.fullmatch(file.path)
    if file.members or not match or not file.siblings:
        return
    names = (f"{match[1]}-{part:05d}-of-{count:05d}.gguf" for part in range(1, min(count, 99_999) + 1))
    missing = [name for name in names if name not in file.siblings]
    if missing:
        yield finding(
            file, SHARDS, f"{len(missing)} of {count} parts are missing, the first is {missing[0]!r}",
            why="the model cannot be loaded completely", help="fetch the other parts", subject=missing[0],
        )  # fmt: skip
