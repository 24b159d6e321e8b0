"""The lineage index: which identity came from which, drawn from claims as they are kept.

Nodes are identities: models (`wb1:`), weights (`wbw1:`), datasets (`wb1:` of their own manifest). A
model is the child of its weights (`packaging`, observed: computed from its manifest), so that a revoked
set of weights reaches every package that carries it. The walks are recursive queries with UNION, which
visit each node once and end on cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.predicates import kind_of, read_claim, role_of, stage_of
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.identity import Identity
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage
from weighbridge.registry.wiring import Registry
from weighbridge.store import lineage_index
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
    of materials by anybody else draws nothing.
    """
    found = stated(bundle)
    if not found:
        return ()
    statement = Statement.decode(bundle.envelope.payload)
    grade = _grade(registry, bundle, role_of(statement), str(record["project"]))
    graded = [
        edge if edge.relation is Relation.PACKAGING else replace(edge, grade=grade)
        for edge in found
        if edge.relation is not Relation.PACKAGING or grade is Grade.ATTESTED
    ]
    return lineage_index.add_edges(connection, graded, record).tainted


def stated(bundle: Bundle) -> list[Parentage]:
    """Return the edges that a kept claim states, not yet graded; packaging edges carry no source."""
    try:
        statement = Statement.decode(bundle.envelope.payload)
        claim = read_claim(statement)
    except VerificationFailed:
        return []
    if claim is None:
        return []
    if claim.stage is Stage.BOM:
        models = [digest for digest in claim.about if digest.algorithm == "wb1"]
        weights = [digest for digest in claim.about if digest.algorithm == "wbw1"]
        return [Parentage(w, m, Relation.PACKAGING, Grade.OBSERVED) for m in models for w in weights]
    return [
        Parentage(parent.digest, child, parent.relation, Grade.DECLARED, str(bundle.digest))
        for child in claim.about
        for parent in claim.parents
        if parent.digest != child
    ]


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
