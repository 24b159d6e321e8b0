"""What verified claims say of a model, handed in by whoever verified them: nothing here looks at a signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import ClaimFact
from weighbridge.core.lineage import Relation
from weighbridge.core.tier import Stage

MAKING = (Stage.TRAIN, Stage.CONVERT)
"""Stages of claims that tell how a model was made."""


@dataclass(frozen=True, slots=True)
class Input:
    """One thing a step was given: its identity, how the model descends from it, and its name where one is known."""

    identity: Digest
    relation: Relation
    name: str = ""


@dataclass(frozen=True, slots=True)
class VerifiedClaim:
    """One verified claim about this model, or about a dataset that it was made from.

    `bundle` is the digest of the signed claim and `signer` the authority's name for who signed. For a step
    that made the model (train, convert) there are `method`, `inputs`, `parameters`, times and the URI of
    the builder; for an evaluation `metrics`, with the `result`; for data `about`, `licence`, `origin` and
    `description` of that dataset.
    """

    stage: Stage
    bundle: Digest
    signer: str
    about: Digest | None = None
    method: str = ""
    inputs: tuple[Input, ...] = ()
    parameters: Mapping[str, JSON] = field(default_factory=dict)
    builder: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    result: str = ""
    licence: str = ""
    origin: str = ""
    description: str = ""

    @property
    def ref(self) -> str:
        """The bom-ref of the component that stands for the claim."""
        return f"claim:{self.bundle}"


def verified_claims(facts: Iterable[ClaimFact], own: Iterable[Digest]) -> tuple[VerifiedClaim, ...]:
    """Return what the verified claims among `facts` say of a model, or of a dataset it was made from.

    `own` are the identities of the model: itself and its weights. Claims that were refused, and those about
    other models, are left out.
    """
    verified = [fact for fact in facts if fact.verified]
    names = set(own)
    about = [fact for fact in verified if names & set(fact.about) and fact.stage in (*MAKING, Stage.EVALUATE)]
    claims = [_claim(fact) for fact in about]
    datasets = {one.identity for claim in claims for one in claim.inputs if one.relation is Relation.DATASET}
    claims += [
        _claim(fact, about=digest)
        for fact in verified
        for digest in fact.about
        if fact.stage is Stage.DATA and digest in datasets
    ]
    return tuple(sorted(claims, key=lambda claim: (claim.stage.value, str(claim.bundle), str(claim.about))))


def _claim(fact: ClaimFact, *, about: Digest | None = None) -> VerifiedClaim:
    detail: Mapping[str, Any] = fact.detail
    relations = _mapping(detail.get("relations"))
    inputs = tuple(
        Input(parent, Relation(str(relations[str(parent)])))
        for parent in fact.parents
        if relations.get(str(parent)) in set(Relation)
    )
    metrics = detail.get("metrics")
    return VerifiedClaim(
        stage=fact.stage,
        bundle=fact.bundle,
        signer=fact.signer.name if fact.signer else "",
        about=about,
        method=str(detail.get("method") or ""),
        inputs=inputs if fact.stage in MAKING else (),
        parameters=_mapping(detail.get("parameters")),
        builder=str(detail.get("builder") or ""),
        started=_time(detail.get("started")),
        finished=_time(detail.get("finished")),
        metrics=metrics if isinstance(metrics, Mapping) else {},
        result=str(detail.get("result") or ""),
        licence=str(detail.get("licence") or ""),
        origin=str(detail.get("source") or ""),
        description=str(detail.get("description") or ""),
    )


def _mapping(value: Any) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}


def _time(value: Any) -> datetime | None:
    try:
        return parse_rfc3339(value) if isinstance(value, str) and value else None
    except ValueError:
        return None
