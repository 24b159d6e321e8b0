"""The tree against an independent implementation (pymerkle), and proofs that nothing but the truth satisfies."""

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from weighbridge.ledger import merkle
from weighbridge.ledger.merkle import Frontier

LARGEST = 70


def body(index):
    return b"entry %d" % index


LEAVES = [merkle.leaf_hash(body(index)) for index in range(LARGEST)]
NODE = merkle.nodes_of(LEAVES)


@cache
def oracle(size):
    tree = InmemoryTree(algorithm="sha256")
    for index in range(size):
        tree.append_entry(body(index))
    return tree


def root(size):
    return merkle.root(size, NODE)


def test_the_empty_tree_and_one_leaf_are_as_the_rfc_says():
    assert merkle.root(0, NODE) == merkle.EMPTY_ROOT == hashlib.sha256(b"").digest() == Frontier().root
    assert root(1) == hashlib.sha256(b"\0" + body(0)).digest()
    assert root(2) == hashlib.sha256(b"\1" + LEAVES[0] + LEAVES[1]).digest()


@pytest.mark.parametrize("size", range(1, LARGEST))
def test_roots_and_proofs_are_those_of_another_implementation(size):
    tree = oracle(size)
    assert root(size) == tree.get_root()
    for index in range(size):
        path = [bytes.fromhex(step) for step in tree.prove_inclusion(index + 1).serialize()["path"]]
        assert list(merkle.inclusion_proof(index, size, NODE)) == path[1:]  # theirs begins with the leaf


@given(st.integers(1, LARGEST), st.data())
def test_a_proof_of_inclusion_holds(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, NODE)
    assert merkle.verify_inclusion(LEAVES[index], index, size, proof, root(size))


@given(st.integers(1, LARGEST), st.data())
def test_a_proof_of_inclusion_holds_for_nothing_else(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = list(merkle.inclusion_proof(index, size, NODE))
    other = data.draw(st.integers(-1, size + 1).filter(lambda n: n != index))
    assert not merkle.verify_inclusion(LEAVES[index], other, size, proof, root(size))
    assert not merkle.verify_inclusion(merkle.leaf_hash(b"x"), index, size, proof, root(size))
    assert not merkle.verify_inclusion(LEAVES[index], index, size, proof, bytes(32))
    assert not merkle.verify_inclusion(LEAVES[index], index, size, [*proof, bytes(32)], root(size))
    if proof:
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof[:-1], root(size))
        at = data.draw(st.integers(0, len(proof) - 1))
        proof[at] = bytes(32)
        assert not merkle.verify_inclusion(LEAVES[index], index, size, proof, root(size))


def test_a_node_is_not_a_leaf():
    """Without the prefixes, the hash of two leaves could be shown as an entry of a smaller tree."""
    pair = LEAVES[0] + LEAVES[1]
    assert merkle.leaf_hash(pair) != merkle.node_hash(LEAVES[0], LEAVES[1])


@given(st.integers(1, LARGEST), st.integers(1, LARGEST))
def test_a_proof_of_consistency_holds(a, b):
    old, new = sorted((a, b))
    proof = merkle.consistency_proof(old, new, NODE)
    assert merkle.verify_consistency(old, new, proof, old_root=root(old), new_root=root(new))
    assert len(proof) <= 2 * new.bit_length()


@given(st.integers(1, LARGEST), st.integers(1, LARGEST), st.data())
def test_a_proof_of_consistency_holds_for_nothing_else(a, b, data):
    old, new = sorted((a, b))
    proof = list(merkle.consistency_proof(old, new, NODE))

    true = {"old": old, "new": new, "proof": proof, "old_root": root(old), "new_root": root(new)}

    def holds(**lies):
        return merkle.verify_consistency(**(true | lies))

    assert not holds(old_root=bytes(32))
    assert not holds(new_root=bytes(32))
    assert not holds(proof=[*proof, bytes(32)])
    assert not holds(old=0)
    assert not holds(old=new + 1)
    if proof:
        assert not holds(proof=proof[:-1])
        assert not holds(proof=[*proof[:-1], proof[-1][:-1]])
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(proof=[*proof[:at], bytes(32), *proof[at + 1 :]])


def test_sizes_that_cannot_be_are_refused():
    for index, size in [(0, 0), (3, 3), (-1, 3)]:
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion_proof(index, size, NODE)
    for old, new in [(0, 0), (0, 3), (4, 3)]:
        with pytest.raises(ValueError, match="cannot be shown"):
            merkle.consistency_proof(old, new, NODE)
    assert not merkle.verify_inclusion(LEAVES[0], 0, 0, (), merkle.EMPTY_ROOT)
    assert not merkle.verify_inclusion(LEAVES[0], 0, 2, (LEAVES[1][:-1],), root(2))


@given(st.lists(st.integers(0, 9), max_size=8))
def test_the_right_edge_grows_to_the_same_root(steps):
    frontier, size = Frontier(), 0
    for step in steps:
        frontier = frontier.extend(LEAVES[size : size + step])
        size = min(LARGEST, size + step)
        assert frontier == Frontier.read(size, NODE)
        assert frontier.root == root(size)


@settings(max_examples=50)
@given(st.integers(1, 2**40))
def test_a_proof_reads_two_subtrees_a_level_at_most(size):
    read = []

    def node(level, index):
        read.append((level, index))
        return bytes(32)

    merkle.inclusion_proof(size // 3, size, node)
    assert len(read) <= 2 * size.bit_length()
    assert all((index + 1) << level <= size for level, index in read)


def test_a_leaf_alone_proves_nothing_in_a_larger_tree():
    """With an empty proof the leaf would be its own root: only the size says that something is missing."""
    leaf = merkle.leaf_hash(b"a")
    assert merkle.verify_inclusion(leaf, 0, 1, (), leaf)
    assert not merkle.verify_inclusion(leaf, 0, 2, (), leaf)
    assert not merkle.verify_inclusion(leaf, 1, 2, (), leaf)
