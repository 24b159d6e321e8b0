"""Conversion of a kept model: its pickled checkpoints are rebuilt as safetensors, everything else is carried over.

The result is a new model with an identity of its own, tied to its source by a conversion claim that says
how it was made and that every tensor was compared. Nothing is executed (room `conversion`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from weighbridge.claims import predicates
from weighbridge.conversion.convert import Conversion, convert_checkpoint, plan
from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.digest import Digest
from weighbridge.core.envelope import VERSION
from weighbridge.core.errors import ConversionRefused
from weighbridge.core.finding import Report
from weighbridge.core.manifest import ChunkTable, FileChunks, FileEntry, Manifest
from weighbridge.registry import intake, models
from weighbridge.registry.wiring import Registry
from weighbridge.scanner.engine import scan_files
from weighbridge.scanner.lookalike_rules import asked_for
from weighbridge.source.read import Snapshot, read_file
from weighbridge.source.tree import TreeFile


def scan_kept(registry: Registry, model: models.Model) -> Report:
    """Scan the kept bytes of a model, and judge the name on a hub that it was asked for by."""

    def open_file(entry: FileEntry) -> BinaryIO:
        return models.open_blob(registry, entry)

    report = scan_files(model.label, model.manifest, open_file)
    repository = model.source.get("repository")  # also of what came by way of the hub client's own cache
    return asked_for(report, repository) if isinstance(repository, str) else report


def needs_conversion(report: Report, model: models.Model) -> bool:
    """Tell whether the model holds pickled checkpoints that could be rebuilt."""
    return bool(plan(model.manifest, report.formats).convert)


def convert_kept(registry: Registry, model: models.Model, report: Report) -> models.Model:
    """Rebuild the pickled checkpoints of `model` and take in the result; raises ConversionRefused."""
    planned = plan(model.manifest, report.formats)
    if planned.refuse:
        path, reason = planned.refuse[0]
        raise ConversionRefused(f"{path!r} cannot be converted", cause=reason, check="conversion.plan")
    if not planned.convert:
        raise ConversionRefused("there is no pickled checkpoint in this model", check="conversion.plan")
    entries = [entry for entry in model.manifest.files if entry.path in set(planned.keep)]
    chunks = [row for row in model.chunks.files if row.path in set(planned.keep)]
    done: list[tuple[str, str, Conversion]] = []
    for path, target in planned.convert:
        conversion, entry, row = _convert_one(registry, model.manifest, path, target)
        entries.append(entry)
        chunks.append(row)
        done.append((path, target, conversion))
    snapshot = Snapshot(Manifest.of(entries), ChunkTable(tuple(chunks)))
    claim = predicates.convert(
        snapshot.manifest,
        model.digest,
        equivalence="proven",
        source_root=_root([conversion.source_root for _, _, conversion in done]),
        output_root=_root([conversion.output_root for _, _, conversion in done]),
        tool=f"weighbridge/{VERSION}",
        invocation=registry.entropy.token(8).hex(),
    )
    facts: dict[str, JSON] = {"scheme": "conversion", "converted_from": str(model.digest)}
    return intake.record(
        registry,
        snapshot,
        label=model.label,
        origin=model.origin,
        source=facts,
        parents=[_parent(model.digest, model.label)],
        claims=[claim],
    )


def _convert_one(
    registry: Registry, manifest: Manifest, path: str, target: str
) -> tuple[Conversion, FileEntry, FileChunks]:
    entry = manifest.entry(path)
    assert entry is not None  # the plan was made from this manifest
    before = models.versions(registry, [entry])
    if not registry.blobs.verify(entry.sha256):
        raise _changed(path)
    registry.layout.scratch.mkdir(exist_ok=True)
    made = registry.layout.scratch / f"{registry.entropy.token(8).hex()}.safetensors"
    try:
        with models.open_blob(registry, entry) as source:
            conversion = convert_checkpoint(source, entry.size, made)
        file = TreeFile(target, made.stat().st_size, lambda: _open(made))
        read = read_file(file, registry.blobs)
    finally:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
    if models.versions(registry, [entry]) != before:
        raise _changed(path)
    if read.entry.sha256 != conversion.output_sha256:
        raise ConversionRefused(
            "the converted file changed between writing and keeping it",
            remedy="check who else writes to the registry's scratch folder",
            check="conversion.equivalence",
        )
    return conversion, read.entry, read.chunks


def _changed(path: str) -> ConversionRefused:
    return ConversionRefused(
        f"{path!r} is not the file that was taken in",
        cause="its kept bytes no longer have their digest, or were changed while they were read",
        remedy="take the model in again, and find out who can write to the registry's folder",
        check="bytes.match",
    )


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _root(roots: Sequence[Digest]) -> str:
    """Return the tensor-set root of one checkpoint, or the digest over those of several, in order."""
    if len(roots) == 1:
        return str(roots[0])
    return str(Digest.of(canonical([str(root) for root in roots])))


def _parent(digest: Digest, label: str) -> dict[str, JSON]:
    return {"identity": str(digest), "name": label, "relation": "conversion", "evidence": "attested"}
