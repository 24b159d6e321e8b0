"""Export: lays out an admitted model as files beside its evidence, so that it can be loaded without a database.

`models/<hex>/model/` holds exactly the manifest's files (hard links to the kept blobs where the file
system allows, else copies); `models/<hex>/evidence/` holds what the loader verifies them by. Evidence
never lies inside the model's own tree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from weighbridge.claims.predicates import kind_of, stage_of
from weighbridge.core.canonical import canonical
from weighbridge.core.errors import InternalError, Unreadable
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage
from weighbridge.registry import bundles, models
from weighbridge.registry.wiring import Registry
from weighbridge.trust.bundle import Bundle

EVIDENCE_SCHEMA = "weighbridge.evidence-folder/1"


def place(registry: Registry, model: models.Model) -> Path:
    """Return the folder of an admitted model's files."""
    return registry.layout.models / model.digest.hex / "model"


def lay_out(registry: Registry, model: models.Model) -> Path:
    """Lay out files and evidence; returns the folder of the files. Safe to repeat and to be cut off."""
    folder = place(registry, model).parent
    files = folder / "model"
    if not _complete(files, model):
        making = folder / f"model.{registry.entropy.token(6).hex()}.making"
        try:
            for entry in model.manifest.files:
                target = making / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(registry.blobs.path(entry.sha256), target)
            if files.exists():
                shutil.rmtree(files)
            making.rename(files)
        except OSError as error:
            raise Unreadable(
                f"the model could not be laid out at {files}",
                cause=error.strerror or str(error),
                remedy="free some space and run the command again; the decision itself stands and is logged",
            ) from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
    _write_evidence(folder / "evidence", evidence_of(registry, model))
    return files


def evidence_of(registry: Registry, model: models.Model) -> Mapping[str, bytes]:
    """Return the evidence files of a model: name to content."""
    about = [model.digest] + ([model.manifest.weights] if model.manifest.weights else [])
    kept = bundles.about(registry, about)
    summaries = [b for b in kept if _stage(b) is Stage.ADMIT and _names(b, model)]
    if not summaries:
        raise InternalError("an admitted model has no summary by the gate")
    with registry.records.read() as connection:
        authority = current_authority(connection)
    return {
        "admission.sigstore.json": summaries[-1].to_json(),
        "authority.json": authority,
        "manifest.json": model.manifest.canonical_bytes,
        "chunks.json": canonical(model.chunks.to_json()),
        "bom.cdx.json": (model.bom or "{}").encode(),
        "claims.jsonl": b"".join(bundle.to_json() + b"\n" for bundle in kept),
        "registry.json": canonical({"schema": EVIDENCE_SCHEMA, "registry": registry.id}),
    }


def current_authority(connection: object) -> bytes:
    """Return the newest signed authority as it is kept."""
    import sqlalchemy as sa

    from weighbridge.store import schema

    assert isinstance(connection, sa.Connection)
    query = sa.select(schema.authority.c.content).order_by(schema.authority.c.version.desc()).limit(1)
    return str(connection.execute(query).scalar_one()).encode()


def _stage(bundle: Bundle) -> Stage | None:
    statement = Statement.decode(bundle.envelope.payload)
    return None if kind_of(statement) else stage_of(statement)


def _names(bundle: Bundle, model: models.Model) -> bool:
    return Statement.decode(bundle.envelope.payload).is_about(model.digest)


def _complete(folder: Path, model: models.Model) -> bool:
    """Tell whether every file is there with its size; content is the loader's business, on every load."""
    return all(
        (folder / entry.path).is_file() and (folder / entry.path).stat().st_size == entry.size
        for entry in model.manifest.files
    )


def _link(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(blob, target)
        target.chmod(0o444)


def _write_evidence(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        temporary = folder / f".{name}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
