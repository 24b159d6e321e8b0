"""Export: lays out an admitted model as files beside its evidence, so that it can be loaded without a database.

`models/<hex>/model/` holds exactly the manifest's files (hard links to the kept blobs where the file
system allows, else copies); `models/<hex>/evidence/` holds what the loader verifies them by. Evidence
never lies inside the model's own tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreadable
from weighbridge.registry import bundles, models
from weighbridge.registry.wiring import Registry
from weighbridge.registry.withdrawing import NOTE
from weighbridge.store import schema
from weighbridge.trust.bundle import Bundle

EVIDENCE_SCHEMA = "weighbridge.evidence-folder/1"


def place(registry: Registry, model: models.Model) -> Path:
    """Return the folder of an admitted model's files."""
    return registry.layout.models / model.digest.hex / "model"


def lay_out(registry: Registry, model: models.Model, admission: Bundle) -> Path:
    """Lay out files and evidence; returns the folder of the files. Safe to repeat and to be cut off.

    `admission` is the gate's summary that was just logged: the one the loader is to find, whatever else is kept.
    """
    folder = place(registry, model).parent
    files = folder / "model"
    if not intact(registry, files, model):
        making = folder / f"model.{registry.entropy.token(6).hex()}.making"
        try:
            for entry in model.manifest.files:
                target = making / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(registry.blobs.local(entry.sha256), target)
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
    _write_evidence(folder / "evidence", _evidence(registry, model, admission))
    (folder / "evidence" / NOTE).unlink(missing_ok=True)
    return files


def _evidence(registry: Registry, model: models.Model, admission: Bundle) -> Mapping[str, bytes]:
    about = [model.digest] + ([model.manifest.weights] if model.manifest.weights else [])
    query = sa.select(schema.authority.c.content).order_by(schema.authority.c.version.desc()).limit(1)
    with registry.records.read() as connection:
        authority = str(connection.execute(query).scalar_one())
    return {
        "admission.sigstore.json": admission.to_json(),
        "authority.json": authority.encode(),
        "manifest.json": model.manifest.canonical_bytes,
        "chunks.json": canonical(model.chunks.to_json()),
        "bom.cdx.json": (model.bom or "{}").encode(),
        "claims.jsonl": b"".join(bundle.to_json() + b"\n" for bundle in bundles.about(registry, about)),
        "registry.json": canonical({"schema": EVIDENCE_SCHEMA, "registry": registry.id}),
    }


def intact(registry: Registry, folder: Path, model: models.Model) -> bool:
    """Tell whether exactly the model's files lie there, each the kept blob itself or a copy with its digest."""
    try:
        found = {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if not path.is_dir() or path.is_symlink()
        }
        if found != {entry.path for entry in model.manifest.files}:
            return False
        return all(
            _is(registry.blobs.local(e.sha256), folder / e.path, e.sha256) for e in model.manifest.files
        )
    except OSError:
        return False


def _is(blob: Path, path: Path, digest: Digest) -> bool:
    if path.is_symlink():
        return False
    if path.samefile(blob):
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest.hex


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
