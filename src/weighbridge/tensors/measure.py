"""Compare the values of two tensors: in windows where a look must be cheap, or all of them, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm, sqrt

import numpy as np

from weighbridge.tensors.fingerprint import places
from weighbridge.tensors.reading import Tensor
from weighbridge.tensors.values import PACKED, Array, layout, numeric

STEP = 64 * 1024
"""Elements compared at once, few enough for a processor's cache; a multiple of every block of ggml's types."""
_GRIDS = ((0, 256), (128, 16), (32, 16))
"""(elements that share a scale, 0 for a row; steps that eight and four bits have): how values are packed and unpacked again."""
_UNEVEN = 0.1
"""How far a value may lie beside a step of the grid, in steps: float16 moves the 127th step by 0.06."""
_LOOKS = 8


@dataclass(frozen=True, slots=True)
class Measure:
    """What comparing the values of a first and a second tensor of equal shape gave.

    `cosine` is between the raw values, `correlation` between those less their mean (for integers against floats the mean
    over rows, since each row has its own scale); `relative` is the norm of the difference over that of the first;
    `equal`, `zeroed` and `filled` are shares of elements: equal, zero in the second only, zero in the first only. `grid` is 1 where
    the second's rows (-1: the first's) hold so few values, on even steps, that they were packed once, and the other's do not. What holds no finite number has a `correlation` of 0.
    """

    elements: int
    first_norm: float
    second_norm: float
    difference: float
    cosine: float
    correlation: float
    equal: float
    zeroed: float
    filled: float = 0.0
    grid: int = 0
    finite: bool = True

    @property
    def relative(self) -> float:
        """The norm of the difference over that of the first tensor; 0 where both are 0, else at most 1e9."""
        if not self.difference:
            return 0.0
        return min(self.difference / self.first_norm, 1e9) if self.first_norm else 1e9


def comparable(first: Tensor, second: Tensor) -> bool:
    """Tell whether the values can be held against each other."""
    same = first.shape == second.shape or (
        first.elements == second.elements
        and [s for s in first.shape if s > 1] == [s for s in second.shape if s > 1]
    )
    return same and first.elements > 0 and numeric(first.dtype) and numeric(second.dtype)


def glance(first: Tensor, second: Tensor) -> Measure:
    """Compare the windows of the fingerprint: at most 131,072 elements, whatever the size."""
    return _summed(first, second, iter(places(first.elements)))


def whole(first: Tensor, second: Tensor) -> Measure:
    """Compare every element."""
    step = STEP // (grain := lcm(layout(first.dtype)[0], layout(second.dtype)[0])) * grain
    count = first.elements
    return _summed(first, second, ((at, min(step, count - at)) for at in range(0, count, step)))


class _Sums:
    """Running sums over pieces, in double precision."""

    def __init__(self) -> None:
        self.count = self.equal = self.zeroed = self.filled = 0
        self.one = self.other = self.one_two = self.other_two = self.both = self.apart = 0.0
        self.finite = True

    def add(self, one: Array, other: Array) -> None:
        """Add the elements of one piece; those that are not finite on either side are left out and noted."""
        self.count += len(one)
        with np.errstate(all="ignore"):
            squares = float(one @ one), float(other @ other)
        if not (np.isfinite(squares[0]) and np.isfinite(squares[1])):
            one, other = self.finite_part(one, other)
        self.equal += int(np.count_nonzero(one == other))
        if np.count_nonzero(other) < len(other):
            self.zeroed += int(np.count_nonzero((other == 0) & (one != 0)))
        if np.count_nonzero(one) < len(one):
            self.filled += int(np.count_nonzero((one == 0) & (other != 0)))
        wide, beside = one.astype(np.float64), other.astype(np.float64)
        self.one += float(wide.sum())
        self.other += float(beside.sum())
        self.one_two += float(wide @ wide)
        self.other_two += float(beside @ beside)
        self.both += float(wide @ beside)
        wide -= beside
        self.apart += float(wide @ wide)

    def finite_part(self, one: Array, other: Array) -> tuple[Array, Array]:
        """Leave out what is not finite on either side; values too large to be squared in float32 are none of it."""
        fine = np.isfinite(one) & np.isfinite(other)
        if not fine.all():
            self.finite = False
            self.equal += int(np.count_nonzero((one == other) & ~fine))
        return one[fine], other[fine]


def _summed(first: Tensor, second: Tensor, pieces: Iterator[tuple[int, int]]) -> Measure:
    sums = _Sums()
    rows: list[float] = []
    grids: list[int] = []
    packed = (first.dtype in PACKED) != (second.dtype in PACKED)
    for start, length in pieces:
        one, other = first.numbers(start, length), second.numbers(start, length)
        sums.add(one, other)
        side = first.shape[-1] if first.shape else 1
        one, other = one[-start % side :], other[-start % side :]  # rows that lie in the piece as a whole
        side = min(side, len(one))
        if packed:
            rows += _by_row(one, other, side)
        if len(one) >= side >= _GRIDS[-1][0] and not packed and len(grids) < _LOOKS:
            grids.append(_on_grid(other[:side]) - _on_grid(one[:side]))
    count = max(sums.count, 1)
    spread = (sums.one_two - sums.one**2 / count) * (sums.other_two - sums.other**2 / count)
    shared = sums.both - sums.one * sums.other / count
    correlation = float(np.mean(rows)) if rows else _ratio(shared, spread)
    return Measure(
        elements=sums.count,
        first_norm=sqrt(sums.one_two),
        second_norm=sqrt(sums.other_two),
        difference=sqrt(sums.apart),
        cosine=_ratio(sums.both, sums.one_two * sums.other_two),
        correlation=correlation,
        equal=sums.equal / count,
        zeroed=sums.zeroed / count,
        filled=sums.filled / count,
        grid=grids[0] if grids and len(set(grids)) == 1 else 0,
        finite=sums.finite,
    )


def _on_grid(row: Array) -> bool:
    """Tell whether a row, or each group of a row, holds only multiples of one step, few of them."""
    for size, steps in _GRIDS:
        width = size or len(row)
        if width < 16 or len(row) % width:
            continue
        if all(_even_steps(part, steps) for part in row.reshape(-1, width)[:16]):
            return True
    return False


def _even_steps(values: Array, steps: int) -> bool:
    different = np.unique(values.astype(np.float64))
    if not np.isfinite(different).all() or not 4 <= len(different) <= steps:
        return False
    gaps = np.diff(different)
    places = (different - different[0]) / gaps.min()
    return bool(places[-1] <= steps and np.abs(places - np.rint(places)).max() <= _UNEVEN)


def _by_row(one: Array, other: Array, side: int) -> list[float]:
    """Return the correlation of each row that lies in the piece as a whole."""
    count = len(one) // side
    if not count or side < 2:
        return []
    wide = one[: count * side].reshape(count, side).astype(np.float64)
    beside = other[: count * side].reshape(count, side).astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    beside -= beside.mean(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        found = (wide * beside).sum(axis=1) / np.sqrt(
            np.square(wide).sum(axis=1) * np.square(beside).sum(axis=1)
        )
    return [float(value) for value in found if np.isfinite(value)]


def _ratio(shared: float, squared: float) -> float:
    """Return shared / sqrt(squared), within -1 and 1; 0 where there is nothing to divide by."""
    if not squared > 0 or not np.isfinite(squared):
        return 0.0
    return max(-1.0, min(1.0, shared / sqrt(squared)))
