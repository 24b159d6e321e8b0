"""What verified claims say of a model, handed in by whoever verified them: nothing here looks at a signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Relation
from weighbridge.core.tier import Stage


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
