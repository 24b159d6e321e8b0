"""Withdrawing: an admission that lies beside a model's files ends with the model's standing, and says so to the loader.

The loader asks no database. What it finds beside the files is therefore taken away as soon as a revocation or
an advisory takes effect, and a note put in its place; `admit` lays both out anew when the gate allows it again.
A copy that was taken elsewhere before lives on until the admission expires.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import sqlalchemy as sa

from weighbridge.claims.summary import read_vsa
from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.statement import Statement
from weighbridge.core.tier import Status
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.plain import read_plain
from weighbridge.trust.bundle import Bundle

ADMISSION, NOTE = "admission.sigstore.json", "withdrawn.json"


def withdraw(
    registry: Registry, connection: sa.Connection, why: str, *, only: Collection[Digest] | None = None
) -> None:
    """Take back what was laid out of models that are no longer active (of those in `only`); inside the transaction that made them so.

    An admission that cannot be removed is told in the logs and holds nothing up: the standing counts, and the
    admission ends by itself.
    """
    table = schema.model
    for evidence in _laid_out(registry.layout.models, only):
        digest = f"wb1:{evidence.parent.name}"
        query = sa.select(table.c.project).where(
            table.c.digest == digest, table.c.status != Status.ACTIVE.value
        )
        fallen = set(connection.execute(query).scalars())
        if not fallen:
            continue
        try:
            if _project(evidence / ADMISSION) in fallen:
                note = {"schema": "weighbridge.withdrawn/1", "model": digest, "reason": why}
                (evidence / NOTE).write_bytes(canonical(note))
                (evidence / ADMISSION).unlink()
        except OSError as error:
            logging.getLogger("weighbridge.registry").warning(
                "an admission could not be withdrawn",
                extra={"fields": {"model": digest, "cause": str(error)}},
            )


def _laid_out(folder: Path, only: Collection[Digest] | None) -> list[Path]:
    try:
        places = sorted(folder.iterdir()) if only is None else [folder / digest.hex for digest in only]
        return [place / "evidence" for place in places if (place / "evidence" / ADMISSION).is_file()]
    except OSError:
        return []


def _project(path: Path) -> str:
    """Return the project that an admission is for; empty for what is none, which no loader believes either."""
    try:
        return read_vsa(Statement.decode(Bundle.from_json(read_plain(path)).envelope.payload)).project
    except WeighbridgeError:
        return ""
