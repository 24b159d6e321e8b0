"""Where a registry keeps what it keeps, by its settings: records, blobs, and the journal that replicas share."""

from __future__ import annotations

import os
from typing import Any

from weighbridge.config import Config
from weighbridge.core.clock import Clock, rfc3339
from weighbridge.registry.journal import RecordsJournal
from weighbridge.registry.layout import Layout
from weighbridge.store import schema
from weighbridge.store.blobs import open_blobs
from weighbridge.store.ports import Blobs
from weighbridge.store.sql import Records
from weighbridge.trust.authority import EVERY_PROJECT


def open_records(config: Config, layout: Layout, *, create: bool = False) -> Records:
    """Open the records: where the setting `records` says, by default in the registry's folder; raises as `Records`."""
    url = str(config["records"])
    if url:
        return Records.open_url(url, create=create, lease_seconds=int(config["lease_seconds"]))
    return Records.open(layout.database, create=create)


def open_journal(records: Records, config: Config, clock: Clock) -> RecordsJournal | None:
    """Return the journal of the logs of records, where other machines may work on these records; else None."""
    if not records.shared:
        return None

    def record() -> dict[str, Any]:
        return {
            "schema_version": schema.SCHEMA_VERSION,
            "project": EVERY_PROJECT,
            "actor": str(config["actor"]) or login(),
            "created_at": rfc3339(clock.now()),
        }

    return RecordsJournal(records, record)


def kept_blobs(config: Config, layout: Layout) -> Blobs:
    """Open the store of blobs: where the setting `blobs` says, by default in the registry's folder."""
    return open_blobs(str(config["blobs"]) or layout.blobs, cache=layout.copies)


def login() -> str:
    """Return who is at this machine, for the records."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid:{os.getuid()}"
