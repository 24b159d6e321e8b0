"""Rules on packed streams (gzip, zlib, bzip2, xz, lzma, lz4, zstd): strictness, and what they hold judged by its content."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.archive import Anomaly
from weighbridge.formats.compressed import CHUNK, Packed, looks_packed, unpack
from weighbridge.scanner.contents import Contents, enter, keep
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.routing import acts_as_pickle

RULES = (
    RuleInfo("compressed-broken", "The packed data is damaged, or can be read in two ways", Verdict.BROKEN),
    RuleInfo("compressed-streams", "Several packed streams follow each other", Verdict.NOTES),
    RuleInfo("compressed-text", "A text file is packed data as well", Verdict.BROKEN),
)
EXPLAINS: frozenset[str] = frozenset()

_JOBLIB_BLOCK = 8192
"""Bytes that joblib unpacks before it hands any of them on."""
_SUFFIXES = (".gz", ".gzip", ".z", ".zlib", ".bz2", ".xz", ".lzma", ".lz4", ".zst", ".zstd")
_TARS = (".tgz", ".tbz", ".tbz2", ".txz", ".tzst")


def probe(file: ScannedFile) -> str | None:
    """Return the kind of a packed stream that has no magic number."""
    return looks_packed(file.head) or None


def read(file: ScannedFile, descend: Descend) -> Part:
    """Unpack the file and judge what comes out; what came before some damage is judged as well."""
    enter(file)
    contents = Contents(file, descend)
    damage: list[Unreadable] = []
    with file.open() as stream:
        packed = Packed(file.kind, stream, file.size)

        def unpacked() -> ScannedFile:
            return keep(file, inner_name(file), _chunks(file, packed, damage))

        contents.judge(unpacked, inner_name(file), 0, file.size)
    findings = [*contents, *_anomalies(file, packed, damage)]
    coverage = contents.coverage()
    if damage and not coverage.complete:
        coverage = replace(coverage, bytes_read=0)
    return Part(tuple(findings), coverage, file.kind)


def _chunks(file: ScannedFile, packed: Packed, damage: list[Unreadable]) -> Iterator[bytes]:
    """Pass on what can be unpacked within the budget; damage ends it and is remembered."""
    try:
        for chunk in unpack(packed):
            file.budget.spend_unpacked(len(chunk))
            yield chunk
    except Unreadable as error:
        if error.check == "compressed.missing":
            raise
        damage.append(error)


def inner_name(file: ScannedFile) -> str:
    """Return what the content would be called once unpacked: the name without the suffix of the packing."""
    name = (file.members[-1] if file.members else file.path).rsplit("/", 1)[-1]
    lower = name.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    for suffix in _TARS:
        if lower.endswith(suffix) and len(name) > len(suffix):
            return f"{name[: -len(suffix)]}.tar"
    return name


def _anomalies(file: ScannedFile, packed: Packed, damage: list[Unreadable]) -> Iterator[Finding]:
    for anomaly in packed.anomalies:
        yield _broken(file, anomaly)
    for error in damage:
        yield _broken(file, Anomaly("damage", packed.place, f"{error.problem}: {error.cause}"))
    if packed.streams > 1 and not damage:
        yield Finding(
            rule="compressed-streams",
            verdict=Verdict.NOTES,
            severity=severity_of(Verdict.NOTES),
            location=file.at(0),
            message=f"{packed.streams} packed streams follow each other",
            why="a reader may stop after the first; they were judged as the one content that Python reads",
            subject="streams",
        )


def _acts(head: bytes) -> bool:
    """Tell whether text unpacks to its end or to something that acts; a few words may unpack by chance."""
    engine = zlib.decompressobj()
    try:
        content = engine.decompress(head[21 if head[:2] == b"ZF" else 0 :], CHUNK)
    except zlib.error:
        return False
    return engine.eof or acts_as_pickle(content, is_text=False)


def _broken(file: ScannedFile, anomaly: Anomaly) -> Finding:
    return Finding(
        rule="compressed-broken",
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=file.at(anomaly.offset),
        message=printable(anomaly.message),
        why="bytes that one reader skips can be a file to another",
        help="fetch the file again, or have it packed anew by its author",
        subject=anomaly.code,
    )


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Report text that unpacks: joblib takes any file that begins with the letter x for zlib."""
    if file.text is None or looks_packed(file.head) not in ("zlib", "zfile"):
        return
    if _acts(file.read(_JOBLIB_BLOCK)):
        yield Finding(
            rule="compressed-text",
            verdict=Verdict.BROKEN,
            severity=severity_of(Verdict.BROKEN),
            location=file.at(0),
            message="this is text, and packed data to loaders that look at its first bytes",
            why="what is scanned is not what such a loader would load",
            help="have it written anew by its author",
            subject="text",
        )
