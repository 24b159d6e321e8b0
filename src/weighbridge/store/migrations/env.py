"""Alembic's environment: runs the migrations on the connection that `store.sql` hands over."""

from __future__ import annotations

from alembic import context

from weighbridge.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
connection.exec_driver_sql("BEGIN IMMEDIATE")
with context.begin_transaction():
    context.run_migrations()
connection.commit()
