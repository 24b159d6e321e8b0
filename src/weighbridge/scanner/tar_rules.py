"""Rules on tar archives: strictness of the container, and every member judged by its own content."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.finding import Coverage, Finding, Verdict
from weighbridge.formats.tar import BLOCK, TarArchive, TarMember, is_header, plain, read_tar
from weighbridge.scanner.archives import of_anomaly
from weighbridge.scanner.contents import Contents, cut_out, enter
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile, severity_of
from weighbridge.scanner.pickle_rules import judge_streams

RULES = (
    RuleInfo("torch-tar", "A torch checkpoint of the oldest layout", Verdict.UNREAD),
    RuleInfo("tar-polyglot", "The file is a tar archive as well as what it looks like", Verdict.BROKEN),
)
EXPLAINS: frozenset[str] = frozenset()

_TORCH = frozenset(("sys_info", "pickle", "storages", "tensors"))
_MIXED = ("storages", "tensors")
_ACTING = frozenset(("pickle-call", "pickle-import", "pickle-unlisted"))


def probe(file: ScannedFile) -> str | None:
    """Recognise the archives of old tar programs, which have no magic number."""
    return "tar" if is_header(file.head[:BLOCK]) else None


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Report a file of another kind that every tar program would unpack all the same."""
    if file.kind in ("tar", "torch-tar", "empty") or not is_header(file.head[:BLOCK]):
        return
    yield Finding(
        rule="tar-polyglot",
        verdict=Verdict.BROKEN,
        severity=severity_of(Verdict.BROKEN),
        location=file.at(0),
        message="this begins with the header of a tar archive as well",
        why="what is scanned is not what a tar program, or an old torch.load, would read",
        help="have it written anew by its author",
        subject="tar",
    )


def read(file: ScannedFile, descend: Descend) -> Part:
    """Judge the container and every member; `descend` judges one member by its content."""
    enter(file)
    with file.open() as stream:
        archive = read_tar(stream, file.size, file.budget.limits)
    file.budget.spend_members(len(archive.members))
    contents = Contents(file, descend)
    contents.add(of_anomaly(file, anomaly) for anomaly in archive.anomalies)
    names = {plain(member.name) for member in archive.members}
    torch = names >= _TORCH
    for member in archive.members:
        if member.kind == "file":
            _judge(contents, member, torch=torch)
    if torch:
        contents.add([_old_torch(file)])
    unexplained = file.size - archive.explained + (_raw(archive) if torch else 0)
    return Part(tuple(contents), contents.coverage(unexplained), "torch-tar" if torch else "tar")


def _judge(contents: Contents, member: TarMember, *, torch: bool) -> None:
    name = plain(member.name)
    if torch and name in _MIXED:
        contents.judge_by(
            _mixed, lambda: _inside(contents.file, member), name, member.header_offset, size=member.size
        )
    else:
        contents.judge(lambda: _inside(contents.file, member), name, member.header_offset, member.size)


def _inside(file: ScannedFile, member: TarMember) -> ScannedFile:
    return cut_out(file, plain(member.name), member.data_offset, member.size)


def _mixed(inside: ScannedFile) -> Part:
    """Judge a member in which pickles and raw bytes take turns, as far as the pickles go."""
    found = judge_streams(inside, inside.read()).findings
    acting = tuple(finding for finding in found if finding.rule in _ACTING)
    return Part(acting, Coverage(inside.size, inside.size), "pickle")


def _raw(archive: TarArchive) -> int:
    return sum(member.size for member in archive.members if plain(member.name) in _MIXED)


def _old_torch(file: ScannedFile) -> Finding:
    return Finding(
        rule="torch-tar",
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(0),
        message="this is a checkpoint of torch before 0.1.2; its raw storages are not read",
        why="what was not read cannot be called harmless",
        help="load it in isolation where it is trusted, and save it again with a torch of today",
        subject="torch-tar",
    )
