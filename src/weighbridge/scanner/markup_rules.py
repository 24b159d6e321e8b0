"""Rules on markup: models written as XML are recognised and unread, entities that fetch files are named, drawings hold no script."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.finding import Finding, Verdict
from weighbridge.scanner.damage import finding
from weighbridge.scanner.file import RuleInfo, ScannedFile

ENTITY = RuleInfo("markup-entity", "Markup whose reader would fetch other files", Verdict.DANGEROUS)
SCRIPT = RuleInfo("markup-script", "A drawing that holds a script", Verdict.UNLISTED)
UNREAD = RuleInfo("markup-unread", "A model written as XML, for which there is no reader yet", Verdict.UNREAD)
RULES = (ENTITY, SCRIPT, UNREAD)
EXPLAINS: frozenset[str] = frozenset()

_BEFORE_ROOT = re.compile(
    r"(?:\s+|<\?(?:(?!\?>)[\s\S])*\?>|<!--(?:(?!-->)[\s\S])*-->|<!DOCTYPE(?:\[[^\]]*\]|[^>\[])*>)*",
    re.IGNORECASE,
)
_ROOT = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)")
_DECLARATION = re.compile(r"<!ENTITY\s", re.IGNORECASE)
_FETCHED = re.compile(r"<!ENTITY\s{1,200}(?:%\s{1,200})?\S{1,200}\s{1,200}(?:SYSTEM|PUBLIC)\b", re.IGNORECASE)
_DOCTYPE = re.compile(
    r"<!DOCTYPE\s{1,200}\S{1,200}\s{1,200}(?:SYSTEM|PUBLIC\s{1,200}(?:\"[^\"]{0,500}\"|'[^']{0,500}'))\s{1,200}[\"']([^\"']{0,2000})[\"']",
    re.IGNORECASE,
)
_KNOWN_DTD = re.compile(r"http://www\.w3\.org/(?:TR|Graphics|DTD)/[\w./-]+", re.IGNORECASE)
_INCLUDE = re.compile(r"<(?:\w+:)?include\s[^<>]{0,2000}\bhref\s*=|<\?xml-stylesheet\b", re.IGNORECASE)
_SCRIPT = re.compile(
    r"<(?:\w+:)?(?:script|foreignObject|iframe|embed|object)\b|\son\w+\s*=\s*[\"']|javascript\s*:",
    re.IGNORECASE,
)
_OPENVINO_LIBRARY = re.compile(r"\blibrary\s*=\s*[\"']|version\s*=\s*[\"']extension[\"']", re.IGNORECASE)
_MODELS = {
    "pmml": "a PMML model", "net": "an OpenVINO model", "opencv_storage": "an OpenCV model", "dmlc": "an XML model",
}  # fmt: skip


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Look at text whose first character opens a tag."""
    text = file.text
    if text is None or not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return
    text = text.lstrip("\ufeff \t\r\n")
    yield from _entities(file, text)
    skipped = _BEFORE_ROOT.match(text)
    root = _ROOT.match(text, skipped.end() if skipped else 0)
    name = root[1].lower() if root else ""
    if name == "svg" and (match := _SCRIPT.search(text)):
        yield finding(
            file, SCRIPT, f"the drawing holds {match[0].strip()!r}", why="a viewer that obeys it runs what it says",
            help="use a drawing without scripts, or a picture", subject=match[0].strip().lower(),
        )  # fmt: skip
    if name in _MODELS:
        library = _OPENVINO_LIBRARY.search(text) if name == "net" else None
        yield finding(
            file, UNREAD, f"this is {_MODELS[name]}; there is no reader for it yet"
            + (", and it names a native library or an extension" if library else ""),
            why="what was not read cannot be called harmless", subject=name,
            help="use the model as ONNX or safetensors, or leave it out if it is not needed",
        )  # fmt: skip


def _entities(file: ScannedFile, text: str) -> Iterator[Finding]:
    """Name declarations by which a reader of XML fetches files or grows without bound."""
    doctype = _DOCTYPE.search(text)
    fetched = _FETCHED.search(text)
    foreign = doctype is not None and not _KNOWN_DTD.fullmatch(doctype[1])
    include = _INCLUDE.search(text) if text.startswith("<?xml") else None
    if fetched or foreign or include:
        shown = (
            fetched[0] if fetched else doctype[0] if foreign and doctype else include[0] if include else ""
        )
        yield finding(
            file, ENTITY, f"the markup would have its reader fetch another file: {shown!r}", subject=shown,
            why="a reader that obeys it reads files of this machine, or asks a server for them",
            help="use a file without document types and entities",
        )  # fmt: skip
    elif _DECLARATION.search(text):
        yield finding(
            file, ENTITY, "the markup declares entities of its own", verdict=Verdict.BROKEN, subject="entities",
            why="entities inside entities grow without bound in readers that expand them",
            help="use a file without document types and entities",
        )  # fmt: skip
