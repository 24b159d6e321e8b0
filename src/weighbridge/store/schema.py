"""The tables of a registry: every record carries schema version, project, actor and time.

One set of SQLAlchemy Core tables for SQLite and PostgreSQL. Times are RFC 3339 text in UTC, digests
are `algorithm:hex` text, documents are canonical JSON text. Lineage nodes are keyed by integers:
edges keyed by 32-byte digests took twice the time and space in the measurements this follows. An edge has
one index in each direction that holds all a walk asks for, so that no walk reads the rows themselves.
Migrations (store/migrations) build exactly these tables; a test holds the two against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

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


def _place() -> Column[int]:
    """Return the place of a row in the order of being added; in SQLite it is the row's own number."""
    return Column("place", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True)


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
    _place(),
    Column("digest", String(80), nullable=False, unique=True),
    *_record(),
    Column("stage", String(32), nullable=False),
    Column("signer", String(80), nullable=False),
    Column("log_index", Integer),
    Column("content", Text, nullable=False),
    Index("ix_bundle_stage", "stage"),
)

bundle_subject = Table(
    "bundle_subject",
    metadata,
    _place(),
    Column("identity", String(80), nullable=False),
    Column("bundle", String(80), ForeignKey("bundle.digest"), nullable=False),
    UniqueConstraint("identity", "bundle"),
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
    _place(),
    Column("id", String(80), nullable=False, unique=True),
    *_record(),
    Column("manifest", String(80), nullable=False),
    Column("action", String(16), nullable=False),
    Column("answer", String(8), nullable=False),
    Column("content", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("receipt", Text),
    Column("sequence", Integer),
    Column("bundle", String(80)),
    Index("ix_decision_manifest", "manifest"),
    Index("ix_decision_sequence", "sequence"),
    Index("ix_decision_newest", "project", "manifest", "sequence"),
)
"""`evidence` names the evidence by its digest; in the first decisions it is the text itself. `sequence` counts through the
registry's decisions, `bundle` is the signed statement: both as they took effect, and empty in the first decisions."""

evidence = Table(
    "evidence",
    metadata,
    _place(),
    Column("digest", String(71), nullable=False, unique=True),
    Column("content", Text, nullable=False),
    *_record(),
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

alert = Table(
    "alert",
    metadata,
    Column("id", String(71), primary_key=True),
    *_record(),
    Column("sequence", Integer, nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("summary", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("last_at", String(20), nullable=False),
)
"""What somebody is to be told: a repeat of the same counts up, and moves the row to the end of `sequence`."""

alert_sink = Table(
    "alert_sink",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("address", String(71), primary_key=True),
    *_record(),
    Column("position", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", String(20)),
    Column("holder", String(32)),
    Column("held_until", String(20)),
    Column("failing_since", String(20)),
    Column("problem", Text, nullable=False),
    Column("told_at", String(20)),
)
"""How far each receiver of alerts has been told, who is telling it now, and since when it does not listen."""

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
    _place(),
    Column("parent", Integer, ForeignKey("artifact.id"), nullable=False),
    Column("child", Integer, ForeignKey("artifact.id"), nullable=False),
    Column("relation", String(32), nullable=False),
    Column("bundle", String(80), nullable=False),
    *_record(),
    Column("grade", String(16), nullable=False),
    UniqueConstraint("parent", "child", "relation", "bundle"),
    Index("ix_edge_child", "child", "parent", "relation", "grade"),
    Index("ix_edge_parent", "parent", "child", "relation", "grade"),
)

alias = Table(
    "alias",
    metadata,
    _place(),
    Column("scheme", String(16), nullable=False),
    Column("value", String(256), nullable=False),
    Column("artifact", Integer, ForeignKey("artifact.id"), nullable=False),
    Column("bundle", String(80), nullable=False),
    *_record(),
    Column("grade", String(16), nullable=False),
    UniqueConstraint("scheme", "value", "artifact", "bundle"),
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

distrust = Table(
    "distrust",
    metadata,
    Column("id", String(20), nullable=False),
    *_record(),
    Column("content", Text, nullable=False),
    Column("lifted_at", String(20)),
    Column("lift_reason", Text, nullable=False),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "id"),
)
"""Signers, rulesets and scans that count no longer; `created_at` and `lifted_at` are when the log took it in."""

standing = Table(
    "standing",
    metadata,
    Column("digest", String(80), nullable=False),
    *_record(),
    Column("decision", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", String(20), nullable=False),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "digest"),
)
"""Models that the gate itself quarantined when it judged them again; a row goes when it is restored."""

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

proposal = Table(
    "proposal",
    metadata,
    Column("bundle", String(80), primary_key=True),
    *_record(),
    Column("kind", String(16), nullable=False),
    Column("logged_at", String(20), nullable=False),
    Column("approvals", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("ended_at", String(20)),
)
"""A change that waits for a second identity, or waited (`registry.approvals`)."""

policy = Table(
    "policy",
    metadata,
    _place(),
    Column("sequence", Integer, nullable=False),
    *_record(),
    Column("digest", String(80), nullable=False),
    Column("blob", String(80), nullable=False),
    Column("git", String(64), nullable=False),
    Column("previous", String(80), nullable=False),
    Column("bundle", String(80), nullable=False),
    UniqueConstraint("project", "sequence"),
    Index("ix_policy_digest", "digest"),
)
"""Every policy that was ever active in a project, and under which blob its files are kept."""

setting = Table(
    "setting",
    metadata,
    Column("key", String(128), nullable=False),
    *_record(),
    Column("value", Text, nullable=False),
    UniqueConstraint("project", "key"),
)

location = Table(
    "location",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("uri", String(1024), primary_key=True),
    *_record(),
    Column("size", BigInteger, nullable=False),
    Column("version", String(256), nullable=False),
)
"""Where a blob lies that is referenced in place: its store's name for it, and the version there (empty: it has none)."""

removal = Table(
    "removal",
    metadata,
    Column("digest", String(80), primary_key=True),
    *_record(),
    Column("until", String(20), nullable=False),
)
"""Blobs that garbage collection has asked a bucket to delete, and until when, by the store's clock, such a request counts."""

sighting = Table(
    "sighting",
    metadata,
    Column("source", String(512), primary_key=True),
    Column("revision", String(256), primary_key=True),
    Column("manifest", String(80), primary_key=True),
    *_record(),
    Column("last_seen", String(20), nullable=False),
)
"""What a name somewhere else (a branch, a tag, an alias, a key) led to, and when: another manifest later is drift."""

job = Table(
    "job",
    metadata,
    Column("id", String(32), primary_key=True),
    *_record(),
    Column("kind", String(32), nullable=False),
    Column("key", String(128), nullable=False),
    Column("subject", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("holder", String(64)),
    Column("held_until", String(20)),
    Column("updated_at", String(20), nullable=False),
    Column("ended_at", String(20)),
    Index("ix_job_key", "project", "kind", "key"),
    Index("ix_job_state", "state", "created_at"),
)
"""Work that takes long: what is asked for, who is at it until when, how far it came and how it ended."""

token = Table(
    "token",
    metadata,
    Column("id", String(32), primary_key=True),
    *_record(),
    Column("digest", String(71), nullable=False, unique=True),
    Column("holder", String(128), nullable=False),
    Column("rights", Text, nullable=False),
    Column("expires", String(20), nullable=False),
    Column("ended_at", String(20)),
    Column("bundle", String(80), nullable=False),
)
"""Who may do what over HTTP by a secret of which only the digest is kept; granted and ended by signed records."""

action = Table(
    "action",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    *_record(),
    Column("kind", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
)
"""Who asked for what and what came of it: kept for a time, decides nothing."""

log_commit = Table(
    "log_commit",
    metadata,
    Column("origin", String(256), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    *_record(),
    Column("size_before", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("entries", LargeBinary, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Index("ix_log_commit_size", "origin", "size"),
)
"""What was appended to the logs of records, one row for each signed checkpoint, where replicas share the records
(`registry.journal`); empty where one folder alone has the log."""
