"""A fact: one thing a file of a model says, how sure it is, and the place it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.lineage import Grade

MAX_TEXT = 512
"""Characters of one fact."""
MAX_ITEMS = 1000
"""Items of one fact that is a list or a mapping."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a file says: name, value, observed or declared, the file, and the JSON pointer in it.

    `part` is the folder of the sub-model it is about, empty for the model itself.
    """

    name: str
    value: JSON
    grade: Grade
    path: str
    pointer: str = ""
    part: str = ""

    @property
    def place(self) -> str:
        """The file, and after '#' the place in it."""
        return f"{self.path}#{self.pointer}" if self.pointer else self.path

    def to_json(self) -> dict[str, JSON]:
        """Return the fact as JSON."""
        return {"name": self.name, "value": self.value, "grade": self.grade.value, "place": self.place}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package that a file of the model asks for: where from, exactly which, and the hashes that were given.

    `version` is empty when the file does not pin one; `asked` is then what it says instead. `purl` names
    packages of the Python index only: what comes from elsewhere is a name.
    """

    name: str
    version: str
    asked: str
    hashes: tuple[str, ...]
    path: str
    pointer: str = ""
    indexed: bool = True
    framework: bool = False

    @property
    def place(self) -> str:
        """The file, and after '#' the place in it."""
        return f"{self.path}#{self.pointer}" if self.pointer else self.path


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of one model, in a fixed order, and the files that could not be read, each with the reason.

    `parts` are the folders that are models of their own (a text encoder, a pooling layer).
    """

    facts: tuple[Fact, ...]
    unread: tuple[tuple[str, str], ...] = ()
    requirements: tuple[Requirement, ...] = ()
    parts: tuple[str, ...] = ()

    def get(self, name: str, part: str = "") -> Fact | None:
        """Return the first fact of that name, or None."""
        return next((fact for fact in self.facts if fact.name == name and fact.part == part), None)

    def every(self, name: str, part: str = "") -> tuple[Fact, ...]:
        """Return all facts of that name."""
        return tuple(fact for fact in self.facts if fact.name == name and fact.part == part)

    def texts(self, name: str, part: str = "") -> tuple[str, ...]:
        """Return the values of a fact that is a string or a list of strings."""
        found = self.get(name, part)
        if found is None:
            return ()
        values = found.value if isinstance(found.value, (list, tuple)) else [found.value]
        return tuple(value for value in values if isinstance(value, str))

    def of(self, part: str) -> tuple[Fact, ...]:
        """Return the facts of one part, by name and place."""
        return tuple(
            sorted((f for f in self.facts if f.part == part), key=lambda fact: (fact.name, fact.place))
        )

    def to_json(self) -> dict[str, JSON]:
        """Return the facts as JSON."""
        unread: list[JSON] = [{"path": path, "reason": reason} for path, reason in self.unread]
        return {"facts": [fact.to_json() for fact in self.facts], "unread": unread}


def is_text(value: Any, longest: int = MAX_TEXT) -> bool:
    """Whether `value` is a string that may stand in a document: short, printable, no lone surrogates."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def scalar(value: Any) -> str | None:
    """Return how a text, whole number, truth value or finite float is written in a document; None for the rest."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is int:
        return str(value) if abs(value) < 2**53 else None
    if isinstance(value, float):
        return repr(value) if value - value == 0 else None
    return value if is_text(value) else None


def flat(name: str, value: JSON) -> Iterator[tuple[str, str]]:
    """Yield (name, text) for each value in a fact: mappings add their keys to the name, lists repeat it."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from flat(f"{name}:{key}", value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from flat(name, item)
    else:
        yield name, scalar(value) or str(value)


def step(key: str | int) -> str:
    """Return one step of a JSON pointer, with its slash (RFC 6901, section 4)."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")
