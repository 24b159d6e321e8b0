"""What the caller of `record` said, put in order and refused before anything is read when it cannot be recorded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weighbridge.claims.words import METHODS
from weighbridge.config import Config
from weighbridge.core.errors import UsageError
from weighbridge.core.lineage import Relation
from weighbridge.recorder.inputs import Input, make_input
from weighbridge.recorder.stages import StageWord, stage_word
from weighbridge.recorder.statements import RECORDER
from weighbridge.registry.signing import How, check_who

Given = str | os.PathLike[str] | Input
"""A path, or an Input where more is to be said of it."""
_EVALUATED = Relation.SAME_AS
"""How the model of an evaluation is carried in the record: an evaluation makes no model, so it is no ancestor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be recorded and how it is signed; docs/recording.md explains each member."""

    stage: str
    inputs: tuple[Input, ...]
    outputs: tuple[Path, ...]
    how: How
    config: Config
    environ: Mapping[str, str] = field(repr=False)
    password: str | None = field(default=None, repr=False)
    bundle: Path | None = None
    authority: Path | None = None
    unsigned: bool = False
    kept: bool = False
    lock: Path | None = None
    script: Path | None = None
    variables: tuple[str, ...] = ()
    command_line: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    builder: str = RECORDER
    invocation: str = ""
    source: str = ""
    licence: str = ""
    description: str = ""
    result: str = "PASSED"


def inputs_of(stage: str, datasets: Iterable[Given], models: Iterable[Given]) -> tuple[Input, ...]:
    """Return datasets and models as inputs in their relations; raises UsageError where the stage has no place for them."""
    word = stage_word(stage)
    relation = _EVALUATED if stage == "evaluate" else word.relation
    found = [make_input(one, Relation.DATASET) for one in _several(datasets, "inputs")]
    if (given := _several(models, "models")) and relation is None:
        raise UsageError(
            f"the stage {stage!r} starts from no model",
            remedy="take fine-tune, merge, adapter, quantize, prune, distil or continued-pretrain",
            check="recorder.input",
        )
    for one in given:
        assert relation is not None
        found.append(make_input(one, relation))
    _check_relations(stage, word, found)
    return tuple(found)


def _check_relations(stage: str, word: StageWord, found: Sequence[Input]) -> None:
    if stage == "package" and found:
        raise UsageError("packaging has no inputs", remedy="give the folder as an output")
    method = METHODS.get(word.method)
    if method is not None:
        for one in found:
            if one.relation is not method.relation and one.relation not in method.beside:
                raise UsageError(
                    f"a {stage} has no input by {one.relation.value}",
                    remedy="leave it out, or take the stage that fits",
                    check="recorder.input",
                )
    main = [one for one in found if one.relation is (_EVALUATED if stage == "evaluate" else word.relation)]
    least, most = word.models
    if len(main) < least or (most is not None and len(main) > most and word.relation is not None):
        wanted = f"exactly {least}" if least == most else f"at least {least}"
        raise UsageError(
            f"a {stage} starts from {wanted} of models=, and {len(main)} are given",
            remedy="give the folder of each model it comes from",
            check="recorder.input",
        )
    if stage == "train" and not any(one.is_dataset for one in found):
        raise UsageError("training starts from something", remedy="name the datasets as inputs")


def outputs_of(stage: str, outputs: Iterable[str | os.PathLike[str]]) -> tuple[Path, ...]:
    """Return the outputs as absolute paths; raises UsageError for too few or too many."""
    found = tuple(
        Path(os.path.abspath(Path(one).expanduser()))  # noqa: PTH100 (as named: it may not be there yet)
        for one in _several(outputs, "outputs")
    )
    if stage == "evaluate" and found:
        raise UsageError("an evaluation makes nothing", remedy="give the model as models=[…]")
    if stage != "evaluate" and not found:
        raise UsageError("nothing is made", remedy="name what the run writes as outputs=[…]")
    if len(set(found)) != len(found):
        raise UsageError("an output is given twice", remedy="name it once")
    return found


def checked(plan: Plan) -> Plan:
    """Refuse (UsageError) what could only fail at the end of a run; returns the plan."""
    if plan.stage == "convert":
        raise UsageError(
            "a conversion is not recorded: it is proven",
            cause="its claim says whether both sides hold the same tensors",
            remedy="weighbridge convert, or weighbridge attest MODEL --stage convert --base SOURCE",
            check="recorder.stage",
        )
    if plan.stage == "data":
        for name in ("source", "licence"):
            if not getattr(plan, name):
                raise UsageError(f"a claim about data needs {name}=", remedy=f"add {name}='…'")
    if not plan.how.key and not plan.how.keyless:
        raise UsageError(
            "say who signs",
            cause="without a signature nobody would know who recorded this",
            remedy="give key=FILE (weighbridge key new makes one), set signing_key, or keyless=True in a job that "
            "has an identity",
            check="sign.who",
        )
    check_who(plan.how)
    if plan.result not in ("PASSED", "WARNED", "FAILED"):
        raise UsageError(f"{plan.result!r} is no result", remedy="say PASSED, WARNED or FAILED")
    return plan


def _several(values: object, name: str) -> list[Any]:
    """Return what is a list of paths; one path alone is a mistake that a list of letters would hide."""
    if isinstance(values, (str, bytes, os.PathLike, Input)):
        raise UsageError(f"{name} is a list", remedy=f"write {name}=[…]")
    if not isinstance(values, Iterable):
        raise UsageError(f"{name} is a list", cause=f"it is {type(values).__name__}")
    return list(values)
