"""Reading everything again: what each command need not look at, held against what the log and the claims say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.core.alias import Alias
from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.lineage import Relation
from weighbridge.core.manifest import Manifest
from weighbridge.ledger.sequencer import MIN_GENESIS, Log
from weighbridge.registry import decisions as chained
from weighbridge.registry import dropping, edges, fingerprints, fsck_taints
from weighbridge.registry.aliases import SCHEMES, aliases_of
from weighbridge.registry.outbox import CLOCK_SKEW, Draft
from weighbridge.registry.outbox import waiting as read_draft
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle, log_body
from weighbridge.trust.dsse import Envelope

Row = tuple[str, str, str, str]
"""parent, child, relation, bundle."""


def blobs(registry: Registry) -> list[str]:
    """Read every kept byte again; returns what is missing or changed, but for what was dropped on purpose."""
    with registry.records.read() as connection:
        manifests = connection.execute(sa.select(schema.description.c.manifest)).scalars().all()
        policies = connection.execute(sa.select(schema.policy.c.blob).where(schema.policy.c.blob != "")).all()
    kept = [Manifest.from_json(text.encode()) for text in manifests]
    digests = {entry.sha256 for manifest in kept for entry in manifest.files}
    digests |= {Digest.parse(row[0]) for row in policies}
    problems = []
    for digest in sorted(digests - dropping.gone(registry)):
        try:
            if not registry.blobs.verify(digest):
                problems.append(f"{digest.short} has changed")
        except WeighbridgeError as error:
            problems.append(f"{digest.short}: {error.problem}")
    return problems


def lineage(registry: Registry) -> list[str]:
    """Draw the lineage again from the kept claims; returns what the index has too much or too little.

    Which weights a model carries, and by what else it is known, is held against the models themselves, for anybody
    may sign a bill of materials. Whom each advisory reaches is walked again (`fsck_taints`).
    """
    table = schema.model
    described = (
        sa.select(table.c.weights, table.c.digest)
        .select_from(_described())
        .where(table.c.weights.is_not(None), schema.description.c.bom.is_not(None))
    )
    with registry.records.read() as connection:
        expected: set[Row] = {
            (row[0], row[1], Relation.PACKAGING.value, "") for row in connection.execute(described)
        }
        contents = connection.execute(sa.select(schema.bundle.c.content)).scalars().all()
        found = set(_index(connection))
        expected |= _same(connection) | _seen(connection)
        names = [*_names(connection), *fsck_taints.wrong(connection)]
    for text in contents:
        for edge in edges.stated(Bundle.from_json(text.encode()))[0]:
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
    return lost + more + names


def decisions(registry: Registry) -> list[str]:
    """Read every decision and its evidence again, and follow the chain from one to the next; returns what is wrong."""
    with registry.records.read() as connection:
        return chained.reread(connection)


def _described() -> sa.Join:
    model, texts = schema.model, schema.description
    return model.join(texts, sa.and_(texts.c.project == model.c.project, texts.c.digest == model.c.digest))


def _same(connection: sa.Connection) -> set[Row]:
    """Return the edges from what is known by a name to the node that stands for the name."""
    table = schema.artifact
    waiting = set(connection.execute(sa.select(table.c.digest).where(table.c.kind == "alias")).scalars())
    rows = (
        (owner, str(alias.node), Relation.SAME_AS.value, bundle)
        for owner, alias, bundle in _aliases(connection)
    )
    return {row for row in rows if row[1] in waiting}


def _seen(connection: sa.Connection) -> set[Row]:
    """Return the edges that comparing weights drew, as they are kept beside the fingerprints."""
    return {
        (str(edge.parent), str(edge.child), edge.relation.value, edge.source)
        for edge in fingerprints.drawn(connection)
    }


def _names(connection: sa.Connection) -> list[str]:
    """Hold by what else models are known against their manifests; models older than the index may have no names."""
    texts = schema.description
    query = sa.select(texts.c.manifest, schema.model.c.source).select_from(_described())
    query = query.where(texts.c.bom.is_not(None))
    found = {
        (owner, alias)
        for owner, alias, bundle in _aliases(connection)
        if not bundle and alias.scheme in SCHEMES
    }
    known: set[tuple[str, Alias]] = set()
    for manifest, source in connection.execute(query):
        rows = aliases_of(Manifest.from_json(manifest.encode()), edges.facts(source))
        known |= {(str(owner), alias) for owner, alias, _ in rows}
    owners = {owner for owner, _ in found}
    lost = [f"lost: {owner[:17]} is known as {a}" for owner, a in sorted(known - found) if owner in owners]
    return lost + [f"made up: {owner[:17]} is known as {a}" for owner, a in sorted(found - known)]


def _aliases(connection: sa.Connection) -> list[tuple[str, Alias, str]]:
    table, node = schema.alias, schema.artifact
    query = sa.select(node.c.digest, table.c.scheme, table.c.value, table.c.bundle)
    rows = connection.execute(query.join(node, node.c.id == table.c.artifact))
    return [(digest, Alias.parse(f"{scheme}:{value}"), bundle) for digest, scheme, value, bundle in rows]


def _index(connection: sa.Connection) -> list[Row]:
    parent, child, edge = schema.artifact.alias("p"), schema.artifact.alias("c"), schema.edge
    query = sa.select(parent.c.digest, child.c.digest, edge.c.relation, edge.c.bundle).select_from(
        edge.join(parent, parent.c.id == edge.c.parent).join(child, child.c.id == edge.c.child)
    )
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]


def log(registry: Registry) -> list[str]:
    """Read every log of records again and hold it against what is kept here; returns what is in only one of the two.

    A log's entries are explained by a kept claim, an authority or a waiting draft; a kept claim is in one of the logs.
    """
    with registry.records.read() as connection:
        columns = (schema.bundle.c.log_index, schema.bundle.c.digest, schema.bundle.c.content)
        kept = connection.execute(sa.select(*columns)).all()
        versions = connection.execute(sa.select(schema.authority.c.content)).scalars().all()
        drafts = sa.select(schema.outbox.c.envelope, schema.outbox.c.public_pem)
        waiting = connection.execute(drafts.where(schema.outbox.c.done_at.is_(None))).all()
    bodies = {log_body(draft.envelope, draft.public_pem) for draft in map(_draft, waiting)}
    signed = {Digest.of(Envelope.decode(text.encode()).payload).hex for text in versions}
    known = {(row[0], _payload(row[2])): Digest.parse(row[1]) for row in kept if row[0] is not None}
    problems, found = [], set()
    for number, log in enumerate((*registry.before, registry.log)):
        log.verify_all()
        for entry in log.entries(MIN_GENESIS if number else 1):  # the genesis notes; the first log has one
            place = (entry.index, _said(entry.body))
            if place in known:
                found.add(place)
            elif entry.body not in bodies and place[1] not in signed:
                where = f" of {log.origin}" if registry.before else ""
                problems.append(f"log entry {entry.index}{where} is kept nowhere")
        problems += _turned_back(log)
    return problems + [f"the claim {known[place].short} is in no log" for place in sorted(set(known) - found)]


def _turned_back(log: Log) -> list[str]:
    """Name entries that are dated before what stands before them: somebody turned the clock back, or it went wrong."""
    problems, newest = [], 0
    for entry in log.entries(0):
        by = timedelta(seconds=newest - entry.integrated_time)
        if by > CLOCK_SKEW:  # ours never does that: dates do not go back (`ledger.sequencer`)
            problems.append(f"log entry {entry.index} is dated {by} before one that it follows")
        newest = max(newest, entry.integrated_time)
    return problems


def _draft(row: Any) -> Draft:
    return read_draft({"envelope": row[0], "public_pem": row[1]})


def _payload(content: str) -> str:
    """Return the digest of what a kept claim says, as the log has it."""
    return Digest.of(Bundle.from_json(content.encode()).envelope.payload).hex


def _said(body: bytes) -> str:
    """Return the digest of the payload that an entry is about; empty for an entry of another kind."""
    try:
        value: Any = parse(body)
        return str(value["spec"]["payloadHash"]["value"])
    except (ValueError, KeyError, TypeError):
        return ""
