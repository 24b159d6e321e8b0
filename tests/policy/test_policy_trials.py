"""Tests of a policy: each on its own, what they reach of its rules, and tests that are made of past questions."""

import pytest

from weighbridge.core.errors import BadReference, CannotTell
from weighbridge.policy.canned import bad, good
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.settings import load_bundle, starter
from weighbridge.policy.trials import fixture, try_covered, try_policy

OWN = b"""package weighbridge.own

default allow := false

allow if count(deny) == 0

deny contains {"rule": "scan", "msg": "not scanned"} if {
	not input.evidence.scan.complete
}

deny contains {"rule": "bom", "msg": "no bill of materials"} if {
	input.action == "promote"
	not input.evidence.bom.bundle
}
"""
TESTS = b"""package weighbridge.own_test

import data.weighbridge.own

# test_in_a_comment if true
text := `
test_in_a_text if true
`

test_denied if not own.allow with input as {}
"""


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


def run(engine, tests=TESTS, **files):
    return try_covered(load_bundle({"own.rego": OWN, "own_test.rego": tests, **files}), engine)


def test_rules_that_no_test_reaches_are_listed(engine):
    done = run(engine)
    assert [(trial.name, trial.passed) for trial in done.trials] == [("test_denied", True)]
    by_line = {rule.line: rule for rule in done.rules}
    assert set(by_line) == {3, 5, 7, 11}
    assert by_line[7].tested
    assert 13 in done.missed["own.rego"]
    assert 0 < done.percent < 100


def test_a_test_that_reaches_everything(engine):
    more = (
        TESTS
        + b"""
test_all if {
	own.allow with input as {"action": "promote", "evidence": {"scan": {"complete": true}, "bom": {"bundle": "x"}}}
	count(own.deny) == 2 with input as {"action": "promote"}
}
"""
    )
    done = run(engine, more)
    assert (done.percent, done.untested, done.missed, done.failed) == (100, (), {}, ())


def test_nothing_is_reached_without_tests(engine):
    done = try_covered(load_bundle({"own.rego": OWN}), engine)
    assert (done.trials, done.percent) == ((), 0)
    assert {rule.line for rule in done.untested} == {3, 5, 7, 11}


def test_each_test_is_asked_on_its_own(engine):
    broken = TESTS + b"\ntest_wrong if false\n\ntest_error if count(3) > 1\n\ntest_three := 3\n"
    done = run(engine, broken)
    assert {trial.name: trial.passed for trial in done.trials} == {
        "test_denied": True, "test_wrong": False, "test_error": False, "test_three": False,
    }  # fmt: skip
    assert {trial.name for trial in done.failed if trial.problem} == {
        "test_wrong",
        "test_error",
        "test_three",
    }
    assert {
        trial.name for trial in try_policy(load_bundle({"own.rego": OWN, "own_test.rego": broken}), engine)
    } == {trial.name for trial in done.trials}


def test_the_starter_is_tested_and_its_shared_files_do_not_count(engine):
    done = try_covered(load_bundle(starter()), engine)
    assert done.failed == ()
    assert len(done.untested) <= 3
    assert done.percent >= 90
    assert not {rule.file for rule in done.rules} & {"predicates.rego", "require.rego"}
    files = starter()
    changed = try_covered(load_bundle({**files, "require.rego": files["require.rego"] + b"\n"}), engine)
    assert "require.rego" in {rule.file for rule in changed.rules}


def test_rules_that_are_no_rego_are_an_error(engine):
    with pytest.raises(CannotTell, match=r"own\.rego"):
        try_covered(load_bundle({"own.rego": OWN + b"\nallow if {\n", "own_test.rego": TESTS}), engine)


@pytest.mark.parametrize("package", ["own", "third_party"])
def test_a_past_question_becomes_a_test(engine, package):
    files = starter()
    for row, allow in ((good(package, {})[0], True), (bad(package)[0], False)):
        name, text = fixture("of_then", package, row.question, allow=allow)
        bundle = load_bundle({**files, name: text.encode()})
        [trial] = [trial for trial in try_policy(bundle, engine) if trial.file == name]
        assert trial.passed, trial
        turned = load_bundle(
            {**files, name: fixture("of_then", package, row.question, allow=not allow)[1].encode()}
        )
        [trial] = [trial for trial in try_policy(turned, engine) if trial.file == name]
        assert not trial.passed


@pytest.mark.parametrize("name", ["", "Upper", "../x", "a.b", "1a", "x" * 52, "a b", "é"])
def test_a_test_has_a_plain_name(name):
    with pytest.raises(BadReference, match="is no name of a test"):
        fixture(name, "own", {}, allow=True)
