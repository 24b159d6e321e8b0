"""What a run made: read when it is over, and told apart from what lay there before it began."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.errors import NotFound, UsageError, VerificationFailed
from weighbridge.core.manifest import ChunkTable, Manifest, is_weight_file
from weighbridge.recorder.inputs import Read
from weighbridge.source.datasets import DatasetFacts, look
from weighbridge.source.hashing import describe
from weighbridge.source.local import open_folder
from weighbridge.source.tree import listed

Stamps = Mapping[str, tuple[int, int, int, int]]
"""Inode, size, and times of change of each file, by path; the second time is the file system's own, which nobody sets."""


@dataclass(frozen=True, slots=True)
class Made:
    """One output that was read: its files, its chunks, and for a dataset what can be seen of it."""

    path: Path
    manifest: Manifest
    chunks: ChunkTable
    facts: DatasetFacts


def stamps(path: Path, *, follow: bool = False) -> Stamps:
    """Note what lies at a place before a run begins; nothing where there is nothing yet.

    With `follow`, a file that is a link (as in a hub's cache) is what it leads to.
    """
    found: dict[str, tuple[int, int, int, int]] = {}
    if path.is_file():
        found[path.name] = _stamp(path, follow=follow)
    for base, _, files in os.walk(path, followlinks=False):
        for name in files:
            full = Path(base, name)
            try:
                found[full.relative_to(path).as_posix()] = _stamp(full, follow=follow)
            except OSError:
                continue
    return found


def _stamp(path: Path, *, follow: bool) -> tuple[int, int, int, int]:
    info = path.stat() if follow else path.lstat()
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def read_output(path: Path, *, weights: bool) -> Made:
    """Hash every file of an output; raises NotFound, UsageError without a weight file where `weights` asks for one."""
    if not path.exists():
        raise NotFound(
            f"the run left nothing at {path}",
            remedy="give as outputs what the run writes; nothing was claimed",
        )
    with open_folder(path) as tree:
        files = listed(tree).files
        manifest, chunks = describe(files)
        facts = look(files)
        tree.settle()
    if weights and manifest.weights is None:
        raise UsageError(
            f"{path} holds no weight file",
            remedy="give the folder with the weights; docs/reference/manifest.md says what counts as one",
            check="recorder.output",
        )
    return Made(path, manifest, chunks, facts)


def check_fresh(made: Made, before: Stamps) -> None:
    """Refuse weight files that lay there when the run began: it cannot have made them.

    A shard that an earlier run left would otherwise be claimed as this one's. Raises VerificationFailed
    (`recorder.output-old`).
    """
    now = stamps(made.path)
    old = [
        entry.path
        for entry in made.manifest.files
        if is_weight_file(entry.path) and entry.path in before and before[entry.path] == now.get(entry.path)
    ]
    if old:
        raise VerificationFailed(
            f"{old[0]!r} in {made.path} was there before this run began",
            cause=f"{len(old)} weight files were not written by it",
            remedy="let the run write to a folder of its own, or remove what is left of an earlier one",
            check="recorder.output-old",
        )


def check_stood(read: Read, before: Stamps) -> None:
    """Refuse inputs that were touched although their bytes are the same again: they may have been others in between.

    Who exchanges a file, lets the run read it and puts the old one back cannot put back when the file system saw it change.
    Raises VerificationFailed (`recorder.input-changed`).
    """
    now = stamps(read.input.path, follow=True)
    for entry in read.manifest.files:
        if entry.path in before and now.get(entry.path) != before[entry.path]:
            raise VerificationFailed(
                f"{entry.path!r} of {read.input.name} was exchanged or touched while it was used",
                cause="its bytes are those of the start again, and what the file system notes of it is not",
                remedy="nothing was claimed; keep others from writing there (a read-only mount), then run it again",
                check="recorder.input-changed",
            )


def check_apart(inputs: Sequence[Path], outputs: Sequence[Path], others: Sequence[Path]) -> None:
    """Refuse outputs in inputs and inputs in outputs, and claims written into either; raises UsageError."""
    resolved = [(path, path.resolve()) for path in inputs]
    for output in outputs:
        real = output.resolve()
        for path, inner in resolved:
            if real == inner or real in inner.parents or inner in real.parents:
                raise UsageError(
                    f"{output} and {path} lie in one another",
                    cause="what a run writes must not be what it reads",
                    remedy="write to another folder",
                    check="recorder.overlap",
                )
    for other in others:
        real = other.resolve()
        for path, inner in [*resolved, *((path, path.resolve()) for path in outputs)]:
            if real == inner or inner in real.parents:
                raise UsageError(
                    f"the claim would be written into {path}, and change it",
                    remedy="give bundle= a place beside it",
                    check="recorder.overlap",
                )
