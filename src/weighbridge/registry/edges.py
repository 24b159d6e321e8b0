"""The lineage index: which identity came from which, drawn from claims as they are kept.

Nodes are identities: models (`wb1:`), weights (`wbw1:`), datasets (`wb1:` of their own manifest). A
model is the child of its weights (`packaging`, observed: computed from its manifest), so that a revoked
set of weights reaches every package that carries it. A parent that a bill of materials knows by name only is
a node that stands for the name, until something known by it is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.predicates import Claim, kind_of, read_claim, role_of, stage_of
from weighbridge.core.alias import Alias
from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.manifest import Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.registry.aliases import Known, aliases_of
from weighbridge.registry.declared import declared_parents
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index, schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle, who_signed


def stage_name(statement: Statement) -> str:
    """Return the word under which a bundle is kept: its stage, else the kind of event, else `other`."""
    stage = stage_of(statement)
    return stage.value if stage else kind_of(statement) or "other"


def signer_of(registry: Registry, bundle: Bundle) -> Identity:
    """Return who the bundle says signed it, with the authority's name for the key."""
    return who_signed(bundle, registry.authority)


def draw(
    registry: Registry, connection: sa.Connection, bundle: Bundle, record: Mapping[str, Any]
) -> tuple[Digest, ...]:
    """Draw the edges that a claim states: attested when its signer may sign that stage, else declared.

    Returns what advisories that were here before now reach.
    Which weights a model carries is observed: intake computed it from the bytes, and signs it with the BOM. A bill
    of materials by anybody else draws declared parents and nothing more. With its own, intake also
    notes by what else the model is known, so that whoever waited for one of these names is bound to it.
    """
    found, names = stated(bundle)
    statement = _statement(bundle)
    if statement is None or not (found or stage_of(statement) is Stage.BOM):
        return ()
    grade = _grade(registry, bundle, role_of(statement), str(record["project"]))
    described = stage_of(statement) is Stage.BOM
    sure = grade is Grade.ATTESTED
    graded = [
        edge if described else replace(edge, grade=grade)
        for edge in found
        if edge.relation is not Relation.PACKAGING or sure
    ]
    known = _known(connection, statement, str(record["project"])) if described and sure else []
    batch = lineage_index.Batch(aliases=known, edges=graded, names=names)
    return lineage_index.publish(connection, batch, record).tainted


def stated(bundle: Bundle) -> tuple[list[Parentage], list[Alias]]:
    """Return the edges that a kept claim states, not yet graded, and the names that alias nodes among them stand for.

    Packaging edges carry no source; those of a bill of materials are graded already.
    """
    statement = _statement(bundle)
    try:
        claim = read_claim(statement) if statement else None
    except VerificationFailed:
        return [], []
    if claim is None or statement is None:
        return [], []
    if claim.stage is Stage.BOM:
        return _described(statement, claim, str(bundle.digest))
    edges = [
        Parentage(parent.digest, child, parent.relation, Grade.DECLARED, str(bundle.digest))
        for child in claim.about
        for parent in claim.parents
        if parent.digest != child
    ]
    return edges, []


def _described(statement: Statement, claim: Claim, source: str) -> tuple[list[Parentage], list[Alias]]:
    models = [digest for digest in claim.about if digest.algorithm == "wb1"]
    weights = [digest for digest in claim.about if digest.algorithm == "wbw1"]
    edges = [Parentage(w, m, Relation.PACKAGING, Grade.OBSERVED) for m in models for w in weights]
    if len(models) != 1 or len(weights) > 1:
        return edges, []
    more, names = declared_parents(statement.predicate, models[0], weights[0] if weights else None, source)
    return edges + more, names


def _statement(bundle: Bundle) -> Statement | None:
    try:
        return Statement.decode(bundle.envelope.payload)
    except VerificationFailed:
        return None


def _known(connection: sa.Connection, statement: Statement, project: str) -> list[Known]:
    """Return by what else the models are known that this bill is about and this project keeps."""
    table, texts = schema.model, schema.description
    about = [str(digest) for digest in statement.identities if digest.algorithm == "wb1"]
    same = sa.and_(texts.c.project == table.c.project, texts.c.digest == table.c.digest)
    query = sa.select(texts.c.manifest, table.c.source).select_from(table.join(texts, same))
    rows = connection.execute(query.where(table.c.project == project, table.c.digest.in_(about)))
    return [known for row in rows for known in aliases_of(Manifest.from_json(row[0].encode()), facts(row[1]))]


def facts(text: str) -> Mapping[str, Any]:
    """Return what a model's row says of where it was fetched."""
    value: Any = parse(text)
    return value if isinstance(value, Mapping) else {}


def _grade(registry: Registry, bundle: Bundle, role: Role | None, project: str) -> Grade:
    if role is None:
        return Grade.DECLARED
    try:
        verify_bundle(
            bundle, authority=registry.authority, project=project, role=role, now=registry.clock.now()
        )
    except VerificationFailed:
        return Grade.DECLARED
    return Grade.ATTESTED
