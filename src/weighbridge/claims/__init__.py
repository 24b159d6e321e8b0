"""Claims: how a model came to be, said in signed statements and walked back to its beginnings.

What comes in are in-toto Statements that `trust.verify` has verified (or refused) and the identities
of one model. What goes out is a Claim for each statement that is one of ours, and an Ancestry: where
the walk from this model up through its parents ended, and at which link it broke.

The rule of this room: it is pure. It believes nothing by itself; a statement says something only after
`trust` has proven who signed it, and a claim of the wrong form says nothing at all. A statement of a
type this room does not know is carried by the registry but never counts.

Start reading at `words` (which types there are, what a build type may say, what a Claim is), then `predicates` (write and
read them; `readers`, `provenance` and `reports` hold one strict reader for each type), `graph` and `chain` (the walk),
`explain` (each link in words), `slsa` (the build level that evidence shows), `records` (decisions, names, revocations and
the like) and `summary` (the gate's short-lived word that a model was admitted). docs/reference/claims.md describes each
type so that a stranger can write one.
"""
