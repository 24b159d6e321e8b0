"""The transparency log: an append-only list that can prove what it holds and that it only grew.

What comes in are entry bodies (bytes, at most 64 KiB each) and the log's own signer; what goes out are
positions, signed promises, signed checkpoints, and proofs. The tree is the one of RFC 6962 (section 2.1,
SHA-256), kept on disk as C2SP tlog-tiles, headed by a C2SP checkpoint: static files that any such
client can read. docs/reference/log.md writes the layout down.

The rules of this room: the rename of `checkpoint` is the one moment at which entries come to exist, and
everything they need is on disk before it; one appender at a time, by lock; a proof that does not verify
is never handed out, because a log that cannot prove itself is damaged and says so (RegistryUnusable).
What is kept beside the tree for speed (`lookup`) or for others (`cosigned`) is never believed without it.

What a log alone cannot show is that it was not rolled back or forked by the host that keeps it. Clients
pin a checkpoint elsewhere and ask for consistency with it, or ask witnesses who do.

Start reading at `merkle` (pure: hashes in, proofs out), then `checkpoint` and `entry` (what the log
signs), `tiles` (how it lies on disk), `sequencer` (the `Log` itself). Around it stand `commit` and `lock`
(appending), `lookup` (finding), `fsck` and `export` (reading it all, copying it), `shards` (freezing, and
what follows), `batch` (many threads), `cosignature` and its neighbours (witnesses).
"""
