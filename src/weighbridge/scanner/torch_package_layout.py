"""Archives of torch.package: pickles, the source they name, and raw storages in a folder of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from weighbridge.core.finding import Coverage, Finding
from weighbridge.formats.archive import STORED, ZipArchive, ZipMember
from weighbridge.scanner.file import Part, RuleInfo, ScannedFile, printable
from weighbridge.scanner.pickle_rules import Judgement, Storages, judge, run
from weighbridge.scanner.torch_layout import odd, size_of, trailing, views

RULES: tuple[RuleInfo, ...] = ()

_SMALL = re.compile(r"\.data/(?:version|python_version|serialization_id)|version|byteorder")
_SMALL_TEXT = re.compile(rb"[0-9.]{1,64}\n?|little|big")
_MODULES = re.compile(rb"[A-Za-z0-9_.*\n]*")


def layout(file: ScannedFile, archive: ZipArchive) -> PackageLayout | None:
    """Return the layout of an archive of torch.package, or None when the archive is none."""
    for member in archive.members:
        folder, slash, rest = member.name.partition("/")
        if slash and rest == ".data/extern_modules":
            return PackageLayout(file, archive, folder + slash)
    return None


class PackageLayout:
    """Pickles anywhere, storages in `.data`, and source that loading imports, which is judged as source."""

    kind = "torch-package"

    def __init__(self, file: ScannedFile, archive: ZipArchive, root: str) -> None:
        self.file = file
        self.archive = archive
        self.root = root
        self.storages: Storages = {}

    def path(self, member: ZipMember) -> str:
        """Return the member's path below the root, or an empty text when it lies elsewhere."""
        return member.name.removeprefix(self.root) if member.name.startswith(self.root) else ""

    def storage(self, member: ZipMember) -> tuple[str, int] | None:
        """Return the storage whose bytes the member is, when a pickle refers to it."""
        path = self.path(member)
        key = path.removeprefix(".data/").removesuffix(".storage")
        return self.storages.get(key) if path == f".data/{key}.storage" else None

    def raw(self, member: ZipMember) -> bool:
        """Tell whether the member is a storage that a pickle refers to; the pickles were read before."""
        return self.storage(member) is not None

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Judge pickles and small members; source and resources are judged by their content."""
        path = self.path(member)
        if path.endswith(".pkl"):
            found = tuple(self.pickle(inside))
        elif _SMALL.fullmatch(path) and member.size <= 64:
            found = self.text(inside, member, _SMALL_TEXT)
        elif path == ".data/extern_modules":
            found = self.text(inside, member, _MODULES)
        else:
            return None
        return Part(found, Coverage(inside.size, inside.size), inside.kind)

    def text(self, inside: ScannedFile, member: ZipMember, form: re.Pattern[bytes]) -> tuple[Finding, ...]:
        """Return a finding when a small member holds anything but what belongs there."""
        if form.fullmatch(inside.read()):
            return ()
        what = f"{printable(member.name)} holds something unexpected"
        return (odd(self.file, member.header_offset, what, member.name),)

    def pickle(self, inside: ScannedFile) -> Iterator[Finding]:
        """Judge the one stream of a pickle and remember the storages it refers to."""
        content = inside.read()
        result = Judgement(storages=self.storages)
        one = run(content, 0, self.file.budget.limits)
        judge(inside, one, result, torch=True)
        yield from result.findings
        if result.complete:
            yield from views(inside, content, 0)
        yield from trailing(inside, one.end, len(content)) if not one.broken else ()

    def finish(self) -> Iterator[Finding]:
        """Compare the raw members with the storages that the pickles refer to."""
        present = set()
        for member in self.archive.members:
            storage = self.storage(member)
            if storage is None:
                continue
            present.add(self.path(member))
            if size_of(storage) != member.size or member.method != STORED:
                reason = f"{printable(member.name)} has {member.size} bytes, {size_of(storage)} are declared"
                yield odd(self.file, member.header_offset, reason, member.name)
        missing = sorted({f".data/{key}.storage" for key in self.storages} - present)
        if missing:
            reason = f"{len(missing)} storages are missing, among them {printable(missing[0])}"
            yield odd(self.file, 0, reason, "missing")
