"""The tree against an independent implementation (pymerkle), and proofs that nothing but the truth satisfies."""

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency

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


# The vectors that implementations of RFC 6962 share: eight entries, their roots, and some proofs.
SHARED = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
SHARED_NODE = merkle.nodes_of([merkle.leaf_hash(entry) for entry in SHARED])
SHARED_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PAIR_4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
PAIR_6 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
PAIR_2 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
FOUR = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
SHARED_PATHS = [
    (0, 1, []),
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", PAIR_2, FOUR]),
    (5, 8, [PAIR_4, PAIR_6, SHARED_ROOTS[3]]),
    (2, 3, [SHARED_ROOTS[1]]),
    (1, 5, [SHARED_ROOTS[0], PAIR_2, PAIR_4]),
]
SHARED_GROWTH = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7", PAIR_2, FOUR]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a", PAIR_6, SHARED_ROOTS[3]]),
    (2, 5, [PAIR_2, PAIR_4]),
]


def test_roots_and_proofs_are_those_of_the_shared_vectors():
    assert [merkle.root(size, SHARED_NODE).hex() for size in range(1, 9)] == SHARED_ROOTS
    for index, size, path in SHARED_PATHS:
        assert [step.hex() for step in merkle.inclusion_proof(index, size, SHARED_NODE)] == path
    for old, new, path in SHARED_GROWTH:
        assert [step.hex() for step in merkle.consistency_proof(old, new, SHARED_NODE)] == path


def test_proofs_of_growth_lead_between_the_roots_of_another_implementation():
    for new in range(1, LARGEST):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, NODE)
            roots = {"old_root": oracle(old).get_root(), "new_root": oracle(new).get_root()}
            assert merkle.verify_consistency(old, new, proof, **roots)
            verify_consistency(root(old), root(new), oracle(new).prove_consistency(old, new))  # raises


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
