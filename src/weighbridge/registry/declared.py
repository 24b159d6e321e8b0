"""Parents that a bill of materials declares: edges from the nodes that stand for their names.

Read are `pedigree.ancestors` of the model and the datasets among its components, each with the properties
`weighbridge:evidence`, `weighbridge:relation` and `weighbridge:identity`. Only what is declared is drawn from
here: an attested parent is drawn from the claim that attests it, an observed one from the fingerprints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.registry.aliases import named

UNSAID = Relation.FINE_TUNE
"""What stands where a card names a base and does not say how the model came from it: hubs read it so."""
MAX_PARENTS = 1000
"""Declared parents that are drawn of one document; anybody may write one."""
DATASET_PREFIX = "datasets/"
"""Datasets have names of their own on hubs: `datasets/org/name`, so that none is mistaken for a model's."""

_PURL = re.compile(r"pkg:huggingface/(?P<name>[^@?#]+)@(?P<commit>[0-9a-f]{40})(?:[?#].*)?")


def declared_parents(
    document: Mapping[str, Any], model: Digest, weights: Digest | None, source: str
) -> tuple[list[Parentage], list[Alias]]:
    """Return the edges that a document declares for `model`, and the names that their alias nodes stand for.

    A tokenizer is a parent of the model, everything else of its weights. `source` is the bundle that holds it.
    """
    edges: list[Parentage] = []
    names: list[Alias] = []
    for row, usual in _rows(document):
        said = _properties(row)
        if said.get("weighbridge:evidence") != Grade.DECLARED.value:
            continue
        relation = _relation(said.get("weighbridge:relation")) or usual
        parent = _identity(said.get("weighbridge:identity")) or _alias(row, relation)
        if parent is None or len(edges) == MAX_PARENTS:
            continue
        child = model if relation is Relation.TOKENIZER or weights is None else weights
        if isinstance(parent, Alias):
            names.append(parent)
        at = parent.node if isinstance(parent, Alias) else parent
        if at != child:
            edges.append(Parentage(at, child, relation, Grade.DECLARED, source))
    return edges, names


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Relation]]:
    component = _mapping(_mapping(document.get("metadata")).get("component"))
    for row in _mappings(_mapping(component.get("pedigree")).get("ancestors")):
        yield row, UNSAID
    for row in _mappings(document.get("components")):
        if any(part.get("type") == "dataset" for part in _mappings(row.get("data"))):
            yield row, Relation.DATASET


def _alias(row: Mapping[str, Any], relation: Relation) -> Alias | None:
    """Return the exact name where there is a package URL with a commit, else the name as it is written."""
    purl, name = row.get("purl"), row.get("name")
    pinned = _PURL.fullmatch(purl) if isinstance(purl, str) else None
    if pinned:
        return Alias(Scheme.HF_COMMIT, pinned["commit"])
    if not isinstance(name, str):
        return None
    return named(f"{DATASET_PREFIX}{name}" if relation is Relation.DATASET else name)


def _properties(row: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in _mappings(row.get("properties")):
        if isinstance(one.get("name"), str) and isinstance(one.get("value"), str):
            found.setdefault(one["name"], one["value"])
    return found


def _relation(text: str | None) -> Relation | None:
    return Relation(text) if text in set(Relation) else None


def _identity(text: str | None) -> Digest | None:
    """Return a model's or its weights' identity; any other digest names nothing in a lineage."""
    try:
        found = Digest.parse(text or "")
    except BadReference:
        return None
    return found if found.algorithm in ("wb1", "wbw1") else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
