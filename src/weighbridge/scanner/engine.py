"""Scan one model: every file of its manifest is identified, read by whoever explains it, and accounted for."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from types import ModuleType
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable, WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Report, Seen, Verdict
from weighbridge.core.manifest import FileEntry, Listing, Manifest, N
from weighbridge.formats.limits import DEFAULT_LIMITS, Budget, Limits
from weighbridge.scanner import CONTAINERS, EXAMINERS
from weighbridge.scanner import RULES as OWNERS
from weighbridge.scanner.file import HEAD_SIZE, Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.pickle_rules import Judgement, judge
from weighbridge.scanner.routing import KINDS, also_pickle, hides_zip, identify
from weighbridge.scanner.ruleset import ruleset

RULES = (
    RuleInfo("unread-format", "There is no reader for this format yet", Verdict.UNREAD),
    RuleInfo("unread-budget", "The file asks for more work than a scan may spend", Verdict.UNREAD),
    RuleInfo("unread-file", "The file, or a part of it, could not be read", Verdict.UNREAD),
    RuleInfo("archive-polyglot", "The file is an archive as well as what it looks like", Verdict.BROKEN),
    RuleInfo("pickle-polyglot", "The file is a pickle as well as what it looks like", Verdict.BROKEN),
    RuleInfo("remote-unverified", "The file was read in parts, its digest was not compared", Verdict.NOTES),
    RuleInfo("findings-cut", "More was found than is reported", Verdict.UNREAD),
)
_ACTING = frozenset({"pickle-call", "pickle-import", "pickle-unlisted"})
_SELF_EXPLAINED = frozenset({"empty"})
_MAX_SIBLING = 64 * 1024 * 1024


def scan_files(
    model: str,
    manifest: Manifest,
    open_file: Callable[[FileEntry], BinaryIO | bytes],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Return the report on the files of `manifest`; `open_file` gives the bytes that were hashed into it.

    Raises nothing for what the files hold: what cannot be read is a finding of verdict `unread`.
    `model` is the name that stands in the report.
    """
    return see_files(model, manifest, open_file, limits=limits).identified(manifest.digest, ruleset())


def see_files(
    model: str,
    listing: Listing[N],
    open_file: Callable[[N], BinaryIO | bytes],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Seen:
    """Do what `scan_files` does for files that are listed and not hashed."""
    make = files_of(listing, open_file, limits)
    return merged(model, listing, (judged(make(entry)) for entry in listing.files))


def files_of(
    listing: Listing[N], open_file: Callable[[N], BinaryIO | bytes], limits: Limits
) -> Callable[[N], ScannedFile]:
    """Return what makes the file of an entry, as rules are given it before anybody has looked at it."""
    siblings = frozenset(entry.path for entry in listing.files)

    def sibling(path: str) -> bytes:
        entry = listing.entry(path)
        if entry is None or entry.size > _MAX_SIBLING:
            raise Unreadable(f"{path!r} is not there, or too large to be read along", check="file.sibling")
        with _open(open_file, entry) as stream:
            return stream.read(entry.size)

    def blank(entry: N) -> ScannedFile:
        return ScannedFile(
            path=entry.path,
            size=entry.size,
            kind="unknown",
            head=b"",
            opener=lambda: _open(open_file, entry),
            budget=Budget(limits),
            siblings=siblings,
            read_sibling=sibling,
            neighbour=neighbour,
        )

    def neighbour(path: str) -> ScannedFile | None:
        entry = listing.entry(path)
        return None if entry is None else blank(entry)

    return blank


def judged(blank: ScannedFile) -> Part:
    """Judge one file of a model; raises nothing for what it holds."""
    limit = blank.budget.limits.max_findings
    part = _scan_entry(blank)
    return replace(part, findings=_cut(part.findings, blank.path, limit))


def merged(model: str, listing: Listing[N], parts: Iterable[Part]) -> Seen:
    """Return what was seen in a model from what came of its files, in the order of the listing."""
    findings: list[Finding] = []
    coverage = Coverage()
    formats: dict[str, str] = {}
    for entry, part in zip(listing.files, parts, strict=True):
        findings.extend(part.findings)
        coverage += part.coverage
        formats[entry.path] = part.kind
    return Seen(model, tuple(findings), coverage, formats)


def _open(open_file: Callable[[N], BinaryIO | bytes], entry: N) -> BinaryIO:
    opened = open_file(entry)
    return io.BytesIO(opened) if isinstance(opened, bytes) else opened


def _scan_entry(blank: ScannedFile) -> Part:
    """Scan one file; whatever goes wrong becomes a finding."""
    try:
        with blank.open() as stream:
            head = stream.read(min(HEAD_SIZE, blank.size))
            end = stream.seek(0, io.SEEK_END)
        if end != blank.size or len(head) != min(HEAD_SIZE, blank.size):
            raise Unreadable(
                f"{blank.path} is not the file of the manifest",
                cause=f"the manifest says {blank.size} bytes, there are {end}",
                remedy="fetch the model again",
                check="file.size",
            )
        return scan_one(replace(blank, head=head))
    except Exception as error:  # noqa: BLE001  whatever a hostile file provokes must block, not end the scan
        return Part((_failed(blank, error),), Coverage(blank.size, 0), "unknown")


def scan_one(file: ScannedFile) -> Part:
    """Judge one file or archive member by its content; raises core errors when it cannot be read."""
    file = identify(file)
    container = CONTAINERS.get(file.kind)
    part: Part = _module(container).read(file, scan_one) if container else _examined(file)
    return replace(part, findings=(*part.findings, *_polyglot(file), *_others(file, part)))


def _others(file: ScannedFile, part: Part) -> tuple[Finding, ...]:
    """Ask the examiners about containers as well: some judge by name or first bytes, whatever the kind."""
    if file.kind not in CONTAINERS:
        return ()
    file = replace(file, kind=part.kind)
    return tuple(finding for module in asked(file.kind, texts=False) for finding in module.examine(file))


def _examined(file: ScannedFile) -> Part:
    examiners = asked(file.kind, texts=file.text is not None)
    findings = [finding for module in examiners for finding in module.examine(file)]
    explained = file.kind in _SELF_EXPLAINED or any(file.kind in module.EXPLAINS for module in examiners)
    if not explained:
        findings.append(_no_reader(file))
    unread = any(finding.verdict is Verdict.UNREAD for finding in findings)
    return Part(tuple(findings), Coverage(file.size, 0 if unread else file.size), file.kind)


def _polyglot(file: ScannedFile) -> tuple[Finding, ...]:
    """Look for a second format in the file: what is scanned must be what every loader would load."""
    if file.kind in ("empty", "zip") or file.text is not None:
        return ()
    found = _hidden_zip(file)
    # A zip archive begins with an id outside of the pickle, at which plain loaders stop.
    also = also_pickle(file) if file.kind not in ("pickle", "joblib", "torch-legacy", "unknown") else None
    if also is None:
        return found
    result = Judgement()
    judge(file, also, result)
    acting = [finding for finding in result.findings if finding.rule in _ACTING]
    return (*found, _double(file, "pickle-polyglot", "a pickle to loaders that do not look first"), *acting)


def _hidden_zip(file: ScannedFile) -> tuple[Finding, ...]:
    if file.kind == "tflite":
        return ()  # labels are packed behind such a model; its reader judges what lies there
    with file.open() as stream:
        if not hides_zip(stream, file.size):
            return ()
    return (_double(file, "archive-polyglot", "a zip archive to readers that begin at the end"),)


def _double(file: ScannedFile, rule: str, second: str) -> Finding:
    return Finding(
        rule=rule,
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=file.at(0),
        message=f"this is {KINDS[file.kind]}, and {second}",
        why="what is scanned is not what such a loader would load",
        help="have it written anew by its author",
        subject=rule,
    )


def _no_reader(file: ScannedFile) -> Finding:
    what = KINDS.get(file.kind, file.kind)
    unknown = file.kind == "unknown"
    return Finding(
        rule="unread-format",
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(0),
        message="the format is not recognised"
        if unknown
        else f"this is {what}; there is no reader for it yet",
        why="what was not read cannot be called harmless",
        help="leave the file out of the model if it is not needed, or use the model's safetensors files",
        subject=file.kind,
    )


def _failed(file: ScannedFile, error: Exception) -> Finding:
    """Turn an error into a finding that blocks."""
    known = error if isinstance(error, WeighbridgeError) else None
    rule = "unread-budget" if isinstance(error, OutOfBudget) else "unread-file"
    reason = known.problem if known is not None else f"reading it ended in {type(error).__name__}"
    return Finding(
        rule=rule,
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(),
        message=printable(f"{file.path} was not read: {reason}"),
        why=printable(known.cause) if known is not None else "what was not read cannot be called harmless",
        help=known.remedy if known is not None else "report this; a file should never do that",
        subject=known.check if known is not None else type(error).__name__,
    )


def _cut(found: tuple[Finding, ...], path: str, limit: int) -> tuple[Finding, ...]:
    """Keep the worst findings of a file, and say how many were left out."""
    if len(found) <= limit:
        return found
    kept = sorted(found, key=lambda finding: -finding.verdict.rank)[:limit]
    note = Finding(
        rule="findings-cut",
        verdict=Verdict.UNREAD,  # what is not shown cannot be waived, so it must not pass either
        severity=severity_of(Verdict.UNREAD),
        location=kept[0].location,
        message=f"{len(found) - limit} more findings on {printable(path)} are not shown",
        subject="cut",
    )
    return (*kept, note)


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


@cache
def asked(kind: str, *, texts: bool) -> tuple[ModuleType, ...]:
    """Return the examiners that are asked about a kind of file, loaded when the first such file comes."""
    wanted = {kind, "any", "texts" if texts else kind}
    return tuple(_module(name) for name, kinds in EXAMINERS.items() if wanted & set(kinds.split()))


@cache
def owners() -> tuple[ModuleType, ...]:
    """Return every module with rules, each once."""
    return tuple(_module(name) for name in dict.fromkeys(OWNERS.values()) if name != __name__)


def all_rules() -> dict[str, RuleInfo]:
    """Return every rule of this room by its id."""
    rules = [rule for module in owners() for rule in module.RULES]
    return {rule.id: rule for rule in (*RULES, *rules)}
