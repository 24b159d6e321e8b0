"""Sightings: what a name somewhere else led to, each time it was followed; another model under it later is drift.

A branch that went on, a tag that was moved, a key that was written over, an alias that was set again: nothing here is
changed by it, since models are kept by their bytes. But whoever reads the name elsewhere gets other bytes than were judged,
so it is told: as a warning where names may move, as critical where they never should (a commit, a version, a digest).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.reference import Reference
from weighbridge.registry import alerts, tally
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import upsert

MAX_SOURCE, MAX_REVISION = 512, 256
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Drift:
    """A name that led to one model and now leads to another."""

    source: str
    revision: str
    before: Digest
    now: Digest
    last_seen: str
    """When it was last seen to lead where it led before."""
    fixed: bool
    """The name is one that should never lead elsewhere."""

    def __str__(self) -> str:
        name = f"{self.source} {self.revision}".rstrip()
        return f"{name} led to {self.before.short} until {self.last_seen} and leads to {self.now.short} now"

    def to_json(self) -> dict[str, JSON]:
        """Return the drift as JSON."""
        return {
            "source": self.source,
            "revision": self.revision,
            "before": str(self.before),
            "now": str(self.now),
            "last_seen": self.last_seen,
            "fixed": self.fixed,
        }


def note(registry: Registry, reference: Reference, found: Digest, *, pinned: str = "") -> list[Drift]:
    """Note that a name led to a model, and that what it was pinned to did; returns, and tells, what led elsewhere before.

    Paths are not names of somebody else: they are not noted.
    """
    if reference.scheme in ("path", "name", "digest"):
        return []
    names = {revision_of(reference, ""), revision_of(reference, pinned)}
    source = _place(reference)
    with registry.writing(), tally.keeping(registry) as connection:
        drifts = [
            drift for name in sorted(names) if (drift := _note(registry, connection, (source, name), found))
        ]
        for drift in drifts:
            alerts.alert(
                connection,
                registry,
                "drift",
                "critical" if drift.fixed else "warning",
                f"{_named(drift)} leads to another model than it did",
                about=(drift.before, drift.now),
                facts=drift.to_json(),
            )
    return drifts


def last(registry: Registry, reference: Reference) -> Digest | None:
    """Return the kept model of the current project that a name led to when it was last followed."""
    table, model = schema.sighting, schema.model
    here = (table.c.source == _place(reference), table.c.revision == revision_of(reference, ""))
    query = (
        sa.select(table.c.manifest)
        .join(model, sa.and_(model.c.digest == table.c.manifest, model.c.project == registry.project))
        .where(*here)
        .order_by(table.c.last_seen.desc(), table.c.created_at.desc())
    )
    with registry.records.read() as connection:
        found = connection.execute(query.limit(1)).scalar()
    return Digest.parse(found) if found else None


def drifted(registry: Registry) -> list[Drift]:
    """Return every name of the current project that led to more than one model, by its two last sightings."""
    table = schema.sighting
    order = (table.c.source, table.c.revision, table.c.last_seen.desc(), table.c.created_at.desc())
    with registry.records.read() as connection:
        query = sa.select(table).where(table.c.project == registry.project).order_by(*order)
        rows = connection.execute(query).mappings().all()
    seen: dict[tuple[str, str], list[sa.RowMapping]] = {}
    for row in rows:
        seen.setdefault((row["source"], row["revision"]), []).append(row)
    return [
        _drift(name, found[1], Digest.parse(found[0]["manifest"]))
        for name, found in seen.items()
        if len(found) > 1
    ]


def revision_of(reference: Reference, pinned: str) -> str:
    """Return under which name a sighting is noted: what was asked for, or what that was pinned to."""
    return (pinned or reference.revision or {"hf": "main", "oci": "latest"}.get(reference.scheme, ""))[
        :MAX_REVISION
    ]


def _place(reference: Reference) -> str:
    """Return where it was asked for; what follows a `?` in an address may be a secret and is left out."""
    text = reference.location
    if reference.scheme == "https":
        text = text.partition("?")[0]
    return text if len(text) <= MAX_SOURCE else f"{text[:400]}…{Digest.of(text.encode()).hex}"


def _note(
    registry: Registry, connection: sa.Connection, name: tuple[str, str], found: Digest
) -> Drift | None:
    table = schema.sighting
    here = (table.c.source == name[0], table.c.revision == name[1])
    query = sa.select(table).where(*here).order_by(table.c.last_seen.desc(), table.c.created_at.desc())
    rows = connection.execute(query).mappings().all()
    now = registry.record()
    row = {
        **now,
        "source": name[0],
        "revision": name[1],
        "manifest": str(found),
        "last_seen": now["created_at"],
    }
    insert = upsert(connection, table).values(row)
    keys = [table.c.source, table.c.revision, table.c.manifest]
    connection.execute(
        insert.on_conflict_do_update(index_elements=keys, set_={"last_seen": now["created_at"]})
    )
    others = [row for row in rows if row["manifest"] != str(found)]
    mine = next((row["last_seen"] for row in rows if row["manifest"] == str(found)), "")
    if not others or others[0]["last_seen"] < mine:
        return None
    return _drift(name, others[0], found)


def _drift(name: tuple[str, str], before: sa.RowMapping, now: Digest) -> Drift:
    return Drift(*name, Digest.parse(before["manifest"]), now, before["last_seen"], _is_fixed(*name))


def _is_fixed(source: str, revision: str) -> bool:
    """Tell whether a name is one that nobody should be able to move."""
    scheme = source.partition(":")[0]
    if scheme == "hf":
        return _COMMIT.fullmatch(revision) is not None
    if scheme == "models":
        return revision.isdecimal()
    return bool(revision) and (
        scheme in ("https", "http", "s3", "gs", "az") or revision.startswith("sha256:")
    )


def _named(drift: Drift) -> str:
    return f"{drift.source} {drift.revision}".rstrip()
