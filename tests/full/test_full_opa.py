"""OPA itself and regorus agree on everything that the starter policy and its predicates say; the engine for OPA, end to end.

OPA is here the library of `tools/fetch_opa.py`, and where HTTP is spoken, our own front on loopback stands before it
(tests/world_opa.py). No OPA server program was run.
"""

from __future__ import annotations

import copy
import json
import random
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "policy"))
from good_evidence import DAY, NOW, own, third_party
from test_policy_schemas import ASKED

from weighbridge.config import read_config
from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Outcome
from weighbridge.core.errors import CannotTell
from weighbridge.gate.engines import make_engine
from weighbridge.policy.contract import question, read_answer
from weighbridge.policy.engines.opa import OpaEngine, Place
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.floor import floor
from weighbridge.policy.settings import load_bundle, read_settings, starter
from world_opa import LIBRARY, Front, OpaLibrary, PolicyError

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not LIBRARY.exists(), reason="OPA is not here: `python tools/fetch_opa.py`"),
]

BUNDLE = load_bundle(starter())
MODULES = {**BUNDLE.modules, **BUNDLE.tests}
ROUNDS = 250


@pytest.fixture(scope="module")
def engines():
    library = OpaLibrary(MODULES, BUNDLE.data)
    with RegorusEngine(timeout_s=30) as engine:
        yield engine, library
    library.close()


def by_regorus(engine, query, asked, data=None):
    try:
        return "is", engine.query(MODULES, data or BUNDLE.data, asked, query)
    except CannotTell as error:
        return ("undefined" if "is undefined" in error.problem else "error"), error.problem


def by_opa(library, query, asked):
    try:
        value, defined = library.query(query, asked)
    except PolicyError as error:
        return "error", str(error)
    return ("is", value) if defined else ("undefined", "")


def in_order(value):
    """Return a value with every list sorted: sets of Rego come as lists, and each engine has its own order of them."""
    if isinstance(value, dict):
        return {key: in_order(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((in_order(item) for item in value), key=written)
    return value


def written(value):
    return json.dumps(value, sort_keys=True)  # nanoseconds since 1970 are beyond what canonical JSON carries


def same(one, other):
    return one[0] == other[0] and (one[0] != "is" or written(in_order(one[1])) == written(in_order(other[1])))


KNOWN = "`some .. in collection` expects array/set/object"
"""The one known difference: here regorus gives an error, which blocks, and OPA finds nothing to go through."""


def agree(one, other, asked):
    """Both say the same; or the question is none that the gate asks, and regorus gives no answer to it."""
    return same(one, other) or (one[0] == "error" and KNOWN in one[1] and not ASKED.is_valid(asked))


TESTS = [
    (re.search(r"^package\s+(\S+)", text, re.MULTILINE)[1], name)
    for text in BUNDLE.tests.values()
    for name in dict.fromkeys(re.findall(r"^(test_\w+)\b", text, re.MULTILINE))
]


def test_there_are_tests():
    assert len(TESTS) >= 40


@pytest.mark.parametrize(("package", "name"), TESTS)
def test_both_say_that_a_test_of_the_policy_holds(engines, package, name):
    engine, library = engines
    query = f"data.{package}.{name}"
    assert by_regorus(engine, query, {}) == by_opa(library, query, {}) == ("is", True)


ODD = [
    None, True, False, 0, -1, 1, 2, 0.1, -0.5, 1e-7, 3.0000000000000004, 9007199254740991, "", " ", "own", "third-party",
    "pass", "fail", "PASSED", "FAILED", "clean", "notes", "MIT", "mit", "unknown", "UNKNOWN", "CC-BY-NC-4.0", "Straße", "İ", "ΑΣ", "\u0000",
    "\U0001f600", "a" * 300, "2026-11-22T12:00:00Z", "2026-11-22T12:00:00+02:00", "2026-11-22T12:00:00.123456789Z", "2026-13-01T00:00:00Z",
    "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "not a time", "wb1:" + "0" * 64, [], {}, [[]], [None], {"a": 1}, ["PASSED"], "1.10.0",
    "1.9.0", "v1", "data", "train", "evaluate", "block", "warn", "witnessed", "public", "single-operator", "pickle", "safetensors", "model.BIN",
]  # fmt: skip


def places(value, path=()):
    """Yield the path of everything in a document."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def spoil(document, chance):
    """Change a few places of a document: another value, gone, or a twin."""
    document = copy.deepcopy(document)
    for _ in range(chance.randrange(4)):
        path = chance.choice([path for path in places(document) if path])
        place = document
        for step in path[:-1]:
            place = place[step]
        what = chance.random()
        if what < 0.55:
            place[path[-1]] = copy.deepcopy(chance.choice(ODD))
        elif what < 0.8:
            del place[path[-1]]
        elif isinstance(place, list):
            place.append(copy.deepcopy(place[path[-1]]))
        else:
            place[chance.choice(["stage", "detail", "rule", "x"])] = copy.deepcopy(place[path[-1]])
    return document


def questions():
    """Return questions about both classes of model, most of them odd, from a fixed seed."""
    chance = random.Random(20261123)
    whole = [
        json.loads(canonical(question(evidence, floor(evidence, at), at, "promote")))
        for evidence in (own(), third_party())
        for at in (NOW, NOW + 40 * DAY)
    ]
    return whole + [spoil(chance.choice(whole), chance) for _ in range(ROUNDS - len(whole))]


@pytest.mark.parametrize("package", ["own", "third_party", "legacy", "lib", "predicates"])
def test_both_say_the_same_of_each_question(engines, package):
    """The whole document of a package, so every rule of it; a rule that fails in one must fail in the other."""
    engine, library = engines
    told = set()
    for asked in questions():
        query = f"data.weighbridge.{package}"
        one, other = by_regorus(engine, query, asked), by_opa(library, query, asked)
        told.add(written(one[1].get("allow", one[1])) if one[0] == "is" else one[0])
        assert agree(one, other, asked), (one, other)
    assert len(told) >= (1 if package == "legacy" else 2), "all got the same answer, so nothing was compared"


STRICT = """
[require.{0}]
scan_verdict = "clean"
ruleset = 3
bom = {{ntia = 80}}
dependencies_hashed = true
slsa_level = 2
datasets_signed = true
revision_pinned = true
as_announced = true
evaluated = true
probed = true
assurance = "witnessed"
max_claim_days = 20
max_depth = 2
no_waivers = true
[own]
builders = ["https://example.test/trainer"]
minimum = {{accuracy = 0.9}}
[third_party]
publishers = ["Example Lab"]
commit_required = true
"""


@pytest.mark.parametrize("package", ["own", "third_party"])
def test_both_say_the_same_when_everything_is_asked_for(engines, package):
    engine, _ = engines
    data = BUNDLE.data | {"settings": read_settings(STRICT.format(package))}
    library = OpaLibrary(MODULES, data)
    denied = set()
    for asked in questions():
        query = f"data.weighbridge.{package}"
        one, other = by_regorus(engine, query, asked, data), by_opa(library, query, asked)
        assert agree(one, other, asked), (one, other)
        denied |= {row["rule"] for row in one[1]["deny"]} if one[0] == "is" else set()
    library.close()
    assert len([rule for rule in denied if rule.startswith("require.")]) >= 10


def each_change(document):
    """Yield a document with each of its members gone, and with each replaced by something of another kind."""
    for path in [path for path in places(document) if path]:
        for value in (places, None, [], {}, "x", 7):
            changed = copy.deepcopy(document)
            place = changed
            for step in path[:-1]:
                place = place[step]
            if value is places:
                del place[path[-1]]
            else:
                place[path[-1]] = copy.deepcopy(value)
            yield path, changed


@pytest.mark.parametrize(("evidence", "package"), [(own(), "own"), (third_party(), "third_party")])
def test_both_say_the_same_when_any_member_is_missing_or_another(engines, evidence, package):
    """In OPA the negation of a call with a missing part is undefined, and true elsewhere: no rule may rest on that."""
    engine, library = engines
    asked = json.loads(canonical(question(evidence, floor(evidence, NOW), NOW, "promote")))
    asked["floor"] = asked["floor"][:2]
    compared = 0
    for path, changed in each_change(asked):
        for name in (package, "predicates"):
            query = f"data.weighbridge.{name}"
            one, other = by_regorus(engine, query, changed), by_opa(library, query, changed)
            assert agree(one, other, changed), (path, one, other)
            compared += 1
    assert compared >= 500


def test_why_a_rule_may_not_negate_a_call_with_a_part_that_may_be_missing():
    """The difference itself, so that the day on which it goes is seen."""
    text = 'package a\n\nx if not startswith(input.missing, "a")\n\ny if not input.missing in ["a"]\n\nz if not f\n\nf if startswith(input.missing, "a")\n'
    library = OpaLibrary({"a.rego": text}, {})
    with RegorusEngine() as engine:
        regorus = {name: engine.query({"a.rego": text}, {}, {}, "data.a").get(name) for name in "xyz"}
    opa = {name: library.query(f"data.a.{name}", {})[0] for name in "xyz"}
    library.close()
    assert regorus == {"x": True, "y": True, "z": True}
    assert opa == {"x": None, "y": None, "z": True}


def test_the_engine_for_opa_says_what_the_one_for_regorus_says():
    """End to end over HTTP: 150 questions to each, held against the contract by each."""
    bundle = load_bundle(starter())
    with (
        Front(OpaLibrary) as front,
        OpaEngine(Place(front.url, seconds=60)) as opa,
        RegorusEngine(30) as regorus,
    ):
        for asked in questions()[:150]:
            package = "own" if asked.get("evidence", {}).get("origin") == "own" else "third_party"
            one, other = (engine.answer(bundle, package, asked) for engine in (regorus, opa))
            found = [
                (answer.outcome, sorted(answer.denials), sorted(answer.warnings)) for answer in (one, other)
            ]
            known = KNOWN in one.problem and not ASKED.is_valid(asked)
            assert found[0] == found[1] or known, (one.problem, other.problem)
            assert other.engine.startswith("opa/")


def test_strict_errors_of_builtins_are_errors_here_too(engines):
    """Where a built-in function fails, a rule is not silently false: OPA is asked to be strict, regorus is."""
    _, library = engines
    text = 'package weighbridge.own\n\ndeny contains {"rule": "r", "msg": "m"} if count(input.t) > 0\n\nallow if count(deny) == 0\n'
    with (
        Front(OpaLibrary) as front,
        OpaEngine(Place(front.url, seconds=60)) as opa,
        RegorusEngine() as regorus,
    ):
        for engine in (opa, regorus):
            answer = engine.evaluate({"own.rego": text}, {}, {"t": 5}, "data.weighbridge.own")
            assert answer.outcome is Outcome.CANNOT_TELL
            assert "refused" in answer.problem
        assert (
            engine.evaluate({"own.rego": text}, {}, {"t": []}, "data.weighbridge.own").outcome is Outcome.PASS
        )
    assert read_answer({"allow": True, "deny": []}).outcome is Outcome.PASS
    assert library is not None


def test_both_together_answer_where_they_agree(tmp_path):
    evidence = own()
    asked = question(evidence, floor(evidence, NOW), NOW, "promote")
    with Front(OpaLibrary) as front:
        config = read_config(
            {"HOME": str(tmp_path)}, {"policy_engine": "both", "opa_url": front.url, "opa_seconds": 60}
        )
        engine = make_engine(config)
        answer = engine.answer(BUNDLE, "own", asked)
        engine.close()
    assert (answer.outcome, answer.problem) == (Outcome.PASS, "")
    assert answer.engine.startswith("regorus/0.13.0 and opa/")
