"""The sources: where models come from.

In comes a reference; out goes a `Tree`: the files of one model, each with its path, its size, a way to
read it and the digests that somebody announced for it. `local` reads a folder, a single file or a hub
client's cache in place, `gitlfs` a checkout; `hub`, `oci`, `objects`, `https` and `mlflow` fetch, each
pinned as far as its service allows (docs/sources.md). `read` then reads any tree exactly once and says
what the model is: its manifest and the chunk table beside it, keeping the bytes in a blob store on the
way when it is given one.

The rule of this room: nothing is believed. Every digest is computed over the bytes that were read, and
compared with what was announced; a link, a device, a name that cannot be written everywhere, a file that
changes under our hands is refused by name and never skipped. Nothing is unpacked, parsed or run here.

Start reading at `tree`, then `opening`, `local` and `read`.
"""

SCHEMES: dict[str, str] = {
    "path": "gitlfs:open_path",
    "hf": "hub:open_hub",
    "https": "https:open_https",
    "oci": "oci:open_oci",
    "s3": "objects:open_objects",
    "gs": "objects:open_objects",
    "az": "objects:open_objects",
    "models": "mlflow:open_mlflow",
}
"""Scheme of a reference to `module:function` of this room, loaded on first use (`opening.open_source`)."""
