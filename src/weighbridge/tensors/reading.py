"""Open the weights among a model's files as tensors whose bytes can be read piece by piece, in any order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol, TypeVar

from weighbridge.conversion.names import NameLimits, name_tensors, read_aliases
from weighbridge.conversion.opened import describe, opened
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import CannotTell, Refused, Unreadable
from weighbridge.core.manifest import Named, is_weight_file
from weighbridge.formats.gguf import NAMES, read_tensors
from weighbridge.formats.safetensors import parse_header
from weighbridge.formats.sniff import sniff
from weighbridge.formats.torch import CheckpointLimits
from weighbridge.tensors.strided import Strided, Window
from weighbridge.tensors.values import Array, layout, numbers

PIECE = 4 * 1024 * 1024
"""Bytes of a tensor that are held at once."""
MAX_FILES = 512
"""Weight files of one model; each stays open while its tensors are read."""
MAX_TENSORS = 500_000

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})(?=\.[A-Za-z0-9]+$)")
_NAMES_OF_TENSORS = (
    ".safetensors",
    ".gguf",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".npz",
    ".npy",
    ".joblib",
    ".pkl",
)
_CHECKPOINTS = frozenset({"zip", "pickle", "npy"})
_HEAD = 4096

N = TypeVar("N", bound=Named)
ReadAt = Callable[[int, int], bytes]


class Bytes(Protocol):
    """The bytes of one tensor in row-major order: `read(start, length)` gives exactly so many, or raises Unreadable."""

    def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes of a tensor that lie in a row in one file."""

    stream: BinaryIO
    offset: int

    def read(self, start: int, length: int) -> bytes:
        """Read from the file; raises Unreadable when it is shorter than it was."""
        try:
            self.stream.seek(self.offset + start)
            data = self.stream.read(length)
        except OSError as error:
            raise _short(error.strerror or str(error)) from error
        if len(data) != length:
            raise _short(f"{len(data)} of {length} bytes at offset {self.offset + start} could be read")
        return data


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, its type as safetensors or ggml names it, its shape, slowest side first."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: Bytes = field(repr=False, compare=False)

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def size(self) -> int:
        """Its bytes."""
        block, width = layout(self.dtype)
        return self.elements // block * width

    def pieces(self) -> Iterator[bytes]:
        """Give its bytes in order, in pieces of whole blocks."""
        _, width = layout(self.dtype)
        step = PIECE // width * width
        for start in range(0, self.size, step):
            yield self.source.read(start, min(step, self.size - start))

    def numbers(self, start: int, count: int) -> Array:
        """Return `count` elements from `start` on as float32; both are cut to whole blocks of ggml's types."""
        block, width = layout(self.dtype)
        first, last = start // block, min(start + count, self.elements) // block
        return numbers(self.dtype, self.source.read(first * width, (last - first) * width))


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that belong together: one file, or the shards of one; `files` are the paths they lie in."""

    label: str
    kind: str
    tensors: tuple[Tensor, ...]
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file, or a part of the weights, whose tensors could not be read, and why."""

    path: str
    reason: str
    check: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return it as it stands in documents."""
        return {"path": self.path, "reason": self.reason, "check": self.check}


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one model by group, sorted by label, and what could not be read."""

    groups: tuple[Group, ...]
    unread: tuple[Unread, ...]


@contextmanager
def open_weights(files: Iterable[N], open_file: Callable[[N], BinaryIO]) -> Iterator[Weights]:
    """Open the tensors in `files`; what cannot be read is listed in `unread` and raises nothing.

    Read are safetensors, GGUF, torch checkpoints (zip and legacy, never unpickled), npy and npz. The streams stay
    open until the block ends.
    """
    with ExitStack() as held:
        collected = _Collected(held)
        for number, file in enumerate(file for file in files if _may_hold_tensors(file.path)):
            if number >= MAX_FILES:
                collected.unread.append(
                    Unread(file.path, f"more than {MAX_FILES} weight files", "tensors.files")
                )
                continue
            try:
                collected.take(file, open_file)
            except (Refused, CannotTell) as error:
                reason = f"{error.problem}: {error.cause}" if error.cause else error.problem
                collected.unread.append(Unread(file.path, reason, error.check))
        yield collected.weights()


def _may_hold_tensors(path: str) -> bool:
    return is_weight_file(path) or path.lower().endswith(_NAMES_OF_TENSORS)


class _Collected:
    """What the files opened so far hold."""

    def __init__(self, held: ExitStack) -> None:
        self.held = held
        self.found: dict[str, tuple[str, list[Tensor], list[str]]] = {}
        self.unread: list[Unread] = []
        self.count = 0

    def take(self, file: N, open_file: Callable[[N], BinaryIO]) -> None:
        """Read the table of one file, and keep its tensors; raises Refused and CannotTell."""
        if not file.size:
            raise Unreadable("the file is empty", check="tensors.empty")
        stream = self.held.enter_context(open_file(file))
        head = stream.read(_HEAD)
        kind = sniff(head, file.size)
        if kind == "safetensors":
            tensors = list(_of_safetensors(stream, file.size))
        elif kind == "gguf":
            tensors = list(_of_gguf(stream, file.size))
        elif kind in _CHECKPOINTS:
            kind, tensors = self.checkpoint(stream, file.size)
        else:
            raise Unreadable(
                f"there is no reader for the tensors of this format ({kind})", check="tensors.format"
            )
        self.keep(file.path, kind, tensors)

    def checkpoint(self, stream: BinaryIO, size: int) -> tuple[str, list[Tensor]]:
        limits = CheckpointLimits()
        plain, length = self.held.enter_context(opened(stream, size, limits))
        found = describe(plain, length, limits)
        named = name_tensors(found.root, NameLimits(max_tensors=MAX_TENSORS))
        tensors, window = [], Window()
        for name, tensor in named.tensors.items():
            info = found.storages[tensor.storage.key]
            place = Strided(Stretch(plain, info.offset), tensor, info.offset, window)
            tensors.append(Tensor(name, tensor.dtype, tensor.shape, place))
        return found.kind, tensors

    def keep(self, path: str, kind: str, tensors: Sequence[Tensor]) -> None:
        self.count += len(tensors)
        if self.count > MAX_TENSORS:
            raise Unreadable(f"the model holds more than {MAX_TENSORS} tensors", check="tensors.count")
        label = _SHARD.sub("", path)
        _, known, files = self.found.setdefault(label, (kind, [], []))
        names = {tensor.name for tensor in known}
        if twice := next((tensor.name for tensor in tensors if tensor.name in names), None):
            raise Unreadable(f"the tensor {twice[:120]!r} stands in two shards", check="tensors.shards")
        known.extend(tensors)
        files.append(path)

    def weights(self) -> Weights:
        """Return the groups; a shard that its neighbours announce and nobody has is listed as unread."""
        for label, (_, _, files) in self.found.items():
            announced = max((int(match[2]) for path in files if (match := _SHARD.search(path))), default=1)
            if len(files) < announced:
                reason = f"{len(files)} of {announced} shards could be read"
                self.unread.append(Unread(label, reason, "tensors.shards"))
        groups = [
            Group(label, kind, tuple(tensors), tuple(files))
            for label, (kind, tensors, files) in sorted(self.found.items())
            if tensors
        ]
        return Weights(tuple(groups), tuple(self.unread))


def _of_safetensors(stream: BinaryIO, size: int) -> Iterator[Tensor]:
    header = parse_header(Stretch(stream, 0).read, size)
    rows = {
        info.name: Tensor(info.name, info.dtype, info.shape, Stretch(stream, header.data_start + info.start))
        for info in header.tensors
    }
    yield from rows.values()
    for other, name in read_aliases(header.metadata).items():
        kept = rows.get(name)
        if kept is None or other in rows:
            raise Unreadable(f"the alias {other[:120]!r} does not point at a tensor", check="tensors.alias")
        yield Tensor(other, kept.dtype, kept.shape, kept.source)


def _of_gguf(stream: BinaryIO, size: int) -> Iterator[Tensor]:
    for info in read_tensors(stream, size):
        yield Tensor(info.name, NAMES[info.kind], info.shape, Stretch(stream, info.start))


def _short(cause: str) -> Unreadable:
    return Unreadable(
        "the file ends inside a tensor",
        cause=cause,
        remedy="fetch the file again",
        check="tensors.truncated",
    )
