"""How old what came from other registries is: noted with each import under the records' tally, shown, and bounded.

The bound is the project's setting `import-days`. A gate whose last import is older says so in its evidence and blocks: what was
withdrawn elsewhere since is not known to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.registry import project_settings, tally
from weighbridge.registry.wiring import Registry
from weighbridge.store import schema
from weighbridge.store.dialect import upsert
from weighbridge.trust.authority import EVERY_PROJECT

KEY = "import/"
AHEAD = timedelta(minutes=5)
SETTING = "import-days"


@dataclass(frozen=True, slots=True)
class Import:
    """The newest transfer of one registry that was taken in."""

    registry: str
    made: datetime
    taken: datetime
    entries: int

    def to_json(self) -> dict[str, JSON]:
        """Return it as `transfer list` prints it."""
        return {
            "registry": self.registry,
            "made": rfc3339(self.made),
            "taken": rfc3339(self.taken),
            "entries": self.entries,
        }


def imports(registry: Registry) -> dict[str, Import]:
    """Return the newest transfer taken in from each registry."""
    table = schema.setting
    query = sa.select(table.c.key, table.c.value).where(
        table.c.project == EVERY_PROJECT, table.c.key.startswith(KEY, autoescape=True)
    )
    with registry.records.read() as connection:
        rows = connection.execute(query).all()
    return {key.removeprefix(KEY): _import(key, value) for key, value in rows}


def overdue(registry: Registry) -> Iterator[str]:
    """Say which imports are older than the project allows; something is said as well when there never was one."""
    with registry.records.read() as connection:
        days = project_settings.number_in(connection, registry.project, SETTING)
    if days is None:
        return
    found, now = imports(registry), registry.clock.now()
    if not found:
        yield f"nothing was ever imported here, and {SETTING} asks for an import every {days} days (weighbridge transfer import)"
    for one in found.values():
        if now - one.made > timedelta(days=days) or one.made > now + AHEAD:
            yield (
                f"what is known of registry {one.registry} is of {rfc3339(one.made)}, older than the {days} days"
                f" that {SETTING} allows: what was withdrawn since is not known here (weighbridge transfer import)"
            )


def _import(key: str, value: str) -> Import:
    said = json.loads(value)
    return Import(
        key.removeprefix(KEY), parse_rfc3339(said["made"]), parse_rfc3339(said["taken"]), int(said["entries"])
    )


def note(registry: Registry, other: str, made: str, entries: int) -> None:
    """Note a transfer that was taken in whole."""
    said: dict[str, JSON] = {"made": made, "taken": rfc3339(registry.clock.now()), "entries": entries}
    row = {
        **registry.record(),
        "project": EVERY_PROJECT,
        "key": f"{KEY}{other}",
        "value": canonical(said).decode(),
    }
    with registry.writing(), tally.keeping(registry) as connection:
        change = upsert(connection, schema.setting).values(row)
        connection.execute(change.on_conflict_do_update(index_elements=["project", "key"], set_=row))
