"""The store: keeping bytes, and reading them back as the bytes that were kept.

In come streams of bytes; out come digests, and later the same bytes again. A blob is named by the
SHA-256 of its content and by nothing else, is written once, and is never changed: two models that
share a file share the blob. `ports` says what any store of blobs promises (durability, concurrency,
errors), `blobs` chooses one by its URL: `files` in a folder, `objects` in a bucket, `oci` in a registry;
`referenced` reads blobs where others keep them; `aside` and `removal` take away what nobody needs. `sealed` reads one file exactly once into private memory,
hashing it on the way. Records lie in SQLite or PostgreSQL (`sql`, `schema`, `lease`, `lineage_index`).

The rule of this room: a digest is computed over the bytes that are kept or handed out, never copied
from what somebody said of them. A blob's presence proves nothing about its content today; `verify`
reads it again. A store that is full, damaged or unreadable says so and leaves nothing half-written
under a blob's name.

Start reading at `ports`, then `files`; for records at `sql`.
"""
