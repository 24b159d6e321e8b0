"""The spectrum of the difference of two matrices: its largest singular value, and how many directions it moves in.

The difference is never held: it is made by rows and multiplied with a thin matrix, in three passes of subspace iteration
(Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1), with a start that depends on the size alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm, sqrt

import numpy as np

from weighbridge.tensors.reading import Tensor
from weighbridge.tensors.values import Array, layout

DIRECTIONS = 72
"""Directions that are followed: an adapter's usual ranks are 4 to 64."""
MOST_COLUMNS = 262_144
"""Columns of the widest matrix; DIRECTIONS of them as float32 are 72 MiB."""
ROWS = 1024 * 1024
"""Elements of the difference that are held at once."""
SHARE = 0.99
"""Share of the squared norm that `rank` directions hold."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """`largest` singular value; `stable` rank (squared norm over squared largest); `rank` for 99 %, None when above 72.

    `captured` is the share of the squared norm in the directions followed; `least` the smaller side of the matrix.
    """

    largest: float
    stable: float
    rank: int | None
    captured: float
    least: int


def spectrum(first: Tensor, second: Tensor) -> Spectrum | None:
    """Return the spectrum of second - first as matrices (all but the first side joined); None where there is none.

    There is none for what is no matrix, is too wide, holds what is not finite or near the largest float, or does not differ.
    """
    if len(first.shape) < 2 or first.shape != second.shape or not first.elements:
        return None
    height, width = first.shape[0], first.elements // first.shape[0]
    if (
        not 1 < width <= MOST_COLUMNS
        or height < 2
        or width % lcm(layout(first.dtype)[0], layout(second.dtype)[0])
    ):
        return None
    # Step 1: a random sketch of the rows. Step 2: one iteration. Step 3: what the directions found hold.
    count = min(DIRECTIONS, height, width)
    sketch = np.zeros((count, width), dtype=np.float32)
    total = 0.0
    for start, rows in _differences(first, second, width):
        if not np.isfinite(rows).all():
            return None
        total += float(np.square(rows, dtype=np.float64).sum())
        with np.errstate(all="ignore"):
            sketch += _signs(start, len(rows), count).T @ rows
    if not total or not np.isfinite(sketch).all():
        return None
    scale = np.float32(1 / sqrt(total))
    basis = _orthonormal(sketch * scale)
    again = np.zeros_like(sketch)
    for _, rows in _differences(first, second, width):
        part = rows * scale
        again += (part @ basis).T @ part
    basis = _orthonormal(again)
    gram = np.zeros((basis.shape[1], basis.shape[1]), dtype=np.float64)
    for _, rows in _differences(first, second, width):
        seen = ((rows * scale) @ basis).astype(np.float64)
        gram += seen.T @ seen
    return _read(np.linalg.eigvalsh(gram)[::-1], total, min(height, width))


def _read(squares: Array, total: float, least: int) -> Spectrum:
    squares = np.clip(squares, 0.0, None)
    shares = np.cumsum(squares)
    enough = np.flatnonzero(shares >= SHARE)
    top = max(float(squares[0]), 1e-30)
    return Spectrum(
        largest=sqrt(top * total),
        stable=1 / top,
        rank=int(enough[0]) + 1 if len(enough) else None,
        captured=min(1.0, float(shares[-1])),
        least=least,
    )


def _differences(first: Tensor, second: Tensor, width: int) -> Iterator[tuple[int, Array]]:
    height = first.elements // width
    step = max(1, ROWS // width)
    for start in range(0, height, step):
        rows = min(step, height - start)
        one, other = (side.numbers(start * width, rows * width) for side in (first, second))
        with np.errstate(all="ignore"):
            yield start, (other - one).reshape(rows, width)


def _orthonormal(rows: Array) -> Array:
    """Return an orthonormal basis, as columns, of what the rows span."""
    basis: Array = np.linalg.qr(rows.T)[0]
    return basis


def _signs(start: int, rows: int, count: int) -> Array:
    """Return a matrix of plus and minus ones, the same for the same place (splitmix64 of the place)."""
    place = (np.arange(start, start + rows, dtype=np.uint64)[:, None] << np.uint64(8)) + np.arange(
        count, dtype=np.uint64
    )
    mixed: Array = place + np.uint64(1)
    with np.errstate(over="ignore"):
        mixed = mixed * np.uint64(0x9E37_79B9_7F4A_7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    signs: Array = (mixed >> np.uint64(63)).astype(np.float32) * 2 - 1
    return signs
