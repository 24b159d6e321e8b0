"""The compiled twin of the symbolic pickle machine, where it was built; empty otherwise.

`setup.py` compiles the unchanged files `pickle_ops`, `pickle_stack`, `pickle_calls`, `pickle_arrays` and
`pickle_machine` into this package when mypy and a C compiler are there. The binary carries the digest of
those files; `pickle_build` uses it only while they are the same, so that a binary older than its source
never runs. Start reading at `pickle_build`.
"""
