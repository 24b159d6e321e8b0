"""What the caller of `record` said, put in order and refused before anything is read when it cannot be recorded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypedDict

from weighbridge.claims.words import METHODS
from weighbridge.config import Config, read_config
from weighbridge.core.errors import UsageError
from weighbridge.core.lineage import Relation
from weighbridge.recorder.code import main_script
from weighbridge.recorder.inputs import Input, make_input
from weighbridge.recorder.stages import StageWord, stage_word
from weighbridge.recorder.statements import RECORDER
from weighbridge.registry.signing import How, check_who

Path_ = str | os.PathLike[str]
Given = str | os.PathLike[str] | Input
"""A path, or an Input where more is to be said of it."""
_EVALUATED = Relation.SAME_AS
"""How the model of an evaluation is carried in the record: an evaluation makes no model, so it is no ancestor."""


class Options(TypedDict, total=False):
    """What may be said to `record` beside inputs and outputs; docs/recording.md explains each."""

    key: Path_
    certificate: Path_ | None
    keyless: bool
    identity_token: str
    instance: Path_ | None
    public: bool
    password: str | None
    bundle: Path_ | None
    registry: Path_ | None
    project: str | None
    authority: Path_ | None
    unsigned: Literal["refused", "allowed"]
    kept: Literal["refused", "allowed"]
    lock: Path_ | None
    script: Path_ | None
    environment: Sequence[str]
    parameters: Mapping[str, Any]
    command_line: bool
    builder: str
    run: str
    source: str
    licence: str
    description: str
    result: Literal["PASSED", "WARNED", "FAILED"]


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
    command_line: tuple[str, ...] = field(default=(), repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    builder: str = RECORDER
    invocation: str = ""
    source: str = ""
    licence: str = ""
    description: str = ""
    result: str = "PASSED"


def make_plan(
    stage: str,
    inputs: Iterable[Given],
    outputs: Iterable[Path_],
    models: Iterable[Given],
    options: Options,
) -> Plan:
    """Put in order what was said to `record`; raises UsageError or BadSetting for what cannot be recorded."""
    said = dict(options)
    if unknown := sorted(set(said) - set(Options.__annotations__)):
        close = get_close_matches(unknown[0], Options.__annotations__, n=1)
        raise UsageError(
            f"record knows no {unknown[0]!r}",
            remedy=f"did you mean {close[0]!r}?" if close else "docs/recording.md lists what it knows",
        )
    environ = dict(os.environ)
    home = options.get("registry")
    config = read_config(
        environ, {"registry": os.fspath(home) if home else None, "project": options.get("project")}
    )
    arguments = (Path(sys.argv[0]).name, *sys.argv[1:]) if sys.argv else ()
    script = _path(options.get("script"))
    plan = Plan(
        stage=stage,
        inputs=inputs_of(stage, inputs, models),
        outputs=outputs_of(stage, outputs),
        how=_how(options, str(config["signing_key"])),
        config=config,
        environ=environ,
        password=options.get("password"),
        bundle=_path(options.get("bundle")),
        authority=_path(options.get("authority")),
        unsigned=_allowed(options, "unsigned"),
        kept=_allowed(options, "kept"),
        lock=_path(options.get("lock")),
        script=script if script is not None else main_script(),
        variables=tuple(_several(options.get("environment", ()), "environment")),
        command_line=arguments if options.get("command_line", True) else (),
        parameters=dict(options.get("parameters", {})),
        builder=options.get("builder", RECORDER),
        invocation=options.get("run", ""),
        source=options.get("source", ""),
        licence=options.get("licence", ""),
        description=options.get("description", ""),
        result=options.get("result", "PASSED"),
    )
    return _checked(plan)


def _how(options: Options, setting: str) -> How:
    keyless = bool(options.get("keyless", False))
    key = os.fspath(options.get("key", "")) or ("" if keyless else setting)
    certificate, instance = _path(options.get("certificate")), _path(options.get("instance"))
    token, public = options.get("identity_token", ""), bool(options.get("public", False))
    return How(key, certificate, keyless, token, "", instance, public)


def _allowed(options: Options, name: Literal["unsigned", "kept"]) -> bool:
    word = options.get(name, "refused")
    if word not in ("refused", "allowed"):
        raise UsageError(f"{name}={word!r} is neither refused nor allowed")
    return word == "allowed"


def _path(given: Path_ | None) -> Path | None:
    return Path(given).expanduser() if given is not None else None


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


def outputs_of(stage: str, outputs: Iterable[Path_]) -> tuple[Path, ...]:
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


def _checked(plan: Plan) -> Plan:
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
