"""What weights hold, tensor by tensor: fingerprints, kinship, and the difference of two models.

What comes in are the files of one or two models and a way to open them; what goes out is a `Fingerprint`
(digests, norms and peaks of each tensor), a `Kinship` (how one model relates to another, by which evidence,
how strong), or a `Difference` (each tensor of two models held against the other).

The rules this room keeps: tensors are read in pieces, never more than one piece at a time; nothing is
unpickled; a digest is evidence only where chance and custom cannot explain it (constants, tables of sines
and tiny tensors count for nothing); what could not be read is said beside every answer, and a relation that
the evidence does not show is called unrelated or cannot tell, never guessed.

It stands one step above the other stations, because checkpoints of torch and numpy are read through
`conversion` (docs/adr/0013-what-weights-show.md).

Start reading at `reading` (files to tensors), then `fingerprint`, `pairing`, `compare` (thresholds, each
with its reason) and `difference`. docs/reference/fingerprints.md and docs/reference/diff.md are the specifications.
"""
