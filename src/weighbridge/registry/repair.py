"""Repair: kept bytes that are missing or damaged are fetched by their digest from another store and put in place.

The other store is believed in nothing: what it gives is hashed on its way, and only bytes with the digest that the
records name are put in place, by one rename. What was damaged is moved into `quarantine/` beside the blobs and not deleted:
somebody may want to know how it came about.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreadable, WeighbridgeError
from weighbridge.core.manifest import Manifest
from weighbridge.registry.backup import BLOCK, copy_blob
from weighbridge.registry.gc import References, not_going
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.blobs import open_blobs
from weighbridge.store.files import FileBlobs
from weighbridge.store.plain import flush_folder
from weighbridge.store.ports import Blobs
from weighbridge.store.remote import RemoteBlobs

QUARANTINE, FETCHED = "quarantine", ".repair"


@dataclass(frozen=True, slots=True)
class Mended:
    """One blob that was missing or damaged, and what came of it."""

    digest: Digest
    was: str
    models: tuple[str, ...]
    """Who needs it: project and label of models, or the policy."""
    problem: str = ""
    """Why it could not be repaired; empty when it was."""
    moved: str = ""
    """Where the damaged bytes lie now."""

    def to_json(self) -> dict[str, JSON]:
        """Return it as `doctor` prints it."""
        return {
            "digest": str(self.digest),
            "was": self.was,
            "models": list[JSON](self.models),
            "problem": self.problem,
            "moved": self.moved,
        }


def other_store(text: str, registry: Registry) -> Blobs:
    """Open the store to repair from: an address, a folder of blobs, or a registry or folder of backups that has one.

    Raises NotFound for a folder that holds no blobs, BadSetting.
    """
    if "://" in text:
        return open_blobs(text, cache=registry.layout.scratch / "from")
    path = Path(text).expanduser().absolute()
    for folder in (path, path / "blobs", path.parent / "blobs"):
        if (folder / "sha256").is_dir():
            return FileBlobs(folder)
    raise NotFound(
        f"there are no blobs in {text}",
        remedy="name a folder of blobs, a registry, a folder of backups, or s3://…",
    )


def repair(registry: Registry, source: Blobs) -> list[Mended]:
    """Read every kept byte again and mend what is missing or damaged; returns what was found, mended or not.

    Raises as `gc.References.read`, and Unreadable when the registry's own disk refuses.
    """
    with registry.records.read() as connection:
        wanted = sorted(References().read(connection))
        needed = _needed(connection)
    found = []
    for digest in wanted:
        try:
            was = "" if registry.blobs.verify(digest) else "changed"
        except NotFound:
            was = "missing"
        except WeighbridgeError as error:
            was = error.problem
        if was:
            found.append(_mend(registry, source, digest, was, needed.get(digest, ())))
    return found


def _mend(registry: Registry, source: Blobs, digest: Digest, was: str, models: tuple[str, ...]) -> Mended:
    kept = registry.blobs.kept
    root = kept.root if isinstance(kept, FileBlobs) else registry.layout.scratch
    fetched = FileBlobs(root / FETCHED)
    try:
        not_going(registry, [digest])
        if fetched.has(digest) and not fetched.verify(digest):
            fetched.delete(digest)
        if not fetched.has(digest):
            copy_blob(source, fetched, digest)
        moved = _replace(kept, fetched, digest, root / QUARANTINE, registry.entropy.token(4).hex())
        fetched.delete(digest)
    except WeighbridgeError as error:
        return Mended(digest, was, models, error.problem)
    except OSError as error:
        raise Unreadable(
            "the kept blobs cannot be repaired",
            cause=error.strerror or str(error),
            remedy="look at disk and permissions, then run it again: what was mended stays so",
        ) from error
    return Mended(digest, was, models, moved=str(moved) if moved else "")


def _replace(kept: Blobs, fetched: FileBlobs, digest: Digest, quarantine: Path, token: str) -> Path | None:
    """Put fetched bytes in the place of what is there; returns where that lies now."""
    aside = quarantine / f"{digest.hex}.{token}"
    if isinstance(kept, RemoteBlobs):
        if not kept.has(digest):
            _put(kept, fetched, digest)
            return None
        quarantine.mkdir(mode=0o700, exist_ok=True)
        with kept.open(digest) as stream, aside.open("wb") as out:
            while block := stream.read(BLOCK):
                out.write(block)
        with fetched.open(digest) as stream:
            kept.replace(iter(lambda: stream.read(BLOCK), b""), expected=digest)
        return aside
    assert isinstance(kept, FileBlobs)
    place = kept.root / "sha256" / digest.hex[:2] / digest.hex
    moved = None
    if os.path.lexists(place):
        quarantine.mkdir(mode=0o700, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            place.rename(aside)
        else:
            os.link(place, aside, follow_symlinks=False)
        moved = aside
    place.parent.mkdir(exist_ok=True)
    fetched.local(digest).replace(place)
    flush_folder(place.parent)
    return moved


def _put(kept: Blobs, fetched: FileBlobs, digest: Digest) -> None:
    with fetched.open(digest) as stream:
        kept.put(iter(lambda: stream.read(BLOCK), b""), expected=digest)


def _needed(connection: sa.Connection) -> Mapping[Digest, tuple[str, ...]]:
    """Return who needs each blob, in words."""
    model, texts, policy = schema.model, schema.description, schema.policy
    same = sa.and_(texts.c.project == model.c.project, texts.c.digest == model.c.digest)
    query = sa.select(model.c.project, model.c.label, model.c.digest, texts.c.manifest).select_from(
        model.join(texts, same)
    )
    found: dict[Digest, list[str]] = {}
    for row in connection.execute(query):
        for entry in Manifest.from_json(row.manifest.encode()).files:
            found.setdefault(entry.sha256, []).append(
                f"{row.label} ({Digest.parse(row.digest).short}, project {row.project}): {entry.path}"
            )
    for active in connection.execute(sa.select(policy.c.project, policy.c.digest, policy.c.blob)):
        with suppress(ValueError, WeighbridgeError):
            found.setdefault(Digest.parse(active.blob), []).append(
                f"policy {active.digest[:19]} of {active.project}"
            )
    return {digest: tuple(dict.fromkeys(names)) for digest, names in found.items()}
