"""What garbage collection has asked a bucket to delete, and until when such a request counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the new table; nothing that was there changes."""
    op.create_table(
        "removal",
        sa.Column("digest", sa.String(80), primary_key=True),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("until", sa.String(20), nullable=False),
    )
