"""Recording: what a training, an evaluation or a dataset was made from, hashed before and after, signed at the end.

What comes in are folders that a script reads and writes, and a way to sign. What goes out is a signed claim about the
outputs, handed to the registry or written to a file; or an error and no claim.

The rules of this room: it starts nothing and imports no tensor library. A dataset that nobody signed stops a run before
it begins, unless the caller said otherwise, and then the claim says so. What changed while it was being used, and a run
that failed or was killed, gives no claim. Nothing secret is written down: no environment but a short list of names, no
content of any file, and every text passes through `scrub`.

Start reading at `record` (before, after, and what refuses), then `inputs` (what is read, and whether it is signed),
`environment`, `locks` and `code` (what is written down of the surroundings), `statements` (what the claim says).
`transformers` and `mlflow` attach to a training loop and a tracked run, `mlflow_registry` stands before MLflow's model
registry; each is imported only by who uses it.
docs/recording.md shows all of it at work.
"""
