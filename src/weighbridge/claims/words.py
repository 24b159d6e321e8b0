"""The types of statements this project reads, and the Claim that a well-formed one becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Role, Stage

HOUSE = "https://weighbridge.dev"
DATASET = f"{HOUSE}/attestation/dataset/v0.1"
CONVERSION = f"{HOUSE}/attestation/conversion/v0.1"
ACCEPTED_ORIGIN = f"{HOUSE}/attestation/accepted-origin/v0.1"
SCAN = f"{HOUSE}/attestation/scan/v0.1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
VSA = "https://slsa.dev/verification_summary/v1"
BOM = "https://cyclonedx.org/bom"

METRICS = f"{HOUSE}/attestation/metrics/v0.1"
"""Name of the member that carries metrics inside a test result, which has none of its own."""
ADMISSION = f"{HOUSE}/attestation/admission/v0.1"
"""Name of the member that carries registry, tier, decision and expiry inside a verification summary."""

TRAINING = ("train", "fine-tune", "merge", "adapter", "quantize", "distil")
PACKAGING = "package"
IDENTITY_NOTE = "weighbridge:identity"
RELATION_NOTE = "weighbridge:relation"

_STAGES = {
    DATASET: Stage.DATA,
    CONVERSION: Stage.CONVERT,
    ACCEPTED_ORIGIN: Stage.ORIGIN,
    SCAN: Stage.SCAN,
    TEST_RESULT: Stage.EVALUATE,
    VSA: Stage.ADMIT,
    BOM: Stage.BOM,
}
RECORD_ROLES = {
    "decision": Role.DECIDE,
    "name": Role.RECORD,
    "deployment": Role.RECORD,
    "revocation": Role.REVOKE,
    "waiver": Role.WAIVE,
    "advisory": Role.REVOKE,
    "lift": Role.REVOKE,
}


@dataclass(frozen=True, slots=True)
class Parent:
    """One thing a model came from: its identity (`wb1:` or `wbw1:`), how, and a name for people."""

    digest: Digest
    relation: Relation
    name: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A well-formed statement about how a model came to be. Well-formed is not yet true, nor trusted.

    `about` are the model and weights identities it names, `invocation` the run that it speaks of, and
    `detail` what policies may ask for; `detail["relations"]` gives each parent's relation by identity.
    """

    stage: Stage
    about: tuple[Digest, ...]
    parents: tuple[Parent, ...] = ()
    invocation: str = ""
    detail: Mapping[str, JSON] = field(default_factory=dict)


def build_type(method: str) -> str:
    """Return the SLSA buildType of a training method or of `package`."""
    return f"{HOUSE}/buildtypes/{method}/v1"


def record_type(kind: str) -> str:
    """Return the predicate type of a record: decision, name, deployment, revocation or waiver."""
    return f"{HOUSE}/attestation/{kind}/v0.1"


_BUILD_STAGES = {build_type(method): Stage.TRAIN for method in TRAINING} | {
    build_type(PACKAGING): Stage.PACKAGE
}
_RECORDS = {record_type(kind): kind for kind in RECORD_ROLES}


def stage_of(statement: Statement) -> Stage | None:
    """Tell which stage a statement claims to be of, by its type alone; None when it is not one of ours.

    A provenance of a build type we do not know is a stranger's: it is carried, never counted.
    """
    if statement.predicate_type != PROVENANCE:
        return _STAGES.get(statement.predicate_type)
    definition = statement.predicate.get("buildDefinition")
    kind = definition.get("buildType") if isinstance(definition, Mapping) else None
    return _BUILD_STAGES.get(kind) if isinstance(kind, str) else None


def kind_of(statement: Statement) -> str | None:
    """Tell which kind of record a statement is; None when it is none."""
    return _RECORDS.get(statement.predicate_type)


def role_of(statement: Statement) -> Role | None:
    """Tell which role of the authority a signer needs for this statement; None when it is not one of ours."""
    stage = stage_of(statement)
    if stage is not None:
        return Role(stage.value)
    kind = kind_of(statement)
    return RECORD_ROLES[kind] if kind is not None else None
