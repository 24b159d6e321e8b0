"""Quotas: how many bytes and models a project may keep and how many tokens it may have in force; set by signed records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import OutOfBudget
from weighbridge.registry.project_settings import number_in
from weighbridge.store import schema

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry


def check_room(registry: Registry, bytes_needed: int, *, models: int = 1) -> None:
    """Refuse (OutOfBudget, quota.bytes or quota.models) what the current project has no room for.

    Bytes count once, however many models of the project hold the same file; what is about to come is taken as new.
    """
    project = registry.project
    with registry.records.read() as connection:
        most = number_in(connection, project, "quota.bytes")
        if most is not None and (kept := _bytes(connection, project)) + bytes_needed > most:
            raise _spent("bytes", project, most, kept, bytes_needed)
        most = number_in(connection, project, "quota.models")
        if most is not None and models and (number := _models(connection, project)) + models > most:
            raise _spent("models", project, most, number, models)


def check_tokens(registry: Registry, project: str) -> None:
    """Refuse (OutOfBudget, quota.tokens) one more token than a project may have in force."""
    with registry.records.read() as connection:
        most = number_in(connection, project, "quota.tokens")
        if most is not None and (number := _tokens(registry, connection, project)) >= most:
            raise _spent("tokens", project, most, number, 1)


def used(registry: Registry) -> dict[str, JSON]:
    """Return what the current project takes and may take: each `used` and `most` (null without a quota)."""
    project = registry.project
    with registry.records.read() as connection:
        now = {
            "bytes": _bytes(connection, project),
            "models": _models(connection, project),
            "tokens": _tokens(registry, connection, project),
        }
        return {
            what: {"used": number, "most": number_in(connection, project, f"quota.{what}")}
            for what, number in now.items()
        }


def _bytes(connection: sa.Connection, project: str) -> int:
    table = schema.description
    sizes: dict[str, int] = {}
    rows = connection.execute(sa.select(table.c.manifest).where(table.c.project == project))
    for text in rows.scalars():
        manifest: Any = parse(text)
        sizes.update((entry["sha256"], entry["size"]) for entry in manifest["files"])
    return sum(sizes.values())


def _models(connection: sa.Connection, project: str) -> int:
    query = sa.select(sa.func.count()).select_from(schema.model).where(schema.model.c.project == project)
    return int(connection.execute(query).scalar() or 0)


def _tokens(registry: Registry, connection: sa.Connection, project: str) -> int:
    table, now = schema.token, rfc3339(registry.clock.now())
    query = sa.select(sa.func.count()).select_from(table)
    query = query.where(table.c.project == project, table.c.ended_at.is_(None), table.c.expires > now)
    return int(connection.execute(query).scalar() or 0)


def _spent(what: str, project: str, most: int, kept: int, needed: int) -> OutOfBudget:
    return OutOfBudget(
        f"project {project!r} has no room for {needed:,} more {what}",
        cause=f"it has {kept:,} of {most:,}, so that {max(0, most - kept):,} are left",
        remedy=f"remove what is not needed, or allow more: weighbridge access set quota.{what} NUMBER",
        check=f"quota.{what}",
    )
