"""A bounded sketch of a fingerprint, by which models that share something are found among very many."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from weighbridge.tensors.fingerprint import Fingerprint, Print

MARKS = 256
"""Marks of each kind that are kept: the smallest ones, so that two models that share tensors keep the same."""
WIDTH = 32
"""Hex digits of a mark."""
KINDS = ("tensor", "cast", "norm", "peak")


def sketch(printed: Fingerprint) -> tuple[tuple[str, str], ...]:
    """Return (kind, mark) rows, at most MARKS of each kind, sorted; only tensors that prove something give any.

    `tensor`: the digest. `cast`: the digests of rounded values. `norm`: the digests of one-dimensional values, as they are and
    plus one. `peak`: two neighbouring peaks of one matrix with its number of elements, which strangers share once in 2**28.
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for tensor in printed.evident:
        found["tensor"].add(tensor.digest[:WIDTH])
        found["cast"] |= {digest[:WIDTH] for digest in (tensor.bf16, tensor.f16) if digest}
        found["norm"] |= {digest[:WIDTH] for digest in (tensor.norm, tensor.shifted) if digest}
        found["peak"] |= set(_peaks(tensor))
    return tuple((kind, mark) for kind in KINDS for mark in sorted(found[kind])[:MARKS])


def _peaks(tensor: Print) -> Iterator[str]:
    for window in range(len(tensor.peaks) - 1):
        pair = tensor.peaks[window : window + 2]
        if min(pair) >= 0:
            text = f"peak:{tensor.elements}:{window}:{pair[0]}:{pair[1]}"
            yield hashlib.sha256(text.encode()).hexdigest()[:WIDTH]
