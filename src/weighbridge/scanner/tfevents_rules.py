"""Rules on event files of TensorBoard: every record fits its checksum and the tables, pictures are judged as members."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from weighbridge.core.errors import Unreadable
from weighbridge.core.finding import Finding, Verdict
from weighbridge.formats.tfevents import Events, begins_events, read_events
from weighbridge.scanner.contents import Contents, cut_out, enter
from weighbridge.scanner.damage import finding, lacking, refused
from weighbridge.scanner.file import Descend, Part, RuleInfo, ScannedFile

BROKEN = RuleInfo(
    "tfevents-broken", "An event file of TensorBoard that is not as its library writes it", Verdict.BROKEN
)
UNREAD = RuleInfo(
    "tfevents-unread", "An event file of TensorBoard with a part that is not known here", Verdict.UNREAD
)
RULES = (BROKEN, UNREAD)
EXPLAINS: frozenset[str] = frozenset()


def probe(file: ScannedFile) -> str | None:
    """Recognise the first record: its length fits its checksum, and it names the version of event files."""
    return "tfevents" if begins_events(file.head) else None


def read(file: ScannedFile, descend: Descend) -> Part:
    """Walk over all records, then judge the pictures and sounds in them by their content."""
    enter(file)
    events = Events()
    contents = Contents(file, descend)
    damage: Unreadable | None = None
    try:
        with file.open() as stream:
            read_events(stream, file.size, events)
    except Unreadable as error:
        damage = error
    for name, offset, size in events.blobs:
        contents.judge(partial(cut_out, file, name, offset, size), name, offset, size)
    contents.add(_unknown(file, events))
    rows = [(message, name, offset) for (message, name), offset in events.missing.items()]
    contents.add(list(lacking(file, BROKEN, rows)))
    if damage is not None:
        contents.add([refused(file, BROKEN, damage)])
    coverage = contents.coverage()
    if events.unknown or damage is not None:
        coverage = replace(coverage, bytes_read=0)
    return Part(tuple(contents), coverage, file.kind)


def _unknown(file: ScannedFile, events: Events) -> list[Finding]:
    return [
        finding(
            file, UNREAD, f"{message} holds the field {number}, which the schema does not know", offset=offset,
            why="what a field means that is not in the schema, nobody can say", subject=f"{message} {number}",
            help="leave the file out of the model: nothing loads it",
        )
        for (message, number), offset in events.unknown.items()
    ]  # fmt: skip
