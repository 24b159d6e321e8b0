"""Account for the bytes of torch checkpoints: each raw storage belongs to a persistent id of the pickle.

Two layouts: the zip archive (`<root>/data.pkl`, raw storages as `<root>/data/<key>`) and the older stream
(magic number, protocol, system facts, the object, the list of keys, then for each key its number of
elements as eight bytes and its raw bytes). Source: torch/serialization.py, read as a specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.archive import STORED, ZipArchive, ZipMember
from weighbridge.formats.pickle_ops import PickleBroken, decode
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.names import STORAGE_WIDTHS
from weighbridge.scanner.pickle_rules import Judgement, Storages, judge, run

RULES = (
    RuleInfo(
        "torch-layout", "The checkpoint's storages are not the bytes its pickle describes", Verdict.BROKEN
    ),
)
READERS: tuple[str, ...] = ("torch-layout 1",)

MAGIC = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", re.DOTALL
)
"""The first pickle of the older stream: the number 0x1950a86a20f9469cfc6c, written out."""

WINDOW = 64 * 1024 * 1024
_SMALL = re.compile(r"version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id")
_SMALL_TEXT = re.compile(rb"[0-9]{1,64}\n?|little|big")


def layout(file: ScannedFile, archive: ZipArchive) -> TorchLayout | None:
    """Return the layout of a torch checkpoint, or None when the archive is none."""
    for member in archive.members:
        folder, slash, name = member.name.partition("/")
        if slash and name == "data.pkl":
            return TorchLayout(file, archive, folder + slash)
    return None


class TorchLayout:
    """One pickle, raw storages that it refers to, and a few lines of text."""

    def __init__(self, file: ScannedFile, archive: ZipArchive, root: str) -> None:
        self.file = file
        self.archive = archive
        self.root = root
        self.storages: Storages = {}
        self.described = False
        names = [member.name for member in archive.members]
        script = any(name.startswith((root + "code/", root + "constants.pkl")) for name in names)
        self.kind = "torchscript" if script else "torch-zip"

    def key(self, member: ZipMember) -> str | None:
        """Return the key of a raw storage, or None when the member is not in the place of one."""
        prefix = self.root + "data/"
        return member.name.removeprefix(prefix) if member.name.startswith(prefix) else None

    def raw(self, member: ZipMember) -> bool:
        """Tell whether the member is a storage that the pickle refers to; the pickle was read before."""
        return self.key(member) in self.storages

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Judge the pickle and the small members."""
        name = member.name.removeprefix(self.root)
        if not member.name.startswith(self.root):
            return None
        if name == "data.pkl":
            found = tuple(self.pickle(inside))
        elif _SMALL.fullmatch(name) and member.size <= 64:
            found = tuple(self.small(inside, member))
        else:
            return None
        return Part(found, Coverage(inside.size, inside.size), inside.kind)

    def pickle(self, inside: ScannedFile) -> Iterator[Finding]:
        """Judge the one stream of data.pkl and remember the storages it refers to."""
        content = inside.read()
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

    def small(self, inside: ScannedFile, member: ZipMember) -> Iterator[Finding]:
        """Yield a finding when a small member holds anything but a number or a byte order."""
        if not _SMALL_TEXT.fullmatch(inside.read()):
            shown = printable(member.name)
            yield _odd(self.file, member.header_offset, f"{shown} holds something unexpected", member.name)

    def finish(self) -> Iterator[Finding]:
        """Compare the members below `data/` with the storages that the pickle refers to."""
        if not self.described:
            return
        present: set[str] = set()
        for member in self.archive.members:
            key = self.key(member)
            if key is None or member.is_folder:
                continue
            present.add(key)
            reason = self.mismatch(member, self.storages.get(key))
            if reason:
                yield _odd(self.file, member.header_offset, reason, member.name)
        missing = sorted(set(self.storages) - present)
        if missing:
            reason = f"{len(missing)} storages are missing, among them {printable(missing[0])}"
            yield _odd(self.file, 0, reason, "missing")

    def mismatch(self, member: ZipMember, known: tuple[str, int] | None) -> str:
        """Say how a raw member differs from what the pickle declares, or return an empty text."""
        shown = printable(member.name)
        if known is None:
            return f"no tensor refers to {shown}"
        if size_of(known) != member.size:
            return f"{shown} has {member.size} bytes, {size_of(known)} are declared"
        if member.method != STORED:
            return f"{shown} is packed; torch maps storages as they are"
        return ""


def size_of(storage: tuple[str, int]) -> int:
    """Return the bytes of a storage."""
    kind, numel = storage
    return STORAGE_WIDTHS[kind] * numel


def read(file: ScannedFile, descend: Descend) -> Part:  # noqa: ARG001  nothing in it is judged by its content
    """Judge a checkpoint of the older layout; every byte after the pickles must belong to a storage."""
    data = file.read(WINDOW)
    result = _five(file, data)
    if result is None and file.size > WINDOW:
        data = file.read()
        result = _five(file, data)
    if result is None:
        finding = _odd(file, 0, "the five pickles that open the stream are not all there", "stream")
        return Part((finding,), Coverage(file.size, 0), "torch-legacy")
    judgement, keys = result
    findings = [*judgement.findings, *_check_stream(file, judgement, keys)]
    explained = file.size if judgement.complete else judgement.end
    return Part(tuple(findings), Coverage(file.size, explained), "torch-legacy")


def _five(file: ScannedFile, data: bytes) -> tuple[Judgement, list[str]] | None:
    """Trace the five pickles; None when `data` ends before the fifth does."""
    result = Judgement()
    limits = file.budget.limits
    keys: list[str] = []
    for number in range(5):
        start = result.end
        one = run(data, start, limits)
        if one.broken and len(data) < file.size:
            return None
        judge(file, one, result, torch=number == 3)
        result.end = one.end
        if one.broken or one.spent:
            return result, keys
        if number == 4:
            keys = _keys(data, start)
    return result, keys


def _keys(data: bytes, start: int) -> list[str]:
    """Return the texts of the key list."""
    try:
        return [op.arg for op in decode(data, start) if isinstance(op.arg, str)]
    except PickleBroken:
        return []


def _check_stream(file: ScannedFile, result: Judgement, keys: list[str]) -> Iterator[Finding]:
    """Walk over the storages by their declared sizes; the last must end where the file ends."""
    if not result.complete:
        return
    if sorted(keys) != sorted(result.storages):
        yield _odd(
            file, result.end, "the list of keys is not the list of storages the pickle refers to", "keys"
        )
        return
    position = result.end
    with file.open() as stream:
        for key in keys:
            stream.seek(position)
            count = int.from_bytes(stream.read(8), "little")
            if count != result.storages[key][1]:
                yield _odd(file, position, f"storage {printable(key)} has another length than declared", key)
                return
            position += 8 + size_of(result.storages[key])
    if position != file.size:
        yield _odd(
            file,
            min(position, file.size),
            f"the storages end at byte {position}, the file at {file.size}",
            "end",
        )


def _odd(file: ScannedFile, offset: int, message: str, subject: str) -> Finding:
    return Finding(
        rule="torch-layout",
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=file.at(offset),
        message=message,
        why="bytes that no tensor explains can be another file to another reader, or read past the end of a buffer",
        help="save the checkpoint again with torch.save",
        subject=subject,
    )
