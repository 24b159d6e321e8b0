"""Rules on HDF5 files: data that lies elsewhere, bytes that belong to nothing, and configurations in attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO

from weighbridge.core.errors import OutOfBudget, Refused, Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.hdf5 import Anomaly, Hdf5Tree, find_signature, read_hdf5
from weighbridge.formats.json_text import looks_like_json, read_json
from weighbridge.formats.sniff import as_text, sniff
from weighbridge.scanner import keras_rules, pickle_rules
from weighbridge.scanner.file import RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.routing import acts_as_pickle

RULES = (
    RuleInfo("hdf5-elsewhere", "An HDF5 file that takes data from another file", Verdict.DANGEROUS),
    RuleInfo("hdf5-link", "An HDF5 file with a link inside of itself", Verdict.NOTES),
    RuleInfo("hdf5-plugin", "An HDF5 file that needs a plug-in to be read", Verdict.UNLISTED),
    RuleInfo("hdf5-broken", "An HDF5 file that can be read in two ways, or not at all", Verdict.BROKEN),
    RuleInfo("hdf5-hidden", "An HDF5 file holds bytes that no object refers to", Verdict.BROKEN),
    RuleInfo("hdf5-pickle", "An HDF5 file that holds pickles", Verdict.UNLISTED),
    RuleInfo("hdf5-unread", "An HDF5 file of a form that is not read", Verdict.UNREAD),
)
EXPLAINS = frozenset({"hdf5"})

MAX_TEXT = 128 * 1024 * 1024
"""Bytes of all texts of one file that are judged."""
MAX_HOLE = 4096
"""Bytes that deleted objects may leave behind; Keras leaves none."""
MAX_JSON = 16 * 1024 * 1024
"""Bytes of one configuration; Keras' largest are below one MiB."""
_PROBE = 1024 * 1024

_OF_CODE = {
    "external-link": "hdf5-elsewhere", "external-storage": "hdf5-elsewhere", "virtual": "hdf5-elsewhere",
    "driver": "hdf5-elsewhere", "soft-link": "hdf5-link", "user-link": "hdf5-plugin", "filter": "hdf5-plugin",
    "user-block": "hdf5-broken", "trailing": "hdf5-broken", "truncated": "hdf5-broken", "message": "hdf5-unread",
}  # fmt: skip
_VERDICTS = {rule.id: rule.verdict for rule in RULES}
_WHY = {
    "hdf5-elsewhere": "reading it opens a file that is not part of this model, and hands out its content as weights",
    "hdf5-link": "the object has a second name; nothing outside of this file is reached",
    "hdf5-plugin": "reading it loads a native library that the file chooses by number",
    "hdf5-broken": "two readers may see two different files",
    "hdf5-hidden": "bytes that no object refers to are for another reader than HDF5",
    "hdf5-pickle": "some readers of such files unpickle their attributes",
    "hdf5-unread": "what was not read cannot be called harmless",
}


def probe(file: ScannedFile) -> str | None:
    """Know an HDF5 file that begins with a block of something else: readers look at 512, 1024, 2048 and so on too."""
    with file.open() as stream:
        return "hdf5" if find_signature(stream, file.size) is not None else None


def examine(file: ScannedFile) -> Iterable[Finding]:
    """Judge structure, attributes and unused bytes of an HDF5 file."""
    if file.kind != "hdf5":
        return
    try:
        with file.open() as stream:
            tree = read_hdf5(stream, file.size)
            holes = tree.holes()
    except Unreadable as error:
        rule = "hdf5-unread" if error.check == "hdf5.uncovered" else "hdf5-broken"
        yield _finding(file, rule, f"{error.problem}: {error.cause}", subject=error.check)
        return
    except OutOfBudget as spent:
        yield _finding(file, "hdf5-unread", spent.problem, subject=spent.check)
        return
    for anomaly in tree.anomalies:
        yield _of_anomaly(file, anomaly)
    yield from _attributes(file, tree)
    yield from _holes(file, tree, holes)


def _of_anomaly(file: ScannedFile, anomaly: Anomaly) -> Finding:
    rule = _OF_CODE[anomaly.code]
    subject = f"{anomaly.code} {printable(anomaly.where)}"
    return _finding(file, rule, anomaly.message, subject=subject, offset=anomaly.offset)


def _attributes(file: ScannedFile, tree: Hdf5Tree) -> Iterator[Finding]:
    """Judge every text of every attribute once: Keras configurations, and pickles."""
    seen: set[bytes] = set()
    spent = 0
    for path, attribute in tree.attributes:
        if attribute.name == "PSEUDOATOM" and b"object" in attribute.texts:
            message = f"{path} holds pickles, which PyTables reads as Python objects"
            yield _finding(file, "hdf5-pickle", message, subject=path)
        for text in attribute.texts:
            if text in seen:
                continue
            seen.add(text)
            spent += len(text)
            if spent > MAX_TEXT:
                yield _finding(file, "hdf5-unread", f"more than {MAX_TEXT} bytes of text", subject="text")
                return
            yield from _text(file, f"{path} {attribute.name}", text)


def _text(file: ScannedFile, where: str, data: bytes) -> Iterator[Finding]:
    if len(data) > 2 and acts_as_pickle(data, is_text=as_text(data) is not None):
        yield _finding(file, "hdf5-pickle", f"the attribute {where} is a pickle", subject=where)
        inside = replace(file, kind="pickle", size=len(data), head=data[:4096], opener=lambda: BytesIO(data))
        yield from pickle_rules.judge_streams(inside, data).findings
    # h5py hands out what is no UTF-8 as surrogates, and JSON takes those as well.
    text = data.decode("utf-8", "surrogateescape")
    if not looks_like_json(text):
        return
    if len(data) > MAX_JSON:
        yield _finding(
            file, "hdf5-unread", f"the attribute {where} holds more JSON than is read", subject=where
        )
        return
    try:
        for remark in keras_rules.judge(read_json(text)):
            yield keras_rules.finding(file, remark, where)
    except Refused as refusal:
        if b"class_name" in data:
            yield _finding(file, "hdf5-broken", f"the attribute {where}: {refusal.problem}", subject=where)
    except OutOfBudget as spent:
        yield _finding(file, "hdf5-unread", f"the attribute {where}: {spent.problem}", subject=where)


def _holes(file: ScannedFile, tree: Hdf5Tree, holes: list[tuple[int, int]]) -> Iterator[Finding]:
    """Look into what no object refers to; zeros are alignment, a few bytes are what deleted objects leave."""
    unexplained = 0
    first = -1
    with file.open() as stream:
        for number, (start, stop) in enumerate((*holes, *tree.slack)):
            stream.seek(start)
            data = stream.read(min(stop - start, _PROBE))
            inner = data.lstrip(b"\0")
            if not inner:
                unexplained += max(0, stop - start - _PROBE)
                continue
            if number < len(holes):
                unexplained += max(len(inner.rstrip(b"\0")), stop - start - _PROBE)
                first = start if first < 0 else first
            what = _recognised(inner)
            if what:
                yield _finding(
                    file,
                    "hdf5-hidden",
                    f"bytes that no object refers to are {what}",
                    subject=what,
                    offset=start,
                )
    if unexplained > MAX_HOLE:
        yield _finding(
            file, "hdf5-hidden", f"{unexplained} bytes belong to no object", subject="bytes", offset=max(first, 0)
        )  # fmt: skip


def _recognised(data: bytes) -> str:
    kind = sniff(data[:4096], len(data))
    if kind not in ("unknown", "pickle", "safetensors", "pe", "gzip"):
        return f"of the format {kind}"
    if as_text(data[:2]) == "#!":
        return "a script"
    return "a pickle" if acts_as_pickle(data, is_text=False) else ""


def _finding(
    file: ScannedFile, rule: str, message: str, *, subject: str, offset: int | None = None
) -> Finding:
    verdict = _VERDICTS[rule]
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(offset),
        message=printable(message, 300),
        why=_WHY[rule],
        help="have it saved again as one complete file, or as safetensors",
        subject=printable(subject, 300),
    )
