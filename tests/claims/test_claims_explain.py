"""Explanations say what the walk found, link by link; and the walk agrees with a prover that knows no shortcuts."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import claims_world
import jsonschema
import pytest
from claims_world import MODEL, MODELS, Ledger, Signed, about, dataset, explained, signed, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.claims import chain, graph
from weighbridge.claims.chain import walk
from weighbridge.claims.explain import MAX_SHOWN, explain, lines
from weighbridge.claims.slsa import build_of, model_level
from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.envelope import envelope
from weighbridge.core.evidence import ClaimFact, Proven
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Stage


def test_a_proven_graph_is_told_in_order():
    found = explained(whole())
    assert found.answer == "proven to an accepted origin"
    assert [(link.depth, link.relation, link.digest) for link in found.links] == [
        (0, "", MODEL.digest),
        (1, "conversion", MODELS["merged"].digest),
        (2, "merge", about("left")),
        (3, "fine-tune", about("base")),
        (4, "conversion", MODELS["received"].digest),
        (3, "dataset", dataset("pairs")),
        (4, "dataset", dataset("raw")),
        (2, "merge", about("right")),
        (3, "fine-tune", about("base")),
        (3, "dataset", dataset("tickets")),
    ]
    assert [link.digest for link in found.links if link.again] == [about("base")]
    assert [link.digest for link in found.links if link.ends == "origin"] == [MODELS["received"].digest]
    assert {link.digest for link in found.links if link.ends == "data"} == {
        dataset(word) for word in ("pairs", "raw", "tickets")
    }
    assert not any(link.missing or link.check for link in found.links)


def test_who_signed_what_is_told():
    found = explained(whole())
    (left,) = [link for link in found.links if link.digest == about("left")]
    (said,) = left.said
    assert (said.stage, said.believed, said.text) == (
        Stage.TRAIN,
        True,
        "made by fine-tune from 2 named ancestors",
    )
    assert said.signer.startswith("train-team (sha256:")
    text = lines(found, lambda digest: f"<{digest.short}>")
    assert text[0] == f"model <{MODEL.digest.short}>  proven"
    assert any(line.strip().startswith("fine-tune: model <") and line.endswith("as above") for line in text)
    assert any("with proof of equal tensors" in line for line in text)
    assert any("it comes from https://example.test, licence MIT, made of 1 datasets" in line for line in text)
    assert any("accepted as received from Lab, until 2026-12-22T20:10:00Z" in line for line in text)
    assert text[-2].startswith("evaluated: evaluate claim signed by evaluate-team")
    assert text[-1] == found.answer


def test_what_is_missing_is_told_where_it_is():
    found = explained(Ledger().bundles(signed(data_raw=None).values()))
    text = lines(found)
    (at,) = [n for n, line in enumerate(text) if "missing:" in line]
    assert dataset("raw").short in text[at - 1]
    assert (
        text[at].strip()
        == f"missing: nobody claims where the dataset {dataset('raw').short} comes from [chain.missing]"
    )
    assert text[-1].startswith(f"broken at {dataset('raw').short} [chain.missing]")
    unproven = {link.digest for link in found.links if not link.proven}
    assert unproven == {
        MODEL.digest, MODELS["merged"].digest, about("left"), dataset("pairs"), dataset("raw"),
    }  # fmt: skip


def test_a_refused_claim_is_shown_and_leads_nowhere():
    statement, _ = claims_world.graph()["train left"]
    found = explained(Ledger().bundles(signed(train_left=Signed(statement, "stranger")).values()))
    (left,) = [link for link in found.links if link.digest == about("left")]
    (said,) = left.said
    assert (said.believed, said.check) == (False, "identity.known")
    assert dataset("pairs") not in {link.digest for link in found.links}
    assert any(
        "not believed: signed by a stranger" in line and "[identity.known]" in line for line in lines(found)
    )


def test_a_cycle_is_told_with_all_its_links():
    rows = signed(convert_base=Signed(claims_world.convert(MODELS["base"], MODELS["merged"]), "convert-team"))
    found = explained(Ledger().bundles(rows.values()))
    assert found.ancestry.check == "chain.cycle"
    assert any(link.again for link in found.links)
    assert "descends from itself" in lines(found)[-1]


def test_what_was_not_looked_at_is_said(monkeypatch):
    monkeypatch.setattr(graph, "MAX_DEPTH", 2)
    found = explained(whole())
    assert found.ancestry.check == "chain.budget"
    assert {link.check for link in found.links} == {"", "chain.budget"}
    assert any("it was not looked at" in line for line in lines(found))


def test_an_explanation_is_json_and_of_bounded_size():
    found = explained(whole())
    assert json.loads(canonical(found.to_json()))["answer"] == found.answer
    parents = [(wbw(f"p{n}"), "merge") for n in range(MAX_SHOWN + 10)]
    wide = explain(wb("m"), wbw("m"), [fact(Stage.TRAIN, wbw("m"), parents=parents)])
    assert (len(wide.links), wide.left_out) == (MAX_SHOWN, 11)
    assert any("and 11 links more" in line for line in lines(wide))


def test_strangers_cannot_hide_who_is_believed():
    """However many claims they hand in, the believed one comes first."""
    rows = [fact(Stage.TRAIN, wbw("m"), parents=[(wbw(f"p{n}"), "merge")], believed=False) for n in range(80)]
    good = fact(Stage.TRAIN, wbw("m"), parents=[(wb("x"), "dataset")])
    found = explain(wb("m"), wbw("m"), [*rows, good, fact(Stage.DATA, wb("x"), source="s", licence="l")])
    assert found.answer == "proven to data"
    assert found.links[0].said[0].bundle == good.bundle
    assert (len(found.links[0].said), found.links[0].unsaid) == (50, 31)
    assert any("and 31 claims more" in line for line in lines(found))


def closed(value):
    """Return the schema with every object closed, so that what is written but not described fails."""
    if isinstance(value, dict):
        value = {key: closed(item) for key, item in value.items()}
        if "properties" in value and "required" in value:
            value.setdefault("additionalProperties", False)
    elif isinstance(value, list):
        value = [closed(item) for item in value]
    return value


@pytest.mark.parametrize("gone", ["data_raw", "convert_model", ""])
def test_an_explanation_has_the_form_that_is_documented(gone):
    schemas = Path(__file__).resolve().parents[2] / "docs" / "reference" / "schemas"
    schema = json.loads((schemas / "claim.schema.json").read_text(encoding="utf-8"))
    rows = claims_world.facts(Ledger().bundles(signed(**({gone: None} if gone else {})).values()))
    builds = [made for row in rows if (made := build_of(row))]
    level = model_level(MODEL.digest, MODEL.weights, builds, ())
    found = explain(MODEL.digest, MODEL.weights, rows)
    item = {"model": str(MODEL.digest), **found.to_json(), "build_level": level.to_json(), "exceptions": []}
    document = json.loads(canonical(envelope("claim", [item])))
    jsonschema.Draft202012Validator(closed(schema)).validate(document)


def test_a_deep_line_is_explained_without_recursion():
    rows = [fact(Stage.TRAIN, wbw(str(n)), parents=[(wbw(str(n + 1)), "fine-tune")]) for n in range(240)]
    found = explain(wb("m"), wbw("0"), rows)
    assert found.links[-1].depth == 240
    assert found.ancestry.broken_at == wbw("240")


# Evaluations.


def test_evaluations_reach_through_packaging_and_proven_conversion():
    found = explained(whole())
    assert found.ancestry.equal == (MODEL.digest, MODEL.weights, about("merged"))
    (said,) = found.evaluations
    assert said.believed
    assert said.text == f"PASSED, about {about('merged').short}"


def test_a_conversion_without_proof_hands_on_nothing():
    rows = signed(
        convert_model=Signed(claims_world.convert(MODEL, MODELS["merged"], "unproven"), "convert-team")
    )
    found = explained(Ledger().bundles(rows.values()))
    assert found.ancestry.equal == (MODEL.digest, MODEL.weights)
    assert found.evaluations == ()
    assert found.ancestry.check == "chain.unproven-conversion"


def test_a_refused_conversion_or_packaging_hands_on_nothing():
    statement, _ = claims_world.graph()["convert model"]
    for change in (
        {"convert_model": Signed(statement, "stranger")},
        {"package_merged": Signed(claims_world.package(MODELS["merged"]), "stranger")},
        {"package_merged": None},
    ):
        found = explained(Ledger().bundles(signed(**change).values()))
        assert about("merged") not in found.ancestry.equal
        assert found.evaluations == ()


def test_an_evaluation_of_the_whole_source_is_not_handed_on():
    """What lies beside the weights was not converted."""
    whole_source = fact(Stage.EVALUATE, wb("s"), result="PASSED")
    weights = fact(Stage.EVALUATE, wbw("s"), result="PASSED")
    rows = [fact(Stage.CONVERT, wb("m"), wbw("m"), parents=[(wb("s"), "conversion")], equivalence="proven"),
            fact(Stage.PACKAGE, wb("s"), wbw("s")), whole_source, weights]  # fmt: skip
    found = explain(wb("m"), wbw("m"), rows)
    assert [one.bundle for one in found.evaluations] == [weights.bundle]


def test_evaluations_of_ancestors_are_not_handed_on():
    """A fine-tune is another model than its base."""
    rows = [
        fact(Stage.TRAIN, wbw("m"), parents=[(wbw("b"), "fine-tune")]),
        fact(Stage.EVALUATE, wbw("b"), result="PASSED"),
    ]
    found = explain(wb("m"), wbw("m"), rows)
    assert (found.evaluations, found.ancestry.equal) == ((), (wb("m"), wbw("m")))


def test_on_a_cycle_a_model_equals_itself_alone():
    rows = [fact(Stage.CONVERT, wb(a), wbw(a), parents=[(wb(b), "conversion")], equivalence="proven")
            for a, b in (("m", "n"), ("n", "m"))]  # fmt: skip
    assert walk(wb("m"), wbw("m"), rows).equal == (wb("m"), wbw("m"))


# Against a prover that follows every path.


def wb(word):
    return Digest("wb1", Digest.of(word.encode()).hex)


def wbw(word):
    return Digest("wbw1", Digest.of(word.encode()).hex)


def fact(stage, *subjects, parents=(), believed=True, **detail):
    who = Identity(Digest.of(stage.value.encode()), f"{stage.value}-team")
    bundle = Digest.of(repr((stage, subjects, parents, believed, detail)).encode())
    made = ClaimFact(
        stage, Outcome.PASS, subjects, who, bundle,
        proof=Proven(who, bundle, "type", 1, None, None),
        parents=tuple(parent for parent, _ in parents),
        detail={"relations": {str(parent): relation for parent, relation in parents}, **detail},
    )  # fmt: skip
    return (
        made
        if believed
        else replace(made, outcome=Outcome.FAIL, proof=None, reason="no", check="identity.role")
    )


class Naive:
    """Says by plain recursion what is proven; the rules are those of docs/reference/claims.md, and nothing is remembered."""

    def __init__(self, rows):
        self.rows = [row for row in rows if row.verified]

    def tied(self, digest):
        tying = (Stage.PACKAGE, Stage.CONVERT, Stage.ORIGIN)
        found = {
            other for row in self.rows if row.stage in tying and digest in row.about for other in row.about
        }
        return {other for other in found if other.algorithm != digest.algorithm}

    def ways(self, digest, kind, weights=None):
        """Return (row, ends) for each claim that speaks of this."""
        carried = (
            {weights} - {None}
            if weights is not None
            else self.tied(digest)
            if digest.algorithm == "wb1"
            else set()
        )
        for row in self.rows:
            if kind != "model" and row.stage is Stage.DATA and digest in row.about:
                yield row
            if kind == "dataset":
                continue
            if row.stage in (Stage.ORIGIN, Stage.CONVERT) and digest in row.about:
                yield row
            speaks = (carried & set(row.about)) if carried else digest in row.about
            if row.stage is Stage.TRAIN and speaks:
                yield row

    def parents(self, row):
        for parent in row.parents:
            relation = (
                "conversion" if row.stage is Stage.CONVERT else row.detail["relations"].get(str(parent))
            )
            yield parent, relation if relation in ("dataset", "tokenizer") else "model"

    def proven(self, digest, kind, weights=None, path=()):
        for row in self.ways(digest, kind, weights):
            if row.stage is Stage.CONVERT and row.detail.get("equivalence") != "proven":
                continue
            if row.stage is Stage.TRAIN and not row.parents:
                continue
            if row.stage is Stage.ORIGIN:
                return True
            if all(self.proven(*parent, path=(*path, digest)) for parent in self.parents(row)):
                return True
        return False

    def cyclic(self, digest, kind, weights=None, path=()):
        if digest in path:
            return True
        return any(
            self.cyclic(*parent, path=(*path, digest))
            for row in self.ways(digest, kind, weights)
            for parent in self.parents(row)
        )


NAMES = ["m", "a", "b", "c", "d", "e", "f"]


def parent_of(name, random):
    """Draw a parent: mostly a later name, so that most graphs have no cycle."""
    kind = random.random()
    if kind < 0.25:
        return wb(random.choice("xy")), "dataset"
    if kind < 0.32:
        return wb(random.choice("xf")), "tokenizer"
    later = NAMES[NAMES.index(name) + 1 :] if random.random() < 0.97 else NAMES
    return random.choice([wb, wbw, wbw])(random.choice(later or ["f"])), "merge"


def made(name, random):
    """Draw how a model came to be."""
    believed, kind = random.random() < 0.95, random.random()
    if kind < 0.2 or name == "f":
        return fact(Stage.ORIGIN, wb(name), wbw(name), believed=believed)
    if kind < 0.4:
        source = random.choice(NAMES[NAMES.index(name) + 1 :])
        how = "proven" if random.random() < 0.9 else "unproven"
        return fact(
            Stage.CONVERT,
            wb(name),
            wbw(name),
            parents=[(wb(source), "conversion")],
            equivalence=how,
            believed=believed,
        )
    parents = {parent_of(name, random)[0]: None for _ in range(random.randint(0 if kind > 0.95 else 1, 3))}
    relations = [
        (
            parent,
            "dataset" if parent in (wb("x"), wb("y")) else random.choice(["merge", "merge", "tokenizer"]),
        )
        for parent in parents
    ]
    return fact(Stage.TRAIN, wbw(name), parents=relations, believed=believed)


def random_graph(random):
    """Draw the claims of a small family in which most links hold."""
    rows = [fact(Stage.DATA, wb("x"), parents=[(wb("y"), "dataset")] if random.random() < 0.5 else ())]
    rows += [fact(Stage.DATA, wb("y"), believed=random.random() < 0.95)]
    for name in NAMES:
        rows += [made(name, random) for _ in range(2 if random.random() < 0.2 else 1)]
        if random.random() < 0.85:
            rows.append(fact(Stage.PACKAGE, wb(name), wbw(name), believed=random.random() < 0.97))
    random.shuffle(rows)
    return rows if random.random() < 0.5 else rows[: random.randint(1, len(rows))]


SEEDS = st.integers(0, 2**32)


@settings(max_examples=600, deadline=None)
@given(SEEDS)
def test_the_walk_agrees_with_plain_recursion(seed):
    rows = random_graph(Random(seed))
    naive, found = Naive(rows), walk(wb("m"), wbw("m"), rows)
    if naive.cyclic(wb("m"), "model", wbw("m")):
        assert (found.end, found.check) == ("broken", "chain.cycle")
        return
    assert (found.end != "broken") == naive.proven(wb("m"), "model", wbw("m"))
    if found.end == "broken":
        assert found.check in chain.CHECKS or found.check == "identity.role"
        assert any(
            not naive.proven(found.broken_at, kind, wbw("m") if found.broken_at == wb("m") else None)
            for kind in ("model", "dataset", "tokenizer")
        )


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_an_explanation_agrees_with_the_walk(seed):
    rows = random_graph(Random(seed))
    found, ancestry = explain(wb("m"), wbw("m"), rows), walk(wb("m"), wbw("m"), rows)
    assert found.ancestry == ancestry
    assert found.links[0].digest == wb("m")
    naive = Naive(rows)
    for link in found.links if ancestry.check != "chain.cycle" else ():
        weights = wbw("m") if link.digest == wb("m") and link.kind == "model" else None
        assert link.proven == naive.proven(link.digest, link.kind, weights)
    if ancestry.end == "broken" and ancestry.check != "chain.cycle":
        at = [link for link in found.links if link.digest == ancestry.broken_at and link.missing]
        assert at[0].check == ancestry.check
    assert lines(found)[-1] == found.answer


def test_each_line_says_whether_it_is_proven_and_each_claim_whether_it_is_believed():
    d, m, w = wb("d"), wb("m"), wbw("m")
    rows = [
        fact(Stage.TRAIN, w, parents=[(d, "dataset")]),
        fact(Stage.PACKAGE, m, w),
        replace(fact(Stage.EVALUATE, m, believed=False, result="PASSED"), reason=""),
        fact(Stage.EVALUATE, w, result="FAILED"),
    ]
    text = lines(explain(m, w, rows))
    assert text[0].endswith("not proven")
    assert not any("not proven" in line for line in lines(explain(m, w, [*rows, fact(Stage.DATA, d)])))
    believed = [line for line in text if "evaluate-team" in line and "not believed" not in line]
    refused = [line for line in text if "not believed" in line]
    assert [line.partition(": ")[2].endswith(f"FAILED, about {w.short}") for line in believed] == [True]
    assert len(refused) == 1
    assert refused[0].endswith("not believed: no reason [identity.role]")


def test_a_packaging_claim_says_what_it_binds():
    assert "these files and these weights belong together" in " ".join(
        said.text for link in explained(whole()).links for said in link.said
    )
