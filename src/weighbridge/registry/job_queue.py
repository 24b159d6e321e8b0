"""Waking whoever works elsewhere: where records lie in PostgreSQL, procrastinate carries the id of a job to a fleet.

The table `job` says what is to be done, who is at it and how it ended; a message only says that it is worth a look.
So one that is lost costs a little time (workers look by themselves now and then), and one that comes twice costs nothing.
procrastinate keeps its own tables beside ours, which it makes and changes itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from weighbridge.core.errors import WeighbridgeError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry

QUEUE, TASK = "weighbridge", "weighbridge.job"
_MADE: set[str] = set()


def wake(registry: Registry, identity: str) -> None:
    """Tell whoever works that a job waits; never raises, and does nothing where records are not shared."""
    if not registry.records.shared:
        return
    try:
        with opened(registry) as app:
            app.configure_task(TASK, queue=QUEUE, queueing_lock=identity).defer(job=identity)
    except _errors() as error:
        log = logging.getLogger("weighbridge.work")
        log.info("nobody was woken", extra={"fields": {"job": identity, "cause": type(error).__name__}})


@contextmanager
def opened(registry: Registry) -> Iterator[Any]:
    """Give procrastinate's app on the registry's database, its tables made; raises ImportError where it is not installed."""
    import procrastinate

    address = conninfo(registry)
    connector = procrastinate.SyncPsycopgConnector(conninfo=address, min_size=1, max_size=1)
    app = procrastinate.App(connector=connector)
    with app.open():
        _make(registry, app, address)
        yield app


def listening(registry: Registry, work: Callable[[str], None]) -> Any:
    """Return procrastinate's app for a worker, which calls `work` with the id of each job that it is told of."""
    import procrastinate

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=conninfo(registry), min_size=1, max_size=4)
    )

    @app.task(name=TASK, queue=QUEUE)
    def _told(job: str) -> None:
        work(job)

    with opened(registry):
        pass  # its tables are there now
    return app


def conninfo(registry: Registry) -> str:
    """Return the address of the database as PostgreSQL's own library reads it."""
    url = sa.make_url(str(registry.config["records"]))
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _make(registry: Registry, app: Any, address: str) -> None:
    """Let procrastinate make its tables, once; two that come at once wait for each other."""
    if address in _MADE:
        return
    with registry.records.write() as connection:  # one writer at a time, on all machines
        there = connection.execute(sa.text("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")).scalar()
        if not there:
            app.schema_manager.apply_schema()
    _MADE.add(address)


def _errors() -> tuple[type[Exception], ...]:
    """Return what keeps somebody from being woken: the library is not here, or the database is away."""
    try:
        import procrastinate
        import psycopg
        import psycopg_pool
    except ImportError:
        return (ImportError,)
    return (
        WeighbridgeError,
        procrastinate.exceptions.ProcrastinateException,
        psycopg.Error,
        psycopg_pool.PoolTimeout,
        ImportError,
        OSError,
    )
