"""Walks over made-up families: the surest way, its weakest step, gaps, and the answer that follows."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.alias import Alias
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import CARRIES, AdvisoryKind, Grade, Parentage, Relation
from weighbridge.core.walks import Answer, GapReason, answer, gaps, rank, shortest_way, ways, weakest


def model(word):
    return Digest("wb1", Digest.of(word.encode()).hex)


def weights(word):
    return Digest("wbw1", Digest.of(word.encode()).hex)


A, B, C, D, E, F = (weights(word) for word in "abcdef")


def edge(parent, child, grade=Grade.ATTESTED, relation=Relation.FINE_TUNE, source="x"):
    return Parentage(parent, child, relation, grade, source)


def test_the_surest_way_is_taken_though_a_shorter_one_is_declared():
    long = [edge(A, B), edge(B, C), edge(C, D)]
    short = edge(A, D, Grade.DECLARED)
    found = ways([short, *long], [A])
    assert found.way(D) == tuple(long)
    assert weakest(found.way(D)) is Grade.ATTESTED
    assert shortest_way(ways([short, *long], [A]), D) == (short,)


def test_among_equally_sure_ways_the_shortest_is_taken():
    direct = edge(A, D, Grade.OBSERVED)
    around = [edge(A, B), edge(B, C, Grade.OBSERVED), edge(C, D)]
    assert ways([*around, direct], [A]).way(D) == (direct,)


def test_a_way_up_is_told_from_the_parent_down():
    edges = [edge(A, B), edge(B, C)]
    assert ways(edges, [C], up=True).way(A) == tuple(edges)
    assert ways(edges, [C], up=True).reached() == {A, B, C}
    assert A not in ways(edges, [B])
    assert ways(edges, [B]).way(A) is None


def test_a_start_has_a_way_without_steps_which_is_attested():
    assert ways([], [A]).way(A) == ()
    assert weakest(()) is Grade.ATTESTED


def test_that_weights_are_in_a_package_weakens_nothing_unless_it_is_only_said():
    assert rank(edge(A, B, Grade.OBSERVED, Relation.PACKAGING)) == 0
    assert rank(edge(A, B, Grade.DECLARED, Relation.PACKAGING)) == Grade.DECLARED.rank
    assert rank(edge(A, B, Grade.OBSERVED, Relation.SAME_AS)) == Grade.OBSERVED.rank


def test_only_the_relations_that_are_asked_for_are_followed():
    edges = [edge(A, B, relation=Relation.DATASET), edge(B, C), edge(B, D, relation=Relation.TOKENIZER)]
    carried = CARRIES[AdvisoryKind.WEIGHTS]
    assert ways(edges, [A], relations=carried).reached() == {A}
    assert ways(edges, [B], relations=carried).reached() == {B, C}
    assert ways(edges, [A], relations=CARRIES[AdvisoryKind.DATASET]).reached() == {A, B, C}


def test_a_cycle_ends_a_walk():
    edges = [edge(A, B), edge(B, C), edge(C, A)]
    assert ways(edges, [A]).reached() == {A, B, C}
    assert ways(edges, [C], up=True).way(B) == (edge(B, C),)


@st.composite
def families(draw):
    seed = draw(st.integers(0, 2**32))
    rolled = random.Random(seed)
    nodes = [weights(str(number)) for number in range(draw(st.integers(2, 9)))]
    return nodes, [
        edge(
            rolled.choice(nodes),
            rolled.choice(nodes),
            rolled.choice(list(Grade)),
            rolled.choice(list(Relation)),
        )
        for _ in range(draw(st.integers(0, 18)))
    ]


def every_way(edges, start, end, seen=()):
    if start == end:
        yield ()
        return
    for one in edges:
        if one.parent == start and one.child not in seen and one.child != start:
            for rest in every_way(edges, one.child, end, (*seen, start)):
                yield (one, *rest)


@given(families())
def test_against_every_way_there_is(family):
    nodes, edges = family
    start, end = nodes[0], nodes[-1]
    known = list(every_way(edges, start, end))
    for found in (ways(edges, [start]).way(end), ways(edges, [end], up=True).way(start)):
        if not known:
            assert found is None
            continue
        best = min((weakest(way).rank, len(way)) for way in known)
        assert (weakest(found).rank, len(found)) == best
        places = [start, *(one.child for one in found)]
        assert places[-1] == end
        assert [one.parent for one in found] == places[:-1]
    if known:
        assert len(shortest_way(ways(edges, [start]), end)) == min(map(len, known))


# ------------------------------------------------------------------ gaps

DATA = model("data")
NAME = Alias.parse("name:org/base").node


def packed(word):
    return edge(weights(word), model(word), Grade.OBSERVED, Relation.PACKAGING, "")


def trained(child, *, on=DATA, grade=Grade.ATTESTED):
    return edge(on, child, grade, Relation.DATASET)


def gap(edges, asked, rooted=(DATA,), **options):
    return gaps(edges, [asked], set(rooted), **options).get(asked)


def test_an_ancestry_that_ends_at_claimed_data_has_no_gap():
    edges = [packed("m"), edge(A, weights("m")), trained(A)]
    assert gap(edges, model("m")) is None


def test_data_that_nobody_claims_is_a_gap_and_the_way_to_it_is_told():
    edges = [packed("m"), edge(A, weights("m")), trained(A)]
    found = gap(edges, model("m"), rooted=())
    assert (found.at, found.reason) == (DATA, GapReason.UNCLAIMED)
    assert [step.child for step in found.way] == [A, weights("m"), model("m")]


def test_weights_of_which_nothing_is_said_are_a_gap():
    found = gap([packed("m")], model("m"))
    assert (found.at, found.reason) == (weights("m"), GapReason.UNCLAIMED)


def test_an_accepted_origin_answers_for_the_model_and_its_weights():
    assert gap([packed("m")], model("m"), rooted=[model("m")]) is None


def test_a_base_known_by_name_only_is_a_gap_even_below_an_accepted_origin():
    edges = [packed("m"), edge(NAME, model("m"), Grade.DECLARED)]
    found = gap(edges, model("m"), rooted=[model("m")])
    assert (found.at, found.reason) == (NAME, GapReason.NAME_ONLY)


def test_a_name_that_was_bound_to_known_bytes_is_no_gap():
    edges = [
        packed("m"),
        edge(NAME, model("m"), Grade.DECLARED),
        edge(DATA, NAME, Grade.OBSERVED, Relation.SAME_AS),
    ]
    assert gap(edges, model("m"), rooted=[model("m"), DATA]) is None


def test_a_name_that_somebody_else_says_is_these_bytes_stays_a_gap():
    edges = [edge(NAME, A), edge(DATA, NAME, Grade.DECLARED, Relation.SAME_AS)]
    assert gap(edges, A).reason is GapReason.NAME_ONLY


def test_a_mere_declaration_explains_nothing():
    edges = [packed("m"), edge(A, weights("m"), Grade.DECLARED), trained(A)]
    found = gap(edges, model("m"))
    assert (found.at, found.reason) == (weights("m"), GapReason.UNATTESTED)


@pytest.mark.parametrize("relation", [Relation.SHARED_TENSORS, Relation.QUANTIZATION])
def test_an_observation_tells_of_one_parent_and_not_that_there_is_no_other(relation):
    edges = [edge(A, B, Grade.OBSERVED, relation), trained(A)]
    assert gap(edges, B).at == B


def test_one_gap_among_many_branches_is_found():
    edges = [edge(A, D, relation=Relation.MERGE), edge(B, D, relation=Relation.MERGE), trained(A)]
    assert gap(edges, D).at == B
    assert gap([*edges, trained(B)], D) is None


def test_branches_along_which_nothing_travels_do_not_matter():
    edges = [edge(A, B), trained(B, on=model("unknown data")), trained(A)]
    assert gap(edges, B).at == model("unknown data")
    assert gap(edges, B, relations=CARRIES[AdvisoryKind.WEIGHTS]) is None


def test_whoever_descends_from_itself_by_signed_claims_has_no_beginning():
    edges = [edge(A, B), edge(B, C), edge(C, B), trained(A), edge(C, D)]
    found = gap(edges, D)
    assert found.reason is GapReason.CYCLE
    assert found.at in (B, C)
    assert gap(edges, A) is None


def test_what_was_not_read_is_not_called_complete():
    edges = [edge(A, B), trained(A)]
    assert gap(edges, B, cut=[A]).reason is GapReason.UNREAD


def test_many_at_once_and_each_by_itself_say_the_same():
    edges = [edge(A, B), trained(A), edge(C, D), edge(D, E), edge(NAME, F)]
    asked = [A, B, C, D, E, F]
    together = gaps(edges, asked, {DATA})
    assert together == {one: found for one in asked if (found := gap(edges, one)) is not None}
    assert set(together) == {C, D, E, F}


def test_the_answer():
    sure, word = (edge(A, B),), (edge(A, B, Grade.DECLARED),)
    missing = gap([], A)
    assert answer(sure, missing) is Answer.AFFECTED
    assert answer((), None) is Answer.AFFECTED
    assert answer(word, missing) is Answer.POSSIBLY
    assert answer(None, missing) is Answer.CANNOT_TELL
    assert answer(None, None) is Answer.NOT_AFFECTED
