"""The types of statements this project reads, and the Claim that a well-formed one becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
PROVENANCE_0_2 = "https://slsa.dev/provenance/v0.2"
"""Carried, and mapped where that is exact (`provenance.read_provenance`); it proves no link."""
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
VSA = "https://slsa.dev/verification_summary/v1"
SVR = "https://in-toto.io/attestation/svr/v0.2"
VULNS = "https://in-toto.io/attestation/vulns/v0.2"
VULNS_0_1 = "https://in-toto.io/attestation/vulns/v0.1"
VULNS_COSIGN = "https://cosign.sigstore.dev/attestation/vuln/v1"
BOM = "https://cyclonedx.org/bom"

METRICS = f"{HOUSE}/attestation/metrics/v0.1"
"""Name of the member that carries metrics inside a test result, which has none of its own."""
DECIDED = f"{HOUSE}/attestation/decision/v0.1"
"""Name of the member that carries a decision inside the verification result that it is signed as (`results`)."""
ADMISSION = f"{HOUSE}/attestation/admission/v0.1"
"""Name of the member that carries registry, tier, decision and expiry inside a verification summary."""

IDENTITY_NOTE = "weighbridge:identity"
RELATION_NOTE = "weighbridge:relation"
MATERIAL_NOTE = "weighbridge:material"
"""Marks a dependency that is no ancestor: what else went into a build, one of MATERIALS."""
MATERIALS = ("lock", "code", "container", "configuration", "environment")


@dataclass(frozen=True, slots=True)
class Method:
    """What one of our build types may say: the relation its ancestors stand in, how many, and what beside them."""

    stage: Stage
    relation: Relation | None
    least: int = 1
    most: int | None = None
    beside: frozenset[Relation] = frozenset()


_DATA = frozenset({Relation.DATASET, Relation.TOKENIZER})

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "train": Method(Stage.TRAIN, Relation.DATASET, beside=frozenset({Relation.TOKENIZER})),
        "fine-tune": Method(Stage.TRAIN, Relation.FINE_TUNE, beside=_DATA),
        "continued-pretraining": Method(Stage.TRAIN, Relation.CONTINUED_PRETRAINING, beside=_DATA),
        "merge": Method(Stage.TRAIN, Relation.MERGE, least=2, beside=_DATA),
        "adapter": Method(Stage.TRAIN, Relation.ADAPTER, beside=_DATA),
        "quantize": Method(Stage.TRAIN, Relation.QUANTIZATION, most=1, beside=_DATA),
        "prune": Method(Stage.TRAIN, Relation.PRUNING, most=1, beside=_DATA),
        "distil": Method(Stage.TRAIN, Relation.DISTILLATION, beside=_DATA | {Relation.FINE_TUNE}),
        "convert": Method(Stage.CONVERT, Relation.CONVERSION, most=1),
        "package": Method(Stage.PACKAGE, None, least=0, most=0),
    }
)
"""Our build types, by the word in their URI; docs/reference/claims.md has a section for each."""
TRAINING = tuple(name for name, method in METHODS.items() if method.stage is Stage.TRAIN)
PACKAGING, CONVERTING = "package", "convert"

_STAGES = {
    DATASET: Stage.DATA,
    CONVERSION: Stage.CONVERT,
    ACCEPTED_ORIGIN: Stage.ORIGIN,
    SCAN: Stage.SCAN,
    VULNS: Stage.SCAN,
    VULNS_0_1: Stage.SCAN,
    VULNS_COSIGN: Stage.SCAN,
    TEST_RESULT: Stage.EVALUATE,
    VSA: Stage.ADMIT,
    SVR: Stage.ADMIT,
    BOM: Stage.BOM,
}
_BOM_VERSION = re.compile(r"https://cyclonedx\.org/bom/v(1\.[0-9])")
RECORD_ROLES = {
    "decision": Role.DECIDE,
    "name": Role.RECORD,
    "deployment": Role.RECORD,
    "revocation": Role.REVOKE,
    "waiver": Role.WAIVE,
    "break-glass": Role.WAIVE,
    "licence": Role.WAIVE,
    "advisory": Role.REVOKE,
    "lift": Role.REVOKE,
    "policy": Role.POLICY,
    "mode": Role.POLICY,
    "approval": Role.POLICY,  # nominally: it takes the role of what it approves (registry.approvals)
    "distrust": Role.REVOKE,
    "standing": Role.DECIDE,
    "token": Role.POLICY,
    "setting": Role.POLICY,
}


@dataclass(frozen=True, slots=True)
class Parent:
    """One thing a model came from: its identity (`wb1:` or `wbw1:`), how, and a name for people."""

    digest: Digest
    relation: Relation
    name: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """Something else that went into a build, by digest: a dependency lock, code, a container, a configuration.

    `role` is one of MATERIALS. The digest may be a git commit (`sha1`). It is no ancestor.
    """

    role: str
    name: str
    digest: Digest
    uri: str = ""


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
    """Return the SLSA buildType of a word of METHODS."""
    return f"{HOUSE}/buildtypes/{method}/v1"


def record_type(kind: str) -> str:
    """Return the predicate type of a record, one of RECORD_ROLES."""
    return f"{HOUSE}/attestation/{kind}/v0.1"


_BUILDS = {build_type(name): name for name in METHODS}
_RECORDS = {record_type(kind): kind for kind in RECORD_ROLES}


def stage_of(statement: Statement) -> Stage | None:
    """Tell which stage a statement claims to be of, by its type alone; None when it is not one of ours.

    A provenance of a build type we do not know is a stranger's: it is carried, never counted.
    """
    method = method_of(statement)
    if method is not None:
        return METHODS[method].stage
    if bom_version(statement.predicate_type):
        return Stage.BOM
    if statement.predicate_type == SVR and DECIDED in statement.predicate:
        return None  # a decision, whatever it also says
    return _STAGES.get(statement.predicate_type)


def method_of(statement: Statement) -> str | None:
    """Tell which of our build types a provenance is of (a word of METHODS); None when it is none of ours."""
    if statement.predicate_type != PROVENANCE:
        return None
    definition = statement.predicate.get("buildDefinition")
    kind = definition.get("buildType") if isinstance(definition, Mapping) else None
    return _BUILDS.get(kind) if isinstance(kind, str) else None


def method_for(relation: Relation) -> str | None:
    """Return the build type whose ancestors stand in this relation; None where there is none."""
    return next((name for name, method in METHODS.items() if method.relation is relation), None)


def bom_version(predicate_type: str) -> str:
    """Return the version in a CycloneDX predicate type that carries one (`…/bom/v1.6`), else an empty text."""
    found = _BOM_VERSION.fullmatch(predicate_type)
    return found[1] if found else ""


def kind_of(statement: Statement) -> str | None:
    """Tell which kind of record a statement is; None when it is none."""
    if statement.predicate_type == SVR and DECIDED in statement.predicate:
        return "decision"
    return _RECORDS.get(statement.predicate_type)


def role_of(statement: Statement) -> Role | None:
    """Tell which role of the authority a signer needs for this statement; None when it is not one of ours."""
    stage = stage_of(statement)
    if stage is not None:
        return Role(stage.value)
    kind = kind_of(statement)
    return RECORD_ROLES[kind] if kind is not None else None
