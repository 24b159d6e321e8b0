"""Reading the rows again: those that are chained, and those that only repeat what bytes and signed claims say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.predicates import VSA
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import ChunkTable
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Status, Tier
from weighbridge.registry import alerts, export, fingerprints, models, tally
from weighbridge.registry.models import Model
from weighbridge.registry.wiring import Registry
from weighbridge.registry.withdrawing import ADMISSION
from weighbridge.source.read import read_file
from weighbridge.source.tree import TreeFile
from weighbridge.store import schema
from weighbridge.store.plain import read_plain
from weighbridge.trust.bundle import Bundle


def chained(registry: Registry) -> list[str]:
    """Read every row again that is only ever added; returns where a chain does not end as it was signed."""
    problems = tally.broken(registry)
    try:
        tally.check_subjects(registry)
    except WeighbridgeError as error:
        problems.append(f"bundle_subject: {error.cause}")
    return problems


def noted(registry: Registry) -> list[str]:
    """Hold the alerts against their own ids and number."""
    with registry.records.read() as connection:
        return alerts.wrong(connection)


def described(registry: Registry) -> list[str]:
    """Hold what is written of each model against its kept bytes and its signed bill of materials."""
    problems = []
    for model in _every(registry):
        name = f"the model {model.digest.short}"
        signed = _signed_boms(registry, model.digest)
        if model.bom is not None and model.bom not in signed:
            problems.append(f"{name}: its bill of materials is not the one that was signed")
        if signed and model.label not in {_named(bom)[:256] for bom in signed}:
            problems.append(f"{name}: its label is not the name in its bill of materials")
        try:
            if canonical(model.chunks.to_json()) != canonical(_chunks(registry, model).to_json()):
                problems.append(f"{name}: the digests of its chunks are not those of its bytes")
        except WeighbridgeError as error:
            problems.append(f"{name}: {error.problem}")
    return problems


def printed(registry: Registry) -> list[str]:
    """Print the weights again whose bytes are kept; returns fingerprints and marks that are not theirs."""
    from weighbridge.tensors.fingerprint import of_weights
    from weighbridge.tensors.reading import open_weights
    from weighbridge.tensors.sketch import sketch

    problems, seen = _of_nothing(registry), set()
    for model in _every(registry):
        weights = model.manifest.weights
        kept = fingerprints.kept(registry, weights) if weights else None
        if weights is None or kept is None or weights in seen:
            continue
        seen.add(weights)
        with open_weights(model.manifest.files, lambda entry: models.open_blob(registry, entry)) as opened:
            found = of_weights(opened)
        again = json.loads(json.dumps(found.to_json(fingerprints.MAX_KEPT)))
        if {**again, "relatives": kept["relatives"]} != kept:
            problems.append(f"the fingerprint of {weights.short} is not that of its bytes")
        if set(sketch(found)) != _marks(registry, weights):
            problems.append(f"the marks of {weights.short} are not those of its bytes")
    return problems


def _of_nothing(registry: Registry) -> list[str]:
    table, node = schema.fingerprint, schema.artifact
    query = sa.select(table.c.artifact).outerjoin(node, node.c.id == table.c.artifact)
    query = query.where(sa.or_(node.c.kind.is_(None), node.c.kind != "weights"))
    with registry.records.read() as connection:
        return [f"fingerprint {number} is of no weights" for number in connection.execute(query).scalars()]


def states(registry: Registry) -> list[str]:
    """Name nodes of the lineage that are said to wait for nobody, or to wait, where the edges say otherwise."""
    node, edge = schema.artifact, schema.edge
    answered = sa.select(edge.c.child).where(edge.c.relation == Relation.SAME_AS.value)
    with registry.records.read() as connection:
        known = set(connection.execute(answered).scalars())
        rows = connection.execute(sa.select(node.c.id, node.c.digest, node.c.kind, node.c.state)).all()
    problems = []
    for number, digest, kind, state in rows:
        wanted = "placeholder" if kind == "alias" and number not in known else "known"
        if state != wanted:
            problems.append(f"{digest[:17]} is said to be {state!r}, and is {wanted}")
    return problems


def laid_out(registry: Registry) -> list[str]:
    """Hold what lies ready to be loaded against the manifest and the kept evidence; the next admission lays it out anew."""
    problems = []
    for model in _every(registry):
        files = export.place(registry, model)
        evidence = files.parent / "evidence"
        if not (evidence / ADMISSION).exists():  # nothing can be loaded from it
            here = model.tier is Tier.TRUSTED and model.status is Status.ACTIVE and evidence.exists()
            problems += [f"{evidence / ADMISSION}: gone"] if here else []
            continue
        if not export.intact(registry, files, model):
            problems.append(f"{files}: not the files of the model")
        problems += [f"{evidence / name}: {what}" for name, what in _evidence(registry, model, evidence)]
    return problems


def _every(registry: Registry) -> Iterator[Model]:
    """Yield the models of all projects that this registry keeps bytes of."""
    for model in models.every_project(registry):
        if all(registry.blobs.has(entry.sha256) for entry in model.manifest.files):
            yield model


def _signed_boms(registry: Registry, digest: Digest) -> set[str]:
    found = set()
    for content in _contents(registry, "bom", digest):
        statement = Statement.decode(Bundle.from_json(content.encode()).envelope.payload)
        found.add(canonical(dict(statement.predicate)).decode())
    return found


def _contents(registry: Registry, stage: str, digest: Digest) -> Sequence[str]:
    """Return the claims about a model, of one stage or of any, in the order in which they were kept."""
    bundle, subject = schema.bundle, schema.bundle_subject
    query = sa.select(bundle.c.content).join(subject, subject.c.bundle == bundle.c.digest)
    query = query.where(subject.c.identity == str(digest)).order_by(bundle.c.place)
    if stage:
        query = query.where(bundle.c.stage == stage)
    with registry.records.read() as connection:
        return connection.execute(query).scalars().all()


def _named(bom: str) -> str:
    value: Any = parse(bom)
    return str(value["metadata"]["component"]["name"])


def _chunks(registry: Registry, model: Model) -> ChunkTable:
    rows = []
    for entry in model.manifest.files:
        opener = partial(models.open_blob, registry, entry)
        rows.append(read_file(TreeFile(entry.path, entry.size, opener=opener)).chunks)
    return ChunkTable(tuple(rows))


def _marks(registry: Registry, weights: Digest) -> set[tuple[str, str]]:
    mark, node = schema.mark, schema.artifact
    query = sa.select(mark.c.kind, mark.c.mark).join(node, node.c.id == mark.c.artifact)
    with registry.records.read() as connection:
        return {
            (row.kind, row.mark) for row in connection.execute(query.where(node.c.digest == str(weights)))
        }


def _newest_admission(registry: Registry, digest: Digest) -> set[str]:
    """Return the summary that admitted a model last; each laying out is of the newest."""
    found = [
        content
        for content in _contents(registry, "", digest)
        if Statement.decode(Bundle.from_json(content.encode()).envelope.payload).predicate_type == VSA
    ]
    return set(found[-1:])


def _evidence(registry: Registry, model: Model, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the evidence laid out beside a model: each file is one that is kept, or was."""
    with registry.records.read() as connection:
        authorities = set(connection.execute(sa.select(schema.authority.c.content)).scalars())
    about = [model.digest, *([model.manifest.weights] if model.manifest.weights else [])]
    kept = {content for digest in about for content in _contents(registry, "", digest)}
    wanted = {
        "manifest.json": {model.manifest.canonical_bytes.decode()},
        "chunks.json": {canonical(model.chunks.to_json()).decode()},
        "registry.json": {canonical({"schema": export.EVIDENCE_SCHEMA, "registry": registry.id}).decode()},
        "bom.cdx.json": _signed_boms(registry, model.digest) or {"{}"},
        "authority.json": authorities,
        ADMISSION: _newest_admission(registry, model.digest),
    }
    for name, good in wanted.items():
        try:
            if read_plain(folder / name).decode() not in good:
                yield name, "not what was written there"
        except (OSError, UnicodeDecodeError) as error:
            yield name, str(error)
    try:
        if not set(read_plain(folder / "claims.jsonl").decode().splitlines()) <= kept:
            yield "claims.jsonl", "a claim that is not kept"
    except (OSError, UnicodeDecodeError) as error:
        yield "claims.jsonl", str(error)
