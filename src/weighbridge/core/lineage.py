"""Lineage: who descends from whom, by which relation, and how sure that is (`weighbridge.lineage/1`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest

LINEAGE_SCHEMA = "weighbridge.lineage/1"


class Relation(StrEnum):
    """How a child came from its parent. `packaging` ties weights to the models that carry them."""

    FINE_TUNE = "fine-tune"
    MERGE = "merge"
    ADAPTER = "adapter"
    QUANTIZATION = "quantization"
    DISTILLATION = "distillation"
    CONVERSION = "conversion"
    DATASET = "dataset"
    TOKENIZER = "tokenizer"
    PACKAGING = "packaging"


class Grade(StrEnum):
    """How sure: signed by an identity the authority names, seen in the bytes, or only said."""

    ATTESTED = "attested"
    OBSERVED = "observed"
    DECLARED = "declared"

    @property
    def rank(self) -> int:
        """0 is the surest."""
        return list(Grade).index(self)


@dataclass(frozen=True, slots=True, order=True)
class Parentage:
    """One edge: `child` came from `parent`; `source` is the digest of the bundle that says so, or empty."""

    parent: Digest
    child: Digest
    relation: Relation
    grade: Grade
    source: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the edge as it stands in `weighbridge.lineage/1`."""
        return {
            "parent": str(self.parent),
            "child": str(self.child),
            "relation": self.relation.value,
            "grade": self.grade.value,
            "source": self.source,
        }
