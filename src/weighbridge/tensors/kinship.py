"""The words for how one model's weights relate to another's: the kinship, how strong it is, which way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from weighbridge.core.canonical import JSON
from weighbridge.core.lineage import Relation


class Kin(StrEnum):
    """What the second model is to the first, surest and closest first."""

    IDENTICAL = "identical"
    RESHARD = "reshard"
    RENAME = "rename"
    CAST = "cast"
    ADAPTER_MERGED = "adapter-merged"
    PRUNING = "pruning"
    QUANTIZATION = "quantization"
    FINE_TUNE = "fine-tune"
    SHARES_TENSORS = "shares-tensors"
    UNRELATED = "unrelated"
    CANNOT_TELL = "cannot-tell"

    @property
    def related(self) -> bool:
        """Whether the two have weights in common."""
        return self not in (Kin.UNRELATED, Kin.CANNOT_TELL)


RELATIONS: Mapping[Kin, Relation] = {
    Kin.IDENTICAL: Relation.CONVERSION,
    Kin.RESHARD: Relation.CONVERSION,
    Kin.RENAME: Relation.CONVERSION,
    Kin.CAST: Relation.CONVERSION,
    Kin.ADAPTER_MERGED: Relation.ADAPTER,
    Kin.PRUNING: Relation.PRUNING,
    Kin.QUANTIZATION: Relation.QUANTIZATION,
    Kin.FINE_TUNE: Relation.FINE_TUNE,
    Kin.SHARES_TENSORS: Relation.SHARED_TENSORS,
}
"""The relation of lineage that each kinship is drawn as."""


class Strength(StrEnum):
    """How much a verdict rests on: digests of whole tensors; many values of many tensors; few of either."""

    EXACT = "exact"
    STRONG = "strong"
    MODERATE = "moderate"
    NONE = "none"


class Direction(StrEnum):
    """Which of the two came from the other, where lost information shows it."""

    FORWARD = "second-from-first"
    BACKWARD = "first-from-second"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Kinship:
    """The verdict with its evidence; shares are of the smaller side's tensors that prove something.

    `tensors` are those numbers of both sides; `exact` and `exact_elements` the shares with equal digests by number and by
    elements, `norms` of one-dimensional tensors with equal values, `cast` equal when rounded, `peaks` of comparable peaks
    that agree. `correlation` and `relative` are medians over compared matrices, of which there are `compared`.
    """

    kin: Kin
    strength: Strength
    direction: Direction
    tensors: tuple[int, int]
    exact: float
    exact_elements: float
    norms: float
    cast: float
    peaks: float
    compared: int
    correlation: float | None
    relative: float | None
    evidence: tuple[str, ...]

    @property
    def relation(self) -> Relation | None:
        """The relation that a lineage draws it as; None where there is nothing to draw."""
        return RELATIONS.get(self.kin)

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.diff/1`."""
        return {
            "kin": self.kin.value,
            "relation": self.relation.value if self.relation else None,
            "strength": self.strength.value,
            "direction": self.direction.value,
            "tensors": list(self.tensors),
            "exact": round(self.exact, 6),
            "exact_elements": round(self.exact_elements, 6),
            "norms": round(self.norms, 6),
            "cast": round(self.cast, 6),
            "peaks": round(self.peaks, 6),
            "compared": self.compared,
            "correlation": None if self.correlation is None else round(self.correlation, 6),
            "relative": None if self.relative is None else round(self.relative, 6),
            "evidence": list(self.evidence),
        }
