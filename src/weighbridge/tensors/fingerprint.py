"""The fingerprint of weights: for each tensor what identifies it, and what of it survives casting, packing and training.

One pass over the bytes gives the digest, the digests of the values as bfloat16 and float16 would hold them, and for
one-dimensional tensors the digest of the values as float32. A look at up to eight windows gives the peaks: where in
each window the largest magnitude lies. docs/reference/fingerprints.md specifies all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, BinaryIO, TypeVar

import numpy as np

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import CannotTell, Refused
from weighbridge.core.manifest import Named
from weighbridge.formats.safetensors import tensor_set_root
from weighbridge.tensors.custom import TINY, commonplace
from weighbridge.tensors.reading import Group, Tensor, Unread, Weights, open_weights
from weighbridge.tensors.values import FLOATS, Array, numbers, numeric, to_bf16, to_f16

SCHEMA = "weighbridge.fingerprint/1"
WINDOW = 16_384
"""Elements of one window; a chance hit of one peak has the odds 1 to this number."""
WINDOWS = 8
_LEAST = 2048
"""Elements of the smallest window."""
_GRAIN = 256
"""Windows begin and end on multiples of it, the largest block of ggml's types."""

JOINT = "::"
"""Between the label of a group and the name of a tensor, where one model has several groups."""

N = TypeVar("N", bound=Named)


@dataclass(frozen=True, slots=True)
class Print:
    """What is kept of one tensor. Digests are SHA-256 in hex; an empty one does not apply.

    `digest` is over type, shape and bytes. `bf16` and `f16` are over shape and values rounded to those types, so that
    they survive a cast to that type and back; `norm` is over the values of a one-dimensional tensor as float32, and
    `shifted` over those plus one, as Gemma's norms are written into GGUF. `peaks` has one index for each window, or
    -1 where no magnitude is the largest. `common` says why the tensor proves nothing, or is empty.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    bf16: str = ""
    f16: str = ""
    norm: str = ""
    shifted: str = ""
    peaks: tuple[int, ...] = ()
    common: str = ""

    @property
    def elements(self) -> int:
        """The number of elements; 1 for a scalar."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    def to_json(self) -> list[JSON]:
        """Return it as a row: the fields in order, sides and peaks as lists."""
        return [
            self.name, self.dtype, list(self.shape), self.digest, self.bf16, self.f16, self.norm, self.shifted,
            list(self.peaks), self.common,
        ]  # fmt: skip

    @classmethod
    def from_json(cls, row: Any) -> Print:
        """Read a row; raises ValueError, TypeError or IndexError for what is none."""
        name, dtype, shape, *digests, peaks, common = row
        digest, bf16, f16, norm, shifted = digests
        return cls(
            name, dtype, tuple(shape), digest, bf16, f16, norm, shifted, tuple(peaks), common
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrintedGroup:
    """The prints of one group of files, sorted by name, and the tensor-set root over all of them.

    The root is the same whatever the files are called, and into how many they are cut.
    """

    label: str
    kind: str
    files: int
    root: Digest
    prints: tuple[Print, ...]

    def to_json(self, names: Container[str] | None = None) -> dict[str, JSON]:
        """Return it as it stands in `weighbridge.fingerprint/1`, with the tensors of these names alone where given."""
        return {
            "label": self.label,
            "kind": self.kind,
            "files": self.files,
            "root": str(self.root),
            "tensors": [p.to_json() for p in self.prints if names is None or p.name in names],
        }


@dataclass(frozen=True)
class Fingerprint:
    """The prints of one model by group, and what of it could not be read."""

    groups: tuple[PrintedGroup, ...]
    unread: tuple[Unread, ...] = ()

    @cached_property
    def roots(self) -> tuple[Digest, ...]:
        """The tensor-set roots, each once; a group of which a shard is missing has none."""
        broken = {item.path for item in self.unread}
        found = {group.root: None for group in self.groups if group.label not in broken}
        return tuple(found)

    @cached_property
    def distinct(self) -> tuple[PrintedGroup, ...]:
        """The groups, of each set of tensors that is there twice (as safetensors and torch) only one."""
        kept = {group.root: group for group in reversed(self.groups)}
        return tuple(sorted(kept.values(), key=lambda group: group.label))

    @cached_property
    def prints(self) -> tuple[Print, ...]:
        """Every tensor once; where there are several groups, names begin with the label of theirs."""
        groups = self.distinct
        if len(groups) == 1:
            return groups[0].prints
        return tuple(
            replace(p, name=f"{group.label}{JOINT}{p.name}") for group in groups for p in group.prints
        )

    @cached_property
    def evident(self) -> tuple[Print, ...]:
        """The tensors that prove something."""
        return tuple(p for p in self.prints if not p.common)

    def to_json(self, most: int | None = None) -> dict[str, JSON]:
        """Return `weighbridge.fingerprint/1`; of more than `most` tensors the rows of the largest, roots are over all."""
        names = None
        if most is not None and len(self.prints) > most:
            names = {p.name for p in sorted(self.prints, key=lambda p: (-p.elements, p.name))[:most]}
        return {
            "schema": SCHEMA,
            "groups": [group.to_json(names) for group in self.groups],
            "unread": [item.to_json() for item in self.unread],
        }

    @classmethod
    def from_json(cls, value: Any) -> Fingerprint:
        """Read it back; raises ValueError, TypeError, KeyError or IndexError for what is none."""
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema is not {SCHEMA}")
        groups = [
            PrintedGroup(
                g["label"],
                g["kind"],
                g["files"],
                Digest.parse(g["root"]),
                tuple(Print.from_json(row) for row in g["tensors"]),
            )
            for g in value["groups"]
        ]
        unread = [Unread(row["path"], row["reason"], row["check"]) for row in value["unread"]]
        return cls(tuple(groups), tuple(unread))


def fingerprint(files: Iterable[N], open_file: Callable[[N], BinaryIO]) -> Fingerprint:
    """Fingerprint the weights among `files` (a manifest's `files` do); what cannot be read stands in `unread`."""
    with open_weights(files, open_file) as weights:
        return of_weights(weights)


def of_weights(weights: Weights) -> Fingerprint:
    """Fingerprint opened weights, one piece of one tensor at a time."""
    unread = list(weights.unread)
    groups = []
    for group in weights.groups:
        try:
            groups.append(_printed(group))
        except (Refused, CannotTell) as error:
            unread.append(Unread(group.label, error.problem, error.check))
    return Fingerprint(tuple(groups), tuple(unread))


def _printed(group: Group) -> PrintedGroup:
    prints = tuple(sorted((_print(tensor) for tensor in group.tensors), key=lambda p: p.name.encode()))
    # A name that forges a row of the root is refused here.
    root = tensor_set_root((p.name, p.dtype, p.shape, Digest("sha256", p.digest)) for p in prints)
    return PrintedGroup(group.label, group.kind, len(group.files), root, prints)


def _print(tensor: Tensor) -> Print:
    sides = ",".join(str(side) for side in tensor.shape)
    whole = hashlib.sha256(f"{tensor.dtype}:{sides}\0".encode())
    rounded = tensor.dtype in FLOATS
    bf16, f16 = hashlib.sha256(f"bf16:{sides}\0".encode()), hashlib.sha256(f"f16:{sides}\0".encode())
    norm = len(tensor.shape) == 1 and rounded
    plain, shifted = hashlib.sha256(), hashlib.sha256()
    for raw in tensor.pieces():
        whole.update(raw)
        if rounded:
            values = numbers(tensor.dtype, raw)
            bf16.update(to_bf16(values).data)
            f16.update(to_f16(values).data)
            if norm:
                plain.update(values.astype("<f4").data)
                with np.errstate(over="ignore", invalid="ignore"):  # any bits may be a norm
                    shifted.update((values + np.float32(1)).astype("<f4").data)
    windows = list(_windows(tensor)) if tensor.elements >= TINY else []
    return Print(
        tensor.name,
        tensor.dtype,
        tensor.shape,
        whole.hexdigest(),
        bf16.hexdigest() if rounded else "",
        f16.hexdigest() if rounded else "",
        plain.hexdigest() if norm else "",
        shifted.hexdigest() if norm else "",
        tuple(_peak(window) for window in windows) if len(tensor.shape) > 1 else (),
        commonplace(tensor, windows),
    )


def places(elements: int) -> list[tuple[int, int]]:
    """Return (start, length) of the windows of a tensor of so many elements: decided by that number alone."""
    count = max(1, min(WINDOWS, elements // _LEAST))
    length = min(WINDOW, elements // count // _GRAIN * _GRAIN)
    if not length or count == 1:
        return [(0, min(elements, WINDOW))] if elements else []
    return [((elements - length) * i // (count - 1) // _GRAIN * _GRAIN, length) for i in range(count)]


def _windows(tensor: Tensor) -> Iterator[Array]:
    if numeric(tensor.dtype):
        for start, length in places(tensor.elements):
            yield tensor.numbers(start, length)


def _peak(window: Array) -> int:
    """Return where the largest magnitude lies, or -1 when several are as large, or it is no number."""
    sizes = np.abs(window)
    at = int(np.argmax(sizes)) if len(sizes) >= _LEAST else -1
    if at < 0 or not np.isfinite(sizes[at]) or not sizes[at] or np.count_nonzero(sizes == sizes[at]) > 1:
        return -1
    return at
