"""Rules on text that stands where something else should: the pointer of a large file that was never fetched."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.finding import Finding, Verdict
from weighbridge.core.manifest import is_weight_file
from weighbridge.scanner.file import RuleInfo, ScannedFile, severity_of

RULES = (
    RuleInfo("unread-pointer", "The file only points at the real one, which was not fetched", Verdict.UNREAD),
)
EXPLAINS: frozenset[str] = frozenset()

POINTER = "version https://git-lfs.github.com/spec/v1"
_LONGEST = 1024


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Report a Git LFS pointer in the place of a weight file."""
    if file.text is None or file.size > _LONGEST or not file.text.startswith(POINTER):
        return
    if file.members or not is_weight_file(file.path):
        return
    yield Finding(
        rule="unread-pointer",
        verdict=Verdict.UNREAD,
        severity=severity_of(Verdict.UNREAD),
        location=file.at(0),
        message="this is a pointer of Git LFS; the weights themselves are not here",
        why="what was not fetched was not read",
        help="run `git lfs pull` in the clone, or fetch the model from the hub with weighbridge pull",
        subject="git-lfs",
    )
