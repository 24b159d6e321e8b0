"""The gate's own records: evidence by digest, changes that wait for a second identity, alerts that wait to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("project", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
    ]


def upgrade() -> None:
    """Create the new tables; nothing that was there changes."""
    _evidence()
    _chain()
    _alerts()
    _changes()
    _withdrawals()


def _changes() -> None:
    """Keep changes that wait for a second identity, and every policy that was ever active."""
    op.create_table(
        "proposal",
        sa.Column("bundle", sa.String(80), primary_key=True),
        *_record(),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("logged_at", sa.String(20), nullable=False),
        sa.Column("approvals", sa.Text, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ended_at", sa.String(20)),
    )
    op.create_table(
        "policy",
        sa.Column("sequence", sa.Integer, nullable=False),
        *_record(),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("blob", sa.String(80), nullable=False),
        sa.Column("git", sa.String(64), nullable=False),
        sa.Column("previous", sa.String(80), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("project", "sequence"),
    )
    op.create_index("ix_policy_digest", "policy", ["digest"])
    with op.batch_alter_table(
        "setting"
    ) as table:  # the mode of a namespace is a setting, and namespaces have 63 characters
        table.alter_column("key", type_=sa.String(128), existing_type=sa.String(64), existing_nullable=False)


def _evidence() -> None:
    """Keep evidence once, by its digest: many decisions rest on the same."""
    op.create_table(
        "evidence",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        *_record(),
    )


def _alerts() -> None:
    """Keep what somebody is to be told, and how far each receiver has been told."""
    op.create_table(
        "alert",
        sa.Column("id", sa.String(71), primary_key=True),
        *_record(),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("last_at", sa.String(20), nullable=False),
        sa.UniqueConstraint("sequence"),
    )
    op.create_table(
        "alert_sink",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(71), primary_key=True),
        *_record(),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.String(20)),
        sa.Column("holder", sa.String(32)),
        sa.Column("held_until", sa.String(20)),
        sa.Column("failing_since", sa.String(20)),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("told_at", sa.String(20)),
    )


def _chain() -> None:
    """Add the number of each decision, and the name of the signed statement of each; those that are here have neither."""
    op.add_column("decision", sa.Column("sequence", sa.Integer))
    op.add_column("decision", sa.Column("bundle", sa.String(80)))
    op.create_index("ix_decision_sequence", "decision", ["sequence"])


def _withdrawals() -> None:
    """Keep who is distrusted from when on, and which models the gate itself has quarantined."""
    op.create_table(
        "distrust",
        sa.Column("id", sa.String(20), nullable=False),
        *_record(),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("lifted_at", sa.String(20)),
        sa.Column("lift_reason", sa.Text, nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("project", "id"),
    )
    op.create_table(
        "standing",
        sa.Column("digest", sa.String(80), nullable=False),
        *_record(),
        sa.Column("decision", sa.String(80), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since", sa.String(20), nullable=False),
        sa.Column("bundle", sa.String(80), nullable=False),
        sa.UniqueConstraint("project", "digest"),
    )
    op.create_index("ix_bundle_stage", "bundle", ["stage"])
    op.create_index("ix_decision_newest", "decision", ["project", "manifest", "sequence"])
