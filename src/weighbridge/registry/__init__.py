"""Keeping: the registry is the trust boundary in which models live.

What comes in are references and signed claims; what goes out are kept bytes, records with a receipt of
the transparency log, and folders of admitted models. The rules of this room: bytes are hashed, and copied unless
they are taken in place, before anything looks at them; one writer at a time, over all replicas; nothing changes state before the statement that
says so is in the log (`outbox`, `effects`); a registry that the user has not pinned is not opened.

Start reading at `wiring` (what an open registry is), then `intake` (how a model gets in) and `outbox`
(how a decision takes effect). `setup` makes a new registry, `models` finds what is kept, `rebuilding`
converts it, `bundles` takes in claims, `edges` draws lineage from them, `names` and `deployments` are
signed pointers, `export` lays out what the gate admitted, `pins` and `lock` guard the whole. `journal` keeps one log
for several replicas; `access` says who may do what over HTTP, `jobs` what work waits; `gc` (in buckets by `removing`),
`repair`, `backup`, `restore` and `transfer` look after all of it; `attached` takes claims along that lie beside a model.
"""
