"""Changing what the gate judges by: the policy that is pinned, and the mode in which it acts.

Both are settings of a project, or of every project that has none of its own (`*`). A change counts only from the value
that its signer meant to change, and only when it was signed later than that value was set: what was signed once cannot
be played again. Everything here runs inside the transaction of the outbox.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.claims.records import Record
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.tier import Mode
from weighbridge.registry.alerts import alert
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority import EVERY_PROJECT

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause

POLICY, FILES = "policy", "policy-files"
"""Setting keys: the digest of the pinned policy, and that of the policy whose files were last put in place."""
STRICTNESS = (Mode.OFF, Mode.OBSERVE, Mode.WARN, Mode.ENFORCE)


def mode_key(namespace: str) -> str:
    """Return under which key the mode of a namespace is set; that of a whole project for an empty one."""
    return f"mode/{namespace}" if namespace else "mode"


def read_mode(text: str | None) -> Mode | None:
    """Read a kept mode; None where none is set, and enforce for what is no mode: nobody may loosen by damage."""
    if text is None:
        return None
    return Mode(text) if text in [mode.value for mode in Mode] else Mode.ENFORCE


def mode_in(connection: sa.Connection, project: str, namespace: str = "") -> Mode:
    """Return the mode in force: of the namespace, else the project, else every project, else enforce."""
    table = schema.setting
    keys = [mode_key(namespace), mode_key("")]
    query = sa.select(table.c.project, table.c.key, table.c.value)
    query = query.where(table.c.project.in_([project, EVERY_PROJECT]), table.c.key.in_(keys))
    found = {(row[0], row[1]): row[2] for row in connection.execute(query)}
    places = [(where, key) for key in dict.fromkeys(keys) for where in (project, EVERY_PROJECT)]
    return next((mode for place in places if (mode := read_mode(found.get(place)))), Mode.ENFORCE)


def loosens(connection: sa.Connection, record: Record) -> bool:
    """Tell whether a change of mode makes the gate enforce less than it does now."""
    namespace = str(record.body["namespace"])
    before = mode_in(connection, record.project, namespace)
    return STRICTNESS.index(Mode(str(record.body["mode"]))) < STRICTNESS.index(before)


def stale(connection: sa.Connection, record: Record) -> str:
    """Say why a change can no longer take effect; empty while it can."""
    if record.kind not in ("policy", "mode"):
        return ""
    value, since = current(connection, record.project, _key(record))
    previous = record.body.get("previous") or ""
    if value != previous:
        return f"it was to follow {previous or 'no setting'}, and {value or 'none'} is in force since"
    if since and since >= rfc3339(record.at):
        return f"the {record.kind} was changed at {since}, after this was signed"
    return ""


def current(connection: sa.Connection, project: str, key: str) -> tuple[str, str]:
    """Return the value that this project itself has set, and since when; both empty where it has none."""
    table = schema.setting
    query = sa.select(table.c.value, table.c.created_at)
    row = connection.execute(query.where(table.c.project == project, table.c.key == key)).first()
    return (row[0], row[1]) if row else ("", "")


def after(now: datetime, since: str) -> datetime:
    """Return when a change is signed: now, and never at or before the moment of the setting that it follows."""
    return max(now, parse_rfc3339(since) + timedelta(seconds=1)) if since else now


def policy(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Pin another policy, and note it among those that are kept."""
    if stale(connection, record):
        return
    body = {name: str(record.body.get(name) or "") for name in ("digest", "previous", "blob", "commit")}
    if record.project == EVERY_PROJECT:
        _begin_files(connection, record, body["previous"])
    _set(connection, record, body["digest"])
    keep(connection, _row(record), body, bundle=str(cause.bundle.digest))
    alert(
        connection, cause.registry, "policy-change", "warning",
        f"another policy is in force in {record.project!r}: {body['digest']}",
        about=[Digest.parse(body["digest"])],
        facts={**body, "project": record.project, "asked_by": record.actor, "bundle": str(cause.bundle.digest)},
    )  # fmt: skip


def keep(connection: sa.Connection, row: dict[str, Any], body: dict[str, str], *, bundle: str) -> None:
    """Add a policy to the history of a project; where its files lie is said by their blob."""
    table = schema.policy
    last = sa.select(sa.func.max(table.c.sequence)).where(table.c.project == row["project"])
    number = (connection.execute(last).scalar() or 0) + 1
    kept = {**row, "sequence": number, "digest": body["digest"], "blob": body["blob"], "git": body["commit"],
            "previous": body["previous"], "bundle": bundle}  # fmt: skip
    connection.execute(sa.insert(table).values(kept))


def mode(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Let the gate enforce more or less from now on, in one namespace or in a whole project."""
    if stale(connection, record):
        return
    looser = loosens(connection, record)
    _set(connection, record, str(record.body["mode"]))
    namespace = str(record.body["namespace"])
    where = f"namespace {namespace!r} of {record.project!r}" if namespace else repr(record.project)
    alert(
        connection, cause.registry, "mode-change", "critical" if looser else "warning",
        f"the gate's mode in {where} is {record.body['mode']} now",
        facts={**record.body, "project": record.project, "asked_by": record.actor, "bundle": str(cause.bundle.digest)},
    )  # fmt: skip


def _key(record: Record) -> str:
    return POLICY if record.kind == "policy" else mode_key(str(record.body["namespace"]))


def _set(connection: sa.Connection, record: Record, value: str) -> None:
    row = {**_row(record), "key": _key(record), "value": value}
    change = upsert(connection, schema.setting).values(row)
    connection.execute(change.on_conflict_do_update(index_elements=["project", "key"], set_=row))


def _begin_files(connection: sa.Connection, record: Record, previous: str) -> None:
    """Note, once, whose files lie in the policy folder: until others are put there, that the change is not finished."""
    row = {**_row(record), "key": FILES, "value": previous}
    connection.execute(upsert(connection, schema.setting).values(row).on_conflict_do_nothing())


def _row(record: Record) -> dict[str, Any]:
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
    }
