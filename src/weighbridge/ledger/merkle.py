"""The Merkle tree of RFC 6962, pure: hashes in, roots and proofs out.

Every function that needs the tree takes a *node reader*: `node(level, index)` returns the hash of the
perfect subtree over the leaves [index * 2**level, (index + 1) * 2**level). Any range the RFC ever asks
for splits into at most two perfect subtrees per level, so a proof costs O(log n) reads.

Making proofs follows RFC 6962 section 2.1, checking them the algorithms of RFC 9162 (sections 2.1.3.2
and 2.1.4.2), which are other algorithms on purpose: each holds the other to account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

NodeReader: TypeAlias = Callable[[int, int], bytes]

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(body: bytes) -> bytes:
    """Hash one entry (RFC 6962 section 2.1: the prefix 0x00 keeps leaves apart from nodes)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees (prefix 0x01)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_of(leaves: Sequence[bytes]) -> NodeReader:
    """Return a node reader over leaf hashes in memory; for tests and for small trees."""

    def node(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node


def perfect_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split [start, end) into perfect subtrees (level, index), largest first.

    `start` must be a multiple of the largest power of two in `end - start`, as every range of RFC 6962 is.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def root(size: int, node: NodeReader) -> bytes:
    """Return the root over the first `size` leaves."""
    return _range_hash(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]) of RFC 6962 section 2.1.1; raises ValueError unless index < size."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return PROOF(old, D[new]) of RFC 6962 section 2.1.2; empty when the sizes are equal.

    Raises ValueError unless 0 < old <= new: anything extends the empty tree, so nothing proves it.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} cannot be shown to extend one of {old}")
    start, end, path = 0, new, []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(start, middle, node))
            start = middle
    if start > 0:  # otherwise the remaining range is the old tree itself, whose root the verifier has
        path.append(_range_hash(start, end, node))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Tell whether `leaf` (a leaf hash) is entry `index` of the tree of `size` with this root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size or any(len(step) != HASH_SIZE for step in proof):
        return False
    node, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(step, found)
            while node & 1 == 0:  # it ends: node is last here, which is not 0
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root_hash


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], *, old_root: bytes, new_root: bytes
) -> bool:
    """Tell whether the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162 section 2.1.4.2)."""
    if not 0 < old <= new or any(len(step) != HASH_SIZE for step in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    found_old = found_new = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            found_old, found_new = node_hash(step, found_old), node_hash(step, found_new)
            while node & 1 == 0:  # it ends: node is last here, which is not 0
                node, last = node >> 1, last >> 1
        else:
            found_new = node_hash(found_new, step)
        node, last = node >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: all that is needed to append, in O(log n) hashes.

    `subtrees` are the hashes of `perfect_subtrees(0, size)`, largest first.
    """

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, size: int, node: NodeReader) -> Frontier:
        """Read the right edge of the tree of `size` leaves."""
        return cls(size, tuple(node(level, index) for level, index in perfect_subtrees(0, size)))

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """Return the frontier after appending leaf hashes."""
        size, edge = self.size, list(self.subtrees)
        for leaf in leaves:
            edge.append(leaf)
            carry = size
            while carry & 1:
                right = edge.pop()
                edge[-1] = node_hash(edge[-1], right)
                carry >>= 1
            size += 1
        return Frontier(size, tuple(edge))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return _fold(self.subtrees)


def _range_hash(start: int, end: int, node: NodeReader) -> bytes:
    return _fold([node(level, index) for level, index in perfect_subtrees(start, end)])


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Join perfect subtrees, largest first, from the right."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1
