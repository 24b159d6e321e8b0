"""Write the statements that tell how a model came to be, and read them strictly.

Builders take identities and plain values and return a Statement that nobody has signed yet.
`read_claim` is their inverse. It also proves what can be proven without keys: packaging, conversion and
accepted origin carry the manifest they speak of, so a claim cannot tie one model's files to the weights
of another.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from weighbridge.claims import provenance, readers, reports
from weighbridge.claims.provenance import CHUNKS, EQUIVALENCE, MANIFEST
from weighbridge.claims.words import (
    ACCEPTED_ORIGIN,
    ADMISSION,
    BOM,
    CONVERSION,
    CONVERTING,
    DATASET,
    IDENTITY_NOTE,
    MATERIAL_NOTE,
    MATERIALS,
    METRICS,
    PACKAGING,
    PROVENANCE,
    RELATION_NOTE,
    SCAN,
    SVR,
    TEST_RESULT,
    TRAINING,
    VSA,
    VULNS,
    Claim,
    Material,
    Parent,
    build_type,
    kind_of,
    role_of,
    stage_of,
)
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadManifest, BadReference, InternalError, VerificationFailed
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable, Manifest
from weighbridge.core.statement import Statement, subject_of, subjects_of
from weighbridge.core.tier import Stage

if TYPE_CHECKING:  # a report is handed in by whoever scans; claims are read by many who do not
    from weighbridge.core.finding import Report

__all__ = [
    "ACCEPTED_ORIGIN", "ADMISSION", "BOM", "CONVERSION", "DATASET", "METRICS", "PROVENANCE", "SCAN", "TEST_RESULT",
    "TRAINING", "VSA", "Claim", "Material", "Parent", "bom", "build_conversion", "chunk_table", "convert", "data",
    "evaluate", "kind_of", "origin", "package", "packaged", "read_claim", "role_of", "scan", "stage_of", "svr",
    "train", "vulns",
]  # fmt: skip


def data(
    dataset: Digest,
    *,
    source: str,
    licence: str,
    invocation: str,
    description: str = "",
    parents: Sequence[Parent] = (),
) -> Statement:
    """Say where a dataset (`wb1:` of its files) comes from; `parents` are datasets it was made of."""
    predicate: dict[str, JSON] = {
        "source": source,
        "licence": licence,
        "description": description,
        "invocation": invocation,
        "parents": [_descriptor(parent) for parent in parents],
    }
    return _sound(Statement((subject_of(dataset),), DATASET, predicate))


def train(
    weights: Digest,
    method: str,
    parents: Sequence[Parent],
    *,
    builder: str,
    invocation: str,
    model: Digest | None = None,
    parameters: Mapping[str, JSON] | None = None,
    started: datetime | None = None,
    finished: datetime | None = None,
    materials: Sequence[Material | Mapping[str, JSON]] = (),
    internal: Mapping[str, JSON] | None = None,
) -> Statement:
    """Say how weights (`wbw1:`) were made: SLSA provenance v1, `method` one of `words.TRAINING`.

    `builder` is the URI of what ran, `invocation` its run, `parameters` what its user chose and `internal` what
    the builder did. `materials` are no ancestors: dependency locks, code, containers (`Material`), or any
    other in-toto ResourceDescriptor.
    """
    if method not in TRAINING:
        raise InternalError(f"{method!r} is no way of training; known are {', '.join(TRAINING)}")
    subjects = (subject_of(weights),) if model is None else (subject_of(weights), subject_of(model))
    dependencies: list[JSON] = [_descriptor(parent) for parent in parents]
    run = _run(builder, invocation, started, finished)
    dependencies += [_material(one) for one in materials]
    predicate = _provenance(method, parameters, dependencies, run, internal)
    return _sound(Statement(subjects, PROVENANCE, predicate))


def package(
    manifest: Manifest,
    chunks: ChunkTable,
    *,
    builder: str,
    invocation: str,
    parameters: Mapping[str, JSON] | None = None,
    finished: datetime | None = None,
    materials: Sequence[Material | Mapping[str, JSON]] = (),
) -> Statement:
    """Say that these files were put together as one model; carries the manifest and the chunk table."""
    run = _run(builder, invocation, None, finished)
    run["byproducts"] = [
        _embedded(MANIFEST, manifest.canonical_bytes),
        _embedded(CHUNKS, canonical(chunks.to_json())),
    ]
    predicate = _provenance(PACKAGING, parameters, [_material(one) for one in materials], run)
    return _sound(Statement(subjects_of(manifest, files=True), PROVENANCE, predicate))


def evaluate(
    about: Digest,
    result: str,
    metrics: Mapping[str, float],
    *,
    invocation: str,
    configuration: Sequence[Mapping[str, JSON]] = (),
) -> Statement:
    """Say how weights or a model did: in-toto test-result, `result` PASSED, WARNED or FAILED.

    `configuration` are ResourceDescriptors of what it was tested with. An evaluation makes no model.
    """
    predicate: dict[str, JSON] = {
        "result": result,
        "configuration": [dict(row) for row in configuration],
        METRICS: {"metrics": dict(metrics), "invocation": invocation},
    }
    return _sound(Statement((subject_of(about),), TEST_RESULT, predicate))


def convert(
    output: Manifest,
    source: Digest,
    *,
    equivalence: str,
    source_root: str,
    output_root: str,
    tool: str,
    invocation: str,
    method: str = "rebuilt",
) -> Statement:
    """Say that `output` holds the tensors of the model `source` (`wb1:`), `equivalence` proven or unproven.

    `source_root` and `output_root` are digests over all tensors, equal when the equivalence is proven.
    """
    predicate: dict[str, JSON] = {
        "method": method,
        "equivalence": equivalence,
        "source": str(source),
        "source_root": source_root,
        "output_root": output_root,
        "tool": tool,
        "invocation": invocation,
        "manifest": parse(output.canonical_bytes),
    }
    return _sound(Statement(subjects_of(output), CONVERSION, predicate))


def build_conversion(
    output: Manifest,
    source: Digest,
    *,
    equivalence: str,
    source_root: str,
    output_root: str,
    method: str,
    builder: str,
    invocation: str,
    materials: Sequence[Material | Mapping[str, JSON]] = (),
    finished: datetime | None = None,
) -> Statement:
    """Say what `convert` says, as a builder's SLSA provenance: `method` is an external parameter."""
    run = _run(builder, invocation, None, finished)
    roots: dict[str, JSON] = {
        "equivalence": equivalence,
        "source_root": source_root,
        "output_root": output_root,
    }
    run["byproducts"] = [
        _embedded(MANIFEST, output.canonical_bytes),
        _embedded(EQUIVALENCE, canonical(roots)),
    ]
    dependencies = [_descriptor(Parent(source, Relation.CONVERSION)), *(_material(one) for one in materials)]
    predicate = _provenance(CONVERTING, {"method": method}, dependencies, run)
    return _sound(Statement(subjects_of(output), PROVENANCE, predicate))


def origin(
    received: Manifest,
    *,
    publisher: str,
    repository: str,
    commit: str,
    matches_announced: bool,
    licence: str,
    reviewer: str,
    reason: str,
    expires: datetime,
    invocation: str = "",
) -> Statement:
    """Accept a stranger's model as received: whose, which commit, why, who looked, and until when."""
    predicate: dict[str, JSON] = {
        "publisher": publisher,
        "repository": repository,
        "commit": commit,
        "matches_announced": matches_announced,
        "licence": licence,
        "reviewer": reviewer,
        "reason": reason,
        "expires": rfc3339(expires),
        "invocation": invocation,
        "manifest": parse(received.canonical_bytes),
    }
    return _sound(Statement(subjects_of(received), ACCEPTED_ORIGIN, predicate))


def bom(manifest: Manifest, document: Mapping[str, JSON]) -> Statement:
    """Bind a bill of materials (CycloneDX JSON) to the model it describes."""
    return _sound(Statement(subjects_of(manifest), BOM, dict(document)))


def scan(manifest: Manifest, report: Report) -> Statement:
    """Bind a scan report to the model that was scanned."""
    return _sound(Statement(subjects_of(manifest), SCAN, {"report": report.to_json()}))


def vulns(
    manifest: Manifest,
    scanner: Mapping[str, str],
    database: Mapping[str, str],
    found: Mapping[str, Mapping[str, str]],
    *,
    started: datetime,
    finished: datetime,
) -> Statement:
    """Say which known vulnerabilities a scanner found in a model's files; `reports.vulns_predicate` gives the shapes."""
    predicate = reports.vulns_predicate(scanner, database, found, started=started, finished=finished)
    return _sound(Statement(subjects_of(manifest), VULNS, predicate))


def svr(
    manifest: Manifest,
    verifier: str,
    properties: Sequence[str],
    *,
    created: datetime,
    policies: Sequence[Mapping[str, JSON]] = (),
) -> Statement:
    """Say which properties a verifier found, under which policies: a simple verification result."""
    predicate = reports.svr_predicate(verifier, properties, created, policies)
    return _sound(Statement(subjects_of(manifest), SVR, predicate))


def read_claim(statement: Statement) -> Claim | None:
    """Read a statement as the claim it is; None when its type is not one of ours.

    Raises VerificationFailed(claim.form) when the type is known and the rest does not fit it. What is
    returned can be written as canonical JSON, so no claim can make a digest of evidence impossible.
    """
    stage = stage_of(statement)
    if stage is None:
        return None
    try:
        built = stage is Stage.CONVERT and statement.predicate_type == PROVENANCE
        claim = provenance.read_conversion(statement) if built else _READERS[stage](statement)
        readers.check_subjects(statement)
        if {parent.digest for parent in claim.parents} & set(claim.about):
            raise ValueError("something cannot be its own parent")
        canonical([dict(claim.detail), claim.invocation, [parent.name for parent in claim.parents]])
    except (ValueError, TypeError, KeyError, AttributeError, BadReference, BadManifest) as error:
        raise VerificationFailed(
            f"this {stage.value} claim is not well-formed",
            cause=str(error),
            remedy="write it with `weighbridge attest`, or as docs/reference/claims.md describes",
            check="claim.form",
        ) from error
    return claim


def packaged(statement: Statement) -> tuple[Manifest, ChunkTable]:
    """Return the manifest and the chunk table of a packaging claim; raises VerificationFailed(claim.form)."""
    claim = read_claim(statement)
    if claim is None or claim.stage is not Stage.PACKAGE:
        raise VerificationFailed("this claim carries no list of files", check="claim.form")
    return provenance.embedded_manifest(statement), provenance.embedded_chunks(statement)


def chunk_table(statement: Statement) -> ChunkTable:
    """Return the chunk table that a packaging claim carries; raises VerificationFailed(claim.form)."""
    try:
        return provenance.embedded_chunks(statement)
    except (ValueError, TypeError, KeyError, AttributeError, BadReference) as error:
        raise VerificationFailed(
            "this claim carries no chunk table", cause=str(error), check="claim.form"
        ) from error


_READERS: Mapping[Stage, Callable[[Statement], Claim]] = {
    Stage.DATA: readers.read_data,
    Stage.TRAIN: provenance.read_train,
    Stage.EVALUATE: readers.read_evaluate,
    Stage.PACKAGE: provenance.read_package,
    Stage.CONVERT: readers.read_convert,
    Stage.ORIGIN: readers.read_origin,
    Stage.BOM: readers.read_bom,
    Stage.SCAN: reports.read_scan,
    Stage.ADMIT: reports.read_admit,
}


def _sound(statement: Statement) -> Statement:
    """Return the statement after reading it back: what we write, we can read."""
    read_claim(statement)
    return statement


def _descriptor(parent: Parent) -> JSON:
    row: dict[str, JSON] = {
        "digest": {"sha256": parent.digest.hex},
        "annotations": {IDENTITY_NOTE: str(parent.digest), RELATION_NOTE: parent.relation.value},
    }
    if parent.name:
        row["name"] = parent.name
    return row


def _material(one: Material | Mapping[str, JSON]) -> JSON:
    """Return the descriptor of something that went into a build and is no ancestor."""
    if not isinstance(one, Material):
        return dict(one)
    if one.role not in MATERIALS:
        raise InternalError(f"{one.role!r} is no material; known are {', '.join(MATERIALS)}")
    algorithm = "gitCommit" if one.digest.algorithm == "sha1" else one.digest.algorithm
    row: dict[str, JSON] = {
        "name": one.name,
        "digest": {algorithm: one.digest.hex},
        "annotations": {MATERIAL_NOTE: one.role},
    }
    return {**row, "uri": one.uri} if one.uri else row


def _embedded(name: str, content: bytes) -> JSON:
    digest = Digest.of(content)
    text = base64.b64encode(content).decode("ascii")
    return {"name": name, "digest": {"sha256": digest.hex}, "content": text, "mediaType": "application/json"}


def _run(
    builder: str, invocation: str, started: datetime | None, finished: datetime | None
) -> dict[str, JSON]:
    metadata: dict[str, JSON] = {"invocationId": invocation}
    if started is not None:
        metadata["startedOn"] = rfc3339(started)
    if finished is not None:
        metadata["finishedOn"] = rfc3339(finished)
    return {"builder": {"id": builder}, "metadata": metadata}


def _provenance(
    method: str,
    parameters: Mapping[str, JSON] | None,
    dependencies: Sequence[JSON],
    run: Mapping[str, JSON],
    internal: Mapping[str, JSON] | None = None,
) -> dict[str, JSON]:
    definition: dict[str, JSON] = {
        "buildType": build_type(method),
        "externalParameters": dict(parameters or {}),
        "resolvedDependencies": list(dependencies),
        **({"internalParameters": dict(internal)} if internal else {}),
    }
    return {"buildDefinition": definition, "runDetails": dict(run)}
