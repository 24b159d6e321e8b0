"""The first tables: models, claims, names, deployments, revocations, decisions, outbox, lineage, authority."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
    ]


def upgrade() -> None:
    """Create the tables of models and what is claimed, then those of decisions, then lineage."""
    _models()
    _records()
    _decisions()
    _lineage()


def _models() -> None:
    op.create_table(
        "model",
        sa.Column("digest", sa.String(80), nullable=False),
        *_record(),
        sa.Column("weights", sa.String(80)),
        sa.Column("tier", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("chunks", sa.Text, nullable=False),
        sa.Column("bom", sa.Text),
        sa.UniqueConstraint("project", "digest", name="uq_model_project_digest"),
    )
    op.create_index("ix_model_weights", "model", ["weights"])
    op.create_table(
        "bundle",
        sa.Column("digest", sa.String(80), nullable=False),
        *_record(),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("signer", sa.String(80), nullable=False),
        sa.Column("log_index", sa.Integer),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_bundle"),
    )
    op.create_table(
        "bundle_subject",
        sa.Column("identity", sa.String(80), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("identity", "bundle", name="pk_bundle_subject"),
        sa.ForeignKeyConstraint(["bundle"], ["bundle.digest"], name="fk_bundle_subject_bundle_bundle"),
    )
    op.create_index("ix_bundle_subject_bundle", "bundle_subject", ["bundle"])


def _records() -> None:
    op.create_table(
        "name",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        *_record(),
        sa.Column("manifest", sa.String(80), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("project", "name", "sequence", name="uq_name_project_name_sequence"),
    )
    op.create_table(
        "deployment",
        sa.Column("target", sa.String(256), nullable=False),
        *_record(),
        sa.Column("manifest", sa.String(80), nullable=False),
        sa.Column("since", sa.String(20), nullable=False),
        sa.Column("last_seen", sa.String(20), nullable=False),
        sa.Column("until", sa.String(20)),
        sa.Column("bundle", sa.String(80), nullable=False),
    )
    op.create_index("ix_deployment_manifest", "deployment", ["manifest"])
    op.create_table(
        "revocation",
        sa.Column("target", sa.String(80), nullable=False),
        *_record(),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.String(20), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("project", "target", name="uq_revocation_project_target"),
    )


def _decisions() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.String(80), nullable=False),
        *_record(),
        sa.Column("manifest", sa.String(80), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("answer", sa.String(8), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_decision"),
    )
    op.create_index("ix_decision_manifest", "decision", ["manifest"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *_record(),
        sa.Column("envelope", sa.Text, nullable=False),
        sa.Column("public_pem", sa.Text, nullable=False),
        sa.Column("log_size", sa.Integer, nullable=False),
        sa.Column("done_at", sa.String(20)),
    )
    op.create_table(
        "authority",
        sa.Column("version", sa.Integer, nullable=False),
        *_record(),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_authority"),
    )
    op.create_table(
        "setting",
        sa.Column("key", sa.String(64), nullable=False),
        *_record(),
        sa.Column("value", sa.Text, nullable=False),
        sa.UniqueConstraint("project", "key", name="uq_setting_project_key"),
    )


def _lineage() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", sa.Integer, nullable=False),
        *_record(),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("label", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artifact"),
        sa.UniqueConstraint("digest", name="uq_artifact_digest"),
    )
    op.create_table(
        "edge",
        sa.Column("parent", sa.Integer, nullable=False),
        sa.Column("child", sa.Integer, nullable=False),
        sa.Column("relation", sa.String(16), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        *_record(),
        sa.Column("grade", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("parent", "child", "relation", "bundle", name="pk_edge"),
        sa.ForeignKeyConstraint(["parent"], ["artifact.id"], name="fk_edge_parent_artifact"),
        sa.ForeignKeyConstraint(["child"], ["artifact.id"], name="fk_edge_child_artifact"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_edge_child", "edge", ["child", "parent", "relation"])
