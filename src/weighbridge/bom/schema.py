"""Hold a document against the official strict schema of its version, in time that grows with its length.

The published schema asks for unique items in its lists of components, which the validator tests pair by pair:
a hundred thousand files would take hours. Files as this room writes them are therefore held against their own
exact shape here, which is narrower than the schema, and only the first one goes through the validator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from weighbridge.bom.addresses import imported_later, is_address
from weighbridge.core.errors import OutOfBudget, Refused

VERSIONS = ("1.4", "1.5", "1.6", "1.7")
"""What is read."""
WRITTEN = ("1.6", "1.7")
MAX_LIST = 3000
"""Items of one list that the validator compares pair by pair: about five seconds."""
MAX_DEPTH = 60
MAX_PROBLEMS = 20
_HEX = re.compile(r"[0-9a-f]{64}")
_FILE = frozenset({"type", "bom-ref", "name", "hashes", "properties"})


def schema_problems(bom: Mapping[str, Any]) -> list[str]:
    """Return what the schema of the document's own version has against it, at most MAX_PROBLEMS.

    Raises Refused(bom.version) for a version that is not read, OutOfBudget(bom.size) for a list too long.
    """
    version = version_of(bom)
    slim = _without_plain_files(bom)
    _check_lists(slim)
    try:
        text = json.dumps(slim, allow_nan=False)
    except (ValueError, TypeError) as error:
        return [str(error)]
    problems: list[str] = []
    for found in _validator(version).iter_errors(json.loads(text)):
        path = "/".join(str(part) for part in found.absolute_path)
        problems.append(f"{path}: {found.message[:200]}")
        if len(problems) == MAX_PROBLEMS:
            break
    return problems


def version_of(bom: Mapping[str, Any]) -> str:
    """Return the specVersion of a document; Refused(bom.version) for one that is not CycloneDX 1.4 to 1.7."""
    version = bom.get("specVersion")
    if bom.get("bomFormat") != "CycloneDX" or version not in VERSIONS:
        raise Refused(
            "this is no CycloneDX document of a known version",
            cause=f"bomFormat is {str(bom.get('bomFormat'))[:40]!r}, specVersion {str(version)[:40]!r}",
            remedy=f"give a JSON document of CycloneDX {', '.join(VERSIONS)}",
            check="bom.version",
        )
    return str(version)


def is_plain_file(row: Any) -> bool:
    """Whether a component is a file exactly as this room writes it: nothing in it can be against the schema."""
    if not isinstance(row, dict) or row.get("type") != "file" or not set(row) - {"scope"} <= _FILE:
        return False
    hashes, properties = row.get("hashes"), row.get("properties")
    return (
        isinstance(row.get("name"), str)
        and isinstance(row.get("bom-ref"), str)
        and row["bom-ref"] == f"file:{row['name']}"
        and row.get("scope", "required") == "required"
        and isinstance(hashes, list)
        and len(hashes) == 1
        and isinstance(hashes[0], dict)
        and set(hashes[0]) == {"alg", "content"}
        and hashes[0]["alg"] == "SHA-256"
        and isinstance(hashes[0]["content"], str)
        and _HEX.fullmatch(hashes[0]["content"]) is not None
        and isinstance(properties, list)
        and all(_is_property(item) for item in properties)
    )


def _is_property(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and set(item) == {"name", "value"}
        and all(isinstance(text, str) for text in item.values())
    )


def _without_plain_files(bom: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document with one plain file only; unchanged when two of them have one name."""
    metadata = bom.get("metadata")
    component = metadata.get("component") if isinstance(metadata, dict) else None
    rows = component.get("components") if isinstance(component, dict) else None
    if not isinstance(metadata, dict) or not isinstance(component, dict) or not isinstance(rows, list):
        return bom
    plain = [row for row in rows if is_plain_file(row)]
    if len({row["name"] for row in plain}) != len(plain) or len(plain) < 2:
        return bom
    shown = [*plain[:1], *(row for row in rows if not is_plain_file(row))]
    return {**bom, "metadata": {**metadata, "component": {**component, "components": shown}}}


def _check_lists(value: Any) -> None:
    """Refuse what the validator would spend too long on, or could not finish."""
    work = [(value, 0)]
    while work:
        node, depth = work.pop()
        if depth > MAX_DEPTH:
            raise _spent("the document is nested too deeply", f"at most {MAX_DEPTH} levels are read")
        if isinstance(node, dict):
            work += [(item, depth + 1) for item in node.values()]
        elif isinstance(node, list):
            pairs = any(isinstance(item, dict) and set(item) != {"name", "value"} for item in node)
            if len(node) > MAX_LIST and pairs:
                cause = f"at most {MAX_LIST} are compared with each other, as the schema asks for"
                raise _spent(f"a list of the document has {len(node)} items", cause)
            work += [(item, depth + 1) for item in node]


def _spent(problem: str, cause: str) -> OutOfBudget:
    return OutOfBudget(
        problem,
        cause=cause,
        remedy="split the document into several that refer to each other",
        check="bom.size",
    )


@cache
def _validator(version: str) -> Any:
    # Building the validator reads the schema (about 100 ms); it is kept for the life of the process.
    with imported_later():
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator

    theirs: Any = JsonStrictValidator(SchemaVersion.from_version(version))._validator  # noqa: SLF001 (what it wraps takes a checker)
    checker = type(theirs.format_checker)(())
    checker.checkers = {**theirs.format_checker.checkers, "iri-reference": (is_address, ())}
    return theirs.evolve(format_checker=checker)
