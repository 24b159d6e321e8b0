"""What differs between SQLite and PostgreSQL, in one place: beginning, lists as parameters, inserting what is new.

Everything else is one schema and one set of queries for both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

WRITERS = 0x7765_6967_6862_7269
"""The advisory lock under which PostgreSQL lets one writer in at a time: `weighbri`, as eight bytes."""

_LISTED = {
    "sqlite": "json_each(:{name})",
    "postgresql": "json_array_elements_text(CAST(:{name} AS json)) AS l(value)",
}
_WALKING = "SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL random_page_cost = 1.1"
"""For walks by index: compiling them costs more than they take, and what they read lies in memory."""


def begin_writing(connection: sa.Connection, busy_ms: int) -> None:
    """Begin a transaction that is alone in writing until it ends; fails when another writes for longer than `busy_ms`.

    SQLite knows how long to wait since it was opened.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    connection.exec_driver_sql(
        f"SET LOCAL lock_timeout = {int(busy_ms)}; SELECT pg_advisory_xact_lock({WRITERS}); {_WALKING}"
    )


def begin_reading(connection: sa.Connection) -> None:
    """Begin a transaction that sees one moment."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {_WALKING}")


def is_busy(error: BaseException | None) -> bool:
    """Tell whether the database said that somebody else is writing (PostgreSQL: 55P03, lock_not_available)."""
    text = str(error)
    return "locked" in text or "busy" in text or getattr(error, "sqlstate", None) == "55P03"


def listed(dialect: str, name: str, *, number: bool = False) -> str:
    """Return a query over the values of the parameter `name`, which `pack` made: one parameter, however many values."""
    value = "CAST(value AS INTEGER)" if number else "value"
    return f"SELECT {value} FROM {_LISTED[dialect].format(name=name)}"  # noqa: S608 (our own words only)


def pack(values: Iterable[str] | Iterable[int]) -> str:
    """Return values as the parameter that `listed` reads."""
    return json.dumps(list(values), separators=(",", ":"))


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *wanted: sa.Column[Any]
) -> list[tuple[Any, ...]]:
    """Insert those of `rows` that are not there yet; returns the `wanted` columns of the new ones."""
    if not rows:
        return []
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as to_sqlite

        change: Any = to_sqlite(table).on_conflict_do_nothing()
    else:
        from sqlalchemy.dialects.postgresql import insert as to_postgresql

        change = to_postgresql(table).on_conflict_do_nothing()
    return [tuple(row) for row in connection.execute(change.returning(*wanted), list(rows))]
