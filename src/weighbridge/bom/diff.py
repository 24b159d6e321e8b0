"""What changed between two documents: subject, files, parents, datasets, packages, licences, facts, results.

Things are matched by what they are (a file by its path, a package by its purl without the version), not by
their place in the text, so that an order never is a change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from weighbridge.bom.sourced import Source
from weighbridge.core.canonical import JSON


class Kind(StrEnum):
    """What sort of thing changed."""

    SUBJECT = "subject"
    FILE = "file"
    PART = "part"
    PARENT = "parent"
    DATASET = "dataset"
    PACKAGE = "package"
    COMPONENT = "component"
    CLAIM = "claim"
    LICENCE = "licence"
    FACT = "fact"
    RESULT = "result"
    STEP = "step"
    COMPOSITION = "composition"


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One change: what it is, before and after; empty before for what was added, empty after for what went."""

    kind: Kind
    what: str
    before: str
    after: str

    def to_json(self) -> dict[str, JSON]:
        """Return the change as JSON."""
        return {"kind": self.kind.value, "what": self.what, "before": self.before, "after": self.after}


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return the changes between two valid documents, sorted; equal documents have none."""
    old, new = _things(before), _things(after)
    changes = [
        Change(kind, what, ", ".join(old.get((kind, what), ())), ", ".join(new.get((kind, what), ())))
        for kind, what in old.keys() | new.keys()
        if old.get((kind, what)) != new.get((kind, what))
    ]
    order = {kind: index for index, kind in enumerate(Kind)}
    return tuple(sorted(changes, key=lambda change: (order[change.kind], change.what)))


Things = dict[tuple[Kind, str], list[str]]


def _things(bom: Mapping[str, Any]) -> Things:
    """Return everything a document says, by kind and name, each as its sorted descriptions."""
    found: dict[tuple[Kind, str], list[str]] = defaultdict(list)
    for kind, what, how in _all(bom):
        found[kind, what].append(how)
    return {key: sorted(rows) for key, rows in found.items()}


def _all(bom: Mapping[str, Any]) -> Iterator[tuple[Kind, str, str]]:
    subject = bom.get("metadata", {}).get("component", {})
    for key in ("name", "version", "purl", "description", "publisher"):
        if subject.get(key):
            yield Kind.SUBJECT, key, str(subject[key])
    for name in ("identity", "weights"):
        for value in _values(subject, f"weighbridge:{name}"):
            yield Kind.SUBJECT, name, value
    if subject.get("supplier", {}).get("name"):
        yield Kind.SUBJECT, "supplier", str(subject["supplier"]["name"])
    yield from _licences(subject, "")
    yield from _card(subject, "")
    for row in subject.get("components", ()):
        yield from _inside(row)
    for row in subject.get("pedigree", {}).get("ancestors", ()):
        yield Kind.PARENT, str(row.get("name")), _parent(row)
    for row in bom.get("components", ()):
        yield from _outside(row)
    for formula in bom.get("formulation", ()):
        for flow in formula.get("workflows", ()):
            yield Kind.STEP, str(flow.get("name") or flow.get("uid")), _step(flow)
    for row in bom.get("compositions", ()):
        for key in ("assemblies", "dependencies"):
            for ref in row.get(key, ()):
                yield Kind.COMPOSITION, f"{key} of {_named(ref, subject)}", str(row.get("aggregate"))


def _inside(row: Mapping[str, Any]) -> Iterator[tuple[Kind, str, str]]:
    name = str(row.get("name"))
    if row.get("type") == "machine-learning-model":
        yield Kind.PART, name, _hashes(row)
        yield from _licences(row, f"{name}: ")
        yield from _card(row, f"{name}: ")
    else:
        yield Kind.FILE, name, _hashes(row)


def _outside(row: Mapping[str, Any]) -> Iterator[tuple[Kind, str, str]]:
    ref, purl, name = str(row.get("bom-ref", "")), str(row.get("purl", "")), str(row.get("name"))
    if ref.startswith("parent:"):
        return  # told with the pedigree
    if ref.startswith("claim:"):
        yield Kind.CLAIM, name, _hashes(row)
    elif row.get("type") == "data":
        yield Kind.DATASET, name, " ".join(filter(None, (_evidence(row), _hashes(row))))
    elif row.get("type") in ("library", "framework", "application"):
        what = purl.partition("@")[0] or name
        yield (
            Kind.PACKAGE,
            what,
            " ".join(filter(None, (str(row.get("version", "")), _hashes(row)))) or "named",
        )
    else:
        yield Kind.COMPONENT, f"{row.get('type')} {purl.partition('@')[0] or name}", _hashes(row) or "named"
    yield from _licences(row, f"{name}: ")


def _parent(row: Mapping[str, Any]) -> str:
    relation = next(iter(_values(row, "weighbridge:relation")), "")
    return " ".join(filter(None, (relation, _evidence(row), _hashes(row)))) or "named"


def _step(flow: Mapping[str, Any]) -> str:
    rows = []
    for given in flow.get("inputs", ()):
        rows += [str(given.get("resource", {}).get("ref", ""))]
        rows += [f"{row.get('name')}={row.get('value')}" for row in given.get("parameters", ())]
    return " ".join(sorted(filter(None, [*rows, str(flow.get("timeEnd", ""))]))) or "named"


def _licences(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[Kind, str, str]]:
    for item in row.get("licenses", ()):
        licence = item.get("license", {})
        text = item.get("expression") or licence.get("id") or licence.get("name")
        spoken = item.get("acknowledgement") or licence.get("acknowledgement") or "licence"
        yield Kind.LICENCE, prefix + str(spoken), str(text)


def _card(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[Kind, str, str]]:
    card = row.get("modelCard", {})
    told: list[str] = []
    for item in card.get("properties", ()):
        name, value = str(item.get("name", "")), str(item.get("value", ""))
        if name.startswith("weighbridge:fact:"):
            told.append(name.removeprefix("weighbridge:fact:"))
            yield Kind.FACT, prefix + told[-1], value
        elif name.startswith("weighbridge:source:"):
            source = Source.parse(value)
            for fact in dict.fromkeys(told):
                yield Kind.FACT, f"{prefix}{fact} (how sure)", source.grade.value if source else value
            told = []
        elif name == "weighbridge:unread":
            yield Kind.FACT, f"{prefix}unread", value
    for member, value in card.get("modelParameters", {}).items():
        if isinstance(value, str):
            yield Kind.FACT, prefix + str(member), value
    for result in card.get("quantitativeAnalysis", {}).get("performanceMetrics", ()):
        what = " on ".join(filter(None, (str(result.get("type")), str(result.get("slice", "")))))
        yield Kind.RESULT, prefix + what, str(result.get("value"))


def _hashes(row: Mapping[str, Any]) -> str:
    return " ".join(sorted(f"{item.get('alg')}:{item.get('content')}" for item in row.get("hashes", ())))


def _evidence(row: Mapping[str, Any]) -> str:
    return next(iter(_values(row, "weighbridge:evidence")), "")


def _values(row: Mapping[str, Any], name: str) -> list[str]:
    return [str(item.get("value")) for item in row.get("properties", ()) if item.get("name") == name]


def _named(ref: object, subject: Mapping[str, Any]) -> str:
    return "the model" if ref == subject.get("bom-ref") else str(ref)
