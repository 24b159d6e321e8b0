"""Findings, coverage, verdicts: what a report comes to, and how an unread byte shows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.canonical import canonical
from weighbridge.core.digest import Digest
from weighbridge.core.finding import Coverage, Finding, Location, Report, Ruleset, Severity, Verdict

FULL = Coverage(10, 10, 1, 1)
RULES = Ruleset("1", Digest.of(b"rules"))


def finding(verdict=Verdict.DANGEROUS, **changes):
    values = {
        "rule": "pickle-call",
        "severity": Severity.ERROR,
        "location": Location("a.bin", ("archive/data.pkl",), 14),
        "message": "loading this file would run os.system",
        "subject": "posix.system",
    }
    return Finding(verdict=verdict, **(values | changes))


def report(*findings, coverage=FULL):
    return Report("./m", Digest("wb1", "0" * 64), tuple(findings), coverage, RULES)


def test_the_lattice_is_the_one_of_the_glossary():
    assert [verdict.value for verdict in sorted(Verdict, key=lambda v: v.rank)] == [
        "clean",
        "notes",
        "unread",
        "unlisted",
        "broken",
        "dangerous",
    ]


@pytest.mark.parametrize(
    ("verdict", "passes", "code"),
    [
        ("clean", True, 0),
        ("notes", True, 0),
        ("unread", False, 3),
        ("unlisted", False, 1),
        ("broken", False, 1),
        ("dangerous", False, 1),
    ],
)
def test_what_passes_and_with_which_exit_code(verdict, passes, code):
    assert Verdict(verdict).passes is passes
    assert Verdict(verdict).exit_code == code


@given(st.lists(st.sampled_from(Verdict), max_size=5), st.booleans())
def test_the_worst_finding_decides_and_unread_bytes_are_never_clean(verdicts, complete):
    coverage = FULL if complete else Coverage(10, 9, 1, 1)
    found = report(*(finding(verdict) for verdict in verdicts), coverage=coverage).verdict
    floor = Verdict.CLEAN if complete else Verdict.UNREAD
    assert found.rank == max([verdict.rank for verdict in verdicts] + [floor.rank])


@pytest.mark.parametrize(
    "coverage", [Coverage(10, 9, 1, 1), Coverage(10, 10, 2, 1), Coverage(10, 11, 1, 1), Coverage(0, 1, 0, 0)]
)
def test_coverage_is_complete_only_when_it_is_exact(coverage):
    assert not coverage.complete
    assert report(coverage=coverage).verdict is Verdict.UNREAD


def test_coverage_adds_up():
    assert Coverage(1, 2, 3, 4) + Coverage(10, 20, 30, 40) == Coverage(11, 22, 33, 44)
    assert Coverage().complete


def test_a_fingerprint_survives_rewording_and_moving_but_not_another_place_or_subject():
    base = finding()
    same = [
        finding(location=Location("a.bin", ("archive/data.pkl",), 99)),
        finding(message="reworded", why="x", help="y", evidence=("z",), severity=Severity.NOTE),
    ]
    other = [
        finding(rule="pickle-name"),
        finding(subject="posix.popen"),
        finding(location=Location("b.bin", ("archive/data.pkl",), 14)),
        finding(location=Location("a.bin", (), 14)),
        finding(location=Location("a.bin", ("archive", "data.pkl"), 14)),
    ]
    assert {one.fingerprint for one in same} == {base.fingerprint}
    assert len({one.fingerprint for one in [base, *other]}) == len(other) + 1
    assert len(base.fingerprint) == 32


def test_the_report_is_the_item_that_is_documented():
    item = report(finding()).to_json()
    assert set(item) == {"model", "manifest", "verdict", "findings", "coverage", "ruleset", "formats"}
    assert set(item["findings"][0]) >= {
        "rule",
        "severity",
        "confidence",
        "fingerprint",
        "location",
        "message",
        "why",
        "help",
    }
    assert item["findings"][0]["location"] == {"path": "a.bin", "members": ["archive/data.pkl"], "offset": 14}
    assert item["verdict"] == "dangerous"
    assert json.loads(canonical(item)) == item
