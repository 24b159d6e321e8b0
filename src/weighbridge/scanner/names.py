"""Which names a pickle may use: exact names with the shapes of their calls, and the names known to be dangerous.

Data, not code: `profiles/*.json`. A shape is a row of arguments; each argument gives the kinds it may
have, separated by `|` (`int`, `ints` for a tuple of integers, `global:NAME`, `result:NAME` for what
calling NAME gave, `str=TEXT` for exactly this text); a leading `*` repeats the last one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from weighbridge.formats.pickle_events import Arg

PROFILES = ("inert.json", "dangerous.json")

STORAGE_WIDTHS: Mapping[str, int] = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8,
    "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QUInt8Storage": 1, "QInt8Storage": 1,
    "QInt32Storage": 4, "UntypedStorage": 1,
}  # fmt: skip
"""Bytes of one element, by the storage type that a persistent id names."""

_Alternatives = frozenset[str]


@dataclass(frozen=True, slots=True)
class Shape:
    """One way a name may be called: alternatives for each argument; `rest` repeats after them."""

    fixed: tuple[_Alternatives, ...]
    rest: _Alternatives | None = None

    def fits(self, args: tuple[Arg, ...]) -> bool:
        """Tell whether the call has this shape."""
        if len(args) < len(self.fixed) or (self.rest is None and len(args) > len(self.fixed)):
            return False
        for index, arg in enumerate(args):
            wanted = self.fixed[index] if index < len(self.fixed) else self.rest
            if wanted is None or not _fits(arg, wanted):
                return False
        return True


def _fits(arg: Arg, wanted: _Alternatives) -> bool:
    if arg.kind in ("global", "result"):
        return arg.kind in wanted or f"{arg.kind}:{arg.text}" in wanted
    return arg.kind in wanted or (arg.kind == "str" and f"str={arg.text}" in wanted)


@dataclass(frozen=True, slots=True)
class Inert:
    """A data constructor: the shapes it may be called in, and the kinds of state its result may be given."""

    calls: tuple[Shape, ...]
    build: frozenset[str]
    why: str

    def allows(self, kind: str, args: tuple[Arg, ...] | None) -> bool:
        """Tell whether a `call` or `build` event with these arguments is harmless."""
        if kind == "build":
            return args is not None and len(args) == 1 and args[0].kind in self.build
        return args is not None and any(shape.fits(args) for shape in self.calls)


def parse_shape(text: str) -> Shape:
    """Parse one row such as `persistent int ints ints bool dict|none` or `*str`."""
    fixed: list[_Alternatives] = []
    for word in text.split():
        if word.startswith("*"):
            return Shape(tuple(fixed), frozenset(word[1:].split("|")))
        fixed.append(frozenset(word.split("|")))
    return Shape(tuple(fixed))


def profile_bytes(name: str) -> bytes:
    """Return a data file of this room, byte for byte; it counts into the ruleset digest."""
    return (resources.files("weighbridge.scanner") / "profiles" / name).read_bytes()


@cache
def inert() -> Mapping[str, Inert]:
    """Return the names that may be used, by their full dotted spelling."""
    document: Any = json.loads(profile_bytes("inert.json"))
    return {
        name: Inert(
            tuple(parse_shape(shape) for shape in row.get("calls", ())),
            frozenset(row.get("build", ())),
            row.get("why", ""),
        )
        for name, row in document["names"].items()
    }


@cache
def _dangerous() -> Mapping[str, str]:
    document: Any = json.loads(profile_bytes("dangerous.json"))
    modules: Mapping[str, str] = document["modules"]
    return modules


def find_inert(module: str, name: str) -> Inert | None:
    """Return the entry for exactly this module and name; a dotted name never has one."""
    return None if "." in name else inert().get(f"{module}.{name}")


def danger(module: str, name: str) -> str:
    """Say what the name is known to do, or return an empty text. Used for wording only.

    The name, each module above it, and each attribute path inside a dotted name are looked up.
    """
    table = _dangerous()
    parts = f"{module}.{name}".split(".")
    for count in range(len(parts), 0, -1):
        found = table.get(".".join(parts[:count]))
        if found:
            return found
    steps = name.split(".")
    for count in range(len(steps) - 1, 0, -1):
        found = table.get(".".join(steps[:count]))
        if found:
            return found
    if module in ("builtins", "__builtin__") and steps[0].startswith("__"):
        return "reaches any attribute"
    return ""
