"""Judging: the floor's checks, the policy engine's answer and the judge, put together for one kept model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Check, Decision, EngineAnswer, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.evidence import Evidence
from weighbridge.core.tier import Mode, Origin
from weighbridge.policy.contract import question
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.floor import floor
from weighbridge.policy.judge import judge
from weighbridge.policy.settings import PolicyBundle, load_bundle
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema

PACKAGES = {Origin.OWN: "own", Origin.THIRD_PARTY: "third_party", Origin.LEGACY: "legacy"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and the evidence it rests on; not yet logged."""

    decision: Decision
    evidence: Evidence

    @property
    def id(self) -> Digest:
        """SHA-256 of the decision's canonical JSON: what receipts, summaries and people refer to."""
        return Digest.of(canonical(self.decision.to_json()))


def judge_model(
    registry: Registry,
    evidence: Evidence,
    *,
    action: str,
    further: Sequence[Check] = (),
    policy: Path | None = None,
) -> Judgement:
    """Judge evidence under the registry's pinned policy (`policy` is for dry runs only).

    `further` are checks that only the caller can make (that a model stands in the trusted tier).
    """
    now = registry.clock.now()
    checks = (*further, *floor(evidence, now))
    answer, policy_digest = _ask(registry, evidence, checks, action=action, policy=policy)
    digests = {
        "floor": str(floor_digest()),
        "policy": policy_digest,
        "engine": answer.engine,
        "authority": str(evidence.authority.digest),
        "ruleset": str(evidence.scan.ruleset) if evidence.scan else "",
        "evidence": str(evidence.digest),
        "manifest": str(evidence.manifest),
    }
    decision = judge(
        checks, answer, now, mode=mode_of(registry), digests=digests, action=action, project=registry.project
    )
    return Judgement(decision, evidence)


def floor_digest() -> Digest:
    """Return the SHA-256 of the floor and the judge as they are installed."""
    folder = resources.files("weighbridge.policy")
    return Digest.of(b"".join((folder / name).read_bytes() for name in ("floor.py", "judge.py")))


def mode_of(registry: Registry) -> Mode:
    """Return the mode of the current project; enforce unless a signed event said otherwise."""
    value = setting(registry, "mode")
    return Mode(value) if value else Mode.ENFORCE


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
    files = {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".rego", ".toml")
    }
    return load_bundle(files)


def _ask(
    registry: Registry, evidence: Evidence, checks: Sequence[Check], *, action: str, policy: Path | None
) -> tuple[EngineAnswer, str]:
    """Ask the engine; whatever goes wrong on the way is an answer that could not be told."""
    pinned = setting(registry, "policy") or ""
    try:
        bundle = read_policy(policy or registry.layout.policy)
        digest = str(bundle.digest)
        if policy is None and digest != pinned:
            problem = f"the policy files were changed: found {digest}, the registry pins {pinned}"
            return EngineAnswer(Outcome.CANNOT_TELL, problem=problem), pinned
        package = PACKAGES[evidence.origin]
        with RegorusEngine() as engine:
            return engine.answer(
                bundle, package, question(evidence, checks, registry.clock.now(), action)
            ), digest
    except (WeighbridgeError, OSError) as error:
        return EngineAnswer(Outcome.CANNOT_TELL, problem=f"the policy could not be asked: {error}"), pinned
