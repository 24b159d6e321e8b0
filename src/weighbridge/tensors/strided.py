"""Read a view of a torch storage as if its elements lay in row-major order, whatever its strides are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from weighbridge.formats.torch_values import Tensor, width

_STEP = 512 * 1024
"""Elements that are gathered at once."""
_SPAN = 64 * 1024 * 1024
"""Bytes of a storage that are read at once for them."""


class _Reads(Protocol):
    def read(self, start: int, length: int) -> bytes: ...


class Window:
    """The part of a storage that was read last; all views of one file share it, so that one part is held at a time."""

    def __init__(self) -> None:
        self.key: tuple[int, int, int] | None = None
        self.data = b""

    def read(self, storage: _Reads, place: int, begin: int, end: int) -> bytes:
        """Return bytes `begin` to `end` of the storage that lies at `place` in the file."""
        if self.key != (place, begin, end):
            self.data = storage.read(begin, end - begin)
            self.key = place, begin, end
        return self.data


@dataclass(frozen=True, slots=True)
class Strided:
    """One tensor of a checkpoint: `storage` gives the bytes of its storage, which begins at `place` of the file."""

    storage: _Reads
    tensor: Tensor
    place: int
    window: Window

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
        picked = np.empty(count, dtype=f"<u{wide}")
        step = _SPAN // wide
        for begin in range(int(place.min()) // step * step, int(place.max()) + 1, step):
            end = min(begin + step, self.tensor.storage.size // wide)
            inside = (place >= begin) & (place < end)
            if inside.any():
                data = self.window.read(self.storage, self.place, begin * wide, end * wide)
                picked[inside] = np.frombuffer(data, dtype=f"<u{wide}")[place[inside] - begin]
        return picked.tobytes()
