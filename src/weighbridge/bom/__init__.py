"""What is inside: a bill of materials (CycloneDX 1.6 ML-BOM) made from the files themselves.

What comes in is a manifest and a way to open its files; what goes out is a JSON object that is valid
against the published schema, names the manifest as its subject and carries the SHA-256 of every file.

The rule of this room: nothing is guessed. Each fact says whether it was observed in the bytes or only
declared by a text in the model, and from which file and place it came. What is not known is left out and
counted as unknown; there are no placeholders and no defaults. A document that does not hold to the schema
or whose references lead nowhere is refused, never emitted with a warning.

Start reading at `harvest` (what the files say), then `cyclonedx` (the document, and how it is held against
a manifest again), `parts` (its pieces), `licences` and `lint`.
"""
