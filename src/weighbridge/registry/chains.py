"""Rows that are only ever added: each is chained to the one before, and the tally signs the ends of the chains.

A writer chains what was added since the last tally, so it costs the same however long a registry lives. Reading a whole chain
again (`broken`) tells of any row that was changed, taken out or put in between by something other than this program.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from weighbridge.core.canonical import JSON
from weighbridge.store import schema
from weighbridge.store.dialect import written

ADDED = {
    "bundle": ("place", "digest, schema_version, project, actor, created_at, stage, signer, log_index, content", "true"),
    "decision": (
        "sequence",
        "id, schema_version, project, actor, created_at, manifest, action, answer, content, evidence, receipt, bundle",
        "receipt IS NOT NULL",
    ),
    "evidence": ("place", "digest, content, schema_version, project, actor, created_at", "true"),
    "authority": ("version", "schema_version, project, actor, created_at, digest, content", "true"),
    "artifact": ("id", "schema_version, project, actor, created_at, digest, kind, label", "true"),
    "edge": ("place", "parent, child, relation, bundle, schema_version, project, actor, created_at, grade", "true"),
    "alias": ("place", "scheme, value, artifact, bundle, schema_version, project, actor, created_at, grade", "true"),
    "policy": ("place", "sequence, schema_version, project, actor, created_at, digest, blob, git, previous, bundle", "true"),
}  # fmt: skip
"""Tables whose rows never change: what they are numbered by in the order of being added, columns, and which rows count."""

Ends = Mapping[str, Mapping[str, Any]]
_NONE = {"last": 0, "rows": 0, "chain": ""}


def extend(connection: sa.Connection, before: Ends) -> dict[str, JSON]:
    """Return the ends of the chains as they are now: those of `before`, and what was added since."""
    ends: dict[str, JSON] = {}
    for table in ADDED:
        end = dict(before.get(table, _NONE))
        for number, row in _rows(connection, table, after=int(end["last"])):
            chain = hashlib.sha256(f"{end['chain']} {row}".encode()).hexdigest()
            end = {"last": number, "rows": int(end["rows"]) + 1, "chain": chain}
        ends[table] = end
    return ends


def broken(connection: sa.Connection, signed: Ends) -> list[str]:
    """Read every chain again; returns what does not end as it was signed. Rows after the end are not signed for yet."""
    problems = []
    for table, end in signed.items():
        if table not in ADDED:
            problems.append(f"{table}: signed by a later version, and not to be read by this one")
            continue
        chain, found = "", 0
        for number, row in _rows(connection, table):
            if number > int(end["last"]):
                break
            chain, found = hashlib.sha256(f"{chain} {row}".encode()).hexdigest(), found + 1
        if found != end["rows"]:
            problems.append(f"{table}: {end['rows']} rows were written, and {found} are here")
        elif chain != end["chain"]:
            problems.append(f"{table}: a row was changed by something other than this program")
    return problems


def _rows(connection: sa.Connection, table: str, *, after: int = 0) -> Iterator[tuple[int, str]]:
    key, columns, where = ADDED[table]
    row = written(connection.dialect.name, schema.metadata.tables[table], columns)
    query = f"SELECT {key}, {row} FROM {table} WHERE {where} AND {key} > :after ORDER BY {key}"  # noqa: S608 (our own words only)
    for number, text in connection.execute(sa.text(query), {"after": after}):
        yield int(number), str(text)
