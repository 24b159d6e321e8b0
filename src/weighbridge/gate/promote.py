"""Promote and admit: one decision, logged with its receipt, and what an allow brings about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from weighbridge.claims.summary import build_vsa
from weighbridge.core.canonical import JSON
from weighbridge.core.decision import Check, Decision, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused
from weighbridge.core.evidence import Evidence
from weighbridge.core.exceptions import ExceptionState
from weighbridge.core.tier import Stage, Status, Tier
from weighbridge.gate.evidence import gather
from weighbridge.gate.judging import Judgement, judge_model, judge_nothing
from weighbridge.gate.modes import namespace_of
from weighbridge.gate.settling import Wanted, settle
from weighbridge.registry import deployments, export, models, names
from weighbridge.registry.new_names import Differs, check_new
from weighbridge.registry.outbox import Draft, check_clock, sign
from weighbridge.registry.wiring import Registry


@dataclass(frozen=True, slots=True)
class Result:
    """What a request to the gate came to."""

    decision: Decision
    id: Digest
    receipt: object | None
    """`core.decision.Receipt` as JSON; None for a dry run, which is not logged."""
    path: Path | None = None
    """Where an admitted model lies, ready to be loaded."""
    body: Mapping[str, JSON] = field(default_factory=dict)
    """What was signed: the decision with its circumstances and, where it was logged, its place in the chain."""
    active: Decision | None = None
    """Of a dry run by other policy files: the decision by the active policy, on the same evidence."""


def promote(
    registry: Registry,
    digest: Digest,
    *,
    name: str | None = None,
    differs: Differs | None = None,
    dry_run: bool = False,
    policy: Path | None = None,
) -> Result:
    """Ask for a model to be moved from intake to trusted; `name` is then moved to it.

    The decision is logged whether it allows or blocks. Raises Refused(name.alike) for a new name that could be taken for
    another one, unless `differs` says that it is meant. A dry run judges the same evidence, with another
    policy if one is given, and changes nothing.
    """
    if name is not None:
        names.check_name(name)
    with registry.writing():
        if name is not None:
            check_new(registry, name, digest, differs)  # before anything is decided
        model, judgement = _judged(
            registry, digest, "promote", keep_scan=not dry_run, policy=policy if dry_run else None
        )
        if dry_run:
            check_clock(registry)
            active = _by_active(registry, judgement) if policy is not None else None
            return Result(judgement.decision, judgement.id, None, body=judgement.body, active=active)

        def follow(decision: Digest) -> list[Draft]:
            drafts = []
            if model is not None and judgement.decision.allow and judgement.decision.enforced:
                drafts.append(_summary(registry, model, judgement.decision, decision))
                if name is not None and (move := names.move(registry, name, digest, differs=differs)):
                    drafts.append(move)
            return drafts

        return _settle(registry, Wanted(digest, judgement, follow))


def admit(
    registry: Registry, digest: Digest, *, target: str | None = None, namespace: str | None = None
) -> Result:
    """Ask whether a trusted model may run here, now; everything is verified again.

    An allow renews the gate's short-lived summary. With `target` the deployment is recorded as well: of what was allowed,
    and, where the mode lets what is blocked run all the same, of that too. `namespace`, whose mode holds, is the part of the
    target before the first `/` unless it is given; raises UsageError for another than the target's.
    """
    where = namespace_of(target, namespace)
    with registry.writing():
        model, judgement = _judged(registry, digest, "admit", namespace=where)

        def follow(decision: Digest) -> list[Draft]:
            drafts = []
            if model is not None and judgement.decision.allow and judgement.decision.enforced:
                drafts.append(_summary(registry, model, judgement.decision, decision))
            runs = judgement.decision.allow or not judgement.decision.enforced
            if model is not None and target is not None and runs:
                drafts.append(deployments.deploy(registry, digest, target))
            return drafts

        return _settle(registry, Wanted(digest, judgement, follow))


def _judged(
    registry: Registry,
    digest: Digest,
    action: str,
    *,
    keep_scan: bool = True,
    policy: Path | None = None,
    namespace: str = "",
) -> tuple[models.Model | None, Judgement]:
    """Gather and judge; whatever goes wrong on the way is a decision that blocks and names what failed.

    Raises NotFound for a model that is not here: there is nothing to decide about.
    """
    model, further = None, []
    try:
        model = models.get(registry, digest)
        further = [_active(model)]
        evidence = gather(registry, model, keep_scan=keep_scan)
        if action == "admit":
            further.insert(0, _trusted(model, evidence))
        return model, judge_model(
            registry, evidence, action=action, further=further, policy=policy, namespace=namespace
        )
    except Exception as error:
        if model is None and isinstance(error, NotFound):
            raise
        return model, judge_nothing(
            registry, digest, error, action=action, further=further, namespace=namespace
        )


def _by_active(registry: Registry, judgement: Judgement) -> Decision | None:
    """Judge the same evidence by the active policy; None where none could be gathered."""
    if judgement.basis is None:
        return None
    names = judgement.circumstances["checks"]
    assert isinstance(names, list)
    further = [check for check in judgement.decision.checks if check.id in names]
    evidence, action = judgement.basis.evidence, judgement.decision.action
    return judge_model(registry, evidence, action=action, further=further).decision


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


def _summary(registry: Registry, model: models.Model, decision: Decision, identity: Digest) -> Draft:
    """Make the gate's word of an admission: it ends with the first of the exceptions on which the answer rests, and names them."""
    now = registry.clock.now()
    excused = [row for row in decision.exceptions if row.state is ExceptionState.USED]
    statement = build_vsa(
        registry.id,
        Tier.TRUSTED,
        model.manifest,
        project=registry.project,
        policy_digest=Digest.parse(decision.digests["policy"]),
        decision_digest=identity,
        now=now,
        expires=min(
            [
                now + timedelta(hours=int(registry.config["admission_hours"])),
                *(row.expires for row in excused),
            ]
        ),
        exceptions=[row.bundle for row in excused],
    )
    return sign(statement, registry.gate_key)


def _settle(registry: Registry, wanted: Wanted) -> Result:
    """Record the decision, log it and let it count; then lay out what was admitted."""
    [settled] = settle(registry, [wanted])
    decision, path = wanted.judgement.decision, None
    if decision.allow and decision.enforced:
        admission = settled.bundles[1]  # what follows from an allow begins with the summary
        path = export.lay_out(registry, _taken(registry, wanted.manifest), admission)
    return Result(decision, settled.id, settled.receipt, path, settled.body)


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
