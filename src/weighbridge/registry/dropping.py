"""Raw checkpoints that are let go after a proven conversion: the bytes go, digests and evidence stay, and that is noted.

Only a file that a conversion in this registry replaced is dropped, with proven equivalence, while the result's own bytes are
whole, and only when no other model holds it and the raw model is used nowhere. What was dropped stands in a setting of every project, under the tally as all
settings are: whoever reads the bytes again (`verify`, `fsck`, every decision) says "dropped on purpose" and not "lost".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from weighbridge.claims.predicates import read_claim
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Refused, Unreachable, UsageError
from weighbridge.core.manifest import FileEntry, Manifest
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Stage, Status, Tier
from weighbridge.registry import bundles, models, removing, tally
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority import EVERY_PROJECT

PREFIX = "dropped/"
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Dropped:
    """One file that was let go: of which model, what it was converted to, who did it and when."""

    digest: Digest
    model: Digest
    result: Digest
    actor: str
    at: str
    reason: str

    def __str__(self) -> str:
        return f"dropped on purpose on {self.at[:10]} by {self.actor}, after its proven conversion to {self.result.short}"


def drop(
    registry: Registry, model: models.Model, result: models.Model, *, reason: str, dry: bool = False
) -> list[FileEntry]:
    """Let the files of `model` go that its conversion `result` replaced; returns them, none when all are gone already.

    Raises Refused(`dropping.proof`) without a proven conversion of this model whose bytes are whole,
    Refused(`dropping.used`) where the model is trusted or recorded as running, Refused(`dropping.shared`) when another
    model, or another project without that conversion, holds one of the files, and UsageError without a reason.
    """
    if not reason.strip() or len(reason) > MAX_REASON:
        raise UsageError(
            f"dropping takes a reason of 1 to {MAX_REASON} characters", remedy='say why with --reason "…"'
        )
    with registry.writing():
        _check_proven(registry, model, result)
        _check_unused(registry, model, result)
        kept = {entry.sha256 for entry in result.manifest.files}
        here = registry.blobs
        going = [
            e
            for e in model.manifest.files
            if e.sha256 not in kept and here.has(e.sha256) and here.placed(e.sha256) is None
        ]  # what lies in place is not ours to remove
        _check_alone(registry, model, going)
        if dry:
            return going
        said: dict[str, JSON] = {"model": str(model.digest), "result": str(result.digest), "reason": reason}
        with tally.keeping(registry) as connection:
            for entry in going:
                _note(registry, connection, entry.sha256, said)
        _remove(registry, sorted({entry.sha256 for entry in going}))
    return going


def conversion_of(registry: Registry, model: models.Model) -> models.Model:
    """Return the newest model of this project that is a proven conversion of `model`; raises Refused(`dropping.proof`)."""
    table = schema.model
    made = canonical({"converted_from": str(model.digest)}).decode()[1:-1]
    query = sa.select(table.c.digest).where(
        table.c.project == registry.project, table.c.source.contains(made, autoescape=True)
    )
    with registry.records.read() as connection:
        found = connection.execute(query.order_by(table.c.created_at.desc(), table.c.digest)).scalars().all()
    error = _unproven(f"{model.digest.short} has no conversion here")
    for digest in found:
        result = models.get(registry, Digest.parse(digest))
        try:
            _check_proven(registry, model, result)
        except Refused as refused:
            error = refused
        else:
            return result
    raise error


def every(registry: Registry) -> dict[Digest, Dropped]:
    """Return what was dropped, by digest."""
    table = schema.setting
    query = sa.select(table).where(table.c.project == EVERY_PROJECT, table.c.key.startswith(PREFIX))
    with registry.records.read() as connection:
        rows = connection.execute(query).mappings().all()
    found = {}
    for row in rows:
        value: Any = parse(row["value"])
        digest = Digest("sha256", row["key"].removeprefix(PREFIX))
        model, result = Digest.parse(value["model"]), Digest.parse(value["result"])
        said = str(value.get("reason", ""))
        found[digest] = Dropped(digest, model, result, row["actor"], row["created_at"], said)
    return found


def gone(registry: Registry) -> set[Digest]:
    """Return what was dropped and has not been taken in again since."""
    return {digest for digest in every(registry) if not registry.blobs.has(digest)}


def _remove(registry: Registry, digests: Sequence[Digest]) -> None:
    if registry.blobs.removal is None:
        for digest in digests:
            registry.blobs.delete(digest)
        return
    left = removing.remove(registry, registry.blobs.removal, digests) if digests else {}
    if left:
        digest, reason = min(left.items())
        raise Unreachable(
            f"{len(left)} of {len(digests)} files may still be there",
            cause=f"{digest.short}: {reason}",
            remedy="run it again in some minutes: what is there then is asked for again",
            check="blob.unreachable",
        )


def _note(registry: Registry, connection: sa.Connection, digest: Digest, said: Mapping[str, JSON]) -> None:
    row = {
        **registry.record(),
        "project": EVERY_PROJECT,
        "key": f"{PREFIX}{digest.hex}",
        "value": canonical(said).decode(),
    }
    connection.execute(upsert(connection, schema.setting).values(row).on_conflict_do_nothing())


def _check_proven(registry: Registry, model: models.Model, result: models.Model) -> None:
    claims = [
        claim
        for bundle in bundles.about(registry, [result.digest])
        if (claim := read_claim(Statement.decode(bundle.envelope.payload))) is not None
    ]
    proven = any(
        claim.stage is Stage.CONVERT
        and claim.detail.get("equivalence") == "proven"
        and model.digest in {parent.digest for parent in claim.parents}
        for claim in claims
    )
    ours = result.source.get("converted_from") == str(model.digest)
    if not (proven and ours):
        raise _unproven(f"{result.digest.short} is not known as a proven conversion of it, made here")
    if not all(registry.blobs.verify(entry.sha256) for entry in result.manifest.files):
        raise _unproven(f"the bytes of {result.digest.short} are not whole")


def _check_unused(registry: Registry, model: models.Model, result: models.Model) -> None:
    """Refuse while somebody may load the raw model, in any project, or a project would be left with nothing."""
    table, runs, wanted = schema.model, schema.deployment, str(model.digest)
    with registry.records.read() as connection:
        rows = connection.execute(
            sa.select(table.c.project, table.c.tier, table.c.status).where(table.c.digest == wanted)
        ).all()
        targets = (
            connection.execute(
                sa.select(runs.c.target).where(runs.c.manifest == wanted, runs.c.until.is_(None))
            )
            .scalars()
            .all()
        )
        having = (
            connection.execute(sa.select(table.c.project).where(table.c.digest == str(result.digest)))
            .scalars()
            .all()
        )
    trusted = sorted(
        row.project for row in rows if row.tier == Tier.TRUSTED.value and row.status != Status.REVOKED.value
    )
    if trusted or targets:
        where = f"trusted in project {trusted[0]!r}" if trusted else f"recorded as running at {targets[0]!r}"
        raise Refused(
            "the raw checkpoint is not dropped: it is used",
            cause=f"{model.digest.short} is {where}",
            remedy="have the conversion promoted and used; a model that is trusted keeps its bytes"
            if trusted
            else f"deploy the conversion {result.digest.short} there first",
            check="dropping.used",
        )
    without = sorted({row.project for row in rows} - set(having))
    if without:
        raise Refused(
            "the raw checkpoint is not dropped: another project has the model",
            cause=f"project {without[0]!r} has {model.digest.short} and not its conversion",
            remedy=f"convert it there: weighbridge pull --project {without[0]} …",
            check="dropping.shared",
        )


def _check_alone(registry: Registry, model: models.Model, going: list[FileEntry]) -> None:
    wanted = {entry.sha256: entry.path for entry in going}
    query = sa.select(schema.description.c.manifest).where(schema.description.c.digest != str(model.digest))
    with registry.records.read() as connection:
        others = connection.execute(query).scalars().all()
    for text in others:
        other = Manifest.from_json(text.encode())
        shared = next((e for e in other.files if e.sha256 in wanted), None)
        if shared is not None:
            raise Refused(
                f"{wanted[shared.sha256]!r} is not dropped: another model holds it",
                cause=f"{other.digest.short} has the same bytes as {shared.path!r}",
                remedy="convert that model as well, and drop both when nothing else needs them",
                check="dropping.shared",
            )


def _unproven(cause: str) -> Refused:
    return Refused(
        "the raw checkpoint is not dropped",
        cause=cause,
        remedy="convert it first (weighbridge convert), and look at both: weighbridge doctor",
        check="dropping.proof",
    )
