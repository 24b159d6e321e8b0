"""Write a CycloneDX ML-BOM bound to a manifest, and hold one against a manifest again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from weighbridge.bom import parts
from weighbridge.bom.attested import VerifiedClaim
from weighbridge.bom.facts import Facts
from weighbridge.bom.formulation import formulation
from weighbridge.bom.licences import licences_of
from weighbridge.bom.lint import validate_bom
from weighbridge.bom.model_card import model_card
from weighbridge.bom.parts import prop
from weighbridge.bom.sourced import INTAKE, TOOL, Said, as_citations, as_properties, said, unfold
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import BadManifest, VerificationFailed, WeighbridgeError
from weighbridge.core.lineage import Grade
from weighbridge.core.manifest import FileEntry, Manifest

SCHEMA = "http://cyclonedx.org/schema/bom-{}.schema.json"
IDENTITY = "weighbridge:identity"
WEIGHTS = "weighbridge:weights"
CARD = "README.md"


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
    claims: Sequence[VerifiedClaim] = (),
    spec: str = "1.6",
) -> dict[str, JSON]:
    """Return the bill of materials of a model; equal arguments give an equal document.

    `serial` is a UUID. `source` may hold `repository`, `commit` (40 hex digits, else no purl is written)
    and `endpoint`. Each parent holds `evidence`, and as far as known `identity` (`wb1:…`), `name`,
    `relation`, `purl` and `source` (its place). `conversion` holds plain values (method, equivalence,
    roots). `claims` are verified by the caller. `spec` is 1.6 or 1.7. Raises Refused(bom.schema) when the
    document would not be valid, Refused(bom.parent) for a parent that cannot be described.
    """
    model = str(manifest.digest)
    ancestors = parts.ancestors_of(facts, parents, claims)
    datasets = parts.dataset_components(facts, claims)
    codes = parts.remote_code(facts)
    packages = _packages(facts)
    data = [str(row.value["bom-ref"]) for row in datasets]
    tree: dict[str, Any] = {
        "$schema": SCHEMA.format(spec),
        "bomFormat": "CycloneDX",
        "specVersion": spec,
        "serialNumber": f"urn:uuid:{serial.lower()}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(now),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {
                "components": [
                    {"type": "application", "bom-ref": TOOL, "name": "weighbridge", "version": VERSION}
                ]
            },
            "component": {
                **_named(manifest, name, version, source or {}),
                **_bound(manifest, facts, conversion or {}),
                **_told(manifest, facts, source or {}, serial=serial, datasets=data, claims=claims),
                **_pedigree(ancestors),
            },
        },
        "components": [
            *datasets,
            *(parts.parent_component(ancestor) for ancestor in ancestors),
            *packages,
            *codes,
            *parts.claim_components(claims),
        ],
        "dependencies": _dependencies(manifest, facts, ancestors, [*datasets, *packages, *codes]),
        "compositions": _compositions(model, ancestors, [*datasets, *packages, *codes]),
    }
    made = formulation(facts, model, ancestors, data, claims)
    bom = _with_sources({**tree, "formulation": made} if made else tree, spec, rfc3339(now))
    validate_bom(bom)
    return bom


def _with_sources(tree: Mapping[str, Any], spec: str, timestamp: str) -> dict[str, JSON]:
    """Take the sources off the values, and write them down as the version of the document allows."""
    bom, sources = unfold(tree)
    if spec == "1.6":
        # Facts stand in the model card with their source beside them.
        rows = {pointer: sources[pointer] for pointer in sources if "/modelCard/properties/" not in pointer}
        bom["properties"] = as_properties(rows)
    else:
        component = bom["metadata"]["component"]
        known = [
            str(row["bom-ref"]) for row in [*component["components"], *bom["components"]] if "bom-ref" in row
        ]
        bom["citations"] = as_citations(sources, timestamp, known)
    return dict(bom)


def _named(manifest: Manifest, name: str, version: str, source: Mapping[str, JSON]) -> dict[str, Any]:
    """Return type, reference, name, version and supplier, as far as whoever took the model in knows them."""
    own = manifest.digest.hex.startswith(version) and bool(version)
    key = "commit" if version == source.get("commit") else "version"
    row: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": str(manifest.digest),
        "name": said(name, Grade.DECLARED, f"{INTAKE}#/name"),
        "version": said(version, Grade.OBSERVED, str(manifest.digest))
        if own
        else said(version, Grade.DECLARED, f"{INTAKE}#/{key}"),
    }
    purl = parts.purl_of(source)
    owner = str(source.get("repository") or "").rpartition("/")[0]
    if owner and purl:
        row["supplier"] = said({"name": owner}, Grade.DECLARED, f"{INTAKE}#/repository")
    if purl:
        row["purl"] = said(purl, Grade.DECLARED, f"{INTAKE}#/commit")
    return row


def _bound(manifest: Manifest, facts: Facts, conversion: Mapping[str, JSON]) -> dict[str, Any]:
    """Return what binds the document to the bytes: identity, files, templates in files, parts."""
    place = str(manifest.digest)
    roles = parts.roles_of(facts)
    properties: list[Any] = [said(prop(IDENTITY, place), Grade.OBSERVED, place)]
    if manifest.weights is not None:
        properties.append(said(prop(WEIGHTS, str(manifest.weights)), Grade.OBSERVED, place))
    properties += [
        said(
            prop(f"weighbridge:conversion:{key}", str(conversion[key])),
            Grade.DECLARED,
            f"{INTAKE}#/conversion",
        )
        for key in sorted(conversion)
    ]
    inside: list[Any] = [parts.file_component(entry, roles) for entry in manifest.files]
    inside += parts.template_components(facts)
    inside += [_part(manifest, facts, part) for part in facts.parts]
    return {
        "hashes": said([{"alg": "SHA-256", "content": manifest.digest.hex}], Grade.OBSERVED, place),
        "properties": properties,
        "components": said(inside, Grade.OBSERVED, place),
    }


def _part(manifest: Manifest, facts: Facts, part: str) -> Said:
    """Return a folder that is a model of its own: with the identity it would have alone."""
    row: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"part:{part}",
        "name": part,
    }
    identity = _part_identity(manifest, part)
    properties = [prop("weighbridge:role", "part")]
    if identity is not None:
        row["hashes"] = [{"alg": "SHA-256", "content": identity.hex}]
        properties.append(prop(IDENTITY, str(identity)))
    else:
        properties.append(prop("weighbridge:evidence", Grade.DECLARED.value))
    card = model_card(facts, part)
    return said(
        {**row, "properties": properties, **({"modelCard": card} if card else {})},
        Grade.OBSERVED,
        str(manifest.digest),
    )


def _part_identity(manifest: Manifest, part: str) -> Digest | None:
    """Return the identity of the files in a folder, taken for themselves; None when they could not be a model."""
    inside = f"{part}/"
    try:
        return Manifest.of(
            FileEntry(entry.path.removeprefix(inside), entry.size, entry.sha256)
            for entry in manifest.files
            if entry.path.startswith(inside)
        ).digest
    except BadManifest:
        return None


def _told(
    manifest: Manifest,
    facts: Facts,
    source: Mapping[str, JSON],
    *,
    serial: str,
    datasets: Sequence[str],
    claims: Sequence[VerifiedClaim],
) -> dict[str, Any]:
    """Return what the files tell beyond themselves: licences, model card, links, who made it."""
    row: dict[str, Any] = {
        "modelCard": model_card(facts, datasets=datasets, claims=claims),
        "externalReferences": parts.links_of(facts, source, manifest.entry(CARD), serial),
    }
    licence, licences = facts.get("license"), licences_of(facts)
    if licence is not None and licences:
        row["licenses"] = said(licences, licence.grade, licence.place)
    for member, name in (("description", "description"), ("publisher", "organization")):
        fact = facts.get(name)
        if fact is not None:
            row[member] = said(str(fact.value), fact.grade, fact.place)
    author = facts.get("author")
    if author is not None:
        row["authors"] = said([{"name": str(author.value)}], author.grade, author.place)
    return {key: value for key, value in row.items() if value}


def _pedigree(ancestors: Sequence[parts.Ancestor]) -> dict[str, Any]:
    rows = [parts.pedigree_entry(ancestor) for ancestor in ancestors]
    return {"pedigree": {"ancestors": rows}} if rows else {}


def _packages(facts: Facts) -> list[Said]:
    """Return the packages, each once: a lock file's row of a library wins over the library's mention elsewhere."""
    rows: dict[str, Said] = {}
    for wanted in sorted(facts.requirements, key=lambda row: (not row.hashes, not row.framework)):
        rows.setdefault(parts.package_ref(wanted), parts.package_component(wanted))
    return [rows[ref] for ref in sorted(rows)]


def _dependencies(
    manifest: Manifest, facts: Facts, ancestors: Sequence[parts.Ancestor], others: Sequence[Said]
) -> list[JSON]:
    """Return what the model depends on, and which files each part of it is."""
    refs = {ancestor.ref for ancestor in ancestors} | {str(row.value["bom-ref"]) for row in others}
    refs |= {f"part:{part}" for part in facts.parts}
    model = str(manifest.digest)
    rows: list[JSON] = [{"ref": model, "dependsOn": sorted(refs)} if refs else {"ref": model}]
    for part in facts.parts:
        files = [f"file:{entry.path}" for entry in manifest.files if entry.path.startswith(f"{part}/")]
        rows.append({"ref": f"part:{part}", "dependsOn": [*files]})
    return rows


def _compositions(model: str, ancestors: Sequence[parts.Ancestor], others: Sequence[Said]) -> list[JSON]:
    """Say what is complete: the files always, what the model was made of only when every part is attested.

    What is known by name only holds nobody knows what.
    """
    grades = [*(ancestor.grade for ancestor in ancestors), *(row.source.grade for row in others)]
    attested = bool(ancestors) and all(grade is Grade.ATTESTED for grade in grades)
    known = "complete" if attested else "incomplete" if grades else "unknown"
    rows: list[JSON] = [
        {"aggregate": "complete", "assemblies": [model]},
        {"aggregate": known, "dependencies": [model]},
    ]
    refs = [ancestor.ref for ancestor in ancestors if ancestor.identity is None]
    refs += [str(row.value["bom-ref"]) for row in others if not row.value.get("hashes")]
    return [*rows, {"aggregate": "unknown", "assemblies": [*sorted(refs)]}] if refs else rows


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
