"""Turn one checkpoint of torch or numpy arrays into one safetensors file, and prove that both hold the same tensors.

Steps: read the checkpoint as a graph · name its tensors · lay the output out · copy the bytes into a
new file beside the target · sync it · read it back with the strict parser and compare every tensor,
taken once more from the source's storages · give it its name. Only the last step makes it visible.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from weighbridge.conversion.names import (
    NameLimits,
    metadata_of,
    name_tensors,
    read_aliases,
    ties,
)
from weighbridge.conversion.opened import describe, not_readable, opened
from weighbridge.conversion.plan import Plan, plan
from weighbridge.conversion.rebuild import Source, read_range, write_all
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    CannotTell,
    ConversionRefused,
    OutOfBudget,
    Refused,
    Unreadable,
    UsageError,
)
from weighbridge.formats.safetensors import (
    SafetensorsHeader,
    TensorInfo,
    lay_out,
    parse_header,
    tensor_digest,
    tensor_set_root,
    write_header,
)
from weighbridge.formats.torch import Checkpoint, CheckpointLimits
from weighbridge.formats.torch_values import Tensor
from weighbridge.store.plain import flush_folder

__all__ = ["Conversion", "ConversionLimits", "Plan", "convert_checkpoint", "plan"]

METHOD = "rebuilt"
EQUIVALENCE = "proven"
MAX_GROWTH = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConversionLimits:
    """What one conversion may spend; spent is OutOfBudget and leaves nothing behind."""

    checkpoint: CheckpointLimits = field(default_factory=CheckpointLimits)
    names: NameLimits = field(default_factory=NameLimits)
    max_growth: int = MAX_GROWTH
    """Bytes by which the tensors may exceed the source file: expanded and overlapping views grow."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done, and the proof: the roots are tensor-set roots over every name, aliases included."""

    kind: str
    """`torch-zip`, `torch-legacy`, `npy`, `npz` or `joblib`."""
    tensors: int
    """Names in the source, tied ones included."""
    bytes: int
    """Size of the output file."""
    source_root: Digest
    output_root: Digest
    output_sha256: Digest
    aliases: Mapping[str, str]
    """Other name to the name under which the shared tensor is written."""
    was_view: tuple[str, ...]
    """Names whose tensor was not the contiguous whole of its storage, sorted."""
    side: JSON
    side_digest: Digest
    """SHA-256 of the canonical JSON of `side`."""
    method: str = METHOD
    equivalence: str = EQUIVALENCE

    def to_json(self) -> dict[str, JSON]:
        """Return the facts for a claim, without the side content (its digest stands for it)."""
        return {
            "kind": self.kind,
            "method": self.method,
            "equivalence": self.equivalence,
            "tensors": self.tensors,
            "bytes": self.bytes,
            "source_root": str(self.source_root),
            "output_root": str(self.output_root),
            "output_sha256": str(self.output_sha256),
            "aliases": dict(self.aliases),
            "was_view": list(self.was_view),
            "side_digest": str(self.side_digest),
        }


def convert_checkpoint(
    source: BinaryIO, size: int, target: Path | int, *, limits: ConversionLimits | None = None
) -> Conversion:
    """Convert the checkpoint in `source` (an open file of `size` bytes that does not change meanwhile).

    `target` is the path to create, which must not exist, or the descriptor of an empty file open for
    reading and writing. Raises ConversionRefused for what cannot be represented (checks graph.*, torch.*,
    conversion.*), Refused for a damaged container, OutOfBudget, Unreadable, UsageError for a target that
    is taken, and CannotTell(conversion.write) when the output cannot be written; none leaves a file.
    """
    limits = limits or ConversionLimits()
    _descriptor_of(source)
    with opened(source, size, limits.checkpoint) as (file, length):
        return _converted(file, length, target, limits)


def _converted(source: BinaryIO, size: int, target: Path | int, limits: ConversionLimits) -> Conversion:
    """Convert a checkpoint whose bytes lie in `source` as they are."""
    checkpoint = _described(source, size, limits.checkpoint)
    named = name_tensors(checkpoint.root, limits.names)
    side_digest = _digest_of(named.side)
    aliases = ties(named.tensors)
    written = {name: tensor for name, tensor in named.tensors.items() if name not in aliases}
    if (total := sum(tensor.size for tensor in written.values())) > size + limits.max_growth:
        raise _too_large(total)
    layout = lay_out((name, tensor.dtype, tensor.shape) for name, tensor in written.items())
    header = write_header(layout, metadata_of(aliases))
    reader = Source(_descriptor_of(source), size, checkpoint.storages)
    with _output(target) as descriptor:
        _write(descriptor, header, [(info, written[info.name]) for info in layout], reader)
        proof = _prove(descriptor, len(header) + total, named.tensors, aliases, reader)
    return Conversion(
        kind=checkpoint.kind,
        tensors=len(named.tensors),
        bytes=len(header) + total,
        source_root=proof.source_root,
        output_root=proof.output_root,
        output_sha256=proof.output_sha256,
        aliases=aliases,
        was_view=_views(checkpoint, named.tensors),
        side=named.side,
        side_digest=side_digest,
    )


def _descriptor_of(source: BinaryIO) -> int:
    try:
        return source.fileno()
    except OSError as error:
        raise UsageError(
            "the source is not an open file",
            cause="tensors are copied between files, and what only lives in memory has no descriptor",
            remedy="write it to a file first, or hand over a sealed copy",
            check="conversion.source",
        ) from error


def _described(source: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    try:
        return describe(source, size, limits)
    except OSError as error:
        raise not_readable(error) from error


def _digest_of(side: JSON) -> Digest:
    try:
        return Digest.of(canonical(side))
    except ValueError as error:
        raise ConversionRefused(
            "what is not tensors in this checkpoint cannot be written down",
            cause=str(error),
            remedy="save the weights alone",
            check="conversion.value",
        ) from error


def _views(checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(
        sorted(
            name
            for name, tensor in tensors.items()
            if not tensor.contiguous or tensor.size != checkpoint.storages[tensor.storage.key].size
        )
    )


def _write(descriptor: int, header: bytes, rows: list[tuple[TensorInfo, Tensor]], source: Source) -> None:
    """Write header and tensors, and sync; an error of the disk is CannotTell(conversion.write)."""
    try:
        write_all(descriptor, header, 0)
        for info, tensor in rows:
            source.write(tensor, descriptor, len(header) + info.start)
        os.fsync(descriptor)
    except OSError as error:
        raise _unwritable(error) from error


@dataclass(frozen=True, slots=True)
class _Proof:
    source_root: Digest
    output_root: Digest
    output_sha256: Digest


def _prove(
    descriptor: int, size: int, tensors: Mapping[str, Tensor], aliases: Mapping[str, str], source: Source
) -> _Proof:
    """Read the output back and hold every tensor against the source; ConversionRefused when one differs."""
    try:
        source.check()
        if os.fstat(descriptor).st_size != size:
            raise _unequal("the file has another size than was written")
        header = parse_header(lambda offset, length: _pread(descriptor, offset, length), size)
        found, output_sha256 = _digest_output(descriptor, header, size)
        for other, kept in read_aliases(header.metadata).items():
            if other in found or kept not in found:
                raise _unequal(f"the alias {other!r} does not point at a tensor")
            found[other] = found[kept]
        expected = {
            name: (tensor.dtype, tensor.shape, tensor_digest(tensor.dtype, tensor.shape, source.read(tensor)))
            for name, tensor in tensors.items()
            if name not in aliases
        }
    except OSError as error:
        raise Unreadable(
            "the converted file could not be compared with its source",
            cause=error.strerror or str(error),
            remedy="convert again; nothing was left behind",
            check="conversion.read",
        ) from error
    except Refused as error:
        raise error if isinstance(error, ConversionRefused) else _unequal(error.problem) from error
    expected |= {other: expected[kept] for other, kept in aliases.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise _unequal(f"the tensor {name!r} differs")
    roots = [tensor_set_root((name, *row) for name, row in side.items()) for side in (expected, found)]
    if roots[0] != roots[1]:
        raise _unequal("the tensor sets differ")
    return _Proof(roots[0], roots[1], output_sha256)


_Row = tuple[str, tuple[int, ...], Digest]


def _digest_output(descriptor: int, header: SafetensorsHeader, size: int) -> tuple[dict[str, _Row], Digest]:
    """Digest each tensor and the whole file in one pass over its bytes."""
    whole = hashlib.sha256()

    def through(start: int, length: int) -> Iterator[bytes]:
        for chunk in read_range(descriptor, start, length):
            whole.update(chunk)
            yield chunk

    for _ in through(0, header.data_start):
        pass
    rows: dict[str, _Row] = {}
    for info in header.tensors:
        chunks = through(header.data_start + info.start, info.end - info.start)
        rows[info.name] = (info.dtype, info.shape, tensor_digest(info.dtype, info.shape, chunks))
    if header.data_start + max((info.end for info in header.tensors), default=0) != size:
        raise _unequal("the file holds bytes that belong to no tensor")
    return rows, Digest("sha256", whole.hexdigest())


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    return b"".join(read_range(descriptor, offset, length))


@contextmanager
def _output(target: Path | int) -> Iterator[int]:
    """Give a descriptor to write to; what it holds gets its name only when the block ends well."""
    if isinstance(target, int):
        if os.fstat(target).st_size:
            raise _taken("the given file is not empty")
        try:
            yield target
        except BaseException:
            os.ftruncate(target, 0)
            raise
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        if os.path.lexists(target):
            raise _taken(f"{target} exists already")
        descriptor = os.open(
            partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
    except OSError as error:
        raise UsageError(
            f"{target} cannot be created",
            cause=error.strerror or str(error),
            remedy="give a folder that exists and may be written to",
            check="conversion.target",
        ) from error
    try:
        yield descriptor
        _publish(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _publish(partial: Path, target: Path) -> None:
    """Give the synced file its name, and sync the folder that now holds it."""
    try:
        partial.rename(target)
        flush_folder(target.parent)
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> CannotTell:
    return CannotTell(
        "the converted file could not be written",
        cause=error.strerror or str(error),
        remedy="make room on the disk, then convert again; nothing was left behind",
        check="conversion.write",
    )


def _taken(problem: str) -> UsageError:
    return UsageError(
        problem,
        cause="a conversion never writes over anything",
        remedy="give the name of a file that does not exist yet",
        check="conversion.target",
    )


def _too_large(total: int) -> OutOfBudget:
    return OutOfBudget(
        f"the tensors come to {total} bytes, far more than the checkpoint holds",
        cause="expanded or overlapping views are written out in full, and that has a limit",
        remedy="save contiguous tensors, or raise `max_growth` where this model is known to need it",
        check="conversion.budget",
    )


def _unequal(problem: str) -> ConversionRefused:
    return ConversionRefused(
        f"the converted file is not proven equal to its source: {problem}",
        cause="every tensor is digested from both files, and these two did not agree",
        remedy="convert again from a file that does not change meanwhile; if it repeats, please report it",
        check="conversion.equivalence",
    )
