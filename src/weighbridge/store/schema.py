"""The tables of a registry: every record carries schema version, project, actor and time.

One set of SQLAlchemy Core tables for SQLite and PostgreSQL. Times are RFC 3339 text in UTC, digests
are `algorithm:hex` text, documents are canonical JSON text. Lineage nodes are keyed by integers:
edges keyed by 32-byte digests took twice the time and space in the measurements this follows. An edge has
one index in each direction that holds all a walk asks for, so that no walk reads the rows themselves.
Migrations (store/migrations) build exactly these tables; a test holds the two against each other.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

SCHEMA_VERSION = 1

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    }
)


def _record() -> tuple[Column[object], ...]:
    """Return the columns that every record carries: schema version, project, actor, time."""
    return (
        Column("schema_version", Integer, nullable=False, default=SCHEMA_VERSION),
        Column("project", String(64), nullable=False),
        Column("actor", String(128), nullable=False),
        Column("created_at", String(20), nullable=False),
    )


model = Table(
    "model",
    metadata,
    Column("digest", String(80), nullable=False),
    *_record(),
    Column("weights", String(80)),
    Column("tier", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("label", String(256), nullable=False),
    Column("source", Text, nullable=False),
    UniqueConstraint("project", "digest"),
)
Index("ix_model_weights", model.c.weights)

description = Table(
    "description",
    metadata,
    Column("digest", String(80), nullable=False),
    *_record(),
    Column("manifest", Text, nullable=False),
    Column("chunks", Text, nullable=False),
    Column("bom", Text),
    UniqueConstraint("project", "digest"),
)
"""What each model is made of: long texts, apart from `model`, whose rows change for many models at once."""

bundle = Table(
    "bundle",
    metadata,
    Column("digest", String(80), primary_key=True),
    *_record(),
    Column("stage", String(32), nullable=False),
    Column("signer", String(80), nullable=False),
    Column("log_index", Integer),
    Column("content", Text, nullable=False),
)

bundle_subject = Table(
    "bundle_subject",
    metadata,
    Column("identity", String(80), primary_key=True),
    Column("bundle", String(80), ForeignKey("bundle.digest"), primary_key=True),
    Index("ix_bundle_subject_bundle", "bundle"),
)

name = Table(
    "name",
    metadata,
    Column("name", String(64), nullable=False),
    Column("sequence", Integer, nullable=False),
    *_record(),
    Column("manifest", String(80), nullable=False),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "name", "sequence"),
)

deployment = Table(
    "deployment",
    metadata,
    Column("target", String(256), nullable=False),
    *_record(),
    Column("manifest", String(80), nullable=False),
    Column("since", String(20), nullable=False),
    Column("last_seen", String(20), nullable=False),
    Column("until", String(20)),
    Column("bundle", String(80), nullable=False),
    Index("ix_deployment_manifest", "manifest"),
)

revocation = Table(
    "revocation",
    metadata,
    Column("target", String(80), nullable=False),
    *_record(),
    Column("reason", Text, nullable=False),
    Column("since", String(20), nullable=False),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "target"),
)

decision = Table(
    "decision",
    metadata,
    Column("id", String(80), primary_key=True),
    *_record(),
    Column("manifest", String(80), nullable=False),
    Column("action", String(16), nullable=False),
    Column("answer", String(8), nullable=False),
    Column("content", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("receipt", Text),
    Index("ix_decision_manifest", "manifest"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_record(),
    Column("envelope", Text, nullable=False),
    Column("public_pem", Text, nullable=False),
    Column("log_size", Integer, nullable=False),
    Column("done_at", String(20)),
)

artifact = Table(
    "artifact",
    metadata,
    Column("id", Integer, primary_key=True),
    *_record(),
    Column("digest", String(80), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("label", String(256), nullable=False, default=""),
    Column("state", String(16), nullable=False, default="known", server_default="known"),
)
"""A node of the lineage: of `kind` model, weights, dataset or alias; a `placeholder` is a name nobody has answered to."""

edge = Table(
    "edge",
    metadata,
    Column("parent", Integer, ForeignKey("artifact.id"), primary_key=True),
    Column("child", Integer, ForeignKey("artifact.id"), primary_key=True),
    Column("relation", String(32), primary_key=True),
    Column("bundle", String(80), primary_key=True),
    *_record(),
    Column("grade", String(16), nullable=False),
    Index("ix_edge_child", "child", "parent", "relation", "grade"),
    Index("ix_edge_parent", "parent", "child", "relation", "grade"),
)

alias = Table(
    "alias",
    metadata,
    Column("scheme", String(16), primary_key=True),
    Column("value", String(256), primary_key=True),
    Column("artifact", Integer, ForeignKey("artifact.id"), primary_key=True),
    Column("bundle", String(80), primary_key=True),
    *_record(),
    Column("grade", String(16), nullable=False),
    Index("ix_alias_artifact", "artifact"),
)
"""By what else a thing is known, how sure that is, and which bundle says so (empty: this registry, from the bytes)."""

mark = Table(
    "mark",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("mark", String(32), primary_key=True),
    Column("artifact", Integer, ForeignKey("artifact.id"), primary_key=True),
    Index("ix_mark_artifact", "artifact"),
    sqlite_with_rowid=False,
)
"""A few digests of the tensors of weights, by which weights that share some are found; drawn from `fingerprint`."""

fingerprint = Table(
    "fingerprint",
    metadata,
    Column("artifact", Integer, ForeignKey("artifact.id"), primary_key=True, autoincrement=False),
    *_record(),
    Column("content", Text, nullable=False),
)

advisory = Table(
    "advisory",
    metadata,
    Column("key", Integer, primary_key=True),
    *_record(),
    Column("id", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("targets", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("published", String(20), nullable=False),
    Column("lifted_at", String(20)),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "id"),
)

taint = Table(
    "taint",
    metadata,
    Column("artifact", Integer, primary_key=True),
    Column("advisory", Integer, primary_key=True),
    *_record(),
    Column("distance", Integer, nullable=False),
    Column("via", String(32), nullable=False),
    Column("grade", String(16), nullable=False),
    Index("ix_taint_advisory", "advisory"),
)
"""Whom an advisory reaches: fewest steps, a relation it came by, and the grade of the surest way (`store.taints`).

Without foreign keys: its rows are drawn from artifacts and advisories alone, ninety thousand at once, and two
checks for each would take as long as all the rest."""

authority = Table(
    "authority",
    metadata,
    Column("version", Integer, primary_key=True),
    *_record(),
    Column("digest", String(80), nullable=False),
    Column("content", Text, nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("key", String(64), nullable=False),
    *_record(),
    Column("value", Text, nullable=False),
    UniqueConstraint("project", "key"),
)
