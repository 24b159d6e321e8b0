"""Lineage: who descends from whom, by which relation, and how sure that is (`weighbridge.lineage/1`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import RegistryUnusable

LINEAGE_SCHEMA = "weighbridge.lineage/1"


class Relation(StrEnum):
    """How a child came from its parent.

    `packaging` ties weights to the models that carry them, `same-as` a thing to another name of it, and
    `shared-tensors` two models that hold the same tensors while nobody has said which came first.
    """

    FINE_TUNE = "fine-tune"
    MERGE = "merge"
    ADAPTER = "adapter"
    QUANTIZATION = "quantization"
    DISTILLATION = "distillation"
    CONVERSION = "conversion"
    DATASET = "dataset"
    TOKENIZER = "tokenizer"
    PACKAGING = "packaging"
    CONTINUED_PRETRAINING = "continued-pretraining"
    PRUNING = "pruning"
    SAME_AS = "same-as"
    SHARED_TENSORS = "shared-tensors"


class AdvisoryKind(StrEnum):
    """What is wrong with something: its weights, code in its files, a dataset, its tokenizer, its licence."""

    WEIGHTS = "weights"
    CODE = "code"
    DATASET = "dataset"
    TOKENIZER = "tokenizer"
    LICENCE = "licence"


_SAME = frozenset({Relation.PACKAGING, Relation.SAME_AS})
_WEIGHTS = frozenset({
    Relation.FINE_TUNE, Relation.CONTINUED_PRETRAINING, Relation.MERGE, Relation.ADAPTER, Relation.QUANTIZATION,
    Relation.PRUNING, Relation.CONVERSION,
})  # fmt: skip

CARRIES: Mapping[AdvisoryKind, frozenset[Relation]] = {
    AdvisoryKind.WEIGHTS: _SAME | _WEIGHTS | {Relation.DISTILLATION, Relation.SHARED_TENSORS},
    AdvisoryKind.CODE: _SAME,
    AdvisoryKind.DATASET: _SAME
    | _WEIGHTS
    | {Relation.DATASET, Relation.DISTILLATION, Relation.SHARED_TENSORS},
    AdvisoryKind.TOKENIZER: _SAME | _WEIGHTS | {Relation.TOKENIZER},
    AdvisoryKind.LICENCE: _SAME | _WEIGHTS | {Relation.DATASET},
}
"""Along which relations each kind of trouble reaches a child.

Code in a file reaches who holds that file (by the file's SHA-256, or as part of weights), not who was trained from it.
"""


class Grade(StrEnum):
    """How sure: signed by an identity the authority names, seen in the bytes, or only said."""

    ATTESTED = "attested"
    OBSERVED = "observed"
    DECLARED = "declared"

    @property
    def rank(self) -> int:
        """0 is the surest."""
        return list(Grade).index(self)

    @classmethod
    def read(cls, text: str) -> Grade:
        """Read a kept grade; raises RegistryUnusable(records.lineage) for a word that is none."""
        try:
            return cls(text)
        except ValueError as error:
            raise RegistryUnusable(
                "the lineage that is kept here cannot be read",
                cause=f"{error}: something other than this program wrote it",
                remedy="see what else was changed: weighbridge doctor --deep; then restore a backup",
                check="records.lineage",
            ) from error


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
