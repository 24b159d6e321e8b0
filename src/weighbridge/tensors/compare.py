"""Say how one model's weights relate to another's: which relation, by which evidence, how strong, and which way round.

The order of the questions is that of their certainty: digests first, then digests of rounded values, then values.
A relation is named where its own evidence is there; what only shows that two models have weights in common is called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from weighbridge.core.errors import CannotTell
from weighbridge.tensors.fingerprint import JOINT, Fingerprint, Print
from weighbridge.tensors.kinship import Direction, Kin, Kinship, Strength
from weighbridge.tensors.measure import Measure, comparable, glance
from weighbridge.tensors.pairing import Pair, Paired, agreeing, pair
from weighbridge.tensors.reading import Tensor, Weights
from weighbridge.tensors.spectrum import spectrum
from weighbridge.tensors.values import PACKED, layout, quantized

RELATED = 0.3
"""Median correlation of matrices from which weights are related.

Measured over all pairs of the published models in benchmarks/kinship.py, among them some of one architecture trained
on like data: strangers stay below 0.05 in the median and below 0.11 in any one matrix.
"""
TUNED = 0.9
"""Median correlation from which weights were trained on from the other's; between the two lie merges and long training."""
PACKED_CORRELATION = 0.95
"""Median correlation of packed weights with their source: Q4_0 of real weights gives 0.995, three bits 0.98."""
KEPT_NORMS = 0.9
"""Share of the norms and biases that a packed model, or one with an adapter merged, has kept; packing keeps them all."""
FEW_NORMS = 6
"""Norms that must be equal before they prove anything alone."""
LOW_RANK = 0.25
"""Share of a matrix's directions within which the change of an adapter lies (99 % of it); training moves half or more."""
ADAPTED = 4
"""Changed matrices, the largest ones, whose spectrum is looked at."""
PRUNED = 0.05
"""Share of elements set to zero from which weights were pruned."""
PRUNED_EQUAL = 0.999
"""Share of elements that pruning leaves equal or sets to zero."""
SHARED_ELEMENTS = 4096
"""Elements that equal tensors must hold together before they tie two models."""
SHARED_TENSORS = 2
"""Equal tensors, likewise: one table may be anybody's."""
ENOUGH = 2
"""Tensors that prove something, which each side needs; below that no relation can be told."""
BUFFERS = ("constant", "not weights")
"""What libraries put into a file or leave out of it without touching a weight."""
PEAKS_AGREE = 0.5
"""Share of peaks that agree in related weights; strangers agree in one of a hundred at most."""


@dataclass(frozen=True)
class Model:
    """One side: its fingerprint, and its tensors by name where its bytes are at hand."""

    printed: Fingerprint
    tensors: Mapping[str, Tensor]


def side(printed: Fingerprint, weights: Weights) -> Model:
    """Join a fingerprint and the opened weights that it was made of: tensors under the names of `printed.prints`."""
    labels = [group.label for group in printed.distinct]
    tensors = {
        (f"{group.label}{JOINT}{tensor.name}" if len(labels) > 1 else tensor.name): tensor
        for group in weights.groups
        if group.label in labels
        for tensor in group.tensors
    }
    return Model(printed, tensors)


def compare(first: Model, second: Model) -> Kinship:
    """Compare two models; with bytes of both at hand values are looked at in windows, else digests and peaks alone."""
    return _Case(first, second, pair(first.printed.evident, second.printed.evident)).judged()


class _Case:
    """The evidence about two models, gathered question by question."""

    def __init__(self, first: Model, second: Model, paired: Paired) -> None:
        self.first = first
        self.second = second
        self.pairs = paired.pairs
        self.prints = (first.printed.evident, second.printed.evident)
        self.lost_bytes = False
        self.equal = [found for found in self.pairs if found.equal]
        self.cast = [found for found in self.pairs if found.cast and not found.equal]
        self.changed = [found for found in self.pairs if not found.equal and not found.cast]
        self.seen = [
            (found, measured) for found in self.changed if (measured := self.measured(found)) is not None
        ]
        self.peaks = self.counted_peaks()
        self.said: list[str] = []

    def measured(self, found: Pair) -> Measure | None:
        one, other = self.opened(found)
        if (
            one is None
            or other is None
            or len(one.shape) < 2
            or one.elements < 2048
            or not comparable(one, other)
        ):
            return None
        try:
            return glance(one, other)
        except CannotTell:
            self.lost_bytes = True
            return None

    def opened(self, found: Pair) -> tuple[Tensor | None, Tensor | None]:
        return self.first.tensors.get(found.first.name), self.second.tensors.get(found.second.name)

    def counted_peaks(self) -> tuple[int, int]:
        counted = [agreeing(found.first, found.second) for found in self.pairs]
        return sum(agree for agree, _ in counted), sum(both for _, both in counted)

    # --- shares

    @property
    def fewer(self) -> int:
        return max(1, min(len(side) for side in self.prints))

    @property
    def exact_elements(self) -> float:
        least = min(sum(p.elements for p in side) for side in self.prints)
        return min(1.0, sum(found.first.elements for found in self.equal) / max(1, least))

    def norms(self) -> tuple[int, int]:
        """Return how many norms and biases are equal, of how many that the side with fewer has."""
        sides = [[p for p in side if p.norm] for side in self.prints]
        equal = [
            f
            for f in self.pairs
            if f.first.norm and f.second.norm and (f.cast or _same_norm(f.first, f.second))
        ]
        return len(equal), min(len(side) for side in sides)

    def correlations(self) -> list[float]:
        return [measured.correlation for _, measured in self.seen]

    # --- the verdict

    def judged(self) -> Kinship:
        """Ask each question in turn, the surest first."""
        if min(len(side) for side in self.prints) < ENOUGH:
            self.said.append("one side holds fewer than two tensors that could prove anything")
            return self.verdict(Kin.CANNOT_TELL, Strength.NONE)
        for question in (
            self.same,
            self.rounded,
            self.packed,
            self.thinned,
            self.adapted,
            self.trained,
            self.shared,
        ):
            answer = question()
            if answer is not None:
                return answer
        unread = [*self.first.printed.unread, *self.second.printed.unread]
        if unread:
            self.said.append(
                f"nothing in common was found, but {unread[0].path} could not be read: {unread[0].reason}"
            )
            return self.verdict(Kin.CANNOT_TELL, Strength.NONE)
        if self.lost_bytes:
            self.said.append("nothing in common was found, but bytes that were there could not be read again")
            return self.verdict(Kin.CANNOT_TELL, Strength.NONE)
        self.said.append("no digest, norm, peak or correlation beyond what chance gives")
        return self.verdict(
            Kin.UNRELATED, Strength.STRONG if self.peaks[1] + len(self.seen) >= 8 else Strength.MODERATE
        )

    def same(self) -> Kinship | None:
        """Ask for equal sets of tensors: by root, and by content."""
        one, other = self.first.printed, self.second.printed
        if one.roots and set(one.roots) == set(other.roots):
            files = [sum(group.files for group in side.groups) for side in (one, other)]
            self.said.append(f"tensor-set root {one.roots[0].hex[:16]} on both sides")
            kin = Kin.IDENTICAL if files[0] == files[1] else Kin.RESHARD
            return self.verdict(kin, Strength.EXACT)
        if self.alike():
            return self.verdict(Kin.IDENTICAL, Strength.EXACT)
        contents = [sorted(p.digest for p in side.prints) for side in (one, other)]
        if contents[0] == contents[1]:
            self.said.append(f"all {len(contents[0])} tensors have equal bytes under other names")
            return self.verdict(Kin.RENAME, Strength.EXACT)
        return None

    def alike(self) -> bool:
        """Tell whether the sides differ by buffers alone: numbers of positions, constants, that one side leaves out."""
        sides = [{(p.name, p.digest): p for p in side.printed.prints} for side in (self.first, self.second)]
        odd = [p for one, other in (sides, sides[::-1]) for key, p in one.items() if key not in other]
        names = [{p.name for p in side.values()} for side in sides]
        if not odd or any(
            p.common not in BUFFERS or (p.name in names[0] and p.name in names[1]) for p in odd
        ):
            return False
        self.said.append(f"all tensors have equal bytes but {len(odd)} buffers that one side leaves out")
        return True

    def rounded(self) -> Kinship | None:
        """Ask whether all tensors are equal once rounded to the narrower type."""
        cast = self.cast
        if not cast or len(cast) + len(self.equal) < max(len(side) for side in self.prints):
            return None
        types = sorted({f"{found.first.dtype} and {found.second.dtype}" for found in cast})
        self.said.append(f"{len(cast)} tensors are equal once rounded ({', '.join(types)})")
        widths = {found.first.dtype for found in cast}, {found.second.dtype for found in cast}
        direction = Direction.UNKNOWN
        if not widths[1] & {"F32", "F64"} and self.lost(cast):
            direction = Direction.FORWARD
        elif not widths[0] & {"F32", "F64"} and self.lost([_turned(found) for found in cast]):
            direction = Direction.BACKWARD
        return self.verdict(Kin.CAST, Strength.EXACT, direction)

    def lost(self, cast: list[Pair]) -> bool:
        """Tell whether the first side holds more than the second could: its values are not those of the narrow type."""
        narrow = "bf16" if cast[0].second.dtype == "BF16" else "f16"
        other = "f16" if narrow == "bf16" else "bf16"
        # Values that the narrow type holds exactly round to the other type just as the second side's do.
        return any(getattr(found.first, other) != getattr(found.second, other) for found in cast)

    def packed(self) -> Kinship | None:
        """Ask whether one side's matrices are packed in fewer bits, or were."""
        for turned, direction in ((False, Direction.FORWARD), (True, Direction.BACKWARD)):
            found = self.by_values(direction, turned=turned) or self.by_norms(direction, turned=turned)
            if found is not None:
                return found
        return None

    def by_values(self, direction: Direction, *, turned: bool) -> Kinship | None:
        narrow = [_packing(_turned(found) if turned else found) for found, _ in self.seen]
        gridded = [measured.grid == (-1 if turned else 1) for _, measured in self.seen]
        values = [
            m.correlation
            for (_, m), packed, grid in zip(self.seen, narrow, gridded, strict=True)
            if packed or grid
        ]
        if not values or median(values) < PACKED_CORRELATION or len(values) * 2 < len(self.seen):
            return None
        how = "are packed in fewer bits" if any(narrow) else "hold the even steps of packed values"
        self.said.append(
            f"{len(values)} matrices {how} and correlate with {median(values):.4f} in the median"
        )
        self.say_norms()
        strength = Strength.STRONG if len(values) >= 4 else Strength.MODERATE
        return self.verdict(Kin.QUANTIZATION, strength, direction)

    def by_norms(self, direction: Direction, *, turned: bool) -> Kinship | None:
        """Ask the norms, where the matrices are packed in a way that is not unpacked here."""
        source, made = self.prints[::-1] if turned else self.prints
        equal, of = self.norms()
        if self.seen or any(_is_packed(p) for p in source) or not any(_is_packed(p) for p in made):
            return None
        if equal < FEW_NORMS or equal < KEPT_NORMS * of:
            return None
        self.say_norms()
        self.said.append("the matrices of one side are packed in a way that is not unpacked here")
        return self.verdict(Kin.QUANTIZATION, Strength.MODERATE, direction)

    def thinned(self) -> Kinship | None:
        """Ask whether elements were set to zero and nothing else was done."""
        if not self.seen:
            return None
        for direction in (Direction.FORWARD, Direction.BACKWARD):
            rows = [(m.zeroed if direction is Direction.FORWARD else m.filled, m.equal) for _, m in self.seen]
            if (
                all(zeroed + equal >= PRUNED_EQUAL for zeroed, equal in rows)
                and median(z for z, _ in rows) >= PRUNED
            ):
                share = median(zeroed for zeroed, _ in rows)
                self.said.append(
                    f"{share:.1%} of the elements of {len(rows)} matrices are zero, all others are equal"
                )
                return self.verdict(Kin.PRUNING, Strength.STRONG, direction)
        return None

    def adapted(self) -> Kinship | None:
        """Ask whether a few matrices moved in few directions while norms and biases stayed as they were."""
        equal, of = self.norms()
        kept = len(self.equal) + len(self.cast)
        values = self.correlations()
        untouched = of in (0, equal)
        if not values or median(values) < RELATED or not untouched or (not kept and equal < FEW_NORMS):
            return None
        largest = sorted(self.seen, key=lambda row: -row[0].first.elements)
        ranks = []
        for found, _ in [row for row in largest if row[1].relative][:ADAPTED]:
            one, other = self.opened(found)
            try:
                moved = spectrum(one, other) if one is not None and other is not None else None
            except CannotTell:
                moved = None
            if moved is not None:
                ranks.append((moved.rank, moved.least))
        if not ranks or any(rank is None or rank > LOW_RANK * least for rank, least in ranks):
            return None
        most = max(rank for rank, _ in ranks if rank is not None)
        self.said.append(f"{kept} tensors are untouched, norms and biases among them")
        self.said.append(f"the change of {len(ranks)} looked-at matrices lies in at most {most} directions")
        return self.verdict(Kin.ADAPTER_MERGED, Strength.STRONG if kept else Strength.MODERATE)

    def trained(self) -> Kinship | None:
        """Ask whether the values of most matrices went on from the other's."""
        values = self.correlations()
        if not values or median(values) < RELATED:
            return None
        middle = median(values)
        self.said.append(f"{len(values)} changed matrices correlate with {middle:.4f} in the median")
        self.say_norms()
        strength = Strength.STRONG if len(values) >= 4 else Strength.MODERATE
        if middle >= TUNED:
            return self.verdict(Kin.FINE_TUNE, strength)
        self.said.append(
            "too far apart for one plain fine-tune: a merge, long training, or a layer taken over"
        )
        return self.verdict(Kin.SHARES_TENSORS, strength)

    def shared(self) -> Kinship | None:
        """Ask for tensors, norms or peaks that both hold, whatever else they hold."""
        if len(self.equal) >= SHARED_TENSORS and sum(f.first.elements for f in self.equal) >= SHARED_ELEMENTS:
            self.said.append(
                f"{len(self.equal)} tensors have equal bytes ({self.exact_elements:.1%} of the smaller side)"
            )
            self.say_norms()
            return self.verdict(Kin.SHARES_TENSORS, Strength.EXACT)
        close = [m for _, m in self.seen if m.correlation >= TUNED]
        equal, _ = self.norms()
        cast = len(self.cast)
        agree, both = self.peaks
        if len(close) >= SHARED_TENSORS or equal >= FEW_NORMS or cast >= SHARED_TENSORS:
            self.said.append(f"{len(close)} matrices correlate, {cast} are equal once rounded")
            self.say_norms()
            return self.verdict(Kin.SHARES_TENSORS, Strength.MODERATE)
        if not self.seen and both >= 8 and agree >= PEAKS_AGREE * both:
            self.said.append(f"{agree} of {both} peaks agree; values were not at hand")
            return self.verdict(Kin.SHARES_TENSORS, Strength.MODERATE)
        return None

    def say_norms(self) -> None:
        equal, of = self.norms()
        if of:
            self.said.append(f"{equal} of {of} norms and biases are equal")

    def verdict(self, kin: Kin, strength: Strength, direction: Direction = Direction.UNKNOWN) -> Kinship:
        equal, of = self.norms()
        agree, both = self.peaks
        values = self.correlations()
        moved = [
            m.relative for f, m in self.seen if f.first.dtype not in PACKED and f.second.dtype not in PACKED
        ]
        return Kinship(
            kin=kin,
            strength=strength,
            direction=direction,
            tensors=(len(self.prints[0]), len(self.prints[1])),
            exact=len(self.equal) / self.fewer,
            exact_elements=self.exact_elements,
            norms=equal / of if of else 0.0,
            cast=(len(self.cast) + len(self.equal)) / self.fewer,
            peaks=agree / both if both else 0.0,
            compared=len(values),
            correlation=median(values) if values else None,
            relative=median(moved) if moved else None,
            evidence=tuple(self.said),
        )


def _same_norm(one: Print, other: Print) -> bool:
    return other.norm in (one.norm, one.shifted) or one.norm == other.shifted


def _turned(found: Pair) -> Pair:
    return Pair(found.second, found.first, found.by)


def _is_packed(tensor: Print) -> bool:
    return quantized(tensor.dtype) or tensor.dtype in PACKED or tensor.dtype.startswith("F8_")


def _packing(found: Pair) -> bool:
    """Tell whether the second of a pair is packed in fewer bits than the first."""
    return _is_packed(found.second) and (
        not _is_packed(found.first) or _bits(found.second) < _bits(found.first)
    )


def _bits(tensor: Print) -> float:
    elements, width = layout(tensor.dtype)
    return 8 * width / elements
