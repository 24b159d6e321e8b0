"""Rules on zip archives: strictness of the container, and every member judged by its own content."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable, WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.archive import (
    ENCRYPTED,
    STORED,
    Anomaly,
    ZipArchive,
    ZipMember,
    read_member,
    read_zip,
    stream_member,
)
from weighbridge.scanner import LAYOUTS
from weighbridge.scanner.file import Descend, Layout, Part, RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("archive-broken", "The archive can be read in two ways, or not at all", Verdict.BROKEN),
    RuleInfo("archive-path", "A member's name leads out of the archive", Verdict.BROKEN),
    RuleInfo("archive-hidden", "The archive holds bytes or members outside of its directory", Verdict.BROKEN),
    RuleInfo(
        "archive-encrypted", "Members are encrypted, or packed in a way that is not read", Verdict.UNREAD
    ),
)
READERS: tuple[str, ...] = ("zip-strict 1",)

_RULE_OF = {
    "name": "archive-path", "link": "archive-path", "second-name": "archive-path",
    "gap": "archive-hidden", "prefix": "archive-hidden", "trailing": "archive-hidden", "hidden": "archive-hidden",
    "encrypted": "archive-encrypted", "method": "archive-encrypted",
}  # fmt: skip
_VERDICTS = {rule.id: rule.verdict for rule in RULES}
_WHY = {
    "archive-broken": "two readers may take different bytes for the same member",
    "archive-path": "unpacking it would write outside the folder it is unpacked into",
    "archive-hidden": "bytes that the directory does not list can be another file to another reader",
    "archive-encrypted": "what cannot be read cannot be called harmless",
}


def read(file: ScannedFile, descend: Descend) -> Part:
    """Judge the container and every member; `descend` judges one member by its content."""
    file.budget.check_depth(len(file.members) + 1)
    with file.open() as stream:
        archive = read_zip(stream, file.size, file.budget.limits)
        file.budget.spend_members(len(archive.members))
        reader = _Reader(file, archive, stream, descend)
        findings = [_of_anomaly(file, anomaly) for anomaly in archive.anomalies]
        findings += reader.read()
    unread = file.size - archive.explained + reader.unread_bytes
    coverage = Coverage(file.size, max(0, file.size - unread), len(archive.members), reader.members_read)
    return Part(tuple(findings), coverage + reader.inner, reader.layout.kind)


class _Plain:
    """An archive that is nothing more: each member is judged by its content."""

    def __init__(self, archive: ZipArchive) -> None:
        names = [member.name for member in archive.members]
        self.kind = "npz" if names and all(name.endswith(".npy") for name in names) else "zip"

    def raw(self, member: ZipMember) -> bool:  # noqa: ARG002  the port's signature
        """Tell whether the member's bytes mean nothing by themselves."""
        return False

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:  # noqa: ARG002  the port's signature
        """Leave the member to its content."""
        return None

    def finish(self) -> Iterator[Finding]:
        """Have nothing to add."""
        return iter(())


@cache
def _layouts() -> tuple[ModuleType, ...]:
    return tuple(importlib.import_module(name) for name in LAYOUTS)


def layout_of(file: ScannedFile, archive: ZipArchive) -> Layout:
    """Return what the archive is laid out as."""
    for module in _layouts():
        found: Layout | None = module.layout(file, archive)
        if found is not None:
            return found
    return _Plain(archive)


class _Reader:
    """Walks over the members of one archive."""

    def __init__(self, file: ScannedFile, archive: ZipArchive, stream: BinaryIO, descend: Descend) -> None:
        self.file = file
        self.archive = archive
        self.stream = stream
        self.descend = descend
        self.members_read = 0
        self.unread_bytes = 0
        self.inner = Coverage()
        self.layout = layout_of(file, archive)

    def read(self) -> Iterator[Finding]:
        """Judge every member."""
        for member in self.archive.members:
            try:
                found = list(self.member(member))
            except WeighbridgeError as error:
                self.unread_bytes += member.compressed_size
                found = [_unreadable(self.file, member, error)]
            else:
                self.members_read += 1
            yield from found
        yield from self.layout.finish()

    def member(self, member: ZipMember) -> Iterator[Finding]:
        """Judge one member; raises core errors when it cannot be read."""
        budget = self.file.budget
        if member.is_folder:
            return
        if self.layout.raw(member):
            if self.spared(member):
                return
            for _ in stream_member(self.stream, member, budget):
                pass  # only size and checksum are checked here; the layout accounts for the bytes
            return
        content = read_member(self.stream, member, budget)
        if member.flags & ENCRYPTED:
            lie = f"{member.name} is marked as encrypted and is not"
            yield _of_anomaly(self.file, Anomaly("flags", member.header_offset, lie))
        inside = self.file.inside(member.name, content)
        part = self.layout.judge(inside, member)
        if part is None:
            part = self.descend(inside)
        self.inner += Coverage(0, 0, part.coverage.members_present, part.coverage.members_read)
        self.unread_bytes += 0 if part.coverage.complete else member.compressed_size
        yield from part.findings

    def spared(self, member: ZipMember) -> bool:
        """Tell whether a stream that fetches what it reads (scanner.remote) may leave these raw bytes where they are."""
        spare: Callable[[int, int], bool] | None = getattr(self.stream, "spare", None)
        plain = member.method == STORED and member.compressed_size == member.size and not member.hidden
        return plain and spare is not None and spare(member.data_offset, member.size)


def _of_anomaly(file: ScannedFile, anomaly: Anomaly) -> Finding:
    rule = _RULE_OF.get(anomaly.code, "archive-broken")
    verdict = _VERDICTS[rule]
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(anomaly.offset),
        message=printable(anomaly.message),
        why=_WHY[rule],
        help="have the archive written anew by its author, without encryption",
        subject=f"{anomaly.code} {printable(anomaly.message)}",
    )


def _unreadable(file: ScannedFile, member: ZipMember, error: WeighbridgeError) -> Finding:
    damaged = isinstance(error, Unreadable) and error.check.startswith("archive.")
    broken = damaged and error.check != "archive.method" and not member.flags & 1
    rule = (
        "archive-broken" if broken else "unread-budget" if isinstance(error, OutOfBudget) else "unread-file"
    )
    verdict = Verdict.BROKEN if broken else Verdict.UNREAD
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity_of(verdict),
        location=file.at(member.header_offset),
        message=f"{printable(member.name)} was not read: {printable(error.cause or error.problem)}",
        why=_WHY["archive-broken"] if broken else _WHY["archive-encrypted"],
        help=error.remedy,
        subject=printable(member.name),
    )
