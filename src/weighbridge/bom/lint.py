"""What the CycloneDX schema does not check: references that lead nowhere, names used twice, missing hashes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.errors import Refused

_SERIAL = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PURL = re.compile(r"pkg:huggingface/[^@\s]+@[0-9a-f]{40}(\?[^\s#]*)?")


def validate_bom(bom: Mapping[str, JSON]) -> None:
    """Hold a document against the CycloneDX 1.6 schema and our own rules; Refused(bom.schema) with the reasons."""
    try:
        text = canonical(bom).decode()
    except ValueError as error:
        raise _refused([str(error)]) from error
    problems = _schema_problems(text) or list(lint(bom))
    if problems:
        raise _refused(problems)


def lint(bom: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a document that the schema accepts."""
    if not _SERIAL.fullmatch(str(bom.get("serialNumber", ""))):
        yield "serialNumber is not urn:uuid: with a lower-case UUID"
    components = list(_components(bom))
    known = Counter(component["bom-ref"] for component in components if "bom-ref" in component)
    for ref, count in known.items():
        if count > 1:
            yield f"bom-ref {ref!r} stands {count} times"
    for where, ref in _references(bom):
        if ref not in known:
            yield f"{where} names {ref!r}, which is no component"
    for component in components:
        yield from _component_problems(component)


def _component_problems(component: Mapping[str, Any]) -> Iterator[str]:
    hashed = any(row["alg"] == "SHA-256" for row in component.get("hashes", ()))
    properties = {row["name"]: row.get("value") for row in component.get("properties", ())}
    grade = properties.get("weighbridge:evidence")
    if component["type"] == "file" and not hashed:
        yield f"the file {component['name']!r} has no SHA-256"
    if component["type"] == "machine-learning-model" and not hashed and grade != "declared":
        yield f"the model {component['name']!r} has no SHA-256 and is not marked as declared only"
    purl = component.get("purl")
    if purl is not None and purl.startswith("pkg:huggingface/") and not _PURL.fullmatch(purl):
        yield f"the purl {purl!r} is not pinned to a commit"


def _components(bom: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every component at any depth, ancestors included."""
    work = [bom["metadata"]["component"], *bom.get("components", ())]
    while work:
        component = work.pop()
        yield component
        work += component.get("components", ())
        work += component.get("pedigree", {}).get("ancestors", ())


def _references(bom: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for row in bom.get("dependencies", ()):
        yield "dependencies", row["ref"]
        yield from (("dependsOn", ref) for ref in row.get("dependsOn", ()))
    for row in bom.get("compositions", ()):
        yield from (
            ("compositions", ref) for key in ("assemblies", "dependencies") for ref in row.get(key, ())
        )
    for component in _components(bom):
        parameters = component.get("modelCard", {}).get("modelParameters", {})
        yield from (("datasets", row["ref"]) for row in parameters.get("datasets", ()) if "ref" in row)
        for row in component.get("properties", ()):
            if row["name"] == "weighbridge:ref":
                yield "weighbridge:ref", row["value"]


@cache
def _validator() -> Any:
    # Building the validator reads the schema (about 100 ms); it is kept for the life of the process.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def _schema_problems(text: str) -> list[str]:
    errors = _validator().validate_str(text, all_errors=True) or ()
    return [
        f"{'/'.join(str(step) for step in error.data.absolute_path)}: {error.data.message[:200]}"
        for error in errors
    ]


def _refused(problems: list[str]) -> Refused:
    return Refused(
        "the bill of materials is not a valid CycloneDX 1.6 document",
        cause="; ".join(problems[:5]),
        remedy="report this with the model's description: a document like this is never emitted or signed",
        check="bom.schema",
    )
