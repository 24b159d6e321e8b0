"""Values that know where they come from: written into a document with their source, and read out of one again.

While a document is put together, a value that is not ours is wrapped as `Said(value, source)`. `unfold`
takes the wrappers off and tells which JSON pointer has which source; a source holds for everything below
its pointer unless a longer pointer says otherwise. CycloneDX 1.7 has `citations` for that; 1.6 has not, so
there each pointer becomes a property of the document, `weighbridge:source:<pointer>`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.bom.facts import step
from weighbridge.core.canonical import JSON
from weighbridge.core.lineage import Grade

PREFIX = "weighbridge:source:"
INTAKE = "intake"
"""The place of what whoever took the model in says of it: its name, its repository and commit."""
TOOL = "tool:weighbridge"
_NOTE = re.compile(r"(attested|observed|declared) (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """How sure a value is, and its place.

    The place is a file of the model with the JSON pointer in it (`config.json#/model_type`), the identity
    of the model for what its bytes say (`wb1:…`), `sha256:…` of the bundle of a verified claim, or
    `intake#/…` for what whoever took the model in knows.
    """

    grade: Grade
    place: str

    def __str__(self) -> str:
        return f"{self.grade.value} {self.place}"

    @classmethod
    def parse(cls, text: object) -> Source | None:
        """Read `grade place`; None for anything else."""
        match = _NOTE.fullmatch(text) if isinstance(text, str) else None
        return cls(Grade(match[1]), match[2]) if match else None


@dataclass(frozen=True, slots=True)
class Said:
    """A value, or a tree of them, with its source."""

    value: Any
    source: Source


def said(value: Any, grade: Grade, place: str) -> Said:
    """Wrap a value with grade and place."""
    return Said(value, Source(grade, place))


def unfold(tree: Any) -> tuple[Any, dict[str, Source]]:
    """Return the tree without its wrappers, and the source of each pointer that had one."""
    sources: dict[str, Source] = {}

    def plain(node: Any, pointer: str) -> Any:
        while isinstance(node, Said):
            sources[pointer] = node.source
            node = node.value
        if isinstance(node, Mapping):
            return {key: plain(item, pointer + step(key)) for key, item in node.items()}
        if isinstance(node, (list, tuple)):
            return [plain(item, f"{pointer}/{index}") for index, item in enumerate(node)]
        return node

    return plain(tree, ""), sources


def as_properties(sources: Mapping[str, Source]) -> list[JSON]:
    """Return the sources as properties of a CycloneDX 1.6 document."""
    return [{"name": PREFIX + pointer, "value": str(sources[pointer])} for pointer in sorted(sources)]


def as_citations(sources: Mapping[str, Source], timestamp: str, refs: Iterable[str]) -> list[JSON]:
    """Return the sources as CycloneDX 1.7 citations, one for each source, attributed to the file or claim it names."""
    known = set(refs)
    pointers: dict[Source, list[str]] = defaultdict(list)
    for pointer, source in sources.items():
        pointers[source].append(pointer)
    rows: list[JSON] = []
    for source in sorted(pointers):
        origin = source.place.partition("#")[0]
        ref = next((ref for ref in (f"claim:{origin}", f"file:{origin}") if ref in known), TOOL)
        row: dict[str, JSON] = {"timestamp": timestamp, "pointers": [*sorted(pointers[source])]}
        rows.append({**row, "attributedTo": ref, "note": str(source)})
    return rows


def sources_of(bom: Mapping[str, Any]) -> dict[str, Source]:
    """Return the source of each pointer that a document gives one, whichever way; nothing for other documents."""
    found: dict[str, Source] = {}
    for row in _rows(bom.get("citations")):
        source = Source.parse(row.get("note"))
        pointers = row.get("pointers")
        for pointer in pointers if source and isinstance(pointers, list) else ():
            if isinstance(pointer, str) and source:
                found[pointer] = source
    for row in _rows(bom.get("properties")):
        name, source = str(row.get("name", "")), Source.parse(row.get("value"))
        if source and name.startswith(f"{PREFIX}/"):
            found[name.removeprefix(PREFIX)] = source
    return found


def source_at(sources: Mapping[str, Source], pointer: str) -> Source | None:
    """Return the source that holds at a pointer: that of the longest pointer on the way to it."""
    while pointer:
        if pointer in sources:
            return sources[pointer]
        pointer = pointer.rpartition("/")[0]
    return None


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
