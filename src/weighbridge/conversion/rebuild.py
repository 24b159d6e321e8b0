"""Copy tensors out of a checkpoint's storages: whole runs inside the kernel, strided views block by block.

There are two ways to the same bytes on purpose. `write` is what makes the output; `read` gives a
tensor's bytes again for the proof and shares neither the copying nor the stride arithmetic with it.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from weighbridge.core.errors import Unreadable
from weighbridge.formats.torch import StorageInfo
from weighbridge.formats.torch_values import Tensor, width

BLOCK = 4 * 1024 * 1024
"""Bytes held in memory for one step."""

# The kernel cannot copy between these two files, or not at all; reading and writing still can.
_NO_KERNEL_COPY = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


@dataclass(frozen=True, slots=True)
class Source:
    """The open checkpoint and where in it each storage lies."""

    descriptor: int
    size: int
    storages: Mapping[str, StorageInfo]

    def place(self, tensor: Tensor) -> int:
        """Return the offset in the file of the tensor's first element."""
        return self.storages[tensor.storage.key].offset + tensor.offset * width(tensor.dtype)

    def check(self) -> None:
        """Hold each storage against the checksum its archive declares; Unreadable when one is damaged."""
        for key, info in self.storages.items():
            if info.crc is None:
                continue
            found = 0
            for data in read_range(self.descriptor, info.offset, info.size):
                found = zlib.crc32(data, found)
            if info.crc != found:
                raise Unreadable(
                    f"storage {key[:80]!r} does not have the checksum that the archive declares",
                    cause="its bytes were changed or damaged after it was written",
                    remedy="fetch the file again, or have it written anew by its author",
                    check="conversion.checksum",
                )

    def write(self, tensor: Tensor, target: int, offset: int) -> None:
        """Write the tensor's elements in row-major order to the file `target` from `offset` on."""
        if tensor.contiguous:
            copy_range(self.descriptor, self.place(tensor), target, offset, tensor.size)
            return
        for block in self._blocks(tensor):
            write_all(target, block, offset)
            offset += len(block)

    def read(self, tensor: Tensor) -> Iterator[bytes]:
        """Give the tensor's elements again, in row-major order, by other means than `write` uses."""
        if tensor.contiguous:
            yield from read_range(self.descriptor, self.place(tensor), tensor.size)
        elif tensor.numel:
            yield from self._gathered(tensor)

    def _base(self, tensor: Tensor) -> Any:
        """Map the storage as unsigned integers as wide as the tensor's elements."""
        import numpy as np

        info, wide = self.storages[tensor.storage.key], width(tensor.dtype)
        try:
            window = mmap.mmap(self.descriptor, self.size, access=mmap.ACCESS_READ)
        except ValueError as error:  # the file is shorter by now
            raise truncated(info.offset) from error
        return np.frombuffer(window, dtype=f"<u{wide}", count=info.size // wide, offset=info.offset)

    def _blocks(self, tensor: Tensor) -> Iterator[bytes]:
        """Cut the strided view into slabs of at most a block and lay each out in order."""
        from numpy.lib.stride_tricks import as_strided

        wide = width(tensor.dtype)
        steps = tuple(step * wide for step in tensor.stride)
        view = as_strided(self._base(tensor)[tensor.offset :], tensor.shape, steps, writeable=False)
        axis = next(k for k in range(len(tensor.shape) + 1) if math.prod(tensor.shape[k:]) * wide <= BLOCK)
        if axis == 0:
            yield view.tobytes()
            return
        rows = max(1, BLOCK // (math.prod(tensor.shape[axis:]) * wide))
        for place in product(*(range(side) for side in tensor.shape[: axis - 1])):
            slab = view[place]
            for first in range(0, tensor.shape[axis - 1], rows):
                yield slab[first : first + rows].tobytes()

    def _gathered(self, tensor: Tensor) -> Iterator[bytes]:
        """Compute each element's place from its index in row-major order, and fetch it."""
        import numpy as np

        base, count = self._base(tensor), tensor.numel
        step = BLOCK // 8
        for first in range(0, count, step):
            index = np.arange(first, min(first + step, count), dtype=np.int64)
            place = np.full(len(index), tensor.offset, dtype=np.int64)
            for side, stride in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
                index, digit = np.divmod(index, side)
                place += digit * stride
            yield base[place].tobytes()


def copy_range(source: int, start: int, target: int, offset: int, length: int) -> None:
    """Copy `length` bytes between files, inside the kernel where it can; raises Unreadable and OSError."""
    in_kernel = hasattr(os, "copy_file_range")
    while length:
        done = 0
        if in_kernel:
            try:
                done = os.copy_file_range(source, target, min(length, 1 << 30), start, offset)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
            # Some file systems answer 0 although there is more; reading tells whether that is so.
            in_kernel = done > 0
        if not done:
            data = os.pread(source, min(length, BLOCK), start)
            if not data:
                raise truncated(start)
            write_all(target, data, offset)
            done = len(data)
        start, offset, length = start + done, offset + done, length - done


def write_all(target: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`; raises OSError."""
    view = memoryview(data)
    while view:
        done = os.pwrite(target, view, offset)
        view, offset = view[done:], offset + done


def read_range(descriptor: int, start: int, length: int) -> Iterator[bytes]:
    """Give `length` bytes from `start` in pieces; raises Unreadable when the file ends before."""
    while length:
        data = os.pread(descriptor, min(length, BLOCK // 4), start)
        if not data:
            raise truncated(start)
        yield data
        start, length = start + len(data), length - len(data)


def truncated(offset: int) -> Unreadable:
    """Build the error for a file that ends before its tensors do."""
    return Unreadable(
        f"the file ends at byte {offset}, inside a tensor",
        cause="it was cut off, or changed while it was read",
        remedy="fetch the file again",
        check="conversion.read",
    )
