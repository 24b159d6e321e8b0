"""Reading everything again: what each command need not look at, held against what the log and the claims say."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.registry import edges
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.dsse import Envelope

Row = tuple[str, str, str, str]
"""parent, child, relation, bundle."""


def blobs(registry: Registry) -> list[str]:
    """Read every kept byte again; returns what is missing or changed."""
    with registry.records.read() as connection:
        manifests = connection.execute(sa.select(schema.model.c.manifest)).scalars().all()
    kept = [Manifest.from_json(text.encode()) for text in manifests]
    digests = {entry.sha256 for manifest in kept for entry in manifest.files}
    problems = []
    for digest in sorted(digests):
        try:
            if not registry.blobs.verify(digest):
                problems.append(f"{digest.short} has changed")
        except WeighbridgeError as error:
            problems.append(f"{digest.short}: {error.problem}")
    return problems


def lineage(registry: Registry) -> list[str]:
    """Draw the lineage again from the kept claims; returns what the index has too much or too little.

    Which weights a model carries is held against the models themselves, for anybody may sign a bill of materials.
    """
    table = schema.model
    described = sa.select(table.c.weights, table.c.digest).where(
        table.c.weights.is_not(None), table.c.bom.is_not(None)
    )
    with registry.records.read() as connection:
        expected: set[Row] = {
            (row[0], row[1], Relation.PACKAGING.value, "") for row in connection.execute(described)
        }
        contents = connection.execute(sa.select(schema.bundle.c.content)).scalars().all()
        found = set(_index(connection))
    for text in contents:
        for edge in edges.stated(Bundle.from_json(text.encode())):
            if edge.relation is not Relation.PACKAGING:
                expected.add((str(edge.parent), str(edge.child), edge.relation.value, edge.source))
    lost = [
        f"lost: {parent[:17]} {relation} {child[:17]}"
        for parent, child, relation, _ in sorted(expected - found)
    ]
    more = [
        f"made up: {parent[:17]} {relation} {child[:17]}"
        for parent, child, relation, _ in sorted(found - expected)
    ]
    return lost + more


def _index(connection: sa.Connection) -> list[Row]:
    parent, child, edge = schema.artifact.alias("p"), schema.artifact.alias("c"), schema.edge
    query = sa.select(parent.c.digest, child.c.digest, edge.c.relation, edge.c.bundle).select_from(
        edge.join(parent, parent.c.id == edge.c.parent).join(child, child.c.id == edge.c.child)
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def log(registry: Registry) -> list[str]:
    """Read the whole log again; returns its entries that no kept claim, authority or waiting draft explains."""
    registry.log.verify_all()
    with registry.records.read() as connection:
        bundles = connection.execute(sa.select(schema.bundle.c.log_index)).scalars().all()
        versions = connection.execute(sa.select(schema.authority.c.content)).scalars().all()
        drafts = sa.select(schema.outbox.c.envelope, schema.outbox.c.public_pem)
        waiting = connection.execute(drafts.where(schema.outbox.c.done_at.is_(None))).all()
    known = {index for index in bundles if index is not None}
    bodies = {log_body(Envelope.decode(text.encode()), pem) for text, pem in waiting}
    signed = {Digest.of(Envelope.decode(text.encode()).payload).hex for text in versions}
    problems = []
    for entry in registry.log.entries(1):  # entry 0 is the genesis note
        if entry.index in known or entry.body in bodies or _is_authority(entry.body, signed):
            continue
        problems.append(f"log entry {entry.index} is kept nowhere")
    return problems


def _is_authority(body: bytes, payloads: set[str]) -> bool:
    try:
        value: Any = parse(body)
        return value["spec"]["payloadHash"]["value"] in payloads
    except (ValueError, KeyError, TypeError):
        return False
