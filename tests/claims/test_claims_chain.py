"""The walk: a graph up to data or accepted origins, and at each gap the link that is missing and who signed it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.claims import chain, graph
from weighbridge.claims.chain import refusal, walk
from weighbridge.claims.graph import Index
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.evidence import ClaimFact, Proven
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Stage

STRANGER = Identity(Digest.of(b"stranger"))


def wb(word):
    return Digest("wb1", Digest.of(word.encode()).hex)


def wbw(word):
    return Digest("wbw1", Digest.of(word.encode()).hex)


def fact(stage, *about, parents=(), **detail):
    """Make a verified claim; `parents` are (identity, relation) pairs."""
    who = Identity(Digest.of(stage.value.encode()), f"{stage.value}-team")
    bundle = Digest.of(repr((stage, about, parents, detail)).encode())
    relations = {str(parent): relation for parent, relation in parents}
    return ClaimFact(
        stage,
        Outcome.PASS,
        about,
        who,
        bundle,
        proof=Proven(who, bundle, "type", 1, None, None),
        parents=tuple(parent for parent, _ in parents),
        detail={"relations": relations, **detail},
    )


def refused(good, outcome=Outcome.FAIL):
    return replace(good, outcome=outcome, signer=STRANGER, proof=None, reason="nobody named it", detail={})


def data(word, *parents):
    return fact(Stage.DATA, wb(word), parents=[(wb(parent), "dataset") for parent in parents])


def train(word, *parents):
    """Say that the weights `word` were trained from ("dataset", name) or (relation, identity) parents."""
    rows = [(wb(p[1]), "dataset") if p[0] == "dataset" else (p[1], p[0]) for p in parents]
    return fact(Stage.TRAIN, wbw(word), parents=rows)


def package(word):
    return fact(Stage.PACKAGE, wb(word), wbw(word))


def origin(word):
    return fact(Stage.ORIGIN, wb(word), wbw(word))


def convert(word, source, equivalence="proven"):
    return fact(
        Stage.CONVERT, wb(word), wbw(word), parents=[(wb(source), "conversion")], equivalence=equivalence
    )


def go(*facts, word="m"):
    return walk(wb(word), wbw(word), facts)


D = ("dataset", "d")


def test_trained_on_attested_data():
    found = go(data("d"), train("m", D))
    assert (found.end, found.reason, found.broken_at, found.origins) == ("data", "", None, ())
    assert set(found.visited) == {wb("m"), wbw("m"), wb("d")}
    assert found.visited[:2] == (wb("m"), wbw("m"))
    assert found.links == ((wb("d"), wb("m"), "dataset"),)


def test_an_accepted_origin():
    found = go(origin("m"))
    assert (found.end, found.origins) == ("origin", (wb("m"),))


def test_a_fine_tune_of_an_accepted_origin():
    found = go(origin("base"), data("d"), train("m", D, ("fine-tune", wb("base"))))
    assert (found.end, found.origins) == ("origin", (wb("base"),))
    assert wbw("base") in found.visited
    assert (wb("base"), wb("m"), "fine-tune") in found.links


def test_a_fine_tune_of_a_converted_and_accepted_base():
    found = go(origin("raw"), convert("base", "raw"), train("m", ("fine-tune", wbw("base"))))
    assert (found.end, found.origins) == ("origin", (wb("raw"),))
    assert {wb("base"), wbw("base"), wb("raw"), wbw("raw")} <= set(found.visited)
    assert set(found.links) == {(wbw("base"), wb("m"), "fine-tune"), (wb("raw"), wbw("base"), "conversion")}


def test_a_converted_model_that_we_trained():
    found = go(convert("m", "raw"), package("raw"), train("raw", D), data("d"))
    assert found.end == "data"


def test_training_of_a_packaged_base_named_as_a_whole():
    found = go(data("d"), train("base", D), package("base"), train("m", ("merge", wb("base"))))
    assert found.end == "data"
    assert {wb("base"), wbw("base")} <= set(found.visited)


def test_a_base_named_as_a_whole_needs_its_packaging():
    found = go(data("d"), train("base", D), train("m", ("merge", wb("base"))))
    assert (found.end, found.broken_at) == ("broken", wb("base"))
    assert "no training claim about its weights" in found.reason


def test_derived_data():
    assert go(data("d", "raw"), data("raw"), train("m", D)).end == "data"
    found = go(data("d", "raw"), train("m", D))
    assert (found.end, found.broken_at) == ("broken", wb("raw"))
    assert found.reason == f"nobody claims where the dataset {wb('raw').short} comes from"


def test_a_model_without_weight_files():
    found = walk(wb("m"), None, [data("d"), fact(Stage.TRAIN, wb("m"), parents=[(wb("d"), "dataset")])])
    assert (found.end, found.visited) == ("data", (wb("m"), wb("d")))


def test_a_tokenizer_may_be_data_or_a_model():
    claim = train("m", D, ("tokenizer", wb("t")))
    assert go(data("d"), data("t"), claim).end == "data"
    assert go(data("d"), origin("t"), claim).end == "origin"
    found = go(data("d"), claim)
    assert (found.end, found.broken_at) == ("broken", wb("t"))
    assert found.reason == f"nobody claims where the tokenizer {wb('t').short} comes from"


# Gaps.


def test_nothing_is_claimed():
    found = go()
    assert (found.end, found.broken_at) == ("broken", wb("m"))
    assert found.reason == (
        f"nobody claims how {wb('m').short} came to be: no accepted origin, no training claim about its weights"
    )
    assert found.visited == (wb("m"), wbw("m"))


def test_a_missing_data_claim():
    found = go(train("m", D))
    assert (found.end, found.broken_at) == ("broken", wb("d"))
    assert wb("d") in found.visited


def test_one_missing_parent_is_enough():
    found = go(data("d"), train("m", D, ("dataset", "e")))
    assert (found.end, found.broken_at) == ("broken", wb("e"))


@pytest.mark.parametrize(
    ("outcome", "verb"), [(Outcome.FAIL, "was refused"), (Outcome.CANNOT_TELL, "could not be judged")]
)
def test_a_claim_by_a_stranger(outcome, verb):
    found = go(data("d"), refused(train("m", D), outcome))
    assert (found.end, found.broken_at) == ("broken", wb("m"))
    assert found.reason == (
        f"the training claim about {wbw('m').short} is signed by a stranger ({STRANGER.key.short}) and {verb}: "
        "nobody named it"
    )


@pytest.mark.parametrize(
    ("claim", "facts", "word", "about"),
    [
        (data("d"), [train("m", D)], "data", wb("d")),
        (origin("m"), [], "accepted origin", wb("m")),
        (convert("m", "raw"), [origin("raw")], "conversion", wb("m")),
        (
            package("base"),
            [train("base", D), data("d"), train("m", ("merge", wb("base")))],
            "package",
            wb("base"),
        ),
    ],
)
def test_every_kind_of_refused_claim_is_named(claim, facts, word, about):
    found = go(*facts, refused(claim))
    assert found.reason.startswith(f"the {word} claim about {about.short} is signed by a stranger")
    assert go(*facts, claim).end != "broken"


def test_a_claim_that_nobody_signed():
    unsigned = replace(refused(origin("m")), signer=None, reason="")
    assert refusal(unsigned, wb("m")) == (
        f"the accepted origin claim about {wb('m').short} has a signature nobody can read and was refused: "
        "no reason is recorded"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: replace(good, proof=None),
        lambda good: replace(good, proof=replace(good.proof, bundle=Digest.of(b"other"))),
        lambda good: replace(good, signer=STRANGER),
        lambda good: replace(good, signer=STRANGER, proof=replace(good.proof, signer=STRANGER)),
        lambda good: replace(good, outcome=Outcome.CANNOT_TELL),
        lambda good: replace(good, outcome=Outcome.FAIL),
    ],
)
@pytest.mark.parametrize("index", range(4))
def test_a_claim_without_its_proof_proves_nothing(spoil, index):
    facts = [data("d"), train("m", D, ("merge", wb("base"))), convert("base", "raw"), origin("raw")]
    assert go(*facts).end == "origin"
    facts[index] = spoil(facts[index])
    assert go(*facts).end == "broken"


def test_a_refused_claim_is_not_followed():
    """A stranger could otherwise make any model a descendant of something revoked."""
    found = go(data("d"), train("m", D), refused(train("m", ("merge", wbw("revoked")))))
    assert found.end == "data"
    assert wbw("revoked") not in found.visited


# What proves nothing.


def test_an_evaluation_makes_no_model():
    assert go(fact(Stage.EVALUATE, wb("m"), wbw("m"))).end == "broken"


@pytest.mark.parametrize(
    "stage", [Stage.PACKAGE, Stage.BOM, Stage.SCAN, Stage.ADMIT, Stage.DATA, Stage.EVALUATE]
)
def test_other_stages_prove_no_descent(stage):
    assert go(fact(stage, wb("m"), wbw("m"), parents=[(wb("d"), "dataset")]), data("d")).end == "broken"


def test_a_base_is_no_dataset():
    """Whoever may sign for data cannot launder a base model, nor an origin claim a dataset."""
    assert go(data("base"), train("m", ("merge", wb("base")))).end == "broken"
    assert go(origin("d"), train("m", D)).end == "broken"
    assert go(package("d"), train("d", ("dataset", "e")), data("e"), train("m", D)).end == "broken"


def test_an_unknown_relation_is_that_of_a_model():
    claim = replace(train("m", D), detail={})
    assert go(data("d"), claim).end == "broken"
    assert go(data("d"), replace(claim, detail={"relations": [1]})).end == "broken"
    assert go(data("d"), replace(claim, detail={"relations": {str(wb("d")): 3}})).end == "broken"


def test_training_from_nothing():
    found = go(train("m"))
    assert (found.end, found.broken_at) == ("broken", wb("m"))
    assert "names no parent" in found.reason
    assert "train-team" in found.reason


@pytest.mark.parametrize("equivalence", ["unproven", "", None, True])
def test_an_unproven_conversion_stops_the_walk(equivalence):
    found = go(convert("m", "raw", equivalence), origin("raw"))
    assert (found.end, found.broken_at) == ("broken", wb("m"))
    assert "does not prove that both hold the same tensors" in found.reason
    assert {wb("raw"), wbw("raw")} <= set(found.visited)


def test_an_accepted_origin_counts_for_its_own_files_only():
    """The same weights with other files (code, a template) are not what was accepted."""
    assert go(fact(Stage.ORIGIN, wb("accepted"), wbw("m"))).end == "broken"
    assert go(fact(Stage.CONVERT, wb("converted"), wbw("m"), parents=[(wb("raw"), "conversion")], equivalence="proven"),
              origin("raw")).end == "broken"  # fmt: skip
    base = fact(Stage.ORIGIN, wb("accepted"), wbw("base"))
    tied = fact(Stage.PACKAGE, wb("base"), wbw("base"))
    assert go(base, tied, train("m", ("merge", wb("base")))).end == "broken"
    assert go(base, tied, train("m", ("merge", wbw("base")))).end == "origin"


def test_training_of_other_weights_that_names_this_model():
    claim = fact(Stage.TRAIN, wb("m"), wbw("other"), parents=[(wb("d"), "dataset")])
    assert go(data("d"), claim).end == "broken"
    assert go(data("d"), replace(claim, about=(wb("m"), wbw("m")))).end == "data"


def test_training_that_leaves_the_weights_out():
    claim = fact(Stage.TRAIN, wb("m"), parents=[(wb("d"), "dataset")])
    assert go(data("d"), claim).end == "broken"


def test_training_of_other_weights_that_names_a_base():
    claim = fact(Stage.TRAIN, wb("base"), wbw("other"), parents=[(wb("d"), "dataset")])
    facts = [data("d"), package("base"), train("m", ("merge", wb("base")))]
    assert go(*facts, claim).end == "broken"
    assert go(*facts, train("base", D)).end == "data"


def test_the_refused_training_of_a_base_is_named_by_its_weights():
    found = go(data("d"), package("base"), refused(train("base", D)), train("m", ("merge", wb("base"))))
    assert found.broken_at == wb("base")
    assert found.reason.startswith(f"the training claim about {wbw('base').short} is signed by a stranger")


def test_conversion_and_data_have_one_relation_each():
    """What these claims say of their parents follows from their stage, whatever their detail holds."""
    plain = replace(convert("m", "raw"), detail={"equivalence": "proven"})
    assert go(plain, origin("raw")).links == ((wb("raw"), wb("m"), "conversion"),)
    made = replace(data("d", "raw"), detail={})
    assert go(train("m", D), made, data("raw")).end == "data"


def test_a_parent_met_before_its_child():
    facts = [train("m", ("merge", wbw("p")), ("merge", wbw("x"))), train("x", ("merge", wbw("y")))]
    assert go(*facts, train("y", ("merge", wbw("p"))), train("p", D), data("d")).end == "data"


def test_a_training_claim_ties_nothing():
    """Only claims that carry their manifest say which weights a model holds."""
    tie = fact(Stage.TRAIN, wb("base"), wbw("good"), parents=[(wb("e"), "dataset")])
    assert go(data("d"), train("good", D), tie, train("m", ("merge", wb("base")))).end == "broken"
    for stage in (Stage.EVALUATE, Stage.BOM, Stage.SCAN):
        tie = fact(stage, wb("base"), wbw("good"))
        assert go(data("d"), train("good", D), tie, train("m", ("merge", wb("base")))).end == "broken"
    refused_tie = refused(fact(Stage.PACKAGE, wb("base"), wbw("good")))
    assert go(data("d"), train("good", D), refused_tie, train("m", ("merge", wb("base")))).end == "broken"


# Everything met is visited.


def test_what_lies_beyond_a_break_is_visited():
    found = go(
        train("m", ("merge", wbw("gap")), ("merge", wbw("base"))), train("base", ("merge", wbw("deep")))
    )
    assert found.end == "broken"
    assert {wbw("gap"), wbw("base"), wbw("deep")} <= set(found.visited)
    assert (wbw("deep"), wbw("base"), "merge") in found.links


def test_all_ways_are_visited_and_one_must_hold():
    """Two authorised trainers disagree: all their parents are ancestors."""
    found = go(data("d"), train("m", D), train("m", ("merge", wbw("other")), ("dataset", "gone")))
    assert found.end == "data"
    assert {wbw("other"), wb("gone"), wb("d")} <= set(found.visited)


def test_an_accepted_origin_with_a_history_visits_the_history():
    found = go(origin("m"), train("m", ("merge", wbw("older"))))
    assert (found.end, found.origins) == ("origin", (wb("m"),))
    assert wbw("older") in found.visited


def test_a_parent_named_by_its_weights_stands_for_every_model_that_carries_them():
    twin = fact(Stage.PACKAGE, wb("twin"), wbw("base"))
    found = go(data("d"), train("base", D), package("base"), twin, train("m", ("merge", wbw("base"))))
    assert found.end == "data"
    assert {wb("base"), wb("twin")} <= set(found.visited)


def test_a_model_is_not_its_twin():
    """A fixed release with the same weights is not touched by what its predecessor carried beside them."""
    found = go(data("d"), train("m", D), fact(Stage.PACKAGE, wb("old release"), wbw("m")), package("m"))
    assert set(found.visited) == {wb("m"), wbw("m"), wb("d")}


def test_the_origins_are_those_the_proof_rests_on():
    found = go(
        origin("a"),
        origin("b"),
        origin("c"),
        data("d"),
        train("m", D, ("merge", wb("a")), ("merge", wbw("b"))),
    )
    assert set(found.origins) == {wb("a"), wbw("b")}


# Diamonds, cycles, budgets.


def test_a_diamond_is_visited_once():
    facts = [
        data("d"),
        train("base", D),
        train("l", ("merge", wbw("base"))),
        train("r", ("merge", wbw("base"))),
    ]
    found = go(*facts, train("m", ("merge", wbw("l")), ("merge", wbw("r"))))
    assert found.end == "data"
    assert len(set(found.visited)) == len(found.visited) == 6
    assert len(set(found.links)) == len(found.links) == 5


def ladder(rungs):
    """Each rung has two models, and each of these both models of the rung below: 2**rungs paths."""
    facts = [data("d"), train("0a", D), train("0b", D)]
    for n in range(1, rungs):
        parents = [("merge", wbw(f"{n - 1}a")), ("merge", wbw(f"{n - 1}b"))]
        facts += [train(f"{n}a", *parents), train(f"{n}b", *parents)]
    return [*facts, train("m", ("merge", wbw(f"{rungs - 1}a")), ("merge", wbw(f"{rungs - 1}b")))]


def test_a_ladder_of_merges_takes_no_exponential_time():
    found = go(*ladder(100))
    assert found.end == "data"
    assert len(found.visited) == 203


def test_a_cycle_is_a_false_claim():
    found = go(
        train("m", ("merge", wbw("a"))), train("a", ("merge", wbw("b"))), train("b", ("merge", wbw("a")))
    )
    assert found.end == "broken"
    assert found.broken_at in (wbw("a"), wbw("b"))
    assert "descends from itself" in found.reason


@pytest.mark.parametrize(
    "facts",
    [
        [train("m", ("merge", wb("m")))],
        [train("m", ("merge", wbw("m")))],
        [train("m", ("merge", wbw("a"))), train("a", ("merge", wb("m")))],
        [convert("m", "n"), convert("n", "m")],
        [train("m", D), data("d", "e"), data("e", "d")],
    ],
)
def test_cycles_of_every_kind(facts):
    assert go(*facts).end == "broken"


def test_a_cycle_anywhere_voids_even_a_proven_way():
    """One of the verified claims is false; which one, nobody can tell."""
    facts = [data("d"), train("m", D), train("m", ("merge", wbw("a"))), train("a", ("merge", wbw("a")))]
    found = go(*facts)
    assert (found.end, found.broken_at) == ("broken", wbw("a"))


def test_what_hangs_below_a_cycle_is_not_called_its_part():
    facts = [train("m", ("merge", wbw("x"))), train("x", ("merge", wbw("a")))]
    facts += [
        train("a", ("merge", wbw("b"))),
        train("b", ("merge", wbw("c"))),
        train("c", ("merge", wbw("a"))),
    ]
    assert go(*facts).broken_at in (wbw("a"), wbw("b"), wbw("c"))


def line(length):
    facts = [train(str(n), ("fine-tune", wbw(str(n + 1)))) for n in range(length)]
    return [replace(facts[0], about=(wbw("m"),)), *facts[1:], train(str(length), D), data("d")]


def test_too_deep_an_ancestry():
    assert go(*line(graph.MAX_DEPTH - 2)).end == "data"  # and two more: the model itself and the dataset
    assert go(*line(graph.MAX_DEPTH - 1)).end == "broken"
    found = go(*line(graph.MAX_DEPTH + 10))
    assert found.end == "broken"
    assert found.reason == f"the ancestry is deeper than {graph.MAX_DEPTH} generations"
    assert found.broken_at is not None


def test_too_large_an_ancestry(monkeypatch):
    monkeypatch.setattr(graph, "MAX_NODES", 20)
    wide = [train("m", *(("merge", wbw(f"p{n}")) for n in range(30)))]
    wide += [train(f"p{n}", ("merge", wbw(f"q{n}"))) for n in range(30)]
    found = go(*wide)
    assert found.end == "broken"
    assert "20 members" in found.reason
    assert found.broken_at in found.visited
    monkeypatch.setattr(graph, "MAX_NODES", 10_000)
    monkeypatch.setattr(graph, "MAX_LINKS", 20)
    assert "20 links" in go(*wide).reason


@pytest.mark.parametrize(("name", "needed"), [("MAX_NODES", 3), ("MAX_LINKS", 4)])
def test_the_budget_is_exact(monkeypatch, name, needed):
    """Counted before each generation: three members and four links are there before the last one."""
    facts = [
        train("m", ("merge", wbw("a")), ("merge", wbw("b"))),
        train("a", ("merge", wbw("b"))),
        train("b", D),
        data("d"),
    ]
    monkeypatch.setattr(graph, name, needed + 1)
    assert go(*facts).end == "data"
    monkeypatch.setattr(graph, name, needed)
    assert go(*facts).end == "broken"


def test_a_thousand_claims_about_one_model():
    facts = [replace(train("m", D, ("merge", wbw(str(n))))) for n in range(1000)]
    found = go(data("d"), *facts)
    assert found.end == "broken"
    assert len(found.visited) == 1003


# Properties.

NAMES = ["m", "a", "b", "c"]
FACTS = st.one_of(
    st.builds(data, st.sampled_from(["d", "e"])),
    st.builds(lambda word, parents: train(word, *parents), st.sampled_from(NAMES), st.lists(
        st.one_of(st.sampled_from([("dataset", "d"), ("dataset", "e")]),
                  st.builds(lambda make, w: ("merge", make(w)), st.sampled_from([wb, wbw]), st.sampled_from(NAMES))),
        max_size=3, unique=True)),
    st.builds(package, st.sampled_from(NAMES)),
    st.builds(origin, st.sampled_from(NAMES)),
    st.builds(convert, st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(["proven", "unproven"])),
)  # fmt: skip


@given(st.lists(FACTS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_claims_does_not_matter(facts, random):
    shuffled = list(facts)
    random.shuffle(shuffled)
    one, other = go(*facts), go(*shuffled)
    assert one.end == other.end or {one.end, other.end} == {"data", "origin"}
    assert set(one.visited) == set(other.visited)
    assert set(one.links) == set(other.links)


@given(st.lists(FACTS, max_size=12), st.data())
def test_refusing_a_claim_never_mends_a_break_that_is_no_cycle(facts, draw):
    found = go(*facts)
    if not facts or "descends from itself" in found.reason:
        return
    gone = draw.draw(st.integers(0, len(facts) - 1))
    less = go(*(refused(f) if n == gone else f for n, f in enumerate(facts)))
    assert set(less.visited) <= set(found.visited)
    assert found.end != "broken" or less.end == "broken"


@given(st.lists(FACTS, max_size=12))
def test_what_is_linked_is_visited_and_an_end_has_its_reason(facts):
    found = go(*facts)
    assert {end for parent, child, _ in found.links for end in (parent, child)} <= set(found.visited)
    assert found.end in ("data", "origin", "broken")
    assert (found.end == "broken") == bool(found.reason) == (found.broken_at is not None)
    assert (found.end == "origin") == bool(found.origins)
    assert set(found.origins) <= set(found.visited)


def test_whose_evaluations_count_is_followed_over_proven_conversions_only():
    line = (convert("m", "s"), package("s"), convert("s", "r"), package("r"), train("r", D), data("d"))
    assert go(*line).equal == (wb("m"), wbw("m"), wbw("s"), wbw("r"))
    unproven = (
        convert("m", "s"),
        package("s"),
        convert("s", "r", "none"),
        package("r"),
        train("s", D),
        data("d"),
    )
    assert go(*unproven).equal == (wb("m"), wbw("m"), wbw("s"))


def test_a_conversion_that_was_refused_brings_no_evaluations_whatever_it_says():
    said = convert("m", "s")
    told = replace(said, outcome=Outcome.FAIL, proof=None)
    assert go(told, package("s"), train("m", D), data("d")).equal == (wb("m"), wbw("m"))


def test_weights_that_were_converted_bring_no_evaluations_of_what_lay_beside_them():
    from_weights = fact(
        Stage.CONVERT, wb("m"), wbw("m"), parents=[(wbw("s"), "conversion")], equivalence="proven"
    )
    assert wb("s") not in go(from_weights, package("s"), train("s", D), data("d")).equal


def test_the_search_for_evaluations_has_an_end(monkeypatch):
    line = [convert(f"c{at}", f"c{at + 1}") for at in range(9)] + [package(f"c{at}") for at in range(10)]
    whole = chain.equal_to(wb("c0"), [wbw("c0")], Index(line))
    assert whole == (wb("c0"), *(wbw(f"c{at}") for at in range(10)))
    monkeypatch.setattr(chain, "MAX_NODES", 6)
    assert (
        chain.equal_to(wb("c0"), [wbw("c0")], Index(line)) == whole[:4]
    )  # six were looked at, none after them


def test_a_graph_that_is_too_large_before_it_begins_is_broken(monkeypatch):
    monkeypatch.setattr(graph, "MAX_DEPTH", 0)
    found = go(train("m", D), data("d"))
    assert (found.end, found.check) == ("broken", "chain.budget")


@pytest.mark.parametrize(("check", "told"), [("signature.valid", "signature.valid"), ("", "chain.refused")])
def test_a_refused_claim_names_the_check_that_refused_it(check, told):
    found = go(replace(refused(train("m", D)), check=check), data("d"))
    assert (found.broken_at, found.check) == (wb("m"), told)
