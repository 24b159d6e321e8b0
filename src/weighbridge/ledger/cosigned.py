"""The latest checkpoint that witnesses cosigned, kept in the file `cosigned` beside `checkpoint`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weighbridge.core.errors import VerificationFailed
from weighbridge.ledger.checkpoint import MAX_NOTE, Checkpoint, parse_checkpoint, verify_checkpoint
from weighbridge.ledger.merkle import EMPTY_ROOT
from weighbridge.ledger.tiles import damaged, flush_folders, write_durably
from weighbridge.store.plain import read_plain

COSIGNED = "cosigned"


class KeptCosigned:
    """The file `cosigned` of one log: a help for readers, without which the log is as good as before."""

    def __init__(self, directory: Path, origin: str, public_pem: str) -> None:
        self._path = directory / COSIGNED
        self._origin = origin
        self._public_pem = public_pem
        self._nothing = ("", Checkpoint(origin, 0, EMPTY_ROOT))
        self._known = self._nothing

    def read(self) -> tuple[str, Checkpoint]:
        """Return the note kept and what it says; an empty note when there is none that the log signed."""
        try:
            note = read_plain(self._path).decode()
            if note == self._known[0]:
                return self._known
            head = verify_checkpoint(note, origin=self._origin, public_pem=self._public_pem)
        except (OSError, UnicodeDecodeError, VerificationFailed):
            return self._nothing
        self._known = note, head
        return note, head

    def keep(self, note: str, head: Checkpoint, *, current: str) -> None:
        """Keep a verified note, unless a later one is kept; the caller holds the lock. Raises OSError.

        Of two texts of one size the one that is the log's `current` text stays: it may have been frozen since.
        """
        kept, before = self.read()
        if before.size > head.size or before.text == current != head.text:
            return
        if before.text == head.text:
            note = _merged(kept, note)
        write_durably(self._path, note.encode())
        flush_folders(self._path.parent, [self._path])

    def check(self, root_at: Callable[[int], bytes]) -> None:
        """Raise RegistryUnusable when the file is there and is not of this log's past."""
        note, head = self.read()
        if self._path.exists() and (not note or root_at(head.size) != head.root):
            raise damaged(f"{COSIGNED} is not a checkpoint of this log; it may be removed")


def _merged(kept: str, note: str) -> str:
    """Add the signatures of one note to another of the same text; a signer's later signature replaces its earlier."""
    lines: dict[tuple[str, bytes], str] = {}
    for text in (kept, note):
        rows = parse_checkpoint(text)[1]
        written = text.partition("\n\n")[2].removesuffix("\n").split("\n")
        lines |= {(name, value[:4]): line for (name, value), line in zip(rows, written, strict=True)}
    merged = note.partition("\n\n")[0] + "\n\n" + "\n".join(lines.values()) + "\n"
    return merged if len(merged) <= MAX_NOTE else note
