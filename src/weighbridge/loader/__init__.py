"""Loading: hands out the bytes of an admitted model, and only bytes that were verified on the way.

What comes in is the folder of an admitted model (`model/` beside `evidence/`) and the user's pin of the
registry's root key; what goes out are tensors and files read from private memory. The rules of this
room: no database and no network are needed; each file is read once, hashed, compared with the manifest
that the gate's unexpired summary names, and only then parsed; nothing is loaded that is not in the
manifest; whatever does not fit raises with the id of the check that refused.

Start reading at `load`: it numbers the steps from the pinned root to the first tensor.
"""
