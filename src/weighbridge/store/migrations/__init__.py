"""Migrations of the registry's tables, one file each, applied in order by Alembic.

What comes in is a registry's database at any earlier schema, what goes out is the same database at the
newest one, with every record kept. The rule: a migration that has been released is never edited, a
change of `store/schema.py` is always a new file here, and a test holds the result of all migrations
against the tables of `store/schema.py`. A database whose version is unknown here was made by a newer
Weighbridge and is refused before anything is touched.

To add one: write `versions/NNNN_what.py` with the next number, raise `HEAD` and extend `KNOWN` in
`store/sql.py`. Start reading at `versions/0001_first_tables.py`.
"""
