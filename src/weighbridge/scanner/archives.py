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
    CHUNK,
    ENCRYPTED,
    STORED,
    Anomaly,
    ZipArchive,
    ZipMember,
    check_member,
    read_zip,
    stream_member,
)
from weighbridge.scanner import LAYOUTS
from weighbridge.scanner.contents import cut_out, enter, keep, worst
from weighbridge.scanner.file import Descend, Layout, Part, RuleInfo, ScannedFile, printable, severity_of

RULES = (
    RuleInfo("archive-broken", "The archive can be read in two ways, or not at all", Verdict.BROKEN),
    RuleInfo("archive-path", "A member's name leads out of the archive", Verdict.BROKEN),
    RuleInfo("archive-hidden", "The archive holds bytes or members outside of its directory", Verdict.BROKEN),
    RuleInfo(
        "archive-encrypted", "Members are encrypted, or packed in a way that is not read", Verdict.UNREAD
    ),
)

_RULE_OF = {
    "name": "archive-path", "link": "archive-path", "second-name": "archive-path",
    "gap": "archive-hidden", "prefix": "archive-hidden", "trailing": "archive-hidden", "hidden": "archive-hidden",
    "encrypted": "archive-encrypted", "method": "archive-encrypted",
}  # fmt: skip
_LARGE = 8 * 1024 * 1024
"""Bytes up to which a stored member is held in memory; a larger one is read where it lies."""
_VERDICTS = {rule.id: rule.verdict for rule in RULES}
_WHY = {
    "archive-broken": "two readers may take different bytes for the same member",
    "archive-path": "unpacking it would write outside the folder it is unpacked into",
    "archive-hidden": "bytes that the directory does not list can be another file to another reader",
    "archive-encrypted": "what cannot be read cannot be called harmless",
}


def read(file: ScannedFile, descend: Descend) -> Part:
    """Judge the container and every member; `descend` judges one member by its content."""
    enter(file)
    with file.open() as stream:
        archive = read_zip(stream, file.size, file.budget.limits)
        file.budget.spend_members(len(archive.members))
        reader = _Reader(file, archive, stream, descend)
        findings = [of_anomaly(file, anomaly) for anomaly in archive.anomalies]
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
        self.asked = 0
        self.unread_bytes = 0
        self.inner = Coverage()
        self.layout = layout_of(file, archive)

    def read(self) -> list[Finding]:
        """Judge every member, pickles first: from them a layout learns which members are raw bytes."""
        findings: list[Finding] = []
        shown = self.file.budget.limits.max_findings
        for member in sorted(self.archive.members, key=lambda member: not member.name.endswith(".pkl")):
            try:
                found = list(self.member(member))
            except WeighbridgeError as error:
                self.unread_bytes += member.compressed_size
                found = [_unreadable(self.file, member, error)]
            else:
                self.members_read += 1
            findings = worst([*findings, *found] if found else findings, shown)
        return [*findings, *self.layout.finish()]

    def member(self, member: ZipMember) -> Iterator[Finding]:
        """Judge one member; raises core errors when it cannot be read."""
        budget = self.file.budget
        self.overlapping(member)
        if member.is_folder or self.layout.raw(member):
            if not member.is_folder and self.spared(member):
                return
            check_member(self.stream, member, budget)  # the layout accounts for the bytes
            return
        damage: list[WeighbridgeError] = []
        inside = self.content(member, damage)
        if member.flags & ENCRYPTED:
            lie = f"{member.name} is marked as encrypted and is not"
            yield of_anomaly(self.file, Anomaly("flags", member.header_offset, lie))
        part = self.layout.judge(inside, member)
        if part is None:
            part = self.descend(inside)
        self.inner += Coverage(0, 0, part.coverage.members_present, part.coverage.members_read)
        self.unread_bytes += 0 if part.coverage.complete else member.compressed_size
        yield from part.findings
        if damage:
            raise damage[0]

    def content(self, member: ZipMember, damage: list[WeighbridgeError]) -> ScannedFile:
        """Return the member's content; where it is damaged, what came before that, for loaders act on it."""

        def chunks() -> Iterator[bytes]:
            try:
                yield from stream_member(self.stream, member, self.file.budget)
            except Unreadable as error:
                if error.check == "archive.method":
                    raise
                damage.append(error)

        if member.method != STORED or member.size <= _LARGE:
            return keep(self.file, member.name, chunks())
        for _ in chunks():
            pass
        return cut_out(self.file, member.name, member.data_offset, min(member.size, member.compressed_size))

    def overlapping(self, member: ZipMember) -> None:
        """Refuse to read the same bytes for one member after the other; raises OutOfBudget."""
        self.asked += member.compressed_size
        if self.asked > 2 * self.file.size + CHUNK:
            raise OutOfBudget(
                "members of the archive share their bytes",
                cause="members that overlap ask for more bytes than the archive has",
                remedy="have the archive written anew by its author",
                check="archive.overlap",
            )

    def spared(self, member: ZipMember) -> bool:
        """Tell whether a stream that fetches what it reads (scanner.remote) may leave these raw bytes where they are."""
        spare: Callable[[int, int], bool] | None = getattr(self.stream, "spare", None)
        plain = member.method == STORED and member.compressed_size == member.size and not member.hidden
        return plain and spare is not None and spare(member.data_offset, member.size)


def of_anomaly(file: ScannedFile, anomaly: Anomaly) -> Finding:
    """Return the finding that an anomaly of a zip or tar archive comes to."""
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
