"""The predicates for authors: each example of the reference page, each against evidence that lacks it, and against nonsense."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import good_evidence as g
import pytest
from canned import FROM_DATA, OWN, UNLISTED
from good_evidence import DAY, NOW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.core.decision import Outcome
from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Stage
from weighbridge.policy.canned import canned
from weighbridge.policy.contract import question
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.floor import floor
from weighbridge.policy.settings import _REQUIRE, load_bundle, starter

DOC = Path(__file__).parents[2] / "docs/reference/predicates.md"
TEXT = starter()["predicates.rego"].decode()
ROWS = dict(
    re.findall(
        r"^\| `([a-z_]+)(?:\([a-z, ]*\))?` \|.*\| `(predicates\.[^`]+)` \|$", DOC.read_text(), re.MULTILINE
    )
)
BUNDLE = load_bundle(starter())
NAMES = re.findall(r"^default ([a-z_]+)(?:\(|\b)", TEXT, re.MULTILINE)
PROBE = g.fact(
    Stage.EVALUATE, [g.WEIGHTS], detail={"kind": "probe", "result": "PASSED", "metrics": {}}, name="probe"
)
GOOD = replace(g.with_claims(OWN, *OWN.claims, PROBE), waivers=())


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


def values(engine, asked, expressions, data=None):
    """Return what each expression is; undefined is told apart from false."""
    body = "\n".join(f'held["{name}"] := {text}' for name, text in expressions.items())
    module = f"package weighbridge.asked\n\nimport data.weighbridge.predicates\n\n{body}\n"
    modules = {"predicates.rego": TEXT, "asked.rego": module}
    return engine.query(modules, BUNDLE.data if data is None else data, asked, "data.weighbridge.asked.held")


def asked_of(evidence):
    return question(evidence, floor(evidence, NOW), NOW, "promote")


def test_every_predicate_has_a_row_and_an_example():
    assert set(ROWS) == set(NAMES)
    assert len(NAMES) >= 30


def test_every_switch_has_a_row():
    switches = DOC.read_text().partition("## Switches")[2]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", switches, re.MULTILINE)) == set(_REQUIRE)
    assert set(re.findall(r'^\t"([a-z_]+)": "', starter()["require.rego"].decode(), re.MULTILINE)) == set(
        _REQUIRE
    )


def test_every_example_holds_of_good_evidence(engine):
    assert values(engine, asked_of(GOOD), ROWS) == dict.fromkeys(ROWS, True)


def test_a_waiver_that_ended_does_not_matter(engine):
    rows = {"not_waived": ROWS["not_waived"]}
    for moment, holds in ((NOW, True), (NOW + timedelta(seconds=1), False)):
        evidence = replace(GOOD, waivers=(g.waiver(UNLISTED, GOOD, expires=moment),))
        assert values(engine, asked_of(evidence), rows) == {"not_waived": holds}


def test_no_example_holds_of_nothing(engine):
    for asked in ({}, {"evidence": {}}, {"evidence": None}, {"evidence": [1]}, {"evidence": "x"}):
        assert {
            name for name, value in values(engine, asked, without_arguments()).items() if value is not False
        } == set()


def without_arguments():
    """Return the examples whose own argument does not come from the evidence."""
    return {name: text for name, text in ROWS.items() if "input." not in text}


def scan(**changes):
    return replace(GOOD, scan=replace(GOOD.scan, **changes))


def claimed(*claims):
    return g.with_claims(GOOD, *claims)


def changed(stage, **detail):
    return claimed(
        *(replace(c, detail={**c.detail, **detail}) if c.stage is stage else c for c in GOOD.claims)
    )


LACKING = {
    "scan_complete": scan(by_gate=False),
    "scan_verdict_at_most": scan(verdict=Verdict.UNLISTED),
    "scan_within_days": scan(scanned_at=NOW - 8 * DAY),
    "scan_free_of": g.scanned(GOOD, UNLISTED),
    "ruleset_at_least": scan(ruleset_version="1"),
    "ruleset_in": replace(GOOD, scan=None),
    "weights_in": scan(formats={"a.bin": "torch-zip", "b.safetensors": "safetensors"}),
    "no_file_in": scan(formats={"a.safetensors": "safetensors", "notes": "pickle"}),
    "bom_present": replace(GOOD, bom=None),
    "bom_complete": replace(
        GOOD, bom=replace(GOOD.bom, profiles={"g7-2026": {"asked": 100, "present": 59, "attested": 0}})
    ),
    "dependencies_hashed": replace(GOOD, bom=replace(GOOD.bom, hashed=3)),
    "licences_composed": replace(GOOD, licence=None),
    "licences_fit": replace(GOOD, licence=g.licences(g.licence_finding())),
    "free_of_duties": replace(GOOD, licence=g.licences(obligations=[{"duty": "non-commercial"}])),
    "licences_in": changed(Stage.DATA, licence="MIT"),
    "licences_not_in": changed(Stage.DATA, licence="cc-by-nc-4.0"),
    "slsa_at_least": replace(GOOD, build=replace(GOOD.build, level=1)),
    "built_by": changed(Stage.TRAIN, builder="https://example.test/other"),
    "signed_by": claimed(g.DATA),
    "claimed": g.without(GOOD, g.PACKAGE),
    "ancestry_ends_in": g.without(GOOD, g.ORIGIN),
    "ancestry_depth_at_most": replace(GOOD, ancestry=replace(GOOD.ancestry, depth=6)),
    "relations_only": replace(GOOD, ancestry=replace(GOOD.ancestry, links=((g.BASE, g.MODEL, "merge"),))),
    "datasets_signed": g.without(FROM_DATA, g.DATA),
    "revision_pinned": changed(Stage.ORIGIN, commit="main"),
    "as_announced": changed(Stage.ORIGIN, matches_announced=False),
    "published_by": changed(Stage.ORIGIN, publisher="Another Lab"),
    "not_advised": replace(GOOD, advisories=(g.advised(g.BASE_WEIGHTS, g.WEIGHTS),)),
    "not_revoked": replace(GOOD, revocations=(g.revocation(g.BASE),)),
    "not_contradicted": replace(GOOD, contradictions=({"kind": "other-base"},)),
    "not_waived": replace(GOOD, waivers=(g.waiver(UNLISTED, GOOD),)),
    "evaluated": changed(Stage.EVALUATE, result="FAILED"),
    "metric_at_least": changed(Stage.EVALUATE, metrics={"accuracy": 0.89}),
    "probed": g.without(GOOD, PROBE),
    "logged_at_least": claimed(*(replace(c, proof=replace(c.proof, assurance=None)) for c in GOOD.claims)),
    "claims_within_days": claimed(
        *(replace(c, proof=replace(c.proof, logged_at=NOW - 31 * DAY)) for c in GOOD.claims)
    ),
    "claim_within_days": claimed(
        *(replace(c, proof=replace(c.proof, logged_at=NOW + DAY)) for c in GOOD.claims)
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_is_false_where_its_thing_is_lacking(engine, name):
    text = ROWS[name].replace("input.evidence.scan.ruleset", f'"{GOOD.scan.ruleset}"')
    assert values(engine, asked_of(LACKING[name]), {name: text}) == {name: False}


def test_refused_claims_never_count(engine):
    refused = claimed(*(g.refused(c) for c in GOOD.claims))
    of_claims = {
        name for name in ROWS
        if re.match("licences_(not_)?in|built|signed|claim|ancestry|datasets|revision|as_ann|published|evaluated|metric|probed|logged", name)
    }  # fmt: skip
    held = values(engine, asked_of(refused), {name: ROWS[name] for name in of_claims})
    assert {name for name, value in held.items() if value} == set()


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "2026-02-30T00:00:00Z", "9", "pass", "wb1:"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "stage", "outcome"]), inner, max_size=2),
    max_leaves=3,
)  # fmt: skip


def paths(value, above=()):
    """Yield the way to every member of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*above, name)
        yield from paths(inner, (*above, name))


PLAIN = json.loads(json.dumps(asked_of(GOOD)))
PATHS = [path for path in paths(PLAIN) if path[0] != "floor"]
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(path, *value):
    """Return the good question with one member put in the place of another, or taken out."""
    made = json.loads(json.dumps(PLAIN))
    place = made
    for step in path[:-1]:
        place = place[step]
    if value:
        place[path[-1]] = value[0]
    else:
        del place[path[-1]]
    return made


@SLOW
@given(st.sampled_from(PATHS), NONSENSE)
def test_nonsense_is_false_and_never_an_error(engine, path, value):
    asked = put(path, value)
    held = values(engine, asked, without_arguments())
    assert set(held) == set(without_arguments())
    assert all(value in (True, False) for value in held.values())


@SLOW
@given(st.lists(NONSENSE, min_size=2, max_size=2))
def test_nonsense_as_an_argument_is_false(engine, given_values):
    first, second = map(json.dumps, given_values)
    functions = dict(re.findall(r"^default ([a-z_]+)\(([_, ]+)\)", TEXT, re.MULTILINE))
    asked = {
        name: f"predicates.{name}({', '.join([first, second][: places.count('_')])})"
        for name, places in functions.items()
    }
    held = values(engine, asked_of(GOOD), asked)
    assert set(held) == set(functions)
    listed = {
        "scan_free_of",
        "no_file_in",
        "free_of_duties",
        "licences_not_in",
        "relations_only",
    }  # a list of nothing known excludes nothing
    numbers = {name for name in functions if re.search("at_least|at_most|days|complete", name)}
    assert {name for name, value in held.items() if value} <= listed | numbers


# ---------------------------------------------------------------- what is taken away never lets a model in

CANNED = [row for kind in canned() for row in kind if row.package != "legacy"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CANNED), st.data())
def test_what_is_taken_away_never_turns_a_refusal_into_an_allow(engine, row, data):
    """Members are taken out of a question, one after the other: once it is refused it stays refused."""
    asked = json.loads(json.dumps(dict(row.question)))
    refused = False
    for _ in range(3):
        members = [
            path
            for path in paths(asked)
            if isinstance(path[-1], str) and path[:1] != path and path[0] == "evidence"
        ]
        gone = data.draw(st.sampled_from(members))
        before = engine.evaluate(BUNDLE.modules, BUNDLE.data, asked, f"data.weighbridge.{row.package}")
        refused = refused or before.outcome is not Outcome.PASS
        place = asked
        for step in gone[:-1]:
            place = place[step]
        del place[gone[-1]]
        after = engine.evaluate(BUNDLE.modules, BUNDLE.data, asked, f"data.weighbridge.{row.package}")
        assert not (refused and after.outcome is Outcome.PASS), gone


@pytest.mark.parametrize(
    "part", ["schema", "scan", "claims", "licence", "origin", "contradictions", "waivers"]
)
def test_a_part_of_the_evidence_that_is_gone_is_noticed(engine, part):
    answer = engine.evaluate(BUNDLE.modules, BUNDLE.data, put(("evidence", part)), "data.weighbridge.own")
    assert answer.outcome is Outcome.FAIL
