"""The spool: alerts of a registry that cannot take a row, in the user's configuration home until it can again.

A registry whose database is gone, damaged or not believed is what somebody has to be told of first. The file is
replaced as a whole, flushed to disk, under a lock; repeats count up, as in the table. The next opening that is
believed takes it into the table. A process killed between that and the file's end takes it twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weighbridge.core.alert import KINDS, SEVERITIES, Alert
from weighbridge.core.canonical import JSON, canonical, parse
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.tiles import write_durably
from weighbridge.registry.alerts import put
from weighbridge.registry.wiring import Registry
from weighbridge.store.plain import flush_folder

MOST = 200
"""Different things that are kept apart; beyond that, only their kinds are."""
LIMIT = 8 * 1024 * 1024
BEYOND = "more of the same kind than are kept apart"


@dataclass(frozen=True, slots=True)
class Spooled:
    """One alert of the registry in the folder `root`, and who was told of it at what time already."""

    root: str
    alert: Alert
    tried: Mapping[str, str]
    """Name of a receiver to when it was last tried."""
    told: Mapping[str, str]
    """Name of a receiver to the `last` of what it was told."""


def path(home: Path) -> Path:
    """Return where the spool lies."""
    return home / "alerts" / "spool.json"


def waiting(home: Path) -> list[Spooled]:
    """Return what is spooled; a file that cannot be read, which nothing here writes, counts as nothing."""
    try:
        with path(home).open("rb") as file:
            rows: Any = parse(file.read(LIMIT))
        return [_read(row) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def spool(home: Path, root: Path, told: Alert) -> Spooled:
    """Keep an alert durably, or count it up; raises OSError or WeighbridgeError when the disk refuses."""
    with _changing(home) as rows:
        same = next((row for row in rows if (row.root, row.alert.id) == (str(root), told.id)), None)
        if same is None and len(rows) >= MOST:
            told = replace(told, id=f"{BEYOND} {told.kind}", summary=BEYOND, about=(), facts={})
            same = next((row for row in rows if (row.root, row.alert.id) == (str(root), told.id)), None)
        if same is None:
            kept = Spooled(str(root), told, {}, {})
        else:
            rows.remove(same)
            alert = replace(told, count=same.alert.count + 1, first=same.alert.first)
            kept = replace(same, alert=alert)
        rows.append(kept)
        return kept


def note(home: Path, kept: Spooled, tried: Sequence[str], told: Sequence[str], now: str) -> None:
    """Note who was tried and who was told, so that a command that is repeated does not tell each time."""
    with _changing(home) as rows:
        for index, row in enumerate(rows):
            if (row.root, row.alert.id) == (kept.root, kept.alert.id):
                rows[index] = replace(
                    row,
                    tried={**row.tried, **dict.fromkeys(tried, now)},
                    told={**row.told, **dict.fromkeys(told, kept.alert.last)},
                )


def take(registry: Registry) -> int:
    """Take what is spooled for this registry into its table; returns how many."""
    root = str(registry.layout.root)
    if not any(row.root == root for row in waiting(registry.config.home)):
        return 0
    with _changing(registry.config.home) as rows:
        mine = [row for row in rows if row.root == root]
        with registry.records.write() as connection:
            for row in mine:
                put(connection, row.alert)
        for row in mine:
            rows.remove(row)
    return len(mine)


@contextmanager
def _changing(home: Path) -> Iterator[list[Spooled]]:
    """Give the rows, and write them again when the block changed them."""
    where = path(home)
    where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(where.with_suffix(".lock")):
        rows = waiting(home)
        before = list(rows)
        yield rows
        if rows == before:
            return
        if rows:
            write_durably(where, canonical([_row(row) for row in rows]))
        else:
            where.unlink(missing_ok=True)
        flush_folder(where.parent)


def _row(row: Spooled) -> dict[str, JSON]:
    alert: dict[str, Any] = asdict(row.alert)
    alert["about"] = list(row.alert.about)
    return {"root": row.root, "alert": alert, "tried": dict(row.tried), "told": dict(row.told)}


def _read(row: Any) -> Spooled:
    fields = row["alert"]
    texts = ("id", "kind", "severity", "project", "actor", "summary", "first", "last")
    if not all(isinstance(fields[key], str) for key in texts) or type(fields["count"]) is not int:
        raise ValueError("no alert")
    if fields["kind"] not in KINDS or fields["severity"] not in SEVERITIES:
        raise ValueError("no alert")
    alert = Alert(**{**fields, "about": tuple(map(str, fields["about"])), "facts": dict(fields["facts"])})
    tried, told = ({str(key): str(value) for key, value in row[name].items()} for name in ("tried", "told"))
    return Spooled(str(row["root"]), alert, tried, told)
