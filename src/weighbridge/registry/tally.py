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

from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.ledger.sequencer import MIN_GENESIS, Log
from weighbridge.registry import chains
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import listing, upsert
from weighbridge.trust.authority import EVERY_PROJECT
from weighbridge.trust.bundle import log_body
from weighbridge.trust.dsse import Envelope, sign
from weighbridge.trust.verify import verify_envelope

TYPE = "application/vnd.weighbridge.tally+json"
KEY = "tally"

STATE = (
    ("authority", "version, digest, content", "", "version"),
    ("setting", "project, key, value", f"WHERE key <> '{KEY}'", "project, key"),
    ("revocation", "project, target, reason, since, bundle", "", "project, target"),
    ("name", "project, name, sequence, manifest, bundle", "", "project, name, sequence"),
    (
        "deployment",
        "project, target, manifest, since, last_seen, bundle",
        "WHERE until IS NULL",
        "project, target",
    ),
    ("model", "project, digest, weights, tier, status, origin, source", "", "project, digest"),
    (
        "advisory",
        "key, project, id, kind, targets, reason, severity, published, lifted_at, bundle",
        "",
        "key",
    ),
    ("proposal", "project, bundle, kind, logged_at, approvals, state, reason, ended_at", "", "bundle"),
    ("policy", "project, sequence, created_at, digest, blob, git, previous, bundle", "", "project, sequence"),
    ("distrust", "id, project, content, lifted_at, lift_reason, bundle", "", "project, id"),
    ("standing", "project, digest, decision, reason, since, bundle", "", "project, digest"),
    ("token", "id, project, digest, holder, rights, expires, ended_at, bundle", "", "id"),
)
"""Table, columns, rows and order: what decides, and what stays small however long a registry lives."""

NUMBERED = (
    "bundle", "bundle_subject", "artifact", "edge", "decision WHERE receipt IS NOT NULL", "alias", "taint",
    "fingerprint", "mark",
)  # fmt: skip
"""Tables that grow without end: only the number of their rows is signed, so that every command costs the same.

A deleted or added row shows at once; an exchanged one when it is used (a bundle is held against its digest and its
signature) or in `fsck`, which draws the lineage again from the kept claims. Rows that are only ever added are chained
(`chains`), and `fsck` reads the chains again. Which claims are about whom is chained as well,
row by row: `check_subjects` reads that chain again before the gate judges, or a claim against a model could be hidden
under another. Left out are a manifest (`models` holds it against its digest), the outbox, and decisions not logged yet."""


LATER = frozenset(
    {
        "proposal",
        "policy",
        "advisory",
        "alias",
        "taint",
        "fingerprint",
        "mark",
        "distrust",
        "standing",
        "token",
    }
)
"""Tables that the first registries did not have. Empty they leave no trace, so that those keep their tally."""


def count(connection: sa.Connection) -> str:
    """Return the digest over the rows that decide anything, and over the numbers of the others."""
    total = hashlib.sha256()
    for table, columns, where, order in STATE:
        query = listing(connection.dialect.name, schema.metadata.tables[table], columns, where, order)
        text = connection.execute(query).scalar() or ""
        if text or table not in LATER:
            total.update(f"{table} {len(text)}\n{text}\n".encode())
    for rows in NUMBERED:
        number = connection.exec_driver_sql(f"SELECT count(*) FROM {rows}").scalar()  # noqa: S608 (our own words only)
        if number or rows not in LATER:
            total.update(f"{rows} {number}\n".encode())
    return total.hexdigest()


@contextmanager
def keeping(registry: Registry) -> Iterator[sa.Connection]:
    """Give a write transaction for rows that count: they are held against their tally, and a new one is signed.

    Must be called while `registry.writing()`.
    """
    with registry.records.write() as connection:
        before = check_in(registry, connection)
        yield connection
        close(connection, registry.id, registry.log, registry.log_key, registry.record(), before=before)


def close(
    connection: sa.Connection,
    registry: str,
    log: Log,
    signer: Signer,
    record: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
) -> None:
    """Sign the records as they stand in this transaction, with the log's key; the log holds what they rest on.

    `before` is what the last tally said; what was added since is chained to its ends.
    """
    before = before or {}
    body: dict[str, JSON] = {
        "registry": registry,
        "size": log.size,
        "records": count(connection),
        "subjects": _chain(connection, before.get("subjects", {"number": 0, "chain": ""})),
        "added": chains.extend(connection, before.get("added", {})),
        "alerts": _noted(connection),
    }
    envelope = sign(TYPE, canonical(body), signer)
    row = {
        **record,
        "project": EVERY_PROJECT,
        "key": KEY,
        "value": canonical(envelope.to_json()).decode(),
    }
    change = upsert(connection, schema.setting).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=["project", "key"], set_=row))


def check(registry: Registry) -> None:
    """Hold the records against their tally and the log.

    The log is read first and the records after it: an entry beyond the tally then waits in the outbox.
    Raises VerificationFailed(records.tally).
    """
    registry.log.refresh()
    if registry.log.head.frozen:
        registry.take_up()
    with registry.records.read() as connection:
        check_in(registry, connection)


def check_subjects(registry: Registry) -> None:
    """Read the whole index of who is spoken of, and hold it against its chain; raises as `check` does."""
    with registry.records.read() as connection:
        if _signed(registry, connection)["subjects"] != _chain(connection, {"number": 0, "chain": ""}):
            raise _refuse("a claim was put under another model")


def broken(registry: Registry) -> list[str]:
    """Read every row again that is only ever added, against the ends of the chains that are signed."""
    with registry.records.read() as connection:
        return chains.broken(connection, _signed(registry, connection).get("added", {}))


def _chain(connection: sa.Connection, before: Mapping[str, Any]) -> dict[str, JSON]:
    """Chain the rows after the first `number`, in the order they were written."""
    number, chain = int(before["number"]), str(before["chain"])
    table = schema.bundle_subject
    query = sa.select(table.c.identity, table.c.bundle).order_by(table.c.place).offset(number)
    for identity, bundle in connection.execute(query):
        chain = hashlib.sha256(f"{chain} {identity!r} {bundle!r}".encode()).hexdigest()
        number += 1
    return {"number": number, "chain": chain}


def check_in(registry: Registry, connection: sa.Connection) -> Mapping[str, Any]:
    """Do what `check` does, inside a transaction that began after the log was last read; returns what was signed."""
    said = _signed(registry, connection)
    if said["records"] != count(connection):
        raise _refuse("a row was changed, added or deleted by something other than this program")
    if _noted(connection) < int(said.get("alerts", 0)):
        raise _refuse("alerts were deleted, told or not")
    size = int(said["size"])
    if size > registry.log.size:
        registry.log.refresh()  # another process went on since
    if size > registry.log.size:
        raise _refuse(f"they rest on {size} log entries, and the log has {registry.log.size}")
    waiting = _waiting(connection)
    for entry in registry.log.entries(size):
        if entry.body not in waiting:
            raise _refuse(f"log entry {entry.index} is in neither the records nor the outbox")
    return said


def _noted(connection: sa.Connection) -> int:
    """Return the number of the newest alert. It may be beyond the signed one: what fails outside of a change is noted as well."""
    return int(connection.execute(sa.select(sa.func.max(schema.alert.c.sequence))).scalar() or 0)


def _signed(registry: Registry, connection: sa.Connection) -> Mapping[str, Any]:
    table = schema.setting
    query = sa.select(table.c.value).where(table.c.project == EVERY_PROJECT, table.c.key == KEY)
    text = connection.execute(query).scalar()
    if text is None:
        raise _refuse("their tally is missing")
    try:
        said = _by_log(registry, Envelope.decode(text.encode()))
    except VerificationFailed as error:
        raise _refuse(f"their tally is not signed by the log's key: {error.problem}") from error
    if said["registry"] != registry.id:
        raise _refuse("their tally is another registry's")
    return said


def _by_log(registry: Registry, envelope: Envelope) -> dict[str, Any]:
    """Return what the log's key signed; while a log that follows another is empty, the other's key counts as well.

    Its last tally then: one that rests on all of the frozen log. The first that the new key signs takes its place
    before anything is appended (`rotation`), so that no older one can be put back later.
    """
    try:
        return _payload(envelope, registry.log)
    except VerificationFailed:
        registry.take_up()  # another process may have gone on to the next log since
    try:
        return _payload(envelope, registry.log)
    except VerificationFailed:
        if not registry.before or registry.log.size > MIN_GENESIS:
            raise
    said, before = _payload(envelope, registry.before[-1]), registry.before[-1]
    if said["size"] != before.size:
        raise _refuse(f"they rest on {said['size']} entries of a log that was frozen with {before.size}")
    return {**said, "size": registry.log.size}


def _payload(envelope: Envelope, log: Log) -> dict[str, Any]:
    said: Any = parse(verify_envelope(envelope, log.public_pem, TYPE))
    return dict(said)


def _waiting(connection: sa.Connection) -> set[bytes]:
    """Return the log bodies of what is still in the outbox."""
    from weighbridge.registry.outbox import waiting  # the outbox needs the tally

    table = schema.outbox
    query = sa.select(table.c.envelope, table.c.public_pem).where(table.c.done_at.is_(None))
    drafts = (waiting(row) for row in connection.execute(query).mappings())
    return {log_body(draft.envelope, draft.public_pem) for draft in drafts}


def _refuse(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "the registry's records are not what this program wrote",
        cause=cause,
        remedy="find out who can write to the registry's folder, then restore it from a backup",
        check="records.tally",
    )
