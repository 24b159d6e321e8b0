"""What is inside: a bill of materials (CycloneDX ML-BOM, 1.6 or 1.7) made from the files themselves.

What comes in is a manifest and a way to open its files; what goes out is a JSON object that is valid
against the published schema, names the manifest as its subject and carries the SHA-256 of every file.

The rule of this room: nothing is guessed. Each value says whether it was observed in the bytes, attested by a
verified claim or only declared by a text in the model, and from which file and place it came. What is not known is left out and
counted as unknown; there are no placeholders and no defaults. A document that does not hold to the schema
or whose references lead nowhere is refused, never emitted with a warning.

Start reading at `harvest` (what the files say) and `facts`, then `cyclonedx` (the document, and how it is held
against a manifest again), `parts`, `model_card` and `formulation` (its pieces), `sourced` (how a value keeps its
source), `schema` and `lint`, and `completeness` and `diff` for what is asked of a document afterwards.
"""
