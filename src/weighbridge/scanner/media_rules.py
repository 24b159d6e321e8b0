"""Rules on pictures and sounds beside a model: they are what they say, and nothing follows their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.media import read_gif, read_jpeg, read_png, read_riff
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile

BROKEN = RuleInfo("media-broken", "A picture or sound with bytes that do not belong to it", Verdict.BROKEN)
UNREAD = RuleInfo("media-unread", "A picture or sound with a part that is not known here", Verdict.UNREAD)
RULES = (BROKEN, UNREAD)
EXPLAINS = frozenset({"png", "jpeg", "gif", "webp", "wav"})

_READ: Mapping[str, Callable[[BinaryIO, int], tuple[str, ...]]] = {
    "png": read_png, "jpeg": read_jpeg, "gif": read_gif, "webp": read_riff, "wav": read_riff,
}  # fmt: skip


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the file to its last byte."""
    read = _READ.get(file.kind)
    if read is None:
        return
    try:
        with file.open() as stream:
            unknown = read(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    if unknown:
        names = ", ".join(map(repr, unknown[:8]))
        yield finding(
            file, UNREAD, f"parts of an unknown kind: {names}", why="what was not read cannot be called harmless",
            help="save the picture again without them, or leave it out", subject=names,
        )  # fmt: skip
