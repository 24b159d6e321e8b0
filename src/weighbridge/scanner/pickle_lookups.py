"""Tell whether a pickle uses getattr for nothing but what the list of attributes names.

Python writes a method that is bound to a class as a call of getattr, with the class and the attribute written
out: that is how a time says its zone. getattr itself reaches any attribute, so it passes only where it is
fetched, given a listed name and attribute, and called at once, each time that it stands in the stream: kept as
a value it could be called later with operands of the file's choice.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from weighbridge.formats.pickle_events import Event, Trace
from weighbridge.scanner import names
from weighbridge.scanner.pickle_made import Reader, walk

GETATTR: Final[Collection[tuple[str, str]]] = (("builtins", "getattr"), ("__builtin__", "getattr"))
_LETTERS: Final = {
    "GLOBAL": "c", "STACK_GLOBAL": "s", "MARK": "(", "TUPLE": "t", "TUPLE2": "2", "REDUCE": "R",
    "BINGET": "g", "LONG_BINGET": "g", "GET": "g", "SHORT_BINUNICODE": "x", "BINUNICODE": "x", "UNICODE": "x",
    "STRING": "x", "BINSTRING": "x", "SHORT_BINSTRING": "x",
}  # fmt: skip
_NAME: Final = "(?:c|g|[gx][gx]s)[gx]"
_LOOKUP: Final = re.compile(rf"{_NAME}2R|\({_NAME}tR")
"""What stands between getattr and its call, less notes in the memo: a name and a text, in a tuple of these two alone."""
_LONGEST: Final = 7


def is_lookup(event: Event) -> bool:
    """Tell whether the event is getattr being resolved or called."""
    return (event.module, event.name) in GETATTR and event.kind in ("global", "call")


def only_listed(one: Trace, data: bytes, start: int) -> bool:
    """Tell whether every use of getattr in the streams from `start` names a listed attribute and is called at once."""
    calls = [event for event in one.events if is_lookup(event) and event.kind == "call"]
    if not calls:
        return False
    for event in calls:
        args = event.args or ()
        if event.opcode != "REDUCE" or tuple(arg.kind for arg in args) != ("global", "str"):
            return False
        module, _, name = args[0].text.rpartition(".")
        if names.find_attribute(module, f"{name}.{args[1].text}") is None:
            return False
    return walk(data, start, one.end, _Lookups(GETATTR, ()))


class _Lookups(Reader):
    """One stream, opcode by opcode, with what stands behind getattr."""

    def begin(self) -> None:
        """Forget the stream before."""
        super().begin()
        self.letters: str | None = None

    def follows(self, name: str, value: object) -> bool:
        """Take one opcode; False when getattr is used in another way, or a name cannot be followed."""
        if self.is_note(name, value):
            return True
        if not self.pushed(name, value):
            return False
        if self.letters is None:
            self.letters = "" if self.is_wanted() else None
            return True
        self.letters += _LETTERS.get(name, "?")
        if self.is_wanted() or len(self.letters) > _LONGEST or self.letters.endswith("?"):
            return False
        if not self.letters.endswith("R"):
            return True
        right = _LOOKUP.fullmatch(self.letters) is not None
        self.letters = None
        return right
