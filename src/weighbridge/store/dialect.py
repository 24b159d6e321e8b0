"""What differs between SQLite and PostgreSQL, in one place: beginning, lists as parameters, inserting what is new.

Everything else is one schema and one set of queries for both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

WRITERS = 0x7765_6967_6862_7269
"""The advisory lock under which PostgreSQL lets one writer in at a time: `weighbri`, as eight bytes."""

_LISTED = {
    "sqlite": "json_each(:{name})",
    "postgresql": "json_array_elements_text(CAST(:{name} AS json)) AS l(value)",
}
_ROWS = {"sqlite": "json_each(:rows)", "postgresql": "jsonb_array_elements(CAST(:rows AS jsonb)) AS l(value)"}
_FIELD = {"sqlite": "json_extract(value, '$[{}]')", "postgresql": "value ->> {}"}
MODELS = {
    "sqlite": {
        "place": "m.rowid",
        "chosen": "rowid IN ",
        "found": "m.rowid FROM hit JOIN model m ON m.project = :project AND m.digest = hit.digest",
        "end": ")",
    },
    "postgresql": {
        "place": "m.digest",
        "chosen": "project = :project AND digest = ANY(ARRAY",
        "found": "digest FROM hit",
        "end": "))",
    },
}
"""By what rows of models are found and changed: SQLite goes through its table in the order in which the rows lie."""
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


def identified(dialect: str, name: str) -> str:
    """Return a query over the digests in the parameter `name`, as `listed` does.

    PostgreSQL sees then how many there are when it plans; otherwise it takes one for a hundred, and reads whole tables.
    """
    if dialect != "postgresql":
        return listed(dialect, name)
    return f"SELECT unnest(CAST(translate(:{name}, '[]', '{{}}') AS text[]))"


def among(dialect: str, numbers: str) -> str:
    """Return the condition that a number is one of those that a query returns, in the order in which the rows lie.

    PostgreSQL does not know how many a walk returns; given as an array they are looked up in one go through the index.
    """
    return f"IN ({numbers})" if dialect == "sqlite" else f"= ANY(ARRAY({numbers}))"


def pack(values: Iterable[str] | Iterable[int]) -> str:
    """Return values as the parameter that `listed` reads."""
    return json.dumps(list(values), separators=(",", ":"))


def joined(dialect: str, column: str) -> str:
    """Return the aggregate that puts all values of a column into one text, a space between two (none: NULL).

    One long value is read several times faster than as many short rows.
    """
    return f"{'group_concat' if dialect == 'sqlite' else 'string_agg'}({column}, ' ')"


def insert_new(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *wanted: sa.Column[Any]
) -> list[tuple[Any, ...]]:
    """Insert those of `rows` (all with the same columns) that are not there yet; returns `wanted` of the new ones.

    One statement and one parameter for what differs, however many rows: a parameter for each value costs more than
    the rows themselves. What is the same in every row is said once.
    """
    if not rows:
        return []
    first = rows[0]
    shared = [name for name, value in first.items() if all(row[name] == value for row in rows)]
    varied = tuple(name for name in first if name not in set(shared))
    text = _inserting(connection.dialect.name, table, (*shared, *varied), varied, wanted)
    values: dict[str, Any] = {f"s_{name}": first[name] for name in shared}
    values["rows"] = json.dumps([[row[name] for name in varied] for row in rows], separators=(",", ":"))
    return [tuple(row) for row in connection.execute(text, values)]


def upsert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return this database's own insert into a table, which says what happens to a row that is there already."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as into_postgresql

        return into_postgresql(table)
    from sqlalchemy.dialects.sqlite import insert as into_sqlite

    return into_sqlite(table)


@lru_cache(maxsize=64)
def written(dialect: str, table: sa.Table, columns: str) -> str:
    """Return the expression that writes columns of a row as one text, the same in every database.

    Numbers as they are, texts in quotes (those in them doubled), nothing as NULL, commas between: SQLite's `quote`.
    """
    names = columns.split(", ")
    if dialect == "sqlite":
        return " || ',' || ".join(f"quote({name})" for name in names)
    return " || ',' || ".join(_quoted(table.c[name]) for name in names)


def _quoted(column: sa.Column[Any]) -> str:
    if isinstance(column.type, sa.Integer):
        return f"coalesce(CAST({column.name} AS text), 'NULL')"
    return f"coalesce('''' || replace({column.name}, '''', '''''') || '''', 'NULL')"


@lru_cache(maxsize=64)
def listing(dialect: str, table: sa.Table, columns: str, where: str, order: str) -> sa.TextClause:
    """Return the query for all rows of a table in one text, as `written`, in an order that no setting changes."""
    row = written(dialect, table, columns)
    if dialect == "sqlite":
        return sa.text(
            f"SELECT group_concat(r, char(10)) FROM (SELECT {row} AS r FROM {table.name} {where} ORDER BY {order})"  # noqa: S608 (our own words only)
        )
    by = ", ".join(_in_bytes(table.c[name]) for name in order.split(", "))
    return sa.text(f"SELECT string_agg({row}, chr(10) ORDER BY {by}) FROM {table.name} {where}")  # noqa: S608 (our own words only)


def _in_bytes(column: sa.Column[Any]) -> str:
    return column.name if isinstance(column.type, sa.Integer) else f'{column.name} COLLATE "C"'


@lru_cache(maxsize=128)
def _inserting(
    dialect: str,
    table: sa.Table,
    columns: tuple[str, ...],
    varied: tuple[str, ...],
    wanted: tuple[sa.Column[Any], ...],
) -> sa.TextClause:
    def value(name: str) -> str:
        kind = "INTEGER" if isinstance(table.c[name].type, sa.Integer) else "TEXT"
        given = _FIELD[dialect].format(varied.index(name)) if name in varied else f":s_{name}"
        return f"CAST({given} AS {kind})"

    return sa.text(
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(map(value, columns))} "  # noqa: S608 (our own words only)
        f"FROM {_ROWS[dialect]} WHERE true ON CONFLICT DO NOTHING RETURNING {', '.join(c.name for c in wanted)}"
    )
