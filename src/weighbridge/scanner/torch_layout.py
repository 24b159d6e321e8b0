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
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, printable, severity_of
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


def root_of(archive: ZipArchive) -> str | None:
    """Return the root folder of a torch checkpoint with its slash, or None when the archive is none."""
    for member in archive.members:
        folder, slash, name = member.name.partition("/")
        if slash and name == "data.pkl":
            return folder + slash
    return None


def small_member(root: str, member: ZipMember) -> bool:
    """Tell whether `member` is one of the few lines of text beside the pickle."""
    name = member.name.removeprefix(root)
    return member.name.startswith(root) and _SMALL.fullmatch(name) is not None and member.size <= 64


def check_small(file: ScannedFile, member: ZipMember, content: bytes) -> Iterator[Finding]:
    """Yield a finding when a small member holds anything but a number or a byte order."""
    if not _SMALL_TEXT.fullmatch(content):
        yield _odd(
            file, member.header_offset, f"{printable(member.name)} holds something unexpected", member.name
        )


def storage_key(root: str, member: ZipMember) -> str | None:
    """Return the key of a raw storage, or None when the member is not in the place of one."""
    prefix = root + "data/"
    return member.name.removeprefix(prefix) if member.name.startswith(prefix) else None


def check_storages(
    file: ScannedFile, root: str, archive: ZipArchive, storages: Storages
) -> Iterator[Finding]:
    """Compare the members below `data/` with the storages that the pickle refers to."""
    present: set[str] = set()
    for member in archive.members:
        key = storage_key(root, member)
        if key is None or member.is_folder:
            continue
        present.add(key)
        shown = printable(member.name)
        known = storages.get(key)
        if known is None:
            yield _odd(file, member.header_offset, f"no tensor refers to {shown}", member.name)
        elif size_of(known) != member.size:
            yield _odd(
                file, member.header_offset, f"{shown} has {member.size} bytes, {size_of(known)} are declared",
                member.name,
            )  # fmt: skip
        elif member.method != STORED:
            yield _odd(
                file, member.header_offset, f"{shown} is packed; torch maps storages as they are", member.name
            )
    missing = sorted(set(storages) - present)
    if missing:
        yield _odd(
            file, 0, f"{len(missing)} storages are missing, among them {printable(missing[0])}", "missing"
        )


def size_of(storage: tuple[str, int]) -> int:
    """Return the bytes of a storage."""
    kind, numel = storage
    return STORAGE_WIDTHS[kind] * numel


def read_stream(file: ScannedFile) -> Part:
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
