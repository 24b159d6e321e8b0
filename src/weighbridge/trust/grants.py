"""What an authority is made of: identities, the evidence they owe, logs, and the rules of projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.core.tier import Origin, Role, Stage
from weighbridge.keys.ports import Algorithm
from weighbridge.keys.public import algorithm_of_pem, key_id_of_pem

REQUIRED: Mapping[Origin, tuple[Stage, ...]] = MappingProxyType(
    {
        Origin.OWN: (Stage.DATA, Stage.TRAIN, Stage.EVALUATE, Stage.PACKAGE),
        Origin.THIRD_PARTY: (Stage.ORIGIN,),
        Origin.LEGACY: (Stage.ORIGIN,),
    }
)
"""The stages a model of each origin needs where a project does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The evidence each bundle of an identity must bring, so that a bundle cannot choose a weaker mode."""

    log: bool = True
    timestamps: int = 0
    witnesses: int = 0

    def to_json(self) -> dict[str, JSON]:
        """Return the demand as JSON."""
        return {"log": self.log, "timestamps": self.timestamps, "witnesses": self.witnesses}


@dataclass(frozen=True, slots=True)
class AuthorityIdentity:
    """A named key and the closed interval in which what it signs counts; a revoked key has an end."""

    name: str
    pem: str
    valid_from: datetime
    valid_until: datetime | None = None
    evidence: Demand = field(default_factory=Demand)

    @property
    def key(self) -> Digest:
        """The key's name (SHA-256 of its DER)."""
        return key_id_of_pem(self.pem)

    @property
    def algorithm(self) -> Algorithm:
        """What the key is."""
        return algorithm_of_pem(self.pem)

    def to_json(self) -> dict[str, JSON]:
        """Return the identity as it stands under its name."""
        return {
            "pem": self.pem,
            "algorithm": self.algorithm,
            "valid_from": rfc3339(self.valid_from),
            "valid_until": rfc3339(self.valid_until) if self.valid_until else None,
            "evidence": self.evidence.to_json(),
        }


@dataclass(frozen=True, slots=True)
class AuthorityLog:
    """A transparency log whose word is taken: its origin and its key."""

    origin: str
    pem: str

    @property
    def log_id(self) -> Digest:
        """The log's id (SHA-256 of its key's DER)."""
        return key_id_of_pem(self.pem)

    def to_json(self) -> dict[str, JSON]:
        """Return the log as JSON."""
        return {"origin": self.origin, "pem": self.pem}


@dataclass(frozen=True, slots=True)
class Project:
    """Who may do what in one project, and the stages its models need."""

    roles: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    require: Mapping[Origin, tuple[Stage, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, JSON]:
        """Return the project as JSON."""
        return {
            "roles": {role.value: sorted(names) for role, names in self.roles.items()},
            "require": {
                origin.value: [stage.value for stage in stages] for origin, stages in self.require.items()
            },
        }


def is_label(text: str) -> bool:
    """Tell whether a name can be shown as it is: 1 to 128 printable characters, no space at an end."""
    return 0 < len(text) <= 128 and text.isprintable() and text == text.strip()


def malformed(cause: str) -> VerificationFailed:
    """Make the error for a document that is not an authority."""
    return VerificationFailed(
        "this is not an authority we can read",
        cause=cause,
        remedy="correct the document and sign it again with a root key",
        check="authority.form",
    )
