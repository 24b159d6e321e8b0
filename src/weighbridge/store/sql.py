"""Records in SQLite or PostgreSQL: opening, migrating, transactions.

A write transaction takes a lock at its beginning (SQLite's own, or an advisory one), so two writers meet here
and not in the middle of their work. Durability in SQLite: WAL with synchronous=FULL; a committed transaction
survives power loss. PostgreSQL is as durable as its settings make it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from weighbridge.core.errors import Locked, RegistryUnusable, UsageError, WeighbridgeError
from weighbridge.store.dialect import begin_reading, begin_writing, is_busy
from weighbridge.store.lease import Lease

HEAD = "0006"
KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006")
BUSY_MS = 5000
"""How long a writer waits for another."""
LEASE_SECONDS = 30
"""How long a writer that stands still holds up those on other machines."""
READING: tuple[str, ...] = (
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "cache_size=-262144",
    "temp_store=MEMORY",
)
"""64 MiB of pages at most, and what a walk has seen in memory; nothing is mapped, so that a cut file is an error."""
PRAGMAS: tuple[str, ...] = ("journal_mode=WAL", "synchronous=FULL", *READING)


class Records:
    """One database of records. `write` and `read` give connections; nothing else opens transactions."""

    def __init__(self, engine: sa.Engine, where: str, lease: Lease | None = None) -> None:
        self._engine = engine
        self._where = where
        self._lease = lease

    @property
    def shared(self) -> bool:
        """Tell whether other machines may work on these records as well."""
        return self._lease is not None

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Records:
        """Open the database at `path`, migrating an older one; raises RegistryUnusable or Locked."""
        if not create and not path.is_file():
            raise RegistryUnusable(
                f"there is no registry database at {path}",
                remedy="run `weighbridge init`, or point --registry at a registry",
            )
        records = cls(_engine(path), str(path))
        records._ready()
        return records

    @classmethod
    def open_url(cls, url: str, *, create: bool = True, lease_seconds: int = LEASE_SECONDS) -> Records:
        """Open the PostgreSQL database at `url` (`postgresql+psycopg://…`), making (`create`) or migrating its tables.

        `lease_seconds` is how long a writer that stands still may hold up the others. Raises UsageError for a URL of
        another kind or without the extra `postgres`, else as `open` does.
        """
        try:
            parsed = sa.make_url(url)
            if parsed.drivername != "postgresql+psycopg":
                raise ArgumentError(f"it asks for {parsed.drivername}")
            engine = sa.create_engine(parsed, pool_pre_ping=True)
        except (ArgumentError, ImportError, ValueError) as error:
            raise UsageError(
                "this is no database that records can be kept in",
                cause=str(error),
                remedy="give postgresql+psycopg://USER@HOST/NAME, and install weighbridge with the extra `postgres`",
            ) from error
        _end_idle_transactions(engine, lease_seconds)
        records = cls(engine, parsed.render_as_string(hide_password=True), Lease(engine, lease_seconds))
        records._ready(create=create)
        return records

    @contextmanager
    def leading(self, *, seconds: float) -> Iterator[None]:
        """Be the one process of all machines that writes to the registry; raises Locked after `seconds`.

        Nothing to do for a database that only this machine can write to: there a lock on a file does it.
        """
        if self._lease is None:
            yield
            return
        with self._errors():
            self._lease.take(seconds=seconds)
        try:
            yield
        finally:
            self._lease.release()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a write transaction; commits on success, rolls back on any exception.

        While `leading`, raises Locked(records.lease) when another took over meanwhile.
        """
        with self._errors(), self._engine.connect() as connection:
            begin_writing(connection, BUSY_MS)
            try:
                if self._lease is not None:
                    self._lease.check(connection)
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Begin a read transaction: one consistent view until it ends."""
        with self._errors(), self._engine.connect() as connection:
            begin_reading(connection)
            try:
                yield connection
            finally:
                connection.rollback()

    def close(self) -> None:
        """Close all connections."""
        if self._lease is not None:
            self._lease.close()
        self._engine.dispose()

    def after_fork(self) -> Records:
        """Return the same records for the child of a fork: connections may not be shared with the parent."""
        if self._lease is None:
            return Records.open(Path(self._where))
        self._lease.after_fork()
        self._engine.dispose(close=False)
        return self

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except WeighbridgeError:
            raise
        except OperationalError as error:
            if is_busy(error.orig):
                raise Locked(
                    "the registry's database is locked",
                    cause=f"another process has been writing to {self._where} for more than {BUSY_MS // 1000} s",
                    remedy="wait for it to end and run the command again; nothing was changed",
                ) from error
            raise self._unusable(str(error.orig)) from error
        except DatabaseError as error:
            raise self._unusable(str(error.orig)) from error

    def _unusable(self, cause: str) -> RegistryUnusable:
        return RegistryUnusable(
            f"the registry's database at {self._where} cannot be used",
            cause=cause,
            remedy="check the disk, then restore the registry from a backup"
            if self._engine.dialect.name == "sqlite"
            else "check that the database answers and that this user may make tables in it",
        )

    def _ready(self, *, create: bool = True) -> None:
        try:
            self._migrate(create=create)
        except BaseException:
            self.close()
            raise

    def _migrate(self, *, create: bool) -> None:
        with self._errors(), self._engine.connect() as connection:
            version = _version(connection)
        if version is None and not create:
            raise RegistryUnusable(
                f"there are no records of a registry in {self._where}",
                remedy="set WEIGHBRIDGE_RECORDS to the database of this registry",
            )
        if version == HEAD:
            return
        if version is not None and version not in KNOWN:
            raise RegistryUnusable(
                "this registry was made by a newer version of Weighbridge",
                cause=f"its schema is {version}, this version knows up to {HEAD}",
                remedy="install the newer version; nothing was changed",
            )
        with self._errors(), self._engine.connect() as connection:
            _upgrade(connection)


def _engine(path: Path) -> sa.Engine:
    """Make the engine; where nothing can be written (an auditor's copy, a read-only disk) it only reads."""
    writable = os.access(path.parent, os.W_OK)
    url, pragmas = f"sqlite:///{path}", PRAGMAS
    if not writable:
        # SQLite wants to write beside a database in WAL mode, unless it is told that nobody else does.
        still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
        url, pragmas = f"sqlite:///file:{quote(str(path))}?mode=ro{still}&uri=true", READING
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_MS / 1000, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _end_idle_transactions(engine: sa.Engine, seconds: int) -> None:
    """Have the server end the transactions of a process that stands still, so that nobody waits for it for ever."""

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {int(seconds) * 1000}")
        connection.commit()


def _version(connection: sa.Connection) -> str | None:
    tables = sa.inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise RegistryUnusable(
                "this database is not a Weighbridge registry",
                cause=f"it holds other tables ({', '.join(sorted(tables)[:3])}, …)",
                remedy="point --registry at the folder that `weighbridge init` made",
            )
        return None
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or "")


def _upgrade(connection: sa.Connection) -> None:
    """Run the migrations (imported only here: Alembic costs as much start-up as everything else)."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "weighbridge:store/migrations")
    config.attributes["connection"] = connection
    config.attributes["busy_ms"] = BUSY_MS
    command.upgrade(config, "head")
