"""Judging: the floor's checks, the policy engine's answer and the judge, put together for one kept model.

`conclude` is what a decision is computed with, now and when it is computed again (`gate.replay`): it is given the
time, the policy and the answer, and asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.decision import Check, Decision, EngineAnswer, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.evidence import Evidence
from weighbridge.core.tier import Mode, Origin
from weighbridge.gate.engines import engine_of
from weighbridge.gate.modes import mode_of
from weighbridge.policy.contract import printable, question
from weighbridge.policy.exceptions import exceptions_of
from weighbridge.policy.floor import floor
from weighbridge.policy.judge import judge
from weighbridge.policy.settings import PolicyBundle, load_bundle
from weighbridge.registry import policy_files
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

PACKAGES = {Origin.OWN: "own", Origin.THIRD_PARTY: "third_party", Origin.LEGACY: "legacy"}
GATHERED = "evidence.gathered"
"""The check of a decision for which no evidence could be had; floor and policy then have nothing to say."""
NOT_ASKED = "it was not asked: there is no evidence"


@dataclass(frozen=True, slots=True)
class Basis:
    """Evidence, its JSON, the canonical text of that and its digest: each made once for a decision."""

    evidence: Evidence
    document: Mapping[str, JSON]
    text: str
    digest: Digest

    @classmethod
    def of(cls, evidence: Evidence) -> Basis:
        """Write evidence down. Policies are asked about what was written: 1.0 is 1 there, now and whenever it is read again."""
        data = canonical(evidence.to_json())
        return cls(evidence, json.loads(data), data.decode(), Digest.of(data))

    @classmethod
    def read(cls, text: str) -> Basis:
        """Read kept evidence; raises ValueError. What policies are asked about is what was kept, to the letter."""
        document = parse(text)
        evidence = Evidence.from_json(document)
        assert isinstance(document, Mapping)
        return cls(evidence, document, text, Digest.of(text.encode()))


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and the evidence it rests on; not yet logged.

    `circumstances` is what beside evidence, policy and time it was made from: `checks`, the names of those that the caller
    added; `problem`, why there was no answer of a policy (`asked`: of which). With them a decision can be computed again.
    """

    decision: Decision
    basis: Basis | None
    circumstances: Mapping[str, JSON]

    @property
    def body(self) -> dict[str, JSON]:
        """What is signed, but for its place in the chain."""
        return {**self.decision.to_json(), "circumstances": dict(self.circumstances)}

    @property
    def id(self) -> Digest:
        """SHA-256 of what would be signed: for people to tell two dry runs apart. A logged decision has another id."""
        return Digest.of(canonical(self.body))


@dataclass(frozen=True, slots=True)
class Case:
    """What a decision is asked about beside the evidence: what for, where, in which mode, and what the caller checked."""

    action: str
    project: str
    mode: Mode
    further: tuple[Check, ...] = ()


Ask = Callable[[Mapping[str, JSON]], EngineAnswer]


def judge_model(
    registry: Registry,
    evidence: Evidence,
    *,
    action: str,
    further: Sequence[Check] = (),
    policy: Path | None = None,
    namespace: str = "",
) -> Judgement:
    """Judge evidence under the registry's pinned policy (`policy` is for dry runs only).

    `further` are checks that only the caller can make (that a model stands in the trusted tier); `namespace` is where it
    is to run, for the mode.
    """
    case = Case(action, registry.project, mode_of(registry, namespace), tuple(further))
    bundle, pinned, problem = _policy(registry, policy)
    package = PACKAGES[evidence.origin]

    def ask(asked: Mapping[str, JSON]) -> EngineAnswer:
        if bundle is None:
            return EngineAnswer(Outcome.CANNOT_TELL, problem=problem)
        try:
            return engine_of(registry).answer(bundle, package, asked)
        except (WeighbridgeError, OSError) as error:
            return _unasked(error)

    return conclude(Basis.of(evidence), case, registry.clock.now(), ask, policy=bundle, policy_digest=pinned)


def conclude(
    basis: Basis, case: Case, now: datetime, ask: Ask, *, policy: PolicyBundle | None, policy_digest: str
) -> Judgement:
    """Hold evidence against the floor, hear the policy, and judge; the same arguments give the same decision."""
    evidence = basis.evidence
    checks = (*case.further, *floor(evidence, now))
    answer = ask(question(basis.document, checks, now, case.action))
    digests = {
        "floor": str(floor_digest()),
        "policy": policy_digest,
        "engine": answer.engine,
        "authority": str(evidence.authority.digest),
        "ruleset": str(evidence.scan.ruleset) if evidence.scan else "",
        "evidence": str(basis.digest),
        "manifest": str(evidence.manifest),
    }
    decision = judge(
        checks,
        answer,
        now,
        mode=case.mode,
        digests=digests,
        action=case.action,
        project=case.project,
        exceptions=exceptions_of(evidence, policy.settings if policy else None, now),
    )
    return Judgement(decision, basis, _circumstances(case, answer))


def _circumstances(case: Case, answer: EngineAnswer) -> dict[str, JSON]:
    asked = answer.policy if answer.problem else ""
    return {"checks": [check.id for check in case.further], "problem": answer.problem, "asked": asked}


def judge_nothing(
    registry: Registry,
    manifest: Digest,
    error: Exception,
    *,
    action: str,
    further: Sequence[Check] = (),
    namespace: str = "",
) -> Judgement:
    """Block, because the evidence about a model could not be had; the decision names what failed."""
    pinned = ""
    try:
        mode, pinned = mode_of(registry, namespace), setting(registry, "policy") or ""
    except Exception:  # noqa: BLE001 (it blocks in every mode; what failed first is what is told)
        mode = Mode.ENFORCE
    case = Case(action, registry.project, mode, (*further, _ungathered(error)))
    digests = {
        "policy": pinned,
        "authority": str(registry.authority.digest),
        "manifest": str(manifest),
    }
    return conclude_nothing(case, registry.clock.now(), digests)


def conclude_nothing(case: Case, now: datetime, digests: Mapping[str, str]) -> Judgement:
    """Judge where there is no evidence: by what the caller checked, and by nothing else."""
    answer = EngineAnswer(Outcome.CANNOT_TELL, problem=NOT_ASKED)
    known = {
        "floor": str(floor_digest()),
        "policy": "",
        "engine": "",
        "authority": "",
        "ruleset": "",
        "evidence": "",
    }
    decision = judge(
        case.further,
        answer,
        now,
        mode=case.mode,
        digests={**known, **digests},
        action=case.action,
        project=case.project,
    )
    return Judgement(decision, None, _circumstances(case, answer))


def _ungathered(error: Exception) -> Check:
    """Say which part failed, in its own words."""
    said, remedy = f"{type(error).__name__}: {error}", "weighbridge doctor"
    if isinstance(error, WeighbridgeError):
        said = f"{error.problem}{f' [{error.check}]' if error.check else ''}{f': {error.cause}' if error.cause else ''}"
        remedy = error.remedy or remedy
    elif isinstance(error, OSError):
        said = f"the disk or the operating system: {error}"
    return Check(
        GATHERED,
        Outcome.CANNOT_TELL,
        "everything that the evidence needs can be read",
        printable(said),
        remedy=remedy,
    )


@cache
def floor_digest() -> Digest:
    """Return the SHA-256 of the floor and the judge as they are installed."""
    folder = resources.files("weighbridge.policy")
    return Digest.of(b"".join((folder / name).read_bytes() for name in JUDGES))


JUDGES = ("floor.py", "judge.py", "exceptions.py")
"""The files that decide, whatever a policy says."""


def setting(registry: Registry, key: str) -> str | None:
    """Return a setting of the current project, else the registry's own (`*`), else None."""
    table = schema.setting
    with registry.records.read() as connection:
        query = sa.select(table.c.project, table.c.value).where(
            table.c.key == key, table.c.project.in_([registry.project, "*"])
        )
        values = {row[0]: row[1] for row in connection.execute(query)}
    return values.get(registry.project, values.get("*"))


def read_policy(folder: Path) -> PolicyBundle:
    """Read the policy files of a folder; raises BadSetting."""
    return load_bundle(policy_files.read_folder(folder))


def read_active(registry: Registry) -> PolicyBundle:
    """Read the policy of the current project: the kept files of its own, else those in the registry's folder."""
    return load_bundle(policy_files.active(registry))


def _policy(registry: Registry, folder: Path | None) -> tuple[PolicyBundle | None, str, str]:
    """Return the policy to judge by, the digest that stands for it, and why it cannot be asked; empty when it can."""
    pinned = setting(registry, "policy") or ""
    try:
        bundle = read_policy(folder) if folder is not None else read_active(registry)
    except (WeighbridgeError, OSError) as error:
        return None, pinned, _unasked(error).problem
    digest = str(bundle.digest)
    if folder is not None:
        return bundle, digest, ""
    changed = f"the policy files were changed: found {digest}, the registry pins {pinned}"
    return (bundle, digest, "") if digest == pinned else (None, pinned, changed)


def _unasked(error: Exception) -> EngineAnswer:
    return EngineAnswer(Outcome.CANNOT_TELL, problem=f"the policy could not be asked: {error}")
