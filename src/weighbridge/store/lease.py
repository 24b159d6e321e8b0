"""Who may write, where several machines share one PostgreSQL: one session at a time holds a lock of the whole database.

The lock ends with its session, and the server ends a session that says nothing for `seconds`: a process that was
stopped, or a machine that is gone, holds up the others no longer than that. Whoever holds the lock says so every
now and then. A process that was stopped and wakes up again cannot write: each of its transactions first asks, under
the lock that all writers take, whether its session still holds the lease; and whoever takes over waits for the
transaction that was under way.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from weighbridge.core.errors import Locked
from weighbridge.store.dialect import begin_writing

LEADER = 0x7765_6967_686C_6564
"""The advisory lock of whoever writes to the registry: `weighled`, as eight bytes."""
BEATS = 6
"""How often the holder says something in the time after which the server ends its session."""
_HELD = sa.text(
    "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.objsubid = 1 AND l.classid = :high AND l.objid = :low AND l.pid = :pid "
    "AND CAST(a.backend_start AS text) = :begun "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Lease:
    """The right to write, for one process at a time; made once for a database, and taken as often as needed."""

    def __init__(self, engine: sa.Engine, seconds: int) -> None:
        self._engine = engine
        self._seconds = seconds
        self._session: sa.Connection | None = None
        self._holder: dict[str, Any] | None = None
        self._ended = Event()
        self._beat: Thread | None = None

    def take(self, *, seconds: float) -> None:
        """Take the lease; raises Locked when another holds it for longer than `seconds`."""
        session = self._connected()
        try:
            self._take(session, seconds)
        except BaseException as error:
            self.close()
            if getattr(getattr(error, "orig", None), "sqlstate", None) == "55P03":  # lock_not_available
                raise _busy(seconds) from error
            raise
        self._ended = Event()
        self._beat = Thread(
            target=self._say, args=(session, self._ended, self._seconds / BEATS), name="lease", daemon=True
        )
        self._beat.start()

    def release(self) -> None:
        """Let the next one in; a session that is gone has let go already."""
        self._holder = None
        if self._beat is not None:
            self._ended.set()
            self._beat.join()
            self._beat = None
        try:
            if self._session is not None:
                self._session.exec_driver_sql(
                    f"SELECT pg_advisory_unlock({LEADER}); SET idle_session_timeout = 0"
                )
        except SQLAlchemyError:
            self.close()

    def check(self, connection: sa.Connection) -> None:
        """Ask, inside a write transaction, whether the lease that this process took is still its own; raises Locked.

        A process that holds none writes what needs none.
        """
        holder = self._holder
        if holder is not None and connection.execute(_HELD, holder).scalar() is None:
            raise Locked(
                "this process is not the one that writes to the registry any more",
                cause=f"it said nothing for {self._seconds} s, or the database ended its session; another may have taken over",
                remedy="run the command again: what it had begun is finished by whoever writes next",
                check="records.lease",
            )

    def close(self) -> None:
        """Let go of the session, and with it of the lock."""
        session, self._session, self._holder = self._session, None, None
        if session is not None:
            with suppress(SQLAlchemyError):
                session.invalidate()  # not back to the others: it may hold the lock
            session.close()

    def after_fork(self) -> None:
        """Leave the session to the parent of a fork."""
        if self._session is not None:
            self._session.detach()
        self._session = self._holder = None

    def _connected(self) -> sa.Connection:
        if self._session is None or self._session.closed or self._session.invalidated:
            self.close()
            self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._session

    def _take(self, session: sa.Connection, seconds: float) -> None:
        wait = max(1, int(seconds * 1000))
        session.exec_driver_sql(f"SET lock_timeout = {wait}; SELECT pg_advisory_lock({LEADER})")
        session.exec_driver_sql(f"SET idle_session_timeout = {self._seconds * 1000}")
        pid, begun = session.exec_driver_sql(
            "SELECT pid, CAST(backend_start AS text) FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).one()
        with (
            self._engine.connect() as connection
        ):  # what the holder before had under way comes to its end first
            begin_writing(connection, wait)
            connection.rollback()
        self._holder = {"high": LEADER >> 32, "low": LEADER & 0xFFFF_FFFF, "pid": pid, "begun": begun}

    @staticmethod
    def _say(session: sa.Connection, ended: Event, pause: float) -> None:
        with suppress(SQLAlchemyError):  # the next transaction tells
            while not ended.wait(pause):
                session.exec_driver_sql("SELECT 1")


def _busy(seconds: float) -> Locked:
    return Locked(
        "another process is writing to this registry",
        cause=f"it did not let go of the database's lease within {seconds:g} s",
        remedy="wait for it to end and run the command again; nothing was changed",
    )
