"""Alembic's environment: runs the migrations on the connection that `store.sql` hands over."""

from __future__ import annotations

from alembic import context

from weighbridge.store.dialect import begin_writing
from weighbridge.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
begin_writing(connection, context.config.attributes["busy_ms"])
with context.begin_transaction():
    context.run_migrations()
connection.commit()
