"""Rows that are read at every request: held against the tally once, and again when the row or the tally has changed.

The tally signs a digest over all rows that decide. The same row under the same tally needs no second look, so that a
thousand requests cost one; a row that somebody changed meanwhile is looked at again, and refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.registry import tally
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

MOST = 4096
_SEEN: dict[tuple[str, str, str], tuple[str | None, Any]] = {}


def signed(connection: sa.Connection) -> str | None:
    """Return the tally as it stands."""
    table = schema.setting
    query = sa.select(table.c.value).where(table.c.project == EVERY_PROJECT, table.c.key == tally.KEY)
    return connection.execute(query).scalar()


def vouch(
    registry: Registry, name: str, text: str | None, row: Any, *, further: Callable[[], None] = lambda: None
) -> None:
    """Hold the records against their tally unless `row` was found to be among them under this very tally.

    `name` says which row it is; `text` is what `signed` returned in the transaction that read the row. `further` looks at
    what else the row rests on, of what the tally covers, and raises what it likes. Raises VerificationFailed(records.tally).
    """
    key = (registry.id, str(registry.layout.root), name)
    if _SEEN.get(key) == (text, row):
        return
    tally.check(registry)
    further()
    if len(_SEEN) >= MOST:
        _SEEN.clear()
    with registry.records.read() as connection:
        if signed(connection) == text:  # nobody wrote meanwhile, so that what was checked is what was read
            _SEEN[key] = (text, row)
