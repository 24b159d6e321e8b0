"""The lineage index: other names of things, marks and fingerprints of weights, advisories and whom they taint.

Relations grow to 32 characters, and edges are covered by an index in each direction, so that a walk reads
the index alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
    ]


def upgrade() -> None:
    """Rebuild the edges, give nodes a state, move the long texts of models, create the new tables."""
    _edges()
    _descriptions()
    op.add_column("artifact", sa.Column("state", sa.String(16), nullable=False, server_default="known"))
    _aliases()
    _fingerprints()
    _advisories()


def _edges() -> None:
    """Widen `relation`; SQLite cannot, so there every row is carried over into a table that takes the old one's place.

    The new table has row numbers: its two indexes then hold four short columns each, and not the bundle's digest.
    """
    op.drop_index("ix_edge_child", "edge")
    if op.get_bind().dialect.name == "sqlite":
        _carry_over()
    else:
        op.alter_column("edge", "relation", type_=sa.String(32))
        op.execute(
            "ALTER TABLE model SET (fillfactor = 85)"
        )  # room to change a status without touching the indexes
    op.create_index("ix_edge_child", "edge", ["child", "parent", "relation", "grade"])
    op.create_index("ix_edge_parent", "edge", ["parent", "child", "relation", "grade"])


def _carry_over() -> None:
    op.create_table(
        "edge_wider",
        sa.Column("parent", sa.Integer, nullable=False),
        sa.Column("child", sa.Integer, nullable=False),
        sa.Column("relation", sa.String(32), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        *_record(),
        sa.Column("grade", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("parent", "child", "relation", "bundle", name="pk_edge"),
        sa.ForeignKeyConstraint(["parent"], ["artifact.id"], name="fk_edge_parent_artifact"),
        sa.ForeignKeyConstraint(["child"], ["artifact.id"], name="fk_edge_child_artifact"),
    )
    columns = "parent, child, relation, bundle, schema_version, project, actor, created_at, grade"
    op.execute(f"INSERT INTO edge_wider ({columns}) SELECT {columns} FROM edge")  # noqa: S608 (our own words only)
    op.drop_table("edge")
    op.rename_table("edge_wider", "edge")


def _aliases() -> None:
    op.create_table(
        "alias",
        sa.Column("scheme", sa.String(16), nullable=False),
        sa.Column("value", sa.String(256), nullable=False),
        sa.Column("artifact", sa.Integer, nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        *_record(),
        sa.Column("grade", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("scheme", "value", "artifact", "bundle", name="pk_alias"),
        sa.ForeignKeyConstraint(["artifact"], ["artifact.id"], name="fk_alias_artifact_artifact"),
    )
    op.create_index("ix_alias_artifact", "alias", ["artifact"])


def _descriptions() -> None:
    """Move manifests, chunk tables and bills of materials out of the rows whose status changes."""
    op.create_table(
        "description",
        sa.Column("digest", sa.String(80), nullable=False),
        *_record(),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("chunks", sa.Text, nullable=False),
        sa.Column("bom", sa.Text),
        sa.UniqueConstraint("project", "digest", name="uq_description_project_digest"),
    )
    columns = "digest, schema_version, project, actor, created_at, manifest, chunks, bom"
    op.execute(f"INSERT INTO description ({columns}) SELECT {columns} FROM model")  # noqa: S608 (our own words only)
    for column in ("manifest", "chunks", "bom"):
        op.drop_column("model", column)


def _fingerprints() -> None:
    op.create_table(
        "mark",
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("mark", sa.String(32), nullable=False),
        sa.Column("artifact", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("kind", "mark", "artifact", name="pk_mark"),
        sa.ForeignKeyConstraint(["artifact"], ["artifact.id"], name="fk_mark_artifact_artifact"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mark_artifact", "mark", ["artifact"])
    op.create_table(
        "fingerprint",
        sa.Column("artifact", sa.Integer, nullable=False, autoincrement=False),
        *_record(),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("artifact", name="pk_fingerprint"),
        sa.ForeignKeyConstraint(["artifact"], ["artifact.id"], name="fk_fingerprint_artifact_artifact"),
    )


def _advisories() -> None:
    op.create_table(
        "advisory",
        sa.Column("key", sa.Integer, nullable=False),
        *_record(),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("targets", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("published", sa.String(20), nullable=False),
        sa.Column("lifted_at", sa.String(20)),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_advisory"),
        sa.UniqueConstraint("project", "id", name="uq_advisory_project_id"),
    )
    op.create_table(
        "taint",
        sa.Column("artifact", sa.Integer, nullable=False),
        sa.Column("advisory", sa.Integer, nullable=False),
        *_record(),
        sa.Column("distance", sa.Integer, nullable=False),
        sa.Column("via", sa.String(32), nullable=False),
        sa.Column("grade", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("artifact", "advisory", name="pk_taint"),
    )
    op.create_index("ix_taint_advisory", "taint", ["advisory"])
