"""Rules on zip archives: strictness of the container, and every member judged by its own content."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from weighbridge.core.errors import OutOfBudget, Unreadable, WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.archive import (
    ENCRYPTED,
    Anomaly,
    ZipArchive,
    ZipMember,
    read_member,
    read_zip,
    stream_member,
)
from weighbridge.scanner import torch_layout
from weighbridge.scanner.file import HEAD_SIZE, Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.pickle_rules import Judgement, Storages, judge, run

RULES = (
    RuleInfo("archive-broken", "The archive can be read in two ways, or not at all", Verdict.BROKEN),
    RuleInfo("archive-path", "A member's name leads out of the archive", Verdict.BROKEN),
    RuleInfo("archive-hidden", "The archive holds bytes or members outside of its directory", Verdict.BROKEN),
    RuleInfo(
        "archive-encrypted", "Members are encrypted, or packed in a way that is not read", Verdict.UNREAD
    ),
)
READERS: tuple[str, ...] = ("zip-strict 1",)

Descend = Callable[[ScannedFile], Part]

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


def read_archive(file: ScannedFile, descend: Descend) -> Part:
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
    return Part(tuple(findings), coverage + reader.inner, reader.kind)


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
        root = torch_layout.root_of(archive)
        self.root = root
        self.storages: Storages = {}
        self.described = False
        names = [member.name for member in archive.members]
        self.kind = "zip"
        if root is not None:
            script = any(name.startswith((root + "code/", root + "constants.pkl")) for name in names)
            self.kind = "torchscript" if script else "torch-zip"
        elif names and all(name.endswith(".npy") for name in names):
            self.kind = "npz"

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
        if self.root is not None and self.described:
            yield from torch_layout.check_storages(self.file, self.root, self.archive, self.storages)

    def member(self, member: ZipMember) -> Iterator[Finding]:
        """Judge one member; raises core errors when it cannot be read."""
        budget = self.file.budget
        if member.is_folder:
            return
        root = self.root
        if root is not None and torch_layout.storage_key(root, member) is not None:
            for _ in stream_member(self.stream, member, budget):
                pass  # raw tensor bytes: only their size and checksum matter, the layout check explains them
            return
        content = read_member(self.stream, member, budget)
        if member.flags & ENCRYPTED:
            lie = f"{member.name} is marked as encrypted and is not"
            yield _of_anomaly(self.file, Anomaly("flags", member.header_offset, lie))
        inside = self.inside(member, content)
        if root is not None and member.name == root + "data.pkl":
            yield from self.torch_pickle(inside, content)
        elif root is not None and torch_layout.small_member(root, member):
            yield from torch_layout.check_small(self.file, member, content)
        else:
            part = self.descend(inside)
            self.inner += Coverage(0, 0, part.coverage.members_present, part.coverage.members_read)
            self.unread_bytes += 0 if part.coverage.complete else member.compressed_size
            yield from part.findings

    def torch_pickle(self, inside: ScannedFile, content: bytes) -> Iterator[Finding]:
        """Judge the one stream of data.pkl and remember the storages it refers to."""
        result = Judgement()
        one = run(content, 0, self.file.budget.limits)
        judge(inside, one, result, torch=True)
        self.storages.update(result.storages)
        self.described = result.complete
        yield from result.findings
        if one.end != len(content) and not one.broken:
            yield Finding(
                rule="pickle-trailing",
                verdict=Verdict.BROKEN,
                severity=severity_of(Verdict.BROKEN),
                location=inside.at(one.end),
                message=f"{len(content) - one.end} bytes after the pickle belong to nothing",
                why="torch reads one pickle here; what follows it is for somebody else",
                help="save the checkpoint again with torch.save",
                subject="trailing",
            )

    def inside(self, member: ZipMember, content: bytes) -> ScannedFile:
        """Return what a rule is given of a member."""
        outer = self.file
        return ScannedFile(
            path=outer.path,
            size=len(content),
            kind="unknown",
            head=content[:HEAD_SIZE],
            opener=lambda: io.BytesIO(content),
            budget=outer.budget,
            members=(*outer.members, printable(member.name)),
            siblings=outer.siblings,
            read_sibling=outer.read_sibling,
        )


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
