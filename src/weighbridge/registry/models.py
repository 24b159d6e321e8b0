"""The models a registry keeps: their rows, and how a reference finds one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, NotFound, VerificationFailed
from weighbridge.core.manifest import ChunkTable, FileEntry, Manifest
from weighbridge.core.reference import Reference, parse_reference
from weighbridge.core.tier import Origin, Status, Tier
from weighbridge.registry import names
from weighbridge.registry.gc import hold_all
from weighbridge.registry.wiring import Registry
from weighbridge.source.gitlfs import open_place
from weighbridge.source.read import read_tree
from weighbridge.store import schema
from weighbridge.store.dialect import upsert


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one project: where it stands, where it came from, what it is made of."""

    manifest: Manifest
    chunks: ChunkTable
    tier: Tier
    status: Status
    origin: Origin
    label: str
    source: Mapping[str, Any]
    """Facts that the source gave: scheme, repository, commit, endpoint, announced …; or the conversion."""
    bom: str | None
    created_at: str

    @property
    def digest(self) -> Digest:
        """Return the identity."""
        return self.manifest.digest


def keep(
    registry: Registry,
    connection: sa.Connection,
    manifest: Manifest,
    chunks: ChunkTable,
    *,
    origin: Origin,
    label: str,
    source: Mapping[str, JSON],
    bom: str | None,
) -> None:
    """Record a model in the intake tier; a model already known keeps its tier, status and first source.

    `learn_source` is the one way to a better one. Raises Refused(blob.kept) when its bytes were collected meanwhile.
    """
    hold_all(registry, connection, (entry.sha256 for entry in manifest.files))
    row = {
        **registry.record(),
        "digest": str(manifest.digest),
        "weights": str(manifest.weights) if manifest.weights else None,
        "tier": Tier.INTAKE.value,
        "status": Status.ACTIVE.value,
        "origin": origin.value,
        "label": label[:256],
        "source": canonical(source).decode(),
    }
    texts = {
        **registry.record(),
        "digest": row["digest"],
        "manifest": manifest.canonical_bytes.decode(),
        "chunks": canonical(chunks.to_json()).decode(),
        "bom": bom,
    }
    connection.execute(upsert(connection, schema.model).values(row).on_conflict_do_nothing())
    table = schema.description
    connection.execute(upsert(connection, table).values(texts).on_conflict_do_nothing())
    if bom is not None:
        here = (table.c.project == registry.project, table.c.digest == row["digest"])
        connection.execute(sa.update(table).where(*here).values(bom=bom))


def learn_source(
    registry: Registry, connection: sa.Connection, digest: Digest, origin: Origin, source: Mapping[str, JSON]
) -> None:
    """Take over what a later reading of the same bytes established: that they are what somebody announced.

    A model in intake whose announcement was compared already, or that was promoted, keeps what is recorded.
    """
    table = schema.model
    here = (
        table.c.project == registry.project,
        table.c.digest == str(digest),
        table.c.tier == Tier.INTAKE.value,
    )
    old: Any = parse(
        connection.execute(sa.select(table.c.source).where(*here)).scalar() or '{"matches_announced":true}'
    )
    if not old.get("matches_announced"):
        change = sa.update(table).where(*here)
        connection.execute(change.values(source=canonical(source).decode(), origin=origin.value))


def set_origin(registry: Registry, connection: sa.Connection, digest: Digest, origin: Origin) -> None:
    """Change the class of a model that is still in intake, when intake accepted its origin."""
    table = schema.model
    here = (
        table.c.project == registry.project,
        table.c.digest == str(digest),
        table.c.tier == Tier.INTAKE.value,
    )
    connection.execute(sa.update(table).where(*here).values(origin=origin.value))


def find(registry: Registry, digest: Digest) -> Model | None:
    """Return the model with this identity in the current project, or None."""
    with registry.records.read() as connection:
        query = _described().where(
            schema.model.c.project == registry.project, schema.model.c.digest == str(digest)
        )
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    model = _model(row)
    if model.digest != digest:
        raise VerificationFailed(
            "a kept manifest was exchanged",
            cause=f"under {digest} lies the manifest of {model.digest}",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.manifest",
        )
    return model


def get(registry: Registry, digest: Digest) -> Model:
    """Return the model with this identity; raises NotFound."""
    model = find(registry, digest)
    if model is None:
        raise NotFound(
            f"this registry does not know {digest.short} in project {registry.project!r}",
            remedy="take it in first: weighbridge intake PATH or weighbridge pull hf://org/name",
        )
    return model


def every(registry: Registry) -> list[Model]:
    """Return all models of the current project, newest first."""
    table = schema.model
    with registry.records.read() as connection:
        query = _described().where(table.c.project == registry.project).order_by(table.c.created_at.desc())
        return [_model(row) for row in connection.execute(query).mappings()]


def every_project(registry: Registry) -> list[Model]:
    """Return the models of all projects, oldest first."""
    with registry.records.read() as connection:
        query = _described().order_by(schema.model.c.created_at, schema.model.c.digest)
        return [_model(row) for row in connection.execute(query).mappings()]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a list says of a model, without its manifest."""

    digest: Digest
    label: str
    tier: Tier
    status: Status


def standings(registry: Registry, identities: Sequence[Digest]) -> dict[Digest, Standing]:
    """Return what is kept under these identities: models, and for weights one model that carries them."""
    table = schema.model
    columns = (table.c.digest, table.c.weights, table.c.label, table.c.tier, table.c.status)
    found: dict[Digest, Standing] = {}
    with registry.records.read() as connection:
        for start in range(0, len(identities), 400):
            part = [str(digest) for digest in identities[start : start + 400]]
            for column in (table.c.digest, table.c.weights):
                # Asked in one, or for the project as well, SQLite would read every row of the project each time.
                query = sa.select(*columns, table.c.project).where(column.in_(part))
                for row in connection.execute(query):
                    if row.project != registry.project:
                        continue
                    digest = Digest.parse(row.digest)
                    standing = _standing(digest, row)
                    found[digest] = standing
                    if row.weights:
                        found.setdefault(Digest.parse(row.weights), standing)
    return found


def resolve(registry: Registry, text: str) -> Digest:
    """Find the identity that a typed reference means here: digest prefix, name, path or hub reference."""
    reference = parse_reference(text)
    if reference.scheme == "digest":
        return _by_prefix(registry, reference.target)
    if reference.scheme == "name":
        return _by_name(registry, reference.target)
    if reference.scheme == "path":
        return _by_path(reference)
    return _by_source(registry, reference)


def open_blob(registry: Registry, entry: FileEntry) -> BinaryIO:
    """Open the kept bytes of one file of a manifest, on this machine."""
    return registry.blobs.open_local(entry.sha256)


def versions(registry: Registry, entries: Sequence[FileEntry]) -> list[tuple[object, ...] | None]:
    """Return the stamps of the kept files (`store.ports.Blobs.stamp`); None for what is not there.

    What was read twice between two equal answers was the same twice.
    """
    return [registry.blobs.stamp(entry.sha256) for entry in entries]


def _described() -> sa.Select[Any]:
    """Select models with what they are made of; without a description these columns are null."""
    model, texts = schema.model, schema.description
    same = sa.and_(texts.c.project == model.c.project, texts.c.digest == model.c.digest)
    return sa.select(model, texts.c.manifest, texts.c.chunks, texts.c.bom).select_from(
        model.outerjoin(texts, same)
    )


def _model(row: Mapping[Any, Any]) -> Model:
    if row["manifest"] is None:
        raise VerificationFailed(
            "the description of a kept model is gone",
            cause=f"no manifest lies under {row['digest']}",
            remedy="find out who can write to the registry's folder, then restore it from a backup",
            check="records.manifest",
        )
    try:
        return Model(
            manifest=Manifest.from_json(row["manifest"].encode()),
            chunks=ChunkTable.from_json(parse(row["chunks"])),
            tier=Tier(row["tier"]),
            status=Status(row["status"]),
            origin=Origin(row["origin"]),
            label=row["label"],
            source=_facts(row["source"]),
            bom=row["bom"],
            created_at=row["created_at"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _exchanged(row["digest"], error) from error


def _standing(digest: Digest, row: Any) -> Standing:
    try:
        return Standing(digest, row.label, Tier(row.tier), Status(row.status))
    except ValueError as error:
        raise _exchanged(row.digest, error) from error


def _exchanged(digest: str, error: Exception) -> VerificationFailed:
    return VerificationFailed(
        "what is kept of a model cannot be read",
        cause=f"{digest}: {error}",
        remedy="find out who can write to the registry's folder, then restore it from a backup",
        check="records.model",
    )


def _facts(text: str) -> Mapping[str, Any]:
    value = parse(text)
    if not isinstance(value, Mapping):
        raise TypeError("its source is not an object")
    return value


def _by_prefix(registry: Registry, prefix: str) -> Digest:
    table = schema.model
    with registry.records.read() as connection:
        query = sa.select(table.c.digest).distinct().where(table.c.digest.startswith(prefix, autoescape=True))
        found = connection.execute(query.limit(2)).scalars().all()
        if not found:
            query = sa.select(schema.artifact.c.digest)
            query = query.where(schema.artifact.c.digest.startswith(prefix, autoescape=True))
            found = connection.execute(query.limit(2)).scalars().all()
    if len(found) > 1:
        raise BadReference(f"{prefix!r} means more than one model", remedy="give more digits")
    if not found:
        raise NotFound(f"no model here starts with {prefix}", remedy="see what is kept: weighbridge list")
    return Digest.parse(found[0])


def _by_name(registry: Registry, name: str) -> Digest:
    found = names.resolve(registry, name)
    if found is None:
        raise NotFound(
            f"there is no model named {name!r} in project {registry.project!r}",
            remedy=f"for a folder of that name type ./{name}",
        )
    return found


def _by_path(reference: Reference) -> Digest:
    tree = open_place(Path(reference.target).expanduser())
    try:
        return read_tree(tree, None).manifest.digest
    finally:
        tree.close()


def _by_source(registry: Registry, reference: Reference) -> Digest:
    from weighbridge.registry.sightings import last

    if (seen := last(registry, reference)) is not None:
        return seen
    table = schema.model
    query = sa.select(table.c.digest, table.c.source).where(table.c.project == registry.project)
    with registry.records.read() as connection:
        rows = connection.execute(query.order_by(table.c.created_at.desc())).all()
    for row in rows:
        facts: Any = parse(row.source)
        known = (
            facts.get("repository") == reference.target
            if reference.scheme == "hf"
            else facts.get("location") == reference.location.partition("?")[0]
        )
        pinned = (facts.get("commit"), facts.get("version"), facts.get("requested"))
        if known and reference.revision in ("", *pinned):
            return Digest.parse(row.digest)
    raise NotFound(
        f"nothing was taken in from {reference}", remedy=f"take it in first: weighbridge pull {reference}"
    )
