"""The records of reading a pickle: opcodes, names resolved, calls made, and what no pickler writes.

They are shared by the compiled and the pure machine, and are never compiled themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class PickleBroken(Exception):
    """The bytes at `pos` are not a pickle that CPython would read."""

    def __init__(self, pos: int, reason: str) -> None:
        super().__init__(f"{reason} (at byte {pos})")
        self.pos = pos
        self.reason = reason


class Op(NamedTuple):
    """One opcode: `code` and `name`, its decoded argument (None without one), and its bytes [pos, end).

    STRING, BINSTRING and SHORT_BINSTRING give str when ASCII, else bytes. GLOBAL and INST give (module, name).
    """

    code: int
    name: str
    arg: object
    pos: int
    end: int


class Arg(NamedTuple):
    """What is known of one argument: its kind, and a text that depends on the kind.

    `str` gives the text itself (empty where too many different ones stood at this place), `int` the decimal
    number, `global` and `result` the dotted name, `tuple` the kinds of its items, separated by spaces (`…`
    for more than eight). Other kinds have no text; `ints` is a tuple of nothing but integers.
    """

    kind: str
    text: str


class Event(NamedTuple):
    """Something loading would do. Equal events are reported once, where they happen first.

    `kind` is one of

    - `global`: module.name is resolved, so the module is imported; `opcode` is GETATTR where getattr is called with
      a name and an attribute that are both written out, and `name` is then `Name.attribute`;
    - `call`: module.name is called; `opcode` is RECONSTRUCT for what copyreg._reconstructor makes of a class, out of
      nothing or out of a dict (`args` is then one dict);
    - `build`: state is set on what a call of module.name gave;
    - `items`: items are put into it, by its own append, extend, add or __setitem__ (`opcode` says which);
    - `key`: it is hashed and compared, as a key of a dict or a member of a set or inside of one;
    - `persistent`: an object outside the stream.

    `args` is None when the arguments are not spelled out right before the call, and for `items` and `key`.
    `name_pos` is where the name was first resolved, `name_opcode` by which opcode.
    """

    kind: str
    opcode: str
    pos: int
    module: str
    name: str
    args: tuple[Arg, ...] | None
    name_pos: int
    name_opcode: str


class PickleAnomaly(NamedTuple):
    """Something no pickler writes: `code` is stable, `reason` is for people."""

    pos: int
    code: str
    reason: str


class InlineArray(NamedTuple):
    """A raw array of a joblib file: its bytes at [offset, offset + length).

    `dtype` is its endianness and code as numpy writes them (`<f8`); for a type that holds objects the bytes
    are a pickle of the whole array.
    """

    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]
    order: str


class Trace:
    """What one stream does: `end` is the offset after STOP, or where reading ended.

    `broken` says why the stream cannot be read to STOP (empty when it can), `spent` that a budget ended
    the reading. The events before that point are complete in either case. `arrays` are the raw arrays read
    past in a joblib file. The records of events are made when they are first asked for.
    """

    __slots__ = ("_events", "_make", "anomalies", "arrays", "broken", "end", "spent")

    def __init__(
        self,
        events: tuple[Event, ...] | Callable[[], tuple[Event, ...]],
        anomalies: tuple[PickleAnomaly, ...],
        end: int,
        broken: str,
        spent: bool,  # noqa: FBT001  as it stands in the record
        *,
        arrays: tuple[InlineArray, ...] = (),
    ) -> None:
        self._events: tuple[Event, ...] = () if callable(events) else events
        self._make = events if callable(events) else None
        self.anomalies = anomalies
        self.end = end
        self.broken = broken
        self.spent = spent
        self.arrays = arrays

    @property
    def events(self) -> tuple[Event, ...]:
        """What loading would do, in order of first occurrence."""
        if self._make is not None:
            self._events = self._make()
            self._make = None
        return self._events

    def with_events(self, events: tuple[Event, ...], *, spent: bool) -> Trace:
        """Return the same trace with other events."""
        return Trace(events, self.anomalies, self.end, self.broken, spent, arrays=self.arrays)

    def _row(self) -> tuple[object, ...]:
        return self.events, self.anomalies, self.end, self.broken, self.spent, self.arrays

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        return isinstance(other, Trace) and self._row() == other._row()

    def __hash__(self) -> int:
        """Return the hash of what it says."""
        return hash(self._row())

    def __repr__(self) -> str:
        """Show what it says."""
        return f"Trace{self._row()!r}"

    @property
    def whole(self) -> bool:
        """Whether the stream was read up to STOP with nothing odd in it."""
        return not self.broken and not self.spent and not self.anomalies
