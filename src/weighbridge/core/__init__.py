"""The words: what every other room speaks in.

Values only. No input or output, no clock, nothing outside the standard library. What comes in are
bytes and plain values, what goes out are frozen values that can be compared, written as canonical
JSON and digested. The rule of this room: it imports nothing but itself, so that a word means the
same everywhere.

Start reading at `manifest` (what a model *is*), then `statement` (what is said of it), `evidence`
(what was verified) and `decision` (what was concluded). `errors` draws the tree of everything that
can go wrong, `tier` lists the closed sets of states, `reference` parses what a person typed, and
`canonical` writes the JSON that is hashed and signed. docs/glossary.md defines each word.
"""
