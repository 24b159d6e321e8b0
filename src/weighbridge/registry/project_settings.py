"""Settings of a project that are signed and logged: quotas, who may read without a name, who may approve, how long actions stay.

A change counts only from the value that its signer meant to change, and only when it was signed later than that value was
set, as a change of mode does (`registry.changes`). Where a project has no value of its own, that of `*` holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from weighbridge.claims.records import Record, event
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role
from weighbridge.keys.ports import Signer
from weighbridge.registry import approvals, changes, tally
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority import EVERY_PROJECT

if TYPE_CHECKING:
    from weighbridge.registry.effects import Cause
    from weighbridge.registry.wiring import Registry

PREFIX = "set/"
NUMBER, SWITCH = "number", "on or off"
MOST = 2**53 - 1
MOST_PROJECT = 64


@dataclass(frozen=True, slots=True)
class Known:
    """A setting: what it takes, and what it means."""

    form: str
    default: str
    help: str


KNOWN: Mapping[str, Known] = {
    "quota.bytes": Known(NUMBER, "", "how many bytes the models of the project may take, each file once"),
    "quota.models": Known(NUMBER, "", "how many models the project may keep"),
    "quota.tokens": Known(NUMBER, "", "how many tokens may be in force at once"),
    "anonymous-read": Known(SWITCH, "off", "whether who brings no token may read"),
    "other-approver": Known(
        SWITCH, "off", "whether who handed a model in may not also be the one to approve it"
    ),
    "import-days": Known(
        NUMBER, "", "after how many days without an import from another registry the gate blocks"
    ),
    "action-days": Known(NUMBER, "365", "for how many days it is kept who asked for what"),
}
"""What can be set."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value as it is in force: from this project, from `*`, or the default."""

    key: str
    value: str
    project: str
    since: str = ""
    actor: str = ""

    def to_json(self) -> dict[str, JSON]:
        """Return the setting as JSON."""
        return {
            "key": self.key,
            "value": self.value,
            "project": self.project,
            "since": self.since,
            "set_by": self.actor,
        }


def value_in(connection: sa.Connection, project: str, key: str) -> Setting:
    """Return a setting as it is in force in a project."""
    table = schema.setting
    query = sa.select(table.c.project, table.c.value, table.c.created_at, table.c.actor).where(
        table.c.key == f"{PREFIX}{key}", table.c.project.in_([project, EVERY_PROJECT]), table.c.value != ""
    )
    found = {row.project: row for row in connection.execute(query)}
    row = found.get(project) or found.get(EVERY_PROJECT)
    if row is None:
        return Setting(key, KNOWN[key].default, "")
    return Setting(key, row.value, row.project, row.created_at, row.actor)


def number_in(connection: sa.Connection, project: str, key: str) -> int | None:
    """Return a number as it is in force, or None where there is none."""
    text = value_in(connection, project, key).value
    return int(text) if text else None


def switched_on(connection: sa.Connection, project: str, key: str) -> bool:
    """Tell whether a switch is on; what is neither on nor off counts as the stricter of the two."""
    value = value_in(connection, project, key).value
    return value == "on" if key == "anonymous-read" else value != "off"


def every(registry: Registry) -> list[Setting]:
    """Return all settings as they are in force in the current project; held against the tally."""
    tally.check(registry)
    with registry.records.read() as connection:
        return [value_in(connection, registry.project, key) for key in KNOWN]


def change(
    registry: Registry, key: str, value: str, *, reason: str, signer: Signer, project: str | None = None
) -> Setting:
    """Sign and log another value of a setting; an empty one takes the project's own value away.

    Raises UsageError for what cannot be set, and Refused for a signer without the role policy.
    """
    from weighbridge.registry import (
        authorities,
    )  # who asks for the outbox, which applies what is changed here
    from weighbridge.registry.outbox import sign, submit

    where = registry.project if project is None else project
    check(key, value)
    if not reason.strip():
        raise UsageError("a change of a setting needs a reason", remedy='say why with --reason "…"')
    authorities.require(registry, signer, Role.POLICY, project=where)
    with registry.writing():
        with registry.records.read() as connection:
            previous, since = changes.current(connection, where, f"{PREFIX}{key}")
        at = changes.after(registry.clock.now(), since)
        body: dict[str, JSON] = {"key": key, "value": value, "previous": previous, "reason": reason.strip()}
        submit(registry, sign(event("setting", (), body, project=where, actor=registry.actor, at=at), signer))
        with registry.records.read() as connection:
            now, _ = changes.current(connection, where, f"{PREFIX}{key}")
            if now != value:
                raise approvals.without_effect("setting")
            return value_in(connection, registry.project, key)


def check(key: str, value: str) -> None:
    """Refuse (UsageError) what is no setting, or no value of it."""
    if key not in KNOWN:
        raise UsageError(
            f"there is no setting {key!r}", remedy=f"known are {', '.join(KNOWN)}", check="setting.key"
        )
    if not _fits(key, value):
        raise UsageError(
            f"{value!r} is no value of {key}",
            cause=f"it takes {'a whole number' if KNOWN[key].form == NUMBER else SWITCH}",
            remedy="give one, or nothing to take the project's own value away",
            check="setting.value",
        )


def _fits(key: str, value: str) -> bool:
    if not value:
        return True
    if KNOWN[key].form == SWITCH:
        return value in ("on", "off")
    return value.isascii() and value.isdigit() and value == str(int(value)) and int(value) <= MOST


def take_effect(connection: sa.Connection, record: Record, cause: Cause) -> None:
    """Set a value; nothing happens for what is not known here, or was signed against another value."""
    del cause
    key, value = str(record.body["key"]), str(record.body["value"])
    if key not in KNOWN or not _fits(key, value) or len(record.project) > MOST_PROJECT:
        return
    name = f"{PREFIX}{key}"
    before, since = changes.current(connection, record.project, name)
    if before != record.body["previous"] or (since and since >= rfc3339(record.at)):
        return
    row = {
        "schema_version": schema.SCHEMA_VERSION,
        "project": record.project,
        "actor": record.actor[:128],
        "created_at": rfc3339(record.at),
        "key": name,
        "value": value,
    }
    change_ = upsert(connection, schema.setting).values(row)
    connection.execute(change_.on_conflict_do_update(index_elements=["project", "key"], set_=row))
