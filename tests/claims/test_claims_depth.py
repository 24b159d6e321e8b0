"""How deep an ancestry is: links on the longest way up. Policies bound it, so a shallow answer would let a deep one pass."""

import pytest
from claims_world import ancestry, whole

from weighbridge.claims.chain import _depth
from weighbridge.core.digest import Digest


def node(word):
    return Digest("wbw1", Digest.of(word.encode()).hex)


def links(*pairs):
    return [(node(pair[0]), node(pair[1]), "fine-tune") for pair in pairs]


@pytest.mark.parametrize(
    ("pairs", "depth"),
    [
        ((), 0),
        (("ab",), 1),
        (("ab", "bc", "cd"), 3),
        (("cd", "bc", "ab"), 3),
        (("ad", "ab", "bc", "cd"), 3),
        (("ad", "bd", "cd"), 1),
        (("ab", "cb", "dc", "ed"), 3),
        (("ab", "ab"), 1),
    ],
)
def test_the_longest_way_counts_whichever_is_met_first(pairs, depth):
    assert _depth(links(*pairs)) == depth


def test_a_ladder_is_counted_without_walking_every_way():
    rungs = [(f"l{n}", f"l{n + 1}") for n in range(60)] + [(f"l{n}", f"l{n + 2}") for n in range(59)]
    assert _depth([(node(one), node(two), "merge") for one, two in rungs]) == 60


def test_the_depth_of_a_proven_model_stands_in_its_ancestry():
    """Raw data, pairs, a tuned part, the merge, the model: four links on the longest way."""
    assert ancestry(whole()).depth == 4
