"""Promote and admit: one decision, logged with its receipt, and what an allow brings about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from weighbridge.claims.records import event
from weighbridge.claims.summary import build_vsa
from weighbridge.core.canonical import canonical, parse
from weighbridge.core.decision import Check, Decision, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused
from weighbridge.core.evidence import Evidence
from weighbridge.core.tier import Stage, Status, Tier
from weighbridge.gate.evidence import gather
from weighbridge.gate.judging import Judgement, judge_model
from weighbridge.registry import deployments, export, models, names
from weighbridge.registry.outbox import Draft, drain, enqueue, sign
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema


@dataclass(frozen=True, slots=True)
class Result:
    """What a request to the gate came to."""

    decision: Decision
    id: Digest
    receipt: object | None
    """`core.decision.Receipt` as JSON; None for a dry run, which is not logged."""
    path: Path | None = None
    """Where an admitted model lies, ready to be loaded."""


def promote(
    registry: Registry,
    digest: Digest,
    *,
    name: str | None = None,
    dry_run: bool = False,
    policy: Path | None = None,
) -> Result:
    """Ask for a model to be moved from intake to trusted; `name` is then moved to it.

    The decision is logged whether it allows or blocks. A dry run judges the same evidence, with another
    policy if one is given, and changes nothing.
    """
    if name is not None:
        names.check_name(name)
    with registry.writing():
        model = models.get(registry, digest)
        evidence = gather(registry, model, keep_scan=not dry_run)
        judgement = judge_model(
            registry,
            evidence,
            action="promote",
            further=[_active(model)],
            policy=policy if dry_run else None,
        )
        if dry_run:
            return Result(judgement.decision, judgement.id, None)
        drafts: list[Draft] = []
        if judgement.decision.allow and judgement.decision.enforced:
            drafts.append(_summary(registry, model, judgement))
            if name is not None and (move := names.move(registry, name, digest)):
                drafts.append(move)
        return _settle(registry, model, judgement, drafts)


def admit(registry: Registry, digest: Digest, *, target: str | None = None) -> Result:
    """Ask whether a trusted model may run here, now; everything is verified again.

    An allow renews the gate's short-lived summary. With `target` the deployment is recorded as well.
    """
    with registry.writing():
        model = models.get(registry, digest)
        evidence = gather(registry, model)
        further = [_trusted(model, evidence), _active(model)]
        judgement = judge_model(registry, evidence, action="admit", further=further)
        drafts: list[Draft] = []
        if judgement.decision.allow and judgement.decision.enforced:
            drafts.append(_summary(registry, model, judgement))
            if target is not None:
                drafts.append(deployments.deploy(registry, digest, target))
        return _settle(registry, model, judgement, drafts)


def _trusted(model: models.Model, evidence: Evidence) -> Check:
    """Check the tier; the record is believed only beside the gate's own, signed and logged word of it."""
    said = {"tier": Tier.TRUSTED.value, "result": "PASSED", "project": evidence.project}
    word = next(
        (
            fact
            for fact in evidence.about_model(Stage.ADMIT)
            if fact.verified and model.digest in fact.about and said.items() <= dict(fact.detail).items()
        ),
        None,
    )
    trusted = model.tier is Tier.TRUSTED and word is not None
    found = f"{model.tier.value}, {model.status.value}"
    return Check(
        "tier.trusted",
        Outcome.PASS if trusted else Outcome.FAIL,
        "a model in the trusted tier, by the gate's word",
        found if word or model.tier is not Tier.TRUSTED else f"{found}, and the gate never said so",
        proof=str(word.bundle) if word and trusted else "",
        remedy="" if trusted else "promote it first: weighbridge promote MODEL",
    )


def _active(model: models.Model) -> Check:
    return Check(
        "status.active",
        Outcome.PASS if model.status is Status.ACTIVE else Outcome.FAIL,
        "a model that is neither quarantined nor revoked",
        model.status.value,
        remedy=""
        if model.status is Status.ACTIVE
        else f"see why: weighbridge lineage --deployed {model.digest.short}",
    )


def _summary(registry: Registry, model: models.Model, judgement: Judgement) -> Draft:
    now = registry.clock.now()
    statement = build_vsa(
        registry.id,
        Tier.TRUSTED,
        model.manifest,
        project=registry.project,
        policy_digest=Digest.parse(judgement.decision.digests["policy"]),
        decision_digest=judgement.id,
        now=now,
        expires=now + timedelta(hours=int(registry.config["admission_hours"])),
    )
    return sign(statement, registry.gate_key)


def _settle(registry: Registry, model: models.Model, judgement: Judgement, drafts: Sequence[Draft]) -> Result:
    """Record the decision, put it and what follows from it into the outbox, log and apply; then lay out."""
    body = judgement.decision.to_json()
    statement = event("decision", (model.digest,), body, **registry.event_facts())
    drafts = [sign(statement, registry.gate_key), *drafts]
    row = {
        **registry.record(),
        "id": str(judgement.id),
        "manifest": str(model.digest),
        "action": judgement.decision.action,
        "answer": "allow" if judgement.decision.allow else "block",
        "content": canonical(body).decode(),
        "evidence": canonical(judgement.evidence.to_json()).decode(),
    }
    with registry.records.write() as connection:
        connection.execute(upsert(schema.decision).values(row).on_conflict_do_nothing())
        enqueue(registry, connection, drafts)
    logged = {bundle.digest: bundle for bundle in drain(registry, drafts)}
    path = None
    if judgement.decision.allow and judgement.decision.enforced:
        admission = logged[drafts[1].envelope.digest]  # what follows from an allow begins with the summary
        path = export.lay_out(registry, _taken(registry, model.digest), admission)
    return Result(judgement.decision, judgement.id, receipt(registry, judgement.id), path)


def _taken(registry: Registry, digest: Digest) -> models.Model:
    """Return the model as it stands after an allow; raises Refused when the allow brought nothing about."""
    model = models.get(registry, digest)
    if model.tier is not Tier.TRUSTED:
        raise Refused(
            "the gate's own word was not believed",
            cause="the authority does not name its key for the role admit in this project",
            remedy="give it back with the root key: weighbridge trust show",
            check="identity.role",
        )
    return model


def receipt(registry: Registry, decision: Digest) -> object | None:
    """Return the receipt of a decision, or None while the log has not answered."""
    with registry.records.read() as connection:
        query = sa.select(schema.decision.c.receipt).where(schema.decision.c.id == str(decision))
        text = connection.execute(query).scalar()
    return parse(text) if text else None
