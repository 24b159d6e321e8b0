"""Pickled checkpoints in, safetensors out, without running a line of them.

What comes in is an open file and its size; what goes out is a safetensors file, and a `Conversion` that
says what was done and proves it: per-tensor digests taken from the source's storages and, in a pass of
its own, from the file as written, compared one by one. What is not tensors (epochs, options, class
names) comes back as plain JSON beside it.

The rule this room keeps: nothing named in a checkpoint is ever imported, looked up or called. What
cannot be said in safetensors without guessing is refused with the reason, and a refusal leaves no file.

Start reading at `convert` (the order of the steps), then `names` (what tensors are called, what is
kept beside them), `rebuild` (how bytes and strided views are copied) and `plan` (which files of a model
are converted, kept or dropped). The symbolic reading itself is `formats.pickle_graph` and
`formats.torch`. docs/reference/conversion.md specifies names, ties, side content and the proof.
"""
