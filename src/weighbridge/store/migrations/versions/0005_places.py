"""The place of each row in the order of being added, as a column of its own, and the log of records as rows.

SQLite numbers its rows by itself; that number becomes the column `place`, so that it is kept when a database is
copied or packed, and so that what was chained by it stays chained. Its tables are made again for that, with every row.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

PLACED = {
    "bundle": ("digest",),
    "bundle_subject": ("identity", "bundle"),
    "decision": ("id",),
    "evidence": ("digest",),
    "edge": ("parent", "child", "relation", "bundle"),
    "alias": ("scheme", "value", "artifact", "bundle"),
    "policy": (),
}
"""Tables that get a place, and what named their rows until now (it stays unique)."""


def upgrade() -> None:
    """Give rows their numbers, and create the table of what was appended to the log."""
    if op.get_bind().dialect.name == "sqlite":
        _number_again()
    else:
        _number()
    op.create_table(
        "log_commit",
        sa.Column("origin", sa.String(256), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("size_before", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.LargeBinary, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
    )
    op.create_index("ix_log_commit_size", "log_commit", ["origin", "size"])


def _number() -> None:
    """Let PostgreSQL number what is there, and what comes, by a sequence."""
    op.drop_constraint("fk_bundle_subject_bundle_bundle", "bundle_subject", type_="foreignkey")
    for table, named in PLACED.items():
        if named:
            op.drop_constraint(f"pk_{table}", table, type_="primary")
            op.create_unique_constraint(f"uq_{table}_{'_'.join(named)}", table, list(named))
        op.add_column(table, sa.Column("place", sa.BigInteger, sa.Identity(), nullable=False))
        op.create_primary_key(f"pk_{table}", table, ["place"])
    op.create_foreign_key(
        "fk_bundle_subject_bundle_bundle", "bundle_subject", "bundle", ["bundle"], ["digest"]
    )


def _number_again() -> None:
    """Make SQLite's tables again with their rows under the numbers they have; claims after what they are about."""
    bind = op.get_bind()
    before = sa.MetaData()
    before.reflect(bind, only=list(PLACED))
    tables = {name: before.tables[name] for name in PLACED}
    columns = ", ".join(column.name for column in tables["bundle_subject"].c)
    op.execute(f"CREATE TEMP TABLE kept AS SELECT rowid AS place, {columns} FROM bundle_subject")  # noqa: S608 (our own words only)
    op.drop_table("bundle_subject")
    for name, table in tables.items():
        if name != "bundle_subject":
            _make_again(table)
    _create("bundle_subject", tables["bundle_subject"])
    op.execute(
        f"INSERT INTO bundle_subject (place, {columns}) SELECT place, {columns} FROM kept ORDER BY place"  # noqa: S608 (our own words only)
    )
    op.execute("DROP TABLE temp.kept")
    op.create_index("ix_bundle_subject_bundle", "bundle_subject", ["bundle"])


def _make_again(table: sa.Table) -> None:
    name, columns = table.name, ", ".join(column.name for column in table.c)
    indexes = [(index.name, [column.name for column in index.columns]) for index in table.indexes]
    _create(f"{name}_placed", table)
    op.execute(
        f"INSERT INTO {name}_placed (place, {columns}) SELECT rowid, {columns} FROM {name} ORDER BY rowid"  # noqa: S608 (our own words only)
    )
    op.drop_table(name)
    op.rename_table(f"{name}_placed", name)
    for index, named in indexes:
        op.create_index(index, name, named)


def _create(name: str, table: sa.Table) -> None:
    """Create a table as another is, with a place before its columns; what named its rows stays unique."""
    named = PLACED[table.name] or ("project", "sequence")
    columns = [
        sa.Column(column.name, column.type, nullable=column.nullable and not column.primary_key)
        for column in table.c
    ]
    keys = [
        sa.ForeignKeyConstraint(
            [column.name for column in key.columns],
            [element.target_fullname for element in key.elements],
            name=f"fk_{table.name}_{key.column_keys[0]}_{key.referred_table.name}",
        )
        for key in sorted(table.foreign_key_constraints, key=lambda key: tuple(key.column_keys))
    ]
    op.create_table(
        name,
        sa.Column("place", sa.Integer, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("place", name=f"pk_{table.name}"),
        sa.UniqueConstraint(*named, name=f"uq_{table.name}_{'_'.join(named)}"),
        *keys,
    )
