"""Write a CycloneDX 1.6 ML-BOM bound to a manifest, and hold one against a manifest again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from weighbridge.bom import parts
from weighbridge.bom.harvest import Facts
from weighbridge.bom.licences import licences_of
from weighbridge.bom.lint import validate_bom
from weighbridge.bom.parts import prop
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import VerificationFailed, WeighbridgeError
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import Manifest

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
IDENTITY = "weighbridge:identity"
WEIGHTS = "weighbridge:weights"


def build_bom(
    manifest: Manifest,
    facts: Facts,
    *,
    name: str,
    version: str,
    now: datetime,
    serial: str,
    source: Mapping[str, JSON] | None = None,
    parents: Sequence[Mapping[str, JSON]] = (),
    conversion: Mapping[str, JSON] | None = None,
) -> dict[str, JSON]:
    """Return the bill of materials of a model; equal arguments give an equal document.

    `serial` is a UUID. `source` may hold `repository`, `commit` (40 hex digits, else no purl is written)
    and `endpoint`. Each parent holds `identity` (`wb1:…`), `name`, `relation`, `evidence` and perhaps
    `purl`. `conversion` holds plain values (method, equivalence, roots). Raises Refused(bom.schema) when
    the document would not be valid, Refused(bom.parent) for a parent that cannot be described.
    """
    ancestors = parts.ancestors_of(facts, parents)
    model = str(manifest.digest)
    datasets = parts.dataset_components(facts)
    others: list[JSON] = [*datasets, *(parts.parent_component(ancestor) for ancestor in ancestors)]
    bom: dict[str, JSON] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial.lower()}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(now),
            "tools": {"components": [{"type": "application", "name": "weighbridge", "version": VERSION}]},
            "component": _model(
                manifest,
                facts,
                ancestors,
                name=name,
                version=version,
                source=source or {},
                conversion=conversion or {},
            ),
        },
        "components": others,
        "dependencies": [_dependency(model, ancestors, datasets)],
        "compositions": _compositions(model, ancestors, datasets),
    }
    validate_bom(bom)
    return bom


def _model(
    manifest: Manifest,
    facts: Facts,
    ancestors: Sequence[parts.Ancestor],
    *,
    name: str,
    version: str,
    source: Mapping[str, JSON],
    conversion: Mapping[str, JSON],
) -> dict[str, JSON]:
    """Return the component the document is about; only what is known becomes a member."""
    roles = parts.roles_of(facts)
    properties: list[JSON] = [prop(IDENTITY, str(manifest.digest))]
    if manifest.weights is not None:
        properties.append(prop(WEIGHTS, str(manifest.weights)))
    properties += [prop(f"weighbridge:conversion:{key}", str(conversion[key])) for key in sorted(conversion)]
    component: dict[str, JSON] = {
        "type": "machine-learning-model",
        "bom-ref": str(manifest.digest),
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": manifest.digest.hex}],
        "properties": properties,
        "components": [
            *(parts.file_component(entry, roles) for entry in manifest.files),
            *parts.template_components(facts),
        ],
    }
    purl = parts.purl_of(source)
    optional: dict[str, JSON] = {
        "licenses": licences_of(facts),
        "purl": purl,
        "modelCard": parts.model_card(facts),
        "pedigree": {"ancestors": [parts.pedigree_entry(ancestor) for ancestor in ancestors]}
        if ancestors
        else {},
    }
    return component | {key: value for key, value in optional.items() if value}


def _dependency(
    model: str, ancestors: Sequence[parts.Ancestor], datasets: Sequence[Mapping[str, JSON]]
) -> dict[str, JSON]:
    refs = sorted({ancestor.ref for ancestor in ancestors} | {str(row["bom-ref"]) for row in datasets})
    return {"ref": model, "dependsOn": refs} if refs else {"ref": model}


def _compositions(
    model: str, ancestors: Sequence[parts.Ancestor], datasets: Sequence[Mapping[str, JSON]]
) -> list[JSON]:
    """Say what is complete: the files always, what the model was made of only when every part is attested."""
    attested = (
        bool(ancestors) and all(ancestor.grade is Grade.ATTESTED for ancestor in ancestors) and not datasets
    )
    known = "complete" if attested else "incomplete" if ancestors or datasets else "unknown"
    return [
        {"aggregate": "complete", "assemblies": [model]},
        {"aggregate": known, "dependencies": [model]},
    ]


def subject_of_bom(bom: Mapping[str, Any]) -> Digest:
    """Return the identity (`wb1:…`) a document is about; VerificationFailed(bom.bound) when it names none."""
    try:
        component = bom["metadata"]["component"]
        named = [row["value"] for row in component["properties"] if row["name"] == IDENTITY]
        hashes = [row["content"] for row in component["hashes"] if row["alg"] == "SHA-256"]
        if len(named) != 1 or len(hashes) != 1:
            raise _unbound("it does not name exactly one identity and one SHA-256")
        digest = Digest.parse(named[0])
        kind, ref = component["type"], component["bom-ref"]
    except VerificationFailed:
        raise
    except (KeyError, TypeError, AttributeError, WeighbridgeError) as error:
        raise _unbound(f"its subject cannot be read: {error!r}"[:200]) from error
    if (
        digest.algorithm != "wb1"
        or hashes[0] != digest.hex
        or ref != str(digest)
        or kind != "machine-learning-model"
    ):
        raise _unbound("type, bom-ref, identity and hash of its subject do not agree")
    return digest


def check_bom(bom: Mapping[str, Any], manifest: Manifest) -> None:
    """Hold a document against a manifest: subject, weights, and exactly its files with their sizes and hashes.

    Raises VerificationFailed(bom.bound); never anything else, whatever the document looks like.
    """
    subject = subject_of_bom(bom)
    if subject != manifest.digest:
        raise _unbound(f"it is about {subject}, not about {manifest.digest}")
    try:
        component = bom["metadata"]["component"]
        weights = [row["value"] for row in component["properties"] if row["name"] == WEIGHTS]
        rows = [_file_row(row) for row in component["components"] if row["type"] == "file"]
    except VerificationFailed:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        raise _unbound(f"its files cannot be read: {error!r}"[:200]) from error
    if weights != ([str(manifest.weights)] if manifest.weights else []):
        raise _unbound("its weights digest is not that of the model")
    expected = [(entry.path, entry.sha256.hex, str(entry.size)) for entry in manifest.files]
    if len(rows) != len(expected) or set(rows) != set(expected):
        changed = sorted({row[0] for row in set(rows) ^ set(expected)})
        raise _unbound(
            f"its files are not those of the model: {', '.join(changed[:5]) or 'a file stands twice'}"
        )


def _file_row(row: Mapping[str, Any]) -> tuple[str, str, str]:
    hashes = [item["content"] for item in row["hashes"] if item["alg"] == "SHA-256"]
    sizes = [item["value"] for item in row["properties"] if item["name"] == "weighbridge:size"]
    if len(hashes) != 1 or len(sizes) != 1:
        raise _unbound(f"the file {row['name']!r} needs exactly one SHA-256 and one size")
    values = (row["name"], hashes[0], sizes[0])
    if not all(isinstance(value, str) for value in values):
        raise _unbound("name, hash and size of a file are texts")
    return values


def _unbound(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the bill of materials does not describe these bytes",
        cause=cause,
        remedy="make it anew from the model: weighbridge bom MODEL",
        check="bom.bound",
    )
