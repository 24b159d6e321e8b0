"""What the CycloneDX schema does not check: references that lead nowhere, names used twice, missing hashes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from urllib.parse import unquote

from weighbridge.bom.schema import WRITTEN, schema_problems, version_of
from weighbridge.bom.sourced import PREFIX
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.errors import Refused

MAX_BROKEN = 100
"""Problems that are told of one document."""
_SERIAL = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PURL = re.compile(r"pkg:huggingface/[^@\s]+@[0-9a-f]{40}(\?[^\s#]*)?")
_LINK = "urn:cdx:"
_LISTS = (
    "dependsOn",
    "provides",
    "assemblies",
    "dependencies",
    "subjects",
    "vulnerabilities",
    "counterEvidence",
)
"""Members that hold lists of bom-refs, where they are lists of texts."""
_SINGLE = ("ref", "attributedTo", "process", "target", "assessor")
"""Members that are one bom-ref, where they are texts."""


def validate_bom(bom: Mapping[str, JSON]) -> None:
    """Hold a document that is to be emitted against the schema of its version and our own rules.

    Raises Refused(bom.schema) with the reasons, also when it cannot be written as canonical JSON or its
    version is not one that is written, and OutOfBudget(bom.size) for lists that are too long.
    """
    if version_of(bom) not in WRITTEN:
        raise _refused(bom, [f"specVersion {bom.get('specVersion')} is read and not written"])
    try:
        canonical(bom)
    except ValueError as error:
        raise _refused(bom, [str(error)]) from error
    problems = schema_problems(bom) or list(lint(bom))
    if problems:
        raise _refused(bom, problems)


def lint(bom: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a document that the schema accepts: broken references, then our own rules."""
    yield from broken_references(bom)
    yield from broken_rules(bom)


def broken_references(bom: Mapping[str, Any]) -> Iterator[str]:
    """Yield each name that is used twice, and each reference and pointer that leads nowhere."""
    known: Counter[str] = Counter()
    references: list[tuple[str, str]] = []
    for node in _objects(bom):
        if isinstance(node.get("bom-ref"), str):
            known[node["bom-ref"]] += 1
        references += _references(node)
    for ref, count in known.items():
        if count > 1:
            yield f"bom-ref {ref!r} stands {count} times"
    own = f"{_LINK}{str(bom.get('serialNumber', '')).removeprefix('urn:uuid:')}/"
    for where, ref in references:
        if not ref.startswith(_LINK):
            if ref not in known:
                yield f"{where} names {ref!r}, which is nothing in this document"
        elif ref.startswith(own) and unquote(ref.partition("#")[2]) not in known:
            yield f"{where} links to {ref!r}, which is nothing in this document"
    for where, pointer in _pointers(bom):
        if not resolves(bom, pointer):
            yield f"{where} points to {pointer!r}, which is nothing in this document"


def broken_rules(bom: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a document does not keep the rules that this room's documents keep beyond the schema."""
    if not _SERIAL.fullmatch(str(bom.get("serialNumber", ""))):
        yield "serialNumber is not urn:uuid: with a lower-case UUID"
    for component, ancestor in components_of(bom):
        yield from _component_problems(component, ancestor=ancestor)


def _component_problems(component: Mapping[str, Any], *, ancestor: bool) -> Iterator[str]:
    name = component.get("name")
    hashed = any(row.get("alg") == "SHA-256" for row in component.get("hashes", ()))
    declared = ("weighbridge:evidence", "declared") in {
        (row.get("name"), row.get("value")) for row in component.get("properties", ())
    }
    purl = component.get("purl")
    if component.get("type") == "file" and not hashed:
        yield f"the file {name!r} has no SHA-256"
    if component.get("type") == "machine-learning-model" and not hashed and not declared:
        yield f"the model {name!r} has no SHA-256 and is not marked as declared only"
    if ancestor and not hashed and not purl and not declared:
        yield f"the ancestor {name!r} has neither hash nor purl and is not marked as declared only"
    if isinstance(purl, str) and purl.startswith("pkg:huggingface/") and not _PURL.fullmatch(purl):
        yield f"the purl {purl!r} is not pinned to a commit"


def components_of(bom: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield every component at any depth, and whether it is an ancestor of another."""
    metadata = bom.get("metadata")
    subject = metadata.get("component") if isinstance(metadata, dict) else None
    work = [(row, False) for row in [subject, *_list(bom.get("components"))]]
    while work:
        component, ancestor = work.pop()
        if not isinstance(component, dict):
            continue
        yield component, ancestor
        work += [(row, False) for row in _list(component.get("components"))]
        pedigree = component.get("pedigree")
        if isinstance(pedigree, dict):
            for key in ("ancestors", "descendants", "variants"):
                work += [(row, key == "ancestors") for row in _list(pedigree.get(key))]


def resolves(bom: Any, pointer: str) -> bool:
    """Whether a JSON pointer (RFC 6901) leads to a value of the document."""
    return value_at(bom, pointer)[0]


def value_at(bom: Any, pointer: str) -> tuple[bool, Any]:
    """Return whether a JSON pointer leads to a value, and that value."""
    if pointer and not pointer.startswith("/"):
        return False, None
    node = bom
    for raw in pointer.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isascii() and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return False, None
    return True, node


def _objects(bom: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    work: list[Any] = [bom]
    while work:
        node = work.pop()
        if isinstance(node, dict):
            yield node
            work += node.values()
        elif isinstance(node, list):
            work += node


def _references(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _SINGLE:
        if isinstance(node.get(key), str):
            yield key, node[key]
    for key in _LISTS:
        yield from ((key, ref) for ref in _list(node.get(key)) if isinstance(ref, str))
    if node.get("name") == "weighbridge:ref" and isinstance(node.get("value"), str):
        yield "weighbridge:ref", node["value"]
    url = node.get("url")
    if isinstance(url, str) and url.startswith(_LINK):
        yield "url", url


def _pointers(bom: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in _list(bom.get("citations")):
        yield from (("a citation", text) for text in _list(row.get("pointers")) if isinstance(text, str))
    for row in _list(bom.get("properties")):
        name = row.get("name")
        if isinstance(name, str) and name.startswith(f"{PREFIX}/"):
            yield "a property", name.removeprefix(PREFIX)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def problems_of(bom: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return what is wrong with anybody's document, and which of our own rules it does not keep.

    Raises Refused(bom.version), OutOfBudget(bom.size) when it cannot be held against the schema.
    """
    wrong = schema_problems(bom)
    if wrong:
        return wrong, []
    return list(islice(broken_references(bom), MAX_BROKEN)), list(islice(broken_rules(bom), MAX_BROKEN))


def _refused(bom: Mapping[str, Any], problems: list[str]) -> Refused:
    return Refused(
        f"the bill of materials is not a valid CycloneDX {str(bom.get('specVersion'))[:8]} document",
        cause="; ".join(problems[:5]),
        remedy="report this with the model's description: a document like this is never emitted or signed",
        check="bom.schema",
    )
