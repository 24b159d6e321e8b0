"""Rules on checkpoints of Flax (MessagePack): names, numbers and arrays, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.flax import read_flax
from weighbridge.scanner.damage import finding, refused
from weighbridge.scanner.file import RuleInfo, ScannedFile

BROKEN = RuleInfo("flax-broken", "MessagePack that is damaged, or followed by other bytes", Verdict.BROKEN)
UNLISTED = RuleInfo(
    "flax-unlisted", "MessagePack that is not a checkpoint as Flax writes it", Verdict.UNLISTED
)
RULES = (BROKEN, UNLISTED)
EXPLAINS = frozenset({"msgpack"})


def probe(file: ScannedFile) -> str | None:
    """Recognise a map whose first key is text."""
    head = file.head
    if len(head) < 8 or not (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return None
    first = head[{0xDE: 3, 0xDF: 5}.get(head[0], 1)]
    return "msgpack" if 0xA1 <= first <= 0xBF or first in (0xD9, 0xDA, 0xC4) else None


def examine(file: ScannedFile) -> Iterator[Finding]:
    """Walk over the checkpoint to its last byte."""
    if file.kind != "msgpack":
        return
    try:
        with file.open() as stream:
            strange = read_flax(stream, file.size)
    except Unreadable as error:
        yield refused(file, BROKEN, error)
        return
    for what in strange:
        yield finding(
            file, UNLISTED, f"the file holds {what}, which Flax does not write", subject=what,
            why="other libraries that read MessagePack turn such values into objects, some of them by unpickling",
            help="use a checkpoint written by Flax, or safetensors",
        )  # fmt: skip
