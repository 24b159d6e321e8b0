"""The migrations themselves, in the order of their numbers.

Each file is one step: `revision` is its number, `down_revision` the number before it, `upgrade` the
change. There is no downgrade: a registry that must go back is restored from its backup, because a
step back could lose records that the transparency log has already promised.

What comes in is the connection that Alembic holds inside one transaction; what goes out is the changed
schema, committed as a whole or not at all. Start reading at `0001_first_tables`.
The rule this folder keeps: released files never change.
"""
