"""What a rule is given: one file of the model, or one member of an archive in it, with its bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Coverage, Finding, Location, Severity, Verdict
from weighbridge.formats.archive import ZipMember
from weighbridge.formats.limits import Budget

HEAD_SIZE = 4096


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """One rule: id, one-line title, the worst verdict it gives. docs/rules/<id>.md explains it."""

    id: str
    title: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One file or member: where it is, what its content says it is, and how to get at its bytes.

    `kind` is one of `routing.KINDS` (`safetensors`, `torch-zip`, `torch-legacy`, `pickle`, `zip`, `npy`,
    `npz`, `json`, `text`, `python`, `jinja`, `empty`, `unknown`, …). `members` names the way through
    archives from the outermost in. `head` holds the first 4096 bytes. `text` is the whole content when
    kind is json, text, python or jinja, else None. `siblings` are all paths of the model.
    """

    path: str
    size: int
    kind: str
    head: bytes
    opener: Callable[[], BinaryIO]
    budget: Budget = field(default_factory=Budget)
    members: tuple[str, ...] = ()
    text: str | None = None
    siblings: frozenset[str] = frozenset()
    read_sibling: Callable[[str], bytes] | None = None
    """Returns the bytes of another file of the model (bounded); raises core errors."""
    neighbour: Callable[[str], ScannedFile | None] | None = None
    """Returns another file of the model, to be opened and read in parts; None when the model holds none."""

    @property
    def name(self) -> str:
        """The last part of the innermost name, lower-cased: only ever a hint beside the content."""
        return (self.members[-1] if self.members else self.path).rsplit("/", 1)[-1].lower()

    def open(self) -> BinaryIO:
        """Return the content from its first byte; seekable. The caller closes it."""
        return self.opener()

    def read(self, limit: int | None = None) -> bytes:
        """Return the first `limit` bytes, or all of them; raises OutOfBudget, or Unreadable when short."""
        wanted = self.size if limit is None else min(limit, self.size)
        self.budget.check_memory(wanted)
        with self.open() as stream:
            data = stream.read(wanted)
        if len(data) != wanted:
            raise Unreadable(
                f"{self.path} is shorter than its manifest says",
                cause=f"{wanted} bytes were expected, {len(data)} came",
                remedy="fetch the file again",
                check="file.size",
            )
        return data

    def inside(self, name: str, content: bytes) -> ScannedFile:
        """Return a member of this file, to be judged by its content; it shares the budget."""
        return replace(
            self,
            size=len(content),
            kind="unknown",
            head=content[:HEAD_SIZE],
            opener=lambda: io.BytesIO(content),
            members=(*self.members, printable(name)),
            text=None,
        )

    def at(self, offset: int | None = None) -> Location:
        """Return a location in this file."""
        return Location(self.path, self.members, offset)


class Examiner(Protocol):
    """A module in `scanner.EXAMINERS`.

    `examine` may raise core errors, which become `unread` findings, and should raise nothing else.
    A file whose kind stands in `EXPLAINS` counts as completely read unless a finding of verdict `unread`
    comes back; a file whose kind no examiner explains is `unread-format`.
    """

    RULES: tuple[RuleInfo, ...]
    EXPLAINS: frozenset[str]

    def examine(self, file: ScannedFile) -> Iterable[Finding]:
        """Yield what is to be said of `file`; yields nothing for kinds the module does not know."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one file: findings, coverage, and the format it was recognised as."""

    findings: tuple[Finding, ...]
    coverage: Coverage
    kind: str


Descend = Callable[[ScannedFile], Part]
"""Judges one member by its content; what it raises becomes a finding of whoever called."""


class Layout(Protocol):
    """What a zip archive is laid out as, asked about each member in turn."""

    kind: str

    def raw(self, member: ZipMember) -> bool:
        """Tell whether the member's bytes mean nothing by themselves, so that only size and checksum count."""
        ...

    def judge(self, inside: ScannedFile, member: ZipMember) -> Part | None:
        """Judge a member that has a meaning here; None leaves it to its content."""
        ...

    def finish(self) -> Iterable[Finding]:
        """Say what only shows when all members have been seen; called once, at the end."""
        ...


def from_bytes(path: str, data: bytes, kind: str, *, text: str | None = None) -> ScannedFile:
    """Build a ScannedFile over bytes in memory; for members that were unpacked, and for tests."""
    return ScannedFile(
        path=path,
        size=len(data),
        kind=kind,
        head=data[:HEAD_SIZE],
        opener=lambda: io.BytesIO(data),
        text=text,
    )


_SEVERITIES = {Verdict.CLEAN: Severity.NOTE, Verdict.NOTES: Severity.WARNING}


def severity_of(verdict: Verdict) -> Severity:
    """Return the severity that goes with a verdict: whatever blocks is an error."""
    return _SEVERITIES.get(verdict, Severity.ERROR)


def printable(text: str, limit: int = 160) -> str:
    """Return `text` on one line, control and format characters escaped, cut to `limit` characters."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
