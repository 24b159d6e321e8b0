"""The model card of a component: parameters, results and considerations, and every further fact as a property."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weighbridge.bom.attested import VerifiedClaim
from weighbridge.bom.facts import Fact, Facts, flat, scalar
from weighbridge.bom.parts import prop
from weighbridge.bom.sourced import Said, said
from weighbridge.core.lineage import Grade

PARAMETERS = (
    ("task", ("pipeline_tag",)),
    ("architectureFamily", ("model_type",)),
    ("modelArchitecture", ("architectures", "_class_name")),
)
ELSEWHERE = frozenset({"datasets", "limitation", "metric", "use_case"})
"""Facts that the document carries in places of their own, where they name their source."""
CONSIDERATIONS = (("useCases", "use_case"), ("technicalLimitations", "limitation"))
MODALITIES = frozenset({"3d", "audio", "image", "speech", "text", "video"})
"""Words of the hub's tasks that say what goes in and what comes out, as in image-text-to-text; nothing else is derived."""


def model_card(
    facts: Facts, part: str = "", *, datasets: Sequence[str] = (), claims: Sequence[VerifiedClaim] = ()
) -> dict[str, Any]:
    """Return the model card of the model or of one part: what is known, each value with its source."""
    parameters: dict[str, Any] = {}
    for member, names in PARAMETERS:
        fact = next((found for name in names if (found := facts.get(name, part))), None)
        if fact is not None:
            texts = ", ".join(facts.texts(fact.name, part))
            if texts:
                parameters[member] = said(texts, fact.grade, fact.place)
    task = facts.get("pipeline_tag", part)
    if task is not None:
        given, _, made = str(task.value).partition("-to-")
        for member, words in (("inputs", given.split("-")), ("outputs", made.split("-"))):
            if {*given.split("-"), *made.split("-")} <= MODALITIES:
                parameters[member] = said([{"format": word} for word in words], task.grade, task.place)
    if datasets:
        parameters["datasets"] = [{"ref": ref} for ref in datasets]
    metrics = _metrics(facts, part, claims)
    considerations = {
        member: [said(fact.value, fact.grade, fact.place) for fact in facts.every(name, part)]
        for member, name in CONSIDERATIONS
        if facts.every(name, part)
    }
    card: dict[str, Any] = {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": metrics} if metrics else {},
        "considerations": considerations,
        "properties": _properties(facts, part),
    }
    return {key: value for key, value in card.items() if value}


def _metrics(facts: Facts, part: str, claims: Sequence[VerifiedClaim]) -> list[Said]:
    rows = [said(fact.value, fact.grade, fact.place) for fact in facts.every("metric", part)]
    for claim in claims:
        for kind in sorted(claim.metrics):
            value = scalar(claim.metrics[kind])
            if value is not None:
                rows.append(said({"type": kind, "value": value}, Grade.ATTESTED, str(claim.bundle)))
    return rows


def _properties(facts: Facts, part: str) -> list[Any]:
    """Return each fact as a property, followed by one that names its source; then what could not be read."""
    rows: list[Any] = []
    for fact in facts.of(part):
        rows += _of(fact)
    if not part:
        rows += [prop("weighbridge:unread", f"{path}: {reason}") for path, reason in facts.unread]
    return rows


def _of(fact: Fact) -> list[Any]:
    rows: list[Any] = []
    if fact.name not in ELSEWHERE:
        rows += [
            said(prop(f"weighbridge:fact:{name}", value), fact.grade, fact.place)
            for name, value in flat(fact.name, fact.value)
        ]
    rows.append(prop(f"weighbridge:source:{fact.name}", f"{fact.grade.value} {fact.place}"))
    return rows
