"""Handing out: may this model leave the registry now, by the gate's own signed word; cheap enough to be asked at every request.

It is the question of `admit`, answered without judging anew as long as the gate's last answer holds: a model that is trusted
and active, and a summary of its admission that an identity with the role `admit` signed, that is logged and has not ended.
Where it has ended, `admit` is asked again (`renew`). Everything else is a refusal with its reason: `Withheld`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.predicates import stage_of
from weighbridge.claims.summary import Summary, read_vsa
from weighbridge.claims.words import VSA
from weighbridge.core.canonical import parse
from weighbridge.core.digest import Digest
from weighbridge.core.distrust import check_signer
from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage, Status, Tier
from weighbridge.gate.promote import admit
from weighbridge.registry import bundles, decisions, distrusts, edges, models
from weighbridge.registry.wiring import Registry
from weighbridge.registry.witnesses import witnessed
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle
from weighbridge.trust.verify import verify_bundle

SKEW = timedelta(minutes=5)
SHOWN = 3
"""How many of the checks that stand against a model are told."""


class Withheld(Refused):
    """A model that may not leave; `decision` is the gate's answer about `model`, where it gave one."""

    kind = "withheld"
    decision = ""
    model = ""


def word_of(registry: Registry, model: models.Model) -> Summary | None:
    """Return the gate's newest word that admits a model and holds now; None where there is none, or it has ended.

    Each is verified anew: signature, role, log proof, registry, project, and that its decision allowed and took effect.
    Raises Withheld for a model that is not trusted, or not active, whatever was said of it before.
    """
    if model.tier is not Tier.TRUSTED or model.status is not Status.ACTIVE:
        raise withheld(registry, model)
    now = registry.clock.now()
    distrusted = distrusts.standing(registry)
    for bundle in reversed(bundles.about(registry, [model.digest])):
        if Statement.decode(bundle.envelope.payload).predicate_type != VSA:
            continue
        shown = witnessed(bundle, registry.log) if registry.authority.trusted.witnesses else bundle
        try:
            verified = verify_bundle(
                shown, authority=registry.authority, project=registry.project, role=Role.ADMIT, now=now
            )
            check_signer(distrusted, verified.proven)
            said = read_vsa(verified.statement)
        except VerificationFailed:
            continue
        if _about(registry, model, said) and said.verified_at <= now + SKEW and now < said.expires:
            return said
    return None


def claims_about(registry: Registry, model: models.Model) -> list[Bundle]:
    """Return the claims that travel with a model: how it came to be and from which data, what was found, and the gate's newest word.

    What they are worth the receiver judges: they are what was signed, not what was believed.
    """
    about = [model.digest, *([model.manifest.weights] if model.manifest.weights else [])]
    kept = [
        (stage_of(Statement.decode(bundle.envelope.payload)), bundle)
        for bundle in bundles.about(registry, about)
    ]
    words = [bundle for stage, bundle in kept if stage is Stage.ADMIT]
    claims = [bundle for stage, bundle in kept if stage not in (None, Stage.ADMIT)]
    data = {
        edge.parent for one in claims for edge in edges.stated(one)[0] if edge.relation is Relation.DATASET
    }
    told = [
        bundle
        for bundle in bundles.about(registry, sorted(data))
        if stage_of(Statement.decode(bundle.envelope.payload)) is Stage.DATA
    ]
    return claims + told + words[-1:]


def _about(registry: Registry, model: models.Model, said: Summary) -> bool:
    here = (said.registry, said.project, said.manifest) == (registry.id, registry.project, model.digest)
    if not here or not said.passed or said.tier is not Tier.TRUSTED:
        return False
    with registry.records.read() as connection:
        return decisions.allowed(connection, said.decision, project=registry.project)


def renew(registry: Registry, model: models.Model) -> None:
    """Ask the gate again whether a model may run; raises Withheld with what stands against it.

    An allow that a mode does not enforce renews nothing, and hands nothing out.
    """
    result = admit(registry, model.digest)
    if result.decision.allow and result.decision.enforced:
        return
    checks = [check.to_json() for check in result.decision.refusals]
    raise _refused(model, "the gate does not admit this model", checks, str(result.id))


def withheld(registry: Registry, model: models.Model) -> Withheld:
    """Return why a model is not handed out: what withdrew it, or what the gate last held against it."""
    with registry.records.read() as connection:
        reason = _withdrawn(connection, registry.project, model)
        newest = _newest(connection, registry.project, model.digest)
    identity, checks = newest
    if model.status is not Status.ACTIVE:
        error = _refused(model, f"this model is {model.status.value}", [], identity)
        error.cause = reason or "something that it rests on was withdrawn"
        return error
    if checks:
        return _refused(model, "the gate refused this model", checks, identity)
    error = _refused(model, "this model was taken in and not promoted yet", [], "")
    error.check = "tier.trusted"
    error.remedy = f"ask for it: weighbridge promote {model.digest.short}"
    return error


def _refused(model: models.Model, problem: str, checks: list[Any], decision: str) -> Withheld:
    first = checks[0] if checks else {"id": "status.active", "found": "", "remedy": ""}
    found = "; ".join(f"{row['id']}: {row['found']}" for row in checks[:SHOWN])
    more = f" and {len(checks) - SHOWN} more" if len(checks) > SHOWN else ""
    error = Withheld(
        problem,
        cause=f"{found}{more}",
        remedy=str(first["remedy"]) or f"see why: weighbridge decisions {model.digest.short}",
        check=str(first["id"]),
    )
    error.decision, error.model = decision, model.digest.short
    return error


def _withdrawn(connection: sa.Connection, project: str, model: models.Model) -> str:
    """Return the reason of the revocation or the quarantine that names the model itself, or nothing."""
    wanted = [str(model.digest), *([str(model.manifest.weights)] if model.manifest.weights else [])]
    revoked, held = schema.revocation, schema.standing
    reason = connection.execute(
        sa.select(revoked.c.reason).where(revoked.c.project == project, revoked.c.target.in_(wanted))
    ).scalar()
    if reason is None:
        reason = connection.execute(
            sa.select(held.c.reason).where(held.c.project == project, held.c.digest == wanted[0])
        ).scalar()
    return str(reason or "")


def _newest(connection: sa.Connection, project: str, digest: Digest) -> tuple[str, list[Any]]:
    """Return the newest decision on a model that blocks, and its checks that did not pass, definite ones first."""
    table = schema.decision
    query = sa.select(table.c.id, table.c.content, table.c.answer).where(
        table.c.project == project, table.c.manifest == str(digest), table.c.receipt.is_not(None)
    )
    row = connection.execute(query.order_by(table.c.sequence.desc()).limit(1)).first()
    if row is None:
        return "", []
    body: Any = parse(row.content)
    bad = [check for check in body["checks"] if check["outcome"] != "pass"] if row.answer == "block" else []
    return str(row.id), sorted(bad, key=lambda check: check["outcome"] != "fail")
