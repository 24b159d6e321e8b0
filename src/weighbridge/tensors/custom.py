"""Tell tensors that many models hold by custom (constants, tables of sines, filters) from those that prove something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weighbridge.tensors.reading import Tensor
from weighbridge.tensors.values import FLOATS, PACKED, Array, quantized

TINY = 64
"""Elements below which a tensor proves nothing: so few values may be equal by custom."""
FEW_VALUES = 32
"""Different values below which a tensor proves nothing; the norm of a trained model has hundreds, an int8 row 60 up."""
ZEROS = 0.95
"""Share of zeros above which it is a filter bank or a mask; pruned weights keep more than a twentieth."""
SMOOTH = 0.1
"""How much neighbours may differ, 1 being independent values, for a table that a formula made.

Measured over the trained matrices named in benchmarks/kinship.py: the least was 0.46. Tables of sines, mel filters and
windows stay below 0.05.
"""


def commonplace(tensor: Tensor, windows: Sequence[Array]) -> str:
    """Return why equal copies of this tensor prove nothing, or an empty text.

    Looked at are the windows of the fingerprint; `windows` is empty for types whose numbers cannot be read.
    """
    if tensor.elements < TINY:
        return "tiny"
    if tensor.dtype not in FLOATS and tensor.dtype not in PACKED and not quantized(tensor.dtype):
        return "not weights"
    if not windows:
        return ""
    values = np.concatenate(windows)
    different = np.unique(values)
    if len(different) == 1:
        return "constant"
    if len(different) < FEW_VALUES:
        return "few values"
    if not np.isfinite(values).all():
        return "not finite"
    if np.count_nonzero(values == 0) > ZEROS * len(values):
        return "nearly all zeros"
    return "formula" if _formula(tensor, windows) else ""


def _formula(tensor: Tensor, windows: Sequence[Array]) -> bool:
    """Tell whether the values run on smoothly along a side, as tables that are computed do and weights do not."""
    if any(_even(window) for window in windows):
        return True
    side = tensor.shape[-1]
    found = []
    for window in windows:
        found.append(_unrest(window[None, :]))
        if len(tensor.shape) > 1 and side * 4 <= len(window):
            rows = window[: len(window) // side * side].reshape(-1, side)
            found.append(_unrest(rows.T))
    # Sorted or smooth in most windows along one of the two directions.
    along, across = found[0::2], found[1::2]
    return any(part and float(np.median(part)) < SMOOTH for part in (along, across, found))


def _even(window: Array) -> bool:
    steps = np.diff(window)
    return len(steps) >= TINY and bool((steps == steps[0]).all())


def _unrest(rows: Array) -> float:
    """Return the median over rows of (mean squared step) / (2 variance): about 1 for independent values."""
    wide = rows.astype(np.float64)
    spread = wide.var(axis=1)
    steps = np.square(np.diff(wide, axis=1)).mean(axis=1)
    busy = spread > 0
    return float(np.median(steps[busy] / (2 * spread[busy]))) if busy.any() else 0.0
