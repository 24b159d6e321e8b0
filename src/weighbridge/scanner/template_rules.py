"""Rules on chat templates: Jinja in its own file, in a tokenizer's configuration, or in any other JSON string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weighbridge.core.errors import OutOfBudget, Refused
from weighbridge.core.finding import Finding, Location, Verdict
from weighbridge.formats.json_text import looks_like_json, read_json, walk
from weighbridge.scanner.config_yaml import texts_of
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of

if TYPE_CHECKING:
    from weighbridge.formats.jinja import Remark

RULES = (
    RuleInfo("template-code", "A chat template that reaches for Python's internals", Verdict.DANGEROUS),
    RuleInfo("template-unlisted", "A chat template that uses something nobody listed", Verdict.UNLISTED),
    RuleInfo("template-broken", "A chat template that does not parse", Verdict.BROKEN),
    RuleInfo("template-unread", "A chat template too large to be judged", Verdict.UNREAD),
)
EXPLAINS = frozenset({"jinja"})

SUFFIXES = (".jinja", ".jinja2", ".j2", ".jinja.txt", ".tmpl")
YAML_SUFFIXES = (".yaml", ".yml")
_NAMED = re.compile(r"(chat|prompt|instruction)[_-]?template[^/]*(\.txt|\.template|/|$)|^template(\.txt)?$")
"""Names of plain texts that some program renders."""
_YAML_KEYS = re.compile(r"(chat|instruction|prompt|system)?_?template(_str)?")
DECLARED = frozenset({"chat_template", "chat_templates", "default_chat_template"})
"""Object keys below which every string is a template, whatever it looks like."""
MAX_TEMPLATES = 2_000
MAX_CHARACTERS = 8 * 1024 * 1024

_WHY = "whoever renders this template without a sandbox runs what it reaches"


@dataclass(frozen=True, slots=True)
class _Template:
    source: str
    location: Location
    pointer: str
    declared: bool


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge each template of the file; JSON that cannot be read is told by the configuration rules."""
    spent = 0
    for count, template in enumerate(_templates(file)):
        spent += len(template.source)
        if count >= MAX_TEMPLATES or spent > MAX_CHARACTERS:
            yield _unread(
                template, f"more than {MAX_TEMPLATES} templates or {MAX_CHARACTERS} characters of them"
            )
            return
        yield from _judge(template)


def judge_text(file: ScannedFile, source: str, pointer: str, *, declared: bool = True) -> Iterator[Finding]:
    """Judge one template that another format carries; `pointer` says where in `file` it stands."""
    yield from _judge(_Template(source, file.at(), pointer, declared))


def _templates(file: ScannedFile) -> Iterator[_Template]:
    text = file.text
    if text is None:
        return
    named = _NAMED.search(file.name) and _marked(text) and not _is_json(text)
    if file.kind == "jinja" or file.name.endswith(SUFFIXES) or named:
        yield _Template(text, file.at(), "", declared=True)
        return
    if file.name.endswith(YAML_SUFFIXES) and _marked(text):
        for key, value in texts_of(text):
            if _marked(value):
                yield _Template(value, file.at(), f"/{key}", declared=_YAML_KEYS.search(key) is not None)
        return
    if not (file.kind == "json" or looks_like_json(text)) or not _may_hold(text):
        return
    try:
        values = read_json(text)
    except (Refused, OutOfBudget):
        return
    for place in walk(values):
        if isinstance(place.value, str):
            declared = not DECLARED.isdisjoint(place.steps) and place.key != "name"
            if declared or _marked(place.value):
                yield _Template(place.value, file.at(), place.pointer, declared)


def _is_json(text: str) -> bool:
    """Tell whether a text is JSON to its end: what is escaped in its strings is no template yet."""
    if not looks_like_json(text):
        return False
    try:
        read_json(text)
    except (Refused, OutOfBudget):
        return False
    return True


def _marked(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def _may_hold(text: str) -> bool:
    # An escaped brace is spelled \u007b or \u007B; any other character may be escaped beside a plain one.
    return _marked(text) or "\\u00" in text.lower() or "chat_template" in text


def _judge(template: _Template) -> Iterator[Finding]:
    from weighbridge.formats.jinja import examine_template  # dear to import, and most files hold no template

    try:
        remarks = examine_template(template.source)
    except Refused as refusal:
        # A string that nobody declares a template and that is none cannot be rendered; say so, do not block.
        verdict = Verdict.BROKEN if template.declared else Verdict.NOTES
        if template.declared or _looks_meant(template.source):
            yield _finding(
                template, "template-broken", verdict, printable(refusal.cause), subject=refusal.check
            )
        return
    except OutOfBudget as spent:
        yield _unread(template, spent.problem)
        return
    for remark in remarks:
        rule = "template-code" if remark.verdict is Verdict.DANGEROUS else "template-unlisted"
        yield _finding(
            template,
            rule,
            remark.verdict,
            remark.message,
            subject=remark.subject,
            line=_line(template, remark),
        )


def _looks_meant(source: str) -> bool:
    pairs = (("{{", "}}"), ("{%", "%}"))
    return len(source) >= 16 and any(left in source and right in source for left, right in pairs)


def _line(template: _Template, remark: Remark) -> str:
    lines = template.source.splitlines()
    return (
        printable(f"{remark.line}: {lines[remark.line - 1].strip()}") if 0 < remark.line <= len(lines) else ""
    )


def _unread(template: _Template, problem: str) -> Finding:
    return _finding(template, "template-unread", Verdict.UNREAD, problem, subject="budget")


def _finding(
    template: _Template, rule: str, verdict: Verdict, message: str, *, subject: str, line: str = ""
) -> Finding:
    place = f" at {template.pointer}" if template.pointer else ""
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=template.location,
        message=printable(f"the chat template{place}: {message}", 300),
        why=_WHY,
        help="remove the template, or write it with the listed names only",
        evidence=(line,) if line else (),
        subject=printable(f"{template.pointer} {subject}".strip(), 300),
    )
