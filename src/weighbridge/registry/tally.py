"""The tally: what the records said when the log had so many entries, under the log's signature.

The log keeps digests, so it cannot give back a row that somebody deleted or changed. The tally makes such a
change show: each writer that applies effects signs a digest over every row that decides anything,
together with the size of the log (docs: an insider who can write the database can sign neither).

It is checked before anything is decided or listed. Rows are compared, not repaired: a registry whose tally
does not fit is refused until it is restored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as upsert

from weighbridge.core.canonical import canonical, parse
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.ledger.sequencer import Log
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.trust.authority import EVERY_PROJECT
from weighbridge.trust.bundle import log_body
from weighbridge.trust.dsse import Envelope, sign
from weighbridge.trust.verify import verify_envelope

TYPE = "application/vnd.weighbridge.tally+json"
KEY = "tally"

COUNTED = (
    ("authority", "version, digest, content", "", "version"),
    ("setting", "project, key, value", f"WHERE key <> '{KEY}'", "project, key"),
    ("revocation", "project, target, reason, since, bundle", "", "project, target"),
    ("name", "project, name, sequence, manifest, bundle", "", "project, name, sequence"),
    ("deployment", "project, target, manifest, since, last_seen, until, bundle", "", "rowid"),
    ("model", "project, digest, weights, tier, status, origin, source", "", "project, digest"),
    ("decision", "id, manifest, action, answer", "WHERE receipt IS NOT NULL", "id"),
    ("bundle", "digest, log_index", "", "digest"),
    ("bundle_subject", "identity, bundle", "", "identity, bundle"),
    ("artifact", "id, digest", "", "id"),
    ("edge", "parent, child, relation, bundle, grade", "", "parent, child, relation, bundle"),
)
"""Table, columns, rows and order. Left out is what is verified on use, or decides nothing: a bundle's content
and a manifest (`bundles` and `models` hold them against their digests), the outbox, decisions not logged yet."""


def count(connection: sa.Connection) -> str:
    """Return the digest over every row that decides anything."""
    total = hashlib.sha256()
    for table, columns, where, order in COUNTED:
        row = " || ',' || ".join(f"quote({column})" for column in columns.split(", "))
        query = (
            f"SELECT group_concat(r, char(10)) FROM (SELECT {row} AS r FROM {table} {where} ORDER BY {order})"  # noqa: S608 (our own words only)
        )
        text = connection.exec_driver_sql(query).scalar() or ""
        total.update(f"{table} {len(text)}\n{text}\n".encode())
    return total.hexdigest()


@contextmanager
def keeping(registry: Registry) -> Iterator[sa.Connection]:
    """Give a write transaction for rows that count: they are held against their tally, and a new one is signed.

    Must be called while `registry.writing()`.
    """
    with registry.records.write() as connection:
        check_in(registry, connection)
        yield connection
        close(connection, registry.id, registry.log, registry.log_key, registry.record())


def close(
    connection: sa.Connection, registry: str, log: Log, signer: Signer, record: Mapping[str, Any]
) -> None:
    """Sign the records as they stand in this transaction, with the log's key; the log holds what they rest on."""
    body = canonical({"registry": registry, "size": log.size, "records": count(connection)})
    envelope = sign(TYPE, body, signer)
    row = {
        **record,
        "project": EVERY_PROJECT,
        "key": KEY,
        "value": canonical(envelope.to_json()).decode(),
    }
    change = upsert(schema.setting).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=["project", "key"], set_=row))


def check(registry: Registry) -> None:
    """Hold the records against their tally and the log; raises VerificationFailed(records.tally).

    The log is read first and the records after it: an entry beyond the tally then waits in the outbox.
    """
    registry.log.refresh()
    with registry.records.read() as connection:
        check_in(registry, connection)


def check_in(registry: Registry, connection: sa.Connection) -> None:
    """Do what `check` does, inside a transaction that began after the log was last read."""
    size, records = _signed(registry, connection)
    if records != count(connection):
        raise _refuse("a row was changed, added or deleted by something other than this program")
    if size > registry.log.size:
        registry.log.refresh()  # another process went on since
    if size > registry.log.size:
        raise _refuse(f"they rest on {size} log entries, and the log has {registry.log.size}")
    waiting = _waiting(connection)
    for entry in registry.log.entries(size):
        if entry.body not in waiting:
            raise _refuse(f"log entry {entry.index} is in neither the records nor the outbox")


def _signed(registry: Registry, connection: sa.Connection) -> tuple[int, str]:
    table = schema.setting
    query = sa.select(table.c.value).where(table.c.project == EVERY_PROJECT, table.c.key == KEY)
    text = connection.execute(query).scalar()
    if text is None:
        raise _refuse("their tally is missing")
    try:
        envelope = Envelope.decode(text.encode())
        said: Any = parse(verify_envelope(envelope, registry.log.public_pem, TYPE))
    except VerificationFailed as error:
        raise _refuse(f"their tally is not signed by the log's key: {error.problem}") from error
    if said["registry"] != registry.id:
        raise _refuse("their tally is another registry's")
    return int(said["size"]), str(said["records"])


def _waiting(connection: sa.Connection) -> set[bytes]:
    """Return the log bodies of what is still in the outbox."""
    table = schema.outbox
    query = sa.select(table.c.envelope, table.c.public_pem).where(table.c.done_at.is_(None))
    return {log_body(Envelope.from_json(parse(row[0].encode())), row[1]) for row in connection.execute(query)}


def _refuse(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the registry's records are not what this program wrote",
        cause=cause,
        remedy="find out who can write to the registry's folder, then restore it from a backup",
        check="records.tally",
    )
