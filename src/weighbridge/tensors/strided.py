"""Read a view of a torch storage as if its elements lay in row-major order, whatever its strides are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weighbridge.formats.torch_values import Tensor, width

_STEP = 512 * 1024
"""Elements that are gathered at once, and bytes of storage that one window of them may span."""
_SPAN = 64 * 1024 * 1024


class _Reads(Protocol):
    def read(self, start: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Strided:
    """One tensor of a checkpoint: `storage` gives the bytes of its storage, which has `size` of them."""

    storage: _Reads
    tensor: Tensor
    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes of the view from `start` on, both whole elements."""
        wide = width(self.tensor.dtype)
        if self.tensor.contiguous:
            return self.storage.read(self.tensor.offset * wide + start, length)
        first, count = start // wide, length // wide
        parts = [
            self._gathered(at, min(_STEP, first + count - at)) for at in range(first, first + count, _STEP)
        ]
        return b"".join(parts)

    def _gathered(self, first: int, count: int) -> bytes:
        """Compute each element's place from its index in row-major order, and pick it out of what is read."""
        wide = width(self.tensor.dtype)
        index = np.arange(first, first + count, dtype=np.int64)
        place = np.full(count, self.tensor.offset, dtype=np.int64)
        for side, stride in zip(reversed(self.tensor.shape), reversed(self.tensor.stride), strict=True):
            index, digit = np.divmod(index, side)
            place += digit * stride
        picked = np.empty(count, dtype=f"V{wide}")
        low, high = int(place.min()), int(place.max()) + 1
        step = _SPAN // wide
        for begin in range(low, high, step):
            end = min(begin + step, high)
            inside = (place >= begin) & (place < end)
            if inside.any():
                data = np.frombuffer(self.storage.read(begin * wide, (end - begin) * wide), dtype=f"V{wide}")
                picked[inside] = data[place[inside] - begin]
        return picked.tobytes()
