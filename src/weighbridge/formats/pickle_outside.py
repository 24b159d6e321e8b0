"""What a symbolic pickle run reports of persistent ids: names of objects that are not in the stream.

A checkpoint holds one for each tensor, in thousands and nearly alike. So they are kept as plain values, and made
into records only for who asks for the events.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

from weighbridge.formats.pickle_events import Arg, Event

from .pickle_calls import Calls, event_of
from .pickle_ops import argument, wide
from .pickle_stack import GLOBAL, PERS, STR

if TYPE_CHECKING:
    from mypy_extensions import i64

_BINPERSID: Final = 0x51
_MIN_ROW: Final = 3
_CLASS_ROW: Final = 4


class Outside(Calls):
    """The names of a stream, and the objects it refers to."""

    def __init__(self, data: bytes, max_events: int, max_expansion: int) -> None:
        super().__init__(data, max_events, max_expansion)
        # Persistent ids of several items: their keys by text, and where each id stands. Those that follow each other
        # and differ in the key and the last item alone, with no other event between them, share the rest: `rows`
        # holds it, `row_starts` the first of them, `row_orders` how many events came before. They are made into
        # records only for who asks.
        self.outside: dict[bytes, Any] = {}
        self.rows: list[list[Any]] = []
        self.row_like: list[Any] = []
        self.row_keys: list[Any] = []
        self.row_lasts: list[Any] = []
        self.row_orders: list[int] = []
        self.row_starts: list[int] = []
        self.row_of: dict[Any, int] = {}
        self.row_found = 0
        self.outside_too: set[tuple[Arg, ...]] = set()

    def persistent(self, code: i64, pos: int, end: int) -> None:
        """PERSID and BINPERSID: an object that is not in the stream."""
        if code != _BINPERSID:
            self.stack.append(self.refers("PERSID", pos, (Arg("str", str(argument(self.data, pos, end))),)))
            return
        identity = self.pop(pos)
        items = self.items(identity)
        if items is None or len(items) < _MIN_ROW:
            items = items if items is not None else [identity]
            self.stack.append(self.refers("BINPERSID", pos, self.row_args(items)))
            return
        third: i64 = items[len(items) - 3]  # the key of the storage in what torch writes
        key = self.text_bytes(third)
        known = len(self.outside)
        first = self.outside.setdefault(key, items[len(items) - 3])
        if len(self.outside) == known and not self.is_new(first, items):
            self.stack.append(self.stands_for(items))
            return
        self.add_row(items, pos)
        if len(self.row_places) + len(self.events) > self.max_events:
            self.too_many(pos)
        self.stack.append(self.stands_for(items))

    def refers(self, opcode: str, pos: int, args: tuple[Arg, ...]) -> i64:
        """Report a persistent id that is no row of several items, and return the value of the object."""
        if args not in self.outside_too:
            self.outside_too.add(args)
            self.report(event_of("persistent", opcode, pos, "", "", args, pos, opcode))
        return PERS

    def stands_for(self, items: list[Any]) -> i64:
        """Return the value of the object with this persistent id.

        torch.load takes the id of a class with its source, ("module", class, path, source), for the class itself.
        """
        kind: i64 = items[1] & 15
        if len(items) == _CLASS_ROW and kind == GLOBAL and self.text(items[0]) == "module":
            token: i64 = items[1]
            return token
        return PERS

    def add_row(self, items: list[Any], pos: int) -> None:
        """Keep a persistent id: most of it is as it was in the one before, so that few lists are kept."""
        count: i64 = len(items)
        like = self.row_like
        place: i64 = 0
        if len(like) == count:
            while place < count:
                one: i64 = items[place]
                other: i64 = like[place]
                if one != other and place + 3 != count and place + 1 != count:
                    break
                place += 1
        if place < count or len(self.events) != self.row_orders[len(self.row_orders) - 1]:
            self.row_like = items
            self.rows.append(items)
            self.row_starts.append(len(self.row_places))
            self.row_orders.append(len(self.events))
        self.row_keys.append(items[count - 3])
        self.row_lasts.append(items[count - 1])
        self.row_places.append(pos)

    def row(self, number: int) -> list[Any]:
        """Return the items of a persistent id that was kept."""
        items = list(self.rows[bisect_right(self.row_starts, number) - 1])
        items[-3], items[-1] = self.row_keys[number], self.row_lasts[number]
        return items

    def is_new(self, key: Any, items: list[Any]) -> bool:
        """Whether a persistent id whose key was seen before, first as the value `key`, differs in something else."""
        while self.row_found < len(self.row_keys):
            self.row_of.setdefault(self.row_keys[self.row_found], self.row_found)
            self.row_found += 1
        args = self.row_args(items)
        if args in self.outside_too or self.row_args(self.row(self.row_of[key])) == args:
            return False
        self.outside_too.add(args)
        return True

    def row_args(self, items: list[Any]) -> tuple[Arg, ...]:
        """Say what is known of a persistent id of several items."""
        return tuple([self.argument_of(item) for item in items])

    def told_events(self) -> tuple[Event, ...]:
        """Return all events in their order, those of persistent ids made into records."""
        if not self.row_places:
            return tuple(self.events)
        told: list[Event] = []
        done = 0
        starts = [*self.row_starts[1:], len(self.row_places)]
        for block, order in enumerate(self.row_orders):
            told += self.events[done:order]
            done = order
            for number in range(self.row_starts[block], starts[block]):
                pos, args = self.row_places[number], self.row_args(self.row(number))
                told.append(event_of("persistent", "BINPERSID", pos, "", "", args, pos, "BINPERSID"))
        told += self.events[done:]
        return tuple(told)

    def text_bytes(self, token: i64) -> bytes:
        """Return in UTF-8 the text that an event has for an item."""
        if token & 15 != STR:
            return self.described(self.result(token)).text.encode("utf-8", "surrogatepass")
        pos: i64 = token >> 4
        data = self.data
        code: i64 = data[pos]
        if code in (0x8C, 0x58):  # as text does
            begin: i64 = pos + 2 if code == 0x8C else pos + 5
            length: i64 = data[pos + 1] if code == 0x8C else wide(data, pos)
            return data[begin : begin + length]
        return (self.text(token) or "").encode("utf-8", "surrogatepass")
