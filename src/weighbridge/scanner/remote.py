"""Scan a model whose large files are read in parts: the rest must be explained by a header that was read.

Some formats say in their headers where the raw numbers lie: nothing there can act, so a reader does not
need them. Every other file is read whole. What is never known of a file read in parts is whether it is the
file that was announced: that takes every byte, and the note `remote-unverified` says so. Such a report is a
preview: the gate and intake fetch everything, compare its digest, and scan it themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import BinaryIO, Protocol

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Report, Verdict
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.formats.archive import read_zip
from weighbridge.formats.limits import DEFAULT_LIMITS, Limits
from weighbridge.formats.sniff import sniff
from weighbridge.scanner.archives import layout_of
from weighbridge.scanner.engine import files_of, judged, merged
from weighbridge.scanner.file import HEAD_SIZE, Part, ScannedFile, printable, severity_of
from weighbridge.scanner.ruleset import ruleset

KINDS = frozenset({"gguf", "safetensors", "torch-zip", "torchscript"})
"""Kinds whose header explains bytes that then need not be read."""
_SPARED = frozenset({"torch-zip", "torchscript"})
"""Kinds whose reader names the bytes it leaves out; the others stand in order: header, then numbers."""


class InParts(Protocol):
    """A file that is fetched as it is read; `source.remote.RangedFile` is one."""

    size: int

    @property
    def missing(self) -> int:
        """Bytes not fetched."""
        ...

    def open(self) -> BinaryIO:
        """Return a stream over the file."""
        ...

    def holds(self, start: int, end: int) -> bool:
        """Tell whether all of [start, end) was fetched."""
        ...

    def only_spared_missing(self) -> bool:
        """Tell whether what was not fetched was left out by its reader on purpose."""
        ...


def worth_it(file: InParts) -> bool:
    """Tell whether `file` is of a kind that can be judged without all of its bytes; raises what the network raises.

    What cannot be made out is fetched whole, and judged then.
    """
    try:
        return _kind(file) in KINDS
    except WeighbridgeError as error:
        if error.check.startswith("net."):
            raise
    except Exception:  # noqa: BLE001, S110  hostile bytes: the scan itself says what is wrong with them
        pass
    return False


def _kind(file: InParts) -> str:
    with file.open() as stream:
        head = stream.read(min(HEAD_SIZE, file.size))
        kind = sniff(head, file.size)
        if kind != "zip":
            return kind
        archive = read_zip(stream, file.size)
        return layout_of(ScannedFile("", file.size, kind, head, file.open), archive).kind


def scan_in_parts(
    model: str,
    manifest: Manifest,
    open_file: Callable[[FileEntry], BinaryIO | bytes],
    parts: Mapping[str, InParts],
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Report:
    """Return the report on a model of which `parts` (by path) are read in parts and the others come from `open_file`.

    The digests of those in `parts` stand in `manifest` as they were announced. What was neither read nor
    explained is `unread`.
    """

    def opened(entry: FileEntry) -> BinaryIO | bytes:
        return parts[entry.path].open() if entry.path in parts else open_file(entry)

    make = files_of(manifest, opened, limits)
    done: list[Part] = []
    for entry in manifest.files:
        file = make(entry)
        part = judged(file)
        if entry.path in parts:
            part = _bounded(file, parts[entry.path], part)
        done.append(part)
    return merged(model, manifest, done).identified(manifest.digest, ruleset())


def _bounded(file: ScannedFile, source: InParts, part: Part) -> Part:
    """Add what must be said of a file that was read in parts."""
    if not source.missing:
        return replace(part, findings=(*part.findings, _unverified(file, source)))
    if part.coverage.complete and not _explained(source, part.kind):
        finding = Finding(
            rule="unread-file",
            verdict=Verdict.UNREAD,
            severity=severity_of(Verdict.UNREAD),
            location=file.at(),
            message=printable(f"{source.missing} bytes of {file.path} were neither fetched nor explained"),
            why="what was not read cannot be called harmless",
            help="scan the whole file: leave out --remote",
            subject="remote",
        )
        return Part((*part.findings, finding), Coverage(file.size, file.size - source.missing), part.kind)
    return replace(part, findings=(*part.findings, _unverified(file, source)))


def _explained(source: InParts, kind: str) -> bool:
    if kind in _SPARED:
        return source.only_spared_missing()
    if kind != "safetensors":
        return kind in KINDS
    with source.open() as stream:
        return source.holds(0, min(source.size, 8 + int.from_bytes(stream.read(8), "little")))


def _unverified(file: ScannedFile, source: InParts) -> Finding:
    return Finding(
        rule="remote-unverified",
        verdict=Verdict.NOTES,
        severity=severity_of(Verdict.NOTES),
        location=file.at(),
        message=printable(f"{file.path} was read in parts: its announced digest was not compared"),
        why="the hub may hand out other bytes to whoever fetches the whole file; checksums of raw tensors were not checked",
        help="pull the model, or scan it without --remote: then every byte is fetched, compared and read",
        evidence=(
            f"{source.missing} of {source.size} bytes are raw numbers by its header and were not fetched",
        ),
        subject="remote",
    )
