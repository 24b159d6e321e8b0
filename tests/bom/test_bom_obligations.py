"""Composing licences: worked cases with the sentence each rests on, and what must hold for every lineage."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.bom.licence_knowledge import knowledge, read
from weighbridge.bom.licence_walk import Link
from weighbridge.bom.licence_words import FLOWS, UNKNOWN, Basis, Duty, Effect, Standing
from weighbridge.bom.obligations import MAX_CHOICES, compose
from weighbridge.core.digest import Digest
from weighbridge.core.lineage import Grade, Parentage, Relation

CASES = json.loads((Path(__file__).parent / "licence_cases.json").read_text(encoding="utf-8"))
ROOT = Digest("wb1", "0" * 64)


def node(name):
    return Digest("wb1", Digest.of(name.encode()).hex)


def stands(text, basis=Basis.DECLARED):
    return Standing(text or "ours", text or "", read(text) if text is not None else (), basis)


def link(child, parent, relation="fine-tune", *, grade=Grade.ATTESTED, believed=True):
    return Link(Parentage(parent, child, Relation(relation), grade), believed)


def lineage(case):
    standings, links = {ROOT: stands(case["own"])}, []

    def above(child, parents, prefix):
        for number, parent in enumerate(parents):
            name = f"{prefix}.{number}"
            standings[node(name)] = stands(parent["licence"])
            links.append(link(child, node(name), parent["relation"]))
            above(node(name), parent["parents"], name)

    above(ROOT, case["parents"], "root")
    return standings, links


def told(composition):
    return {finding.code: finding.effect.value for finding in composition.findings}


def duties(composition):
    return {duty.term.duty.value for duty in composition.obligations}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_worked(case):
    found = compose(ROOT, *lineage(case))
    assert told(found) == case["expect"], [finding.message for finding in found.findings]
    assert set(case["owes"]) <= duties(found)
    assert not set(case["not_owes"]) & duties(found)
    for finding in found.findings:
        assert finding.remedy
        assert finding.node == ROOT or finding.path[0].parent == finding.node
        assert not finding.path or finding.path[-1].child == ROOT


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_each_case_rests_on_a_sentence(case):
    """The sentence is the knowledge base's, and that was held against the licence's text."""
    said = case["rests"]
    row = knowledge().row(said["licence"])
    quote = row.quotes.get(Duty(said["duty"]))
    assert said["section"] in {term.section for term in row.licence.of(Duty(said["duty"]))}
    assert said["sentence"] == quote or (row.checked == "known" and quote is None)


def test_there_are_enough_cases_and_each_code_has_one():
    assert len(CASES) >= 60
    named = {code for case in CASES for code in case["expect"]}
    assert named == {
        "LICENCE_LAUNDERING", "NO_DERIVATIVES", "OBLIGATION_NOT_CARRIED", "INCOMPATIBLE", "OUTPUT_TRAINING",
        "DATASET_TERMS", "TOKENIZER_TERMS", "NAMING_CONFLICT", "MULTIPLE_BESPOKE_AGREEMENTS", "UNKNOWN_LICENCE",
    }  # fmt: skip


def test_every_relation_is_decided_and_says_why():
    assert set(FLOWS) == set(Relation)
    assert all(len(flow.reason.split()) >= 4 for flow in FLOWS.values())


LICENCES = sorted(
    {
        "mit",
        "apache-2.0",
        "cc-by-nc-4.0",
        "cc-by-sa-4.0",
        "gpl-3.0",
        "agpl-3.0",
        "mpl-2.0",
        "llama2",
        "llama3.1",
        "gemma",
    }
    | {
        "qwen",
        "exaone",
        "falcon-llm-license",
        "cc-by-nc-nd-4.0",
        "unknown",
        "openrail",
        "stabilityai-ai-community",
    }
)
NODES = [ROOT, *(node(f"n{number}") for number in range(7))]


@st.composite
def graphs(draw):
    texts = draw(st.lists(st.none() | st.sampled_from(LICENCES), min_size=len(NODES), max_size=len(NODES)))
    basis = st.sampled_from([Basis.DECLARED, Basis.CONCLUDED])
    standings = {one: stands(text, draw(basis)) for one, text in zip(NODES, texts, strict=True)}
    ends = st.sampled_from(NODES)
    edge = st.tuples(ends, ends, st.sampled_from([relation.value for relation in Relation]), st.booleans())
    links = [
        link(child, parent, rel, believed=sure)
        for child, parent, rel, sure in draw(st.lists(edge, max_size=14))
    ]
    return standings, [one for one in links if one.edge.child != one.edge.parent]


@settings(max_examples=150, deadline=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_parents_does_not_matter(graph, random):
    standings, links = graph
    shuffled = list(links)
    random.shuffle(shuffled)
    backwards = dict(reversed(standings.items()))
    assert compose(ROOT, standings, links) == compose(ROOT, backwards, [*shuffled, *links[:3]])


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from(NODES), st.sampled_from(LICENCES), st.sampled_from(list(Relation)))
def test_an_ancestor_more_never_takes_a_duty_away(graph, child, text, relation):
    """Where no licence leaves a choice; cycles are among the graphs, and composing them ends."""
    standings, links = graph
    before = compose(ROOT, standings, links)
    more = {**standings, node("more"): stands(text)}
    after = compose(ROOT, more, [*links, link(child, node("more"), relation.value)])

    def owed(composition):
        return {(duty.term, duty.licence, duty.node) for duty in composition.obligations}

    def blocked(composition):
        return {
            f.fingerprint
            for f in composition.findings
            if f.effect is Effect.BLOCK and f.code != "OUTPUT_TRAINING"
        }

    assert owed(before) <= owed(after)
    gone = blocked(before) - blocked(after)
    assert all(row.code == "INCOMPATIBLE" for row in before.findings if row.fingerprint in gone)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_what_nobody_proved_blocks_nothing(graph):
    standings, links = graph
    hearsay = [Link(one.edge, believed=False) for one in links]
    found = compose(ROOT, standings, hearsay)
    assert all(row.node == ROOT for row in found.findings if row.effect is Effect.BLOCK)


def test_the_choice_is_said():
    standings = {ROOT: stands("Apache-2.0"), node("a"): stands("GPL-2.0-only OR MIT")}
    found = compose(ROOT, standings, [link(ROOT, node("a"))])
    assert found.chosen == ((node("a"), "MIT"),)
    assert not found.findings


def test_a_choice_that_nothing_makes_good_takes_the_least_bad():
    standings = {ROOT: stands("MIT"), node("a"): stands("CC-BY-NC-4.0 OR CC-BY-SA-4.0")}
    found = compose(ROOT, standings, [link(ROOT, node("a"))])
    assert found.chosen == ((node("a"), "CC-BY-SA-4.0"),)
    assert told(found) == {"LICENCE_LAUNDERING": "warn"}


def test_more_choices_than_are_tried_still_end():
    names = [f"c{number}" for number in range(12)]
    standings = {ROOT: stands("MIT")} | {
        node(name): stands("GPL-2.0-only OR MIT OR Apache-2.0") for name in names
    }
    assert 3 ** len(names) > MAX_CHOICES
    found = compose(ROOT, standings, [link(ROOT, node(name), "merge") for name in names])
    assert not found.blocked
    assert {text for _, text in found.chosen} == {"MIT"} or {text for _, text in found.chosen} == {
        "Apache-2.0"
    }


def test_an_unknown_base_blocks_only_where_nobody_has_concluded_below_it():
    links = [link(ROOT, node("a")), link(node("a"), node("b"))]
    unknown = Standing("b", "", ((UNKNOWN,),), Basis.NONE)
    open_ = compose(ROOT, {ROOT: stands("MIT"), node("a"): stands("MIT"), node("b"): unknown}, links)
    assert told(open_) == {"UNKNOWN_LICENCE": "block"}
    concluded = {ROOT: stands("MIT"), node("a"): stands("MIT", Basis.CONCLUDED), node("b"): unknown}
    assert told(compose(ROOT, concluded, links)) == {"UNKNOWN_LICENCE": "warn"}
    only_named = [link(ROOT, node("b"), grade=Grade.DECLARED)]
    assert told(compose(ROOT, {ROOT: stands("MIT"), node("b"): unknown}, only_named)) == {
        "UNKNOWN_LICENCE": "warn"
    }


def test_the_path_is_the_one_that_is_believed():
    """A short way that only a stranger tells of does not hide the long one that is proven."""
    links = [
        link(ROOT, node("nc"), believed=False),
        link(ROOT, node("a")),
        link(node("a"), node("nc")),
    ]
    standings = {ROOT: stands("MIT"), node("a"): stands("MIT"), node("nc"): stands("cc-by-nc-4.0")}
    found = compose(ROOT, standings, links)
    (finding,) = found.findings
    assert finding.effect is Effect.BLOCK
    assert [edge.child for edge in finding.path] == [node("a"), ROOT]


def test_a_fingerprint_stays_when_the_path_changes():
    standings = {ROOT: stands("MIT"), node("a"): stands("MIT"), node("nc"): stands("cc-by-nc-4.0")}
    near = compose(ROOT, standings, [link(ROOT, node("nc"))]).findings[0]
    far = compose(ROOT, standings, [link(ROOT, node("a")), link(node("a"), node("nc"))]).findings[0]
    assert near.fingerprint == far.fingerprint
    assert near.path != far.path
