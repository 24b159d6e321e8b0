"""The registry's own records: blobs in place, what names elsewhere led to, jobs, tokens, who asked for what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
    ]


def upgrade() -> None:
    """Create the new tables; nothing that was there changes."""
    _sources()
    _jobs()
    _access()


def _sources() -> None:
    """Keep where blobs lie that are referenced in place, and what names elsewhere led to."""
    op.create_table(
        "location",
        sa.Column("digest", sa.String(80), primary_key=True),
        sa.Column("uri", sa.String(1024), primary_key=True),
        *_record(),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("version", sa.String(256), nullable=False),
    )
    op.create_table(
        "sighting",
        sa.Column("source", sa.String(512), primary_key=True),
        sa.Column("revision", sa.String(256), primary_key=True),
        sa.Column("manifest", sa.String(80), primary_key=True),
        *_record(),
        sa.Column("last_seen", sa.String(20), nullable=False),
    )


def _jobs() -> None:
    """Keep work that takes long, and how far it came."""
    op.create_table(
        "job",
        sa.Column("id", sa.String(32), primary_key=True),
        *_record(),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("holder", sa.String(64)),
        sa.Column("held_until", sa.String(20)),
        sa.Column("updated_at", sa.String(20), nullable=False),
        sa.Column("ended_at", sa.String(20)),
    )
    op.create_index("ix_job_key", "job", ["project", "kind", "key"])
    op.create_index("ix_job_state", "job", ["state", "created_at"])


def _access() -> None:
    """Keep who may do what over HTTP, and who asked for what."""
    op.create_table(
        "token",
        sa.Column("id", sa.String(32), primary_key=True),
        *_record(),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("rights", sa.Text, nullable=False),
        sa.Column("expires", sa.String(20), nullable=False),
        sa.Column("ended_at", sa.String(20)),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "action",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        *_record(),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
