"""Account for the bytes of torch checkpoints: each raw storage belongs to a persistent id of the pickle.

Two layouts: the zip archive (`<root>/data.pkl`, raw storages as `<root>/data/<key>`) and the older stream
(magic number, protocol, system facts, the object, the list of keys, then for each key its number of
elements as eight bytes and its raw bytes). Source: torch/serialization.py, read as a specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.archive import STORED, ZipArchive, ZipMember
from weighbridge.formats.pickle_events import PickleBroken
from weighbridge.formats.pickle_ops import decode
from weighbridge.formats.torchscript import Program, read_source
from weighbridge.scanner.contents import not_read
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile, printable, severity_of
from weighbridge.scanner.names import STORAGE_WIDTHS
from weighbridge.scanner.pickle_rules import Judgement, Storages, judge, run

RULES = (
    RuleInfo(
        "torch-layout", "The checkpoint's storages are not the bytes its pickle describes", Verdict.BROKEN
    ),
)

MAGIC = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e", re.DOTALL
)
"""The first pickle of the older stream: the number 0x1950a86a20f9469cfc6c, written out."""

WINDOW = 64 * 1024 * 1024
_SMALL = re.compile(r"version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id")
_PICKLES = (
    "data.pkl",
    "constants.pkl",
    "traced_inputs.pkl",
    "bytecode.pkl",
    "attributes.pkl",
    "mobile_debug_handles.pkl",
)
_DEBUG = re.compile(r"code/.+\.debug_pkl", re.DOTALL)
_OPERATOR = re.compile(r"\w+::\w+")
_SOURCE = re.compile(r"code/.+\.py", re.DOTALL)
_SMALL_TEXT = re.compile(rb"[0-9]{1,64}\n?|little|big")


def layout(file: ScannedFile, archive: ZipArchive) -> TorchLayout | None:
    """Return the layout of a torch checkpoint, or None when the archive is none."""
    for member in archive.members:
        folder, slash, name = member.name.partition("/")
        if slash and name == "data.pkl":
            return TorchLayout(file, archive, folder + slash)
    return None


class TorchLayout:
    """Pickles, raw storages that they refer to, the source of a program, and a few lines of text."""

    def __init__(self, file: ScannedFile, archive: ZipArchive, root: str) -> None:
        self.file = file
        self.archive = archive
        self.root = root
        self.storages: Storages = {}
        """By path below the root: `data/0`."""
        self.folders: set[str] = set()
        """Folders of storages whose pickle was read to its end."""
        self.program = Program()
        names = [member.name for member in archive.members]
        script = any(name.startswith((root + "code/", root + "constants.pkl")) for name in names)
        self.kind = "torchscript" if script else "torch-zip"

    def path(self, member: ZipMember) -> str:
        """Return the member's path below the root, or an empty text when it lies elsewhere."""
        return member.name.removeprefix(self.root) if member.name.startswith(self.root) else ""

    def raw(self, member: ZipMember) -> bool:
        """Tell whether the member is a storage that a pickle refers to; the pickles were read before."""
        return self.path(member) in self.storages

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Judge the pickles, the source of a program and the small members."""
        name = self.path(member)
        if name in _PICKLES and (name == "data.pkl" or self.kind == "torchscript"):
            found = tuple(self.pickle(inside, name.removesuffix("pkl").rstrip(".") + "/"))
        elif _SMALL.fullmatch(name) and member.size <= 64:
            found = tuple(self.small(inside, member))
        elif self.kind == "torchscript" and _DEBUG.fullmatch(name):
            found = tuple(self.pickle(inside, ""))
        elif self.kind == "torchscript" and _SOURCE.fullmatch(name):
            found = ()
            read_source(_text_of(inside), member.name, self.program)
        else:
            return None
        return Part(found, Coverage(inside.size, inside.size), inside.kind)

    def pickle(self, inside: ScannedFile, folder: str) -> Iterator[Finding]:
        """Judge the one stream of a pickle and remember the storages it refers to."""
        content = inside.read()
        result = Judgement()
        one = run(content, 0, self.file.budget.limits)
        judge(inside, one, result, torch=True, script=self.kind == "torchscript")
        for key, storage in result.storages.items():
            self.storages[folder + key] = storage
        if result.complete and folder:
            self.folders.add(folder)
        if folder == "bytecode/":
            self.bytecode(inside, content)
        yield from result.findings
        if result.complete and self.kind != "torchscript":
            yield from views(inside, content, 0)
        if self.kind == "torchscript":
            from weighbridge.scanner.torchscript_rules import native_classes

            yield from native_classes(inside, one)
        yield from trailing(inside, one.end, len(content)) if not one.broken else ()

    def bytecode(self, inside: ScannedFile, content: bytes) -> None:
        """Note the operators of a program for phones, which are texts in its pickle."""
        try:
            for op in decode(content):
                if isinstance(op.arg, str) and _OPERATOR.fullmatch(op.arg):
                    self.program.operators.setdefault(op.arg, (inside.members[-1], op.pos))
        except PickleBroken:
            return  # the pickle itself was reported

    def small(self, inside: ScannedFile, member: ZipMember) -> Iterator[Finding]:
        """Yield a finding when a small member holds anything but a number or a byte order."""
        if not _SMALL_TEXT.fullmatch(inside.read()):
            shown = printable(member.name)
            yield odd(self.file, member.header_offset, f"{shown} holds something unexpected", member.name)

    def finish(self) -> Iterator[Finding]:
        """Compare the members in the folders of storages with what the pickles refer to; judge the program."""
        if self.kind == "torchscript" or self.program != Program():
            from weighbridge.scanner.torchscript_rules import judge_program, note_program

            if self.kind == "torchscript":
                yield note_program(self.file, self.program)
            yield from judge_program(self.file, self.program)
        present: set[str] = set()
        for member in self.archive.members:
            path = self.path(member)
            folder = path.partition("/")[0] + "/"
            if member.is_folder or folder not in self.folders:
                continue
            present.add(path)
            reason = self.mismatch(member, path)
            if reason:
                yield odd(self.file, member.header_offset, reason, member.name)
        declared = {path for path in self.storages if path.partition("/")[0] + "/" in self.folders}
        missing = sorted(declared - present)
        if missing:
            reason = f"{len(missing)} storages are missing, among them {printable(missing[0])}"
            yield odd(self.file, 0, reason, "missing")

    def mismatch(self, member: ZipMember, path: str) -> str:
        """Say how a raw member differs from what its pickle declares, or return an empty text."""
        shown = printable(member.name)
        known = self.storages.get(path)
        if known is None:
            return f"no tensor refers to {shown}"
        if size_of(known) != member.size and (member.size or not path.startswith("traced_inputs/")):
            return f"{shown} has {member.size} bytes, {size_of(known)} are declared"
        if member.method != STORED:
            return f"{shown} is packed; torch maps storages as they are"
        return ""


def views(file: ScannedFile, data: bytes, start: int) -> Iterator[Finding]:
    """Yield a finding when a tensor reaches outside of its storage, or when that cannot be told."""
    try:
        from weighbridge.formats.torch_views import view_outside

        reason = view_outside(data, start)
    except WeighbridgeError as error:
        yield not_read(file, "what its tensors show", start, error)
        return
    if reason:
        yield odd(file, start, reason, "view")


def trailing(inside: ScannedFile, end: int, size: int) -> Iterator[Finding]:
    """Yield a finding when a pickle ends before its member does."""
    if end == size:
        return
    yield Finding(
        rule="pickle-trailing",
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=inside.at(end),
        message=f"{size - end} bytes after the pickle belong to nothing",
        why="torch reads one pickle here; what follows it is for somebody else",
        help="save the checkpoint again with torch.save",
        subject="trailing",
    )


def _text_of(inside: ScannedFile) -> str:
    """Return source as text; bytes outside of ASCII stay visible as what no printer of torch writes."""
    return inside.read().decode("utf-8", "replace")


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
        finding = odd(file, 0, "the five pickles that open the stream are not all there", "stream")
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
        if number == 3 and result.complete:
            result.findings.extend(views(file, data, start))
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
        yield odd(
            file, result.end, "the list of keys is not the list of storages the pickle refers to", "keys"
        )
        return
    position = result.end
    with file.open() as stream:
        for key in keys:
            stream.seek(position)
            count = int.from_bytes(stream.read(8), "little")
            if count != result.storages[key][1]:
                yield odd(file, position, f"storage {printable(key)} has another length than declared", key)
                return
            position += 8 + size_of(result.storages[key])
    if position != file.size:
        yield odd(
            file,
            min(position, file.size),
            f"the storages end at byte {position}, the file at {file.size}",
            "end",
        )


def odd(file: ScannedFile, offset: int, message: str, subject: str) -> Finding:
    """Return the finding for a checkpoint whose bytes are not those that its pickles describe."""
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
