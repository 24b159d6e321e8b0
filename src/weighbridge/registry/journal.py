"""The journal of the logs of records: rows in the database that the replicas of a registry share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from weighbridge.core.errors import Locked
from weighbridge.ledger.checkpoint import parse_checkpoint
from weighbridge.ledger.journal import Commit, decode, encode
from weighbridge.store import schema
from weighbridge.store.sql import Records

PART = 200
"""Commits that are read at once."""
_TABLE = schema.log_commit


class RecordsJournal:
    """Commits as rows of `log_commit` (`ledger.journal.Journal`); `record` says who adds them."""

    def __init__(self, records: Records, record: Callable[[], Mapping[str, Any]]) -> None:
        self._records = records
        self._record = record

    def newest(self, origin: str) -> str:
        """Return the newest checkpoint of a log, or empty for a log that has none."""
        with self._records.read() as connection:
            return _newest(connection, origin)[1]

    def since(self, origin: str, size: int) -> Iterator[Commit]:
        """Yield the commits that brought a log to `size` entries or further, in order."""
        after = -1
        query = sa.select(_TABLE).where(_TABLE.c.origin == origin, _TABLE.c.size >= size)
        while True:
            part = query.where(_TABLE.c.sequence > after).order_by(_TABLE.c.sequence).limit(PART)
            with self._records.read() as connection:
                rows = connection.execute(part).mappings().all()
            if not rows:
                return
            for row in rows:
                count = row["size"] - row["size_before"]
                entries = decode(bytes(row["entries"]), row["size_before"], count)
                yield Commit(origin, row["size_before"], entries, row["checkpoint"])
            after = rows[-1]["sequence"]

    def add(self, commit: Commit, *, after: str) -> None:
        """Take in a commit if the log's newest checkpoint is still `after`; raises Locked(log.journal) if not."""
        with self._records.write() as connection:
            insert(connection, commit, after=after, record=self._record())


def insert(connection: sa.Connection, commit: Commit, *, after: str, record: Mapping[str, Any]) -> None:
    """Take in a commit within a transaction; raises Locked(log.journal) when another was first."""
    sequence, newest = _newest(connection, commit.origin)
    if newest != after:
        raise Locked(
            "another replica has appended to the log meanwhile",
            cause=f"the log {commit.origin!r} has {_size(newest)} entries by now, and this append was made for {commit.before}",
            remedy="run the command again: nothing was appended",
            check="log.journal",
        )
    row = {
        **record,
        "origin": commit.origin,
        "sequence": sequence + 1,
        "size_before": commit.before,
        "size": commit.size,
        "entries": encode(commit.entries),
        "checkpoint": commit.note,
    }
    connection.execute(sa.insert(_TABLE).values(row))


def _newest(connection: sa.Connection, origin: str) -> tuple[int, str]:
    query = sa.select(_TABLE.c.sequence, _TABLE.c.checkpoint).where(_TABLE.c.origin == origin)
    row = connection.execute(query.order_by(_TABLE.c.sequence.desc()).limit(1)).first()
    return (int(row[0]), str(row[1])) if row else (-1, "")


def _size(note: str) -> int:
    return parse_checkpoint(note)[0].size if note else 0
