"""How the model was made, as workflows: merging, training, quantizing, converting, with what went in and came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.bom.attested import MAKING, VerifiedClaim
from weighbridge.bom.facts import Fact, Facts, flat, scalar
from weighbridge.bom.parts import Ancestor, prop
from weighbridge.bom.sourced import Said, said
from weighbridge.core.clock import rfc3339
from weighbridge.core.lineage import Grade, Relation


def formulation(
    facts: Facts,
    model: str,
    ancestors: Sequence[Ancestor],
    datasets: Sequence[str],
    claims: Sequence[VerifiedClaim],
) -> list[Any]:
    """Return the `formulation` of a document: one formula with a workflow for each step, or nothing."""
    attested = [claim for claim in claims if claim.stage in MAKING]
    workflows = [_attested(claim, model) for claim in attested]
    workflows += _declared(facts, model, ancestors, datasets)
    return [{"bom-ref": "formula", "workflows": workflows}] if workflows else []


def _attested(claim: VerifiedClaim, model: str) -> Said:
    refs = [
        f"dataset:{one.identity}" if one.relation is Relation.DATASET else f"parent:{one.identity}"
        for one in claim.inputs
    ]
    parameters = {
        name: value for key in sorted(claim.parameters) for name, value in flat(key, claim.parameters[key])
    }
    properties = [prop("weighbridge:evidence", Grade.ATTESTED.value)]
    if claim.builder:
        properties.append(prop("weighbridge:builder", claim.builder))
    row: dict[str, Any] = {
        **_workflow(claim.method or claim.stage.value, str(claim.bundle), model, refs, parameters),
        "properties": properties,
    }
    if claim.started:
        row["timeStart"] = rfc3339(claim.started)
    if claim.finished:
        row["timeEnd"] = rfc3339(claim.finished)
    return said(row, Grade.ATTESTED, str(claim.bundle))


def _declared(facts: Facts, model: str, ancestors: Sequence[Ancestor], datasets: Sequence[str]) -> list[Said]:
    """Return the steps that the files tell of, each only when a file tells of it."""
    merged = [ancestor.ref for ancestor in ancestors if ancestor.relation is Relation.MERGE]
    tuned = [a.ref for a in ancestors if a.relation in (Relation.ADAPTER, Relation.FINE_TUNE)]
    quantized = [a.ref for a in ancestors if a.relation is Relation.QUANTIZATION]
    rows = []
    for method, first, prefixes, refs in (
        ("merge", "merge.merge_method", ("merge.merge_method", "merge.dtype", "merge.parameters:"), merged),
        ("train", "", ("training:", "trainer_state:"), [*tuned, *datasets]),
        (
            "adapt",
            "adapter.peft_type",
            ("adapter.peft_type", "adapter.r", "adapter.lora_alpha"),
            [*tuned, *datasets],
        ),
        ("quantize", "", ("quantization_config:", "file_type"), quantized),
    ):
        told = [fact for fact in facts.of("") if any(_is(fact.name, prefix) for prefix in prefixes)]
        lead = facts.get(first) if first else next(iter(told), None)
        if lead is None:
            continue
        parameters = {name: _text(value) for fact in told for name, value in flat(fact.name, fact.value)}
        row = _workflow(method, method, model, refs, parameters)
        properties = [prop("weighbridge:evidence", Grade.DECLARED.value)]
        rows.append(said({**row, "properties": properties}, lead.grade, _places(told, lead)))
    return rows


def _is(name: str, prefix: str) -> bool:
    return name.startswith(prefix) if prefix.endswith(":") else name == prefix


def _places(told: Sequence[Fact], lead: Fact) -> str:
    """Return the place of a step: that of one fact, or the file when several facts in it tell of it."""
    return lead.place if len(told) == 1 else lead.path


def _workflow(
    method: str, uid: str, model: str, refs: Sequence[str], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    ref = f"workflow:{uid}"
    inputs: list[Any] = [{"resource": {"ref": one}} for one in dict.fromkeys(refs)]
    if parameters:
        rows = [{"name": key, "value": _text(parameters[key])} for key in sorted(parameters)]
        inputs.append({"parameters": rows})
    kind = "merge" if method == Relation.MERGE.value else "build"
    row: dict[str, Any] = {
        "bom-ref": ref,
        "uid": uid,
        "name": method,
        "taskTypes": [kind],
        "outputs": [{"type": "artifact", "resource": {"ref": model}}],
        "tasks": [{"bom-ref": f"{ref}:task", "uid": f"{uid}:task", "name": method, "taskTypes": [kind]}],
    }
    return {**row, "inputs": inputs} if inputs else row


def _text(value: Any) -> str:
    return scalar(value) or str(value)
