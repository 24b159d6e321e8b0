"""Open what is to be converted: packed files are unpacked into a nameless file first, then each layout has its reader."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from weighbridge.core.errors import Refused, Unreadable
from weighbridge.formats.archive import STORED, ZipArchive, read_zip, stream_member
from weighbridge.formats.array_files import NPY, NPZ, read_joblib, read_npy, read_npz, recognise
from weighbridge.formats.compressed import KINDS, Packed, looks_packed, unpack
from weighbridge.formats.limits import Budget
from weighbridge.formats.sniff import sniff
from weighbridge.formats.torch import Checkpoint, CheckpointLimits, read_checkpoint
from weighbridge.formats.torch import recognise as recognise_torch

_HEAD = 4096
_WRAPPER = b"NumpyArrayWrapper"
_WINDOW = 1024 * 1024


@contextmanager
def opened(source: BinaryIO, size: int, limits: CheckpointLimits) -> Iterator[tuple[BinaryIO, int]]:
    """Give a file with a descriptor, and its size, in which all bytes lie as they are.

    A packed stream is unpacked, an npz archive with packed members is written anew with stored ones; both go to
    a temporary file without a name. Raises Unreadable for damage and OutOfBudget for bombs.
    """
    with tempfile.TemporaryFile() as plain:
        try:
            made = _made_plain(source, size, plain, limits)
        except OSError as error:
            raise not_readable(error) from error
        yield (plain, plain.seek(0, os.SEEK_END)) if made else (source, size)


def _made_plain(source: BinaryIO, size: int, plain: BinaryIO, limits: CheckpointLimits) -> bool:
    """Write to `plain` what is packed in `source`; tell whether there was any need to."""
    source.seek(0)
    head = source.read(_HEAD)
    kind = sniff(head, size)
    kind = kind if kind in KINDS else looks_packed(head) if kind == "unknown" else kind
    if kind in KINDS:
        _unpacked(source, size, kind, plain, _budget(size, limits))
    elif kind == "zip":
        archive = read_zip(source, size, limits.container)
        if not _is_npz(archive) or all(member.method == STORED for member in archive.members):
            return False
        _stored_anew(source, archive, plain, _budget(size, limits))
    else:
        return False
    plain.flush()
    return True


def _budget(size: int, limits: CheckpointLimits) -> Budget:
    return Budget(limits.container.within(size))


def _is_npz(archive: ZipArchive) -> bool:
    return not archive.anomalies and recognise(b"", tuple(member.name for member in archive.members)) == NPZ


def _unpacked(source: BinaryIO, size: int, kind: str, plain: BinaryIO, budget: Budget) -> None:
    packed = Packed(kind, source, size)
    for chunk in unpack(packed):
        budget.spend_unpacked(len(chunk))
        plain.write(chunk)
    if packed.anomalies or packed.streams > 1:
        reason = (
            packed.anomalies[0].message if packed.anomalies else "several packed streams follow each other"
        )
        raise Refused(
            f"the {kind} data can be read in two ways: {reason}",
            cause="what two readers would unpack differently is not converted",
            remedy="have the file packed anew by its author",
            check="conversion.packed",
        )


def _stored_anew(source: BinaryIO, archive: ZipArchive, plain: BinaryIO, budget: Budget) -> None:
    with zipfile.ZipFile(plain, "w") as written:
        for member in archive.members:
            with written.open(zipfile.ZipInfo(member.name), "w", force_zip64=True) as target:
                for chunk in stream_member(source, member, budget):
                    target.write(chunk)


def describe(file: BinaryIO, size: int, limits: CheckpointLimits) -> Checkpoint:
    """Describe the checkpoint in `file` by its content; errors as for the readers of each layout."""
    if recognise_torch(file, size):
        return read_checkpoint(file, size, limits)
    file.seek(0)
    head = file.read(_HEAD)
    if head[:4] == b"PK\x03\x04":
        archive = read_zip(file, size, limits.container)
        if recognise(head, tuple(member.name for member in archive.members)) == NPZ:
            return read_npz(file, size, limits)
    elif recognise(head, None) == NPY:
        return read_npy(file, size)
    elif head[:1] == b"\x80" and _mentions_arrays(file):
        return read_joblib(file, size, limits)
    return read_checkpoint(file, size, limits)


def _mentions_arrays(file: BinaryIO) -> bool:
    file.seek(0)
    kept = b""
    while data := file.read(_WINDOW):
        if _WRAPPER in kept + data:
            return True
        kept = data[-len(_WRAPPER) :]
    return False


def not_readable(error: OSError) -> Unreadable:
    """Return what is said when the disk fails while a checkpoint is read."""
    return Unreadable(
        "the checkpoint could not be read",
        cause=error.strerror or str(error),
        remedy="check the disk and the permissions, then convert again",
        check="conversion.read",
    )
