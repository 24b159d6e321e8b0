"""Hold a document against a profile: for each element observed, attested, declared, absent or not applicable, and where.

A profile is data (`profiles/*.json`): elements with the places where a CycloneDX document carries them. A
place is a JSON pointer with three more kinds of step: `*` for each item, `[key=value]` for the items that
have that text there (`value*` begins with it), `[key]` for those that have that member. Texts that stand
for nothing (`NOASSERTION`, `unknown`, `n/a`) count as absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from weighbridge.bom.facts import step
from weighbridge.bom.sourced import TOOL, Source, source_at, sources_of
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import NotFound
from weighbridge.core.lineage import Grade

PROFILE_SCHEMA = "weighbridge.bom-profile/1"
PLACEHOLDERS = frozenset(
    {"", "-", "n/a", "na", "none", "null", "noassertion", "tbd", "todo", "unknown", "unspecified"}
)
MAX_MATCHES = 1_000_000
"""Places of one document that one element looks at."""


class Status(StrEnum):
    """What was found of one element; the surest of several places."""

    ATTESTED = "attested"
    OBSERVED = "observed"
    DECLARED = "declared"
    ABSENT = "absent"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a profile and what a document has of it.

    `pointer` is where the surest value stands and `place` where that came from; `missing` counts the
    components that lack it, for elements that are asked of each, and `first` names one of them.
    """

    id: str
    cluster: str
    title: str
    status: Status
    pointer: str = ""
    place: str = ""
    missing: int = 0
    first: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the element as JSON."""
        return {
            "id": self.id,
            "cluster": self.cluster,
            "title": self.title,
            "status": self.status.value,
            "pointer": self.pointer,
            "place": self.place,
            "missing": self.missing,
            "first_missing": self.first,
        }


@dataclass(frozen=True, slots=True)
class Completeness:
    """A profile and its elements as one document has them."""

    profile: str
    title: str
    elements: tuple[Element, ...]

    def count(self, status: Status) -> int:
        """Return how many elements have that status."""
        return sum(element.status is status for element in self.elements)

    def to_json(self) -> dict[str, JSON]:
        """Return it as JSON, with the counts."""
        return {
            "profile": self.profile,
            "title": self.title,
            "counts": {status.value: self.count(status) for status in Status},
            "elements": [element.to_json() for element in self.elements],
        }


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles that come with the program."""
    folder = files("weighbridge.bom") / "profiles"
    return tuple(
        sorted(row.name.removesuffix(".json") for row in folder.iterdir() if row.name.endswith(".json"))
    )


def read_profile(name: str) -> Mapping[str, Any]:
    """Return a profile by its name; NotFound with the names there are."""
    if name not in profiles():
        raise NotFound(f"there is no profile {name[:80]!r}", remedy=f"there are {', '.join(profiles())}")
    text = (files("weighbridge.bom") / "profiles" / f"{name}.json").read_text(encoding="utf-8")
    value: Mapping[str, Any] = json.loads(text)
    return value


def assess(bom: Mapping[str, Any], profile: Mapping[str, Any], *, signed: str = "") -> Completeness:
    """Hold a document against a profile. `signed` is the digest of the bundle that signs it, or empty."""
    looking = _Looking(bom, signed)
    rows = tuple(looking.element(row) for row in profile["elements"])
    return Completeness(str(profile["name"]), str(profile["title"]), rows)


class _Looking:
    def __init__(self, bom: Mapping[str, Any], signed: str) -> None:
        self.bom = bom
        self.signed = signed
        self.sources = sources_of(bom)
        self.ours = any(True for _ in select(bom, f"/metadata/tools/components/[bom-ref={TOOL}]/name"))

    def element(self, row: Mapping[str, Any]) -> Element:
        """Find one element."""
        known = (str(row["id"]), str(row["cluster"]), str(row["title"]))
        if "applies" in row and not any(True for place in row["applies"] for _ in self.values(place)):
            return Element(*known, Status.NOT_APPLICABLE)
        if row.get("given") == "signature" and self.signed:
            return Element(*known, Status.ATTESTED, place=self.signed)
        if "each" in row:
            return self.each(known, row["each"], row["at"])
        best = self.best([pointer for place in row["at"] for pointer, _ in self.values(place)])
        return Element(*known, Status.ABSENT) if best is None else Element(*known, *best)

    def each(self, known: tuple[str, str, str], roots: Sequence[str], at: Sequence[str]) -> Element:
        """Find an element that each of several components must have: absent when one lacks it."""
        found: list[str] = []
        missing: list[str] = []
        for root in roots:
            for pointer, component in select(self.bom, root):
                inside = [pointer + path for place in at for path, _ in _told(component, place)]
                if inside:
                    found.append(inside[0])
                else:
                    name = component.get("name") if isinstance(component, dict) else None
                    missing.append(str(name or pointer))
        if missing or not found:
            return Element(*known, Status.ABSENT, missing=len(missing), first=missing[0] if missing else "")
        best = min((self.graded(pointer) for pointer in found), key=lambda row: -row[0].rank)
        return Element(*known, Status(best[0].value), found[0], best[1])

    def best(self, pointers: Sequence[str]) -> tuple[Status, str, str] | None:
        """Return the surest of several places: status, pointer, place of its source."""
        rows = [(*self.graded(pointer), pointer) for pointer in pointers]
        if not rows:
            return None
        grade, place, pointer = min(rows, key=lambda row: row[0].rank)
        return Status(grade.value), pointer, place

    def graded(self, pointer: str) -> tuple[Grade, str]:
        """Return how sure a value is: as its source says; what the document says of itself, its own writer saw."""
        source = source_at(self.sources, pointer) or _beside(self.bom, pointer)
        if source is not None:
            return source.grade, source.place
        itself = not pointer.startswith(("/metadata/component", "/components"))
        return (Grade.OBSERVED, TOOL) if self.ours and itself else (Grade.DECLARED, "this document")

    def values(self, place: str) -> Iterator[tuple[str, Any]]:
        return _told(self.bom, place)


def _beside(bom: Mapping[str, Any], pointer: str) -> Source | None:
    """Return the source of a fact in a model card's properties, which stands in the property after it."""
    head, _, index = pointer.removesuffix("/value").rpartition("/")
    if not head.endswith("/modelCard/properties") or not index.isdigit():
        return None
    for _, rows in select(bom, head):
        names = [str(row.get("name", "")) if isinstance(row, Mapping) else "" for row in rows]
        fact = names[int(index)].removeprefix("weighbridge:fact:")
        for row, name in zip(rows[int(index) + 1 :], names[int(index) + 1 :], strict=True):
            if name.startswith("weighbridge:source:"):
                named = name.removeprefix("weighbridge:source:")
                return (
                    Source.parse(row.get("value")) if fact == named or fact.startswith(f"{named}:") else None
                )
    return None


def select(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield pointer and value of each value that a place leads to; at most MAX_MATCHES."""
    found: list[tuple[str, Any]] = [("", node)]
    for raw in _steps(place):
        found = [child for pointer, value in found for child in _children(pointer, value, raw)][:MAX_MATCHES]
    yield from found


def _told(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield what a place leads to, without values that stand for nothing."""
    for pointer, value in select(node, place):
        if value not in (None, [], {}) and str(value).strip().lower() not in PLACEHOLDERS:
            yield pointer, value


def _steps(place: str) -> list[str]:
    """Split a place at its slashes, those in brackets apart."""
    parts: list[str] = []
    depth = 0
    for char in place:
        depth += (char == "[") - (char == "]")
        if char == "/" and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [
        part.replace("~1", "/").replace("~0", "~") if not part.startswith("[") else part for part in parts
    ]


def _children(pointer: str, value: Any, raw: str) -> Iterator[tuple[str, Any]]:
    if raw == "*" or raw.startswith("["):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if raw == "*" or _matches(item, raw[1:-1]):
                yield f"{pointer}/{index}", item
    elif isinstance(value, Mapping) and raw in value:
        yield pointer + step(raw), value[raw]


def _matches(item: Any, wanted: str) -> bool:
    key, equals, text = wanted.partition("=")
    if not isinstance(item, Mapping) or key not in item:
        return False
    value = str(item[key])
    return not equals or (value.startswith(text[:-1]) if text.endswith("*") else value == text)
