"""The starter policy on real evidence: what it allows, what each setting denies, and its own tests."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import good_evidence as g
import pytest
from good_evidence import DAY, NOW, own, third_party

from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Assurance, Mode, Origin, Stage
from weighbridge.policy.contract import question
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.floor import floor
from weighbridge.policy.judge import judge
from weighbridge.policy.settings import load_bundle, starter
from weighbridge.policy.trials import try_policy
from weighbridge.scanner.routing import KINDS

DOC = Path(__file__).parents[2] / "docs/reference/policy.md"


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


@pytest.fixture(scope="module")
def bundles():
    return {}


@pytest.fixture
def ask(engine, bundles):
    def asked(evidence, settings="", now=NOW, action="promote"):
        if settings not in bundles:
            files = starter()
            bundles[settings] = load_bundle(
                {**files, "policy.toml": settings.encode() or files["policy.toml"]}
            )
        checks = floor(evidence, now)
        package = evidence.origin.value.replace("-", "_")
        answer = engine.answer(bundles[settings], package, question(evidence, checks, now, action))
        return judge(checks, answer, now, mode=Mode.ENFORCE, digests={})

    return asked


def denied(decision):
    assert not decision.allow
    return {check.id for check in decision.refusals if check.id.startswith("policy.")} - {"policy.engine"}


@pytest.mark.parametrize("evidence", [own(), third_party()], ids=["own", "third-party"])
def test_nothing_wrong_is_allowed(ask, evidence):
    decision = ask(evidence)
    assert decision.allow, decision.refusals
    assert decision.warnings == ()


LEGACY = '[legacy]\nuntil = "2027-01-31T00:00:00Z"\n'


def test_the_floor_refuses_legacy_whatever_its_policy_says(ask):
    decision = ask(own(origin=Origin.LEGACY), LEGACY, action="admit")
    refused = {check.id for check in decision.refusals}
    assert "origin.class" in refused
    assert not {name for name in refused if name.startswith("policy.")}


@pytest.mark.parametrize(
    ("settings", "action", "rules"),
    [
        (LEGACY, "promote", {"policy.legacy.action"}),
        ("", "admit", {"policy.legacy.until"}),
        ('[legacy]\nuntil = "2026-11-22T12:00:00Z"\n', "admit", {"policy.legacy.until"}),
        ('[legacy]\nuntil = "2026-11-22T12:00:01Z"\n', "admit", set()),
    ],
)
def test_legacy_may_go_on_until_its_end(ask, settings, action, rules):
    assert denied(ask(own(origin=Origin.LEGACY), settings, action=action)) == rules


def formats(evidence, **rows):
    return replace(evidence, scan=replace(evidence.scan, formats=rows))


def origin(**detail):
    return g.swap(third_party(), g.ORIGIN, g.origin_fact(g.ORIGIN.about, **detail))


def evaluation(**detail):
    row = {"result": "PASSED", "metrics": {"accuracy": 0.91}}
    return g.swap(own(), g.EVALUATE, replace(g.EVALUATE, detail=row | detail))


def waived(**changes):
    item = g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), item)
    return replace(evidence, waivers=(g.waiver(item, evidence, **changes),))


def ended():
    """A model that nothing stands against any more, and a waiver that was needed once and has ended."""
    return replace(own(), waivers=(g.policy_waiver("policy.licence", own(), expires=NOW),))


OWED = {"duty": "non-commercial", "licence": "CC-BY-NC-4.0", "label": "base"}


def composed(*findings, obligations=()):
    return replace(own(), licence=g.licences(*findings, obligations=obligations))


def excused(**changes):
    found = g.licence_finding()
    evidence = composed(found)
    parts = {"rule": found["rule"], "fingerprint": found["fingerprint"]} | changes
    return replace(evidence, waivers=(g.waiver(g.finding(Verdict.UNLISTED), evidence, **parts),))


def assured(level):
    claims = [
        replace(c, proof=replace(c.proof, assurance=level)) if c.stage is Stage.BOM else c
        for c in third_party().claims
    ]
    return g.with_claims(third_party(), *claims)


OLD = NOW - 31 * DAY
CASES = {
    "an old scan": (replace(own(), scan=replace(own().scan, scanned_at=OLD)), "", "scan.age"),
    "a scan of tomorrow": (replace(own(), scan=replace(own().scan, scanned_at=NOW + DAY)), "", "scan.age"),
    "a shorter age": (own(), "[scan]\nmax_age_days = 1\n", None),
    "an even shorter age": (
        replace(own(), scan=replace(own().scan, scanned_at=NOW - DAY - timedelta(seconds=1))),
        "[scan]\nmax_age_days = 1\n",
        "scan.age",
    ),
    "no scan": (replace(own(), scan=None), "", "scan.age"),
    "notes": (g.scanned(own(), g.finding(Verdict.NOTES)), "", None),
    "notes refused": (g.scanned(own(), g.finding(Verdict.NOTES)), "[scan]\nnotes_allowed = false\n", "scan.notes"),
    "a pickle": (formats(own(), **{"pytorch_model.bin": "torch-zip"}), "", "scan.formats"),
    "a pickle with a loud suffix": (formats(own(), **{"MODEL.PKL": "pickle"}), "", "scan.formats"),
    "other files": (formats(own(), **{"README.md": "markdown", "config.json": "json"}), "", None),
    "a format allowed": (
        formats(own(), **{"m.bin": "torch-zip"}), '[scan]\nformats = ["torch-zip"]\n', None
    ),
    "a licence denied": (origin(licence="cc-by-nc-4.0"), "", "licence"),
    "an unknown licence": (origin(licence="unknown"), "", "licence"),
    "a licence not allowed": (origin(), '[licences]\nallow = ["MIT"]\n', "licence"),
    "a licence allowed": (origin(), '[licences]\nallow = ["apache-2.0"]\n', None),
    "a licence both allowed and denied": (
        origin(), '[licences]\nallow = ["Apache-2.0"]\ndeny = ["apache-2.0"]\n', "licence",
    ),
    "the licence of a dataset": (own(), '[licences]\ndeny = ["CC-BY-4.0"]\n', "licence"),
    "the licence of a base": (
        g.swap(own(), g.ORIGIN, g.origin_fact(g.ORIGIN.about, licence="CC-BY-NC-4.0")), "", "licence",
    ),
    "a licence finding that blocks": (composed(g.licence_finding()), "", "licence.laundering"),
    "a licence finding that warns": (composed(g.licence_finding("warn")), "", None),
    "a licence finding that was waived": (excused(), "", None),
    "a waiver for another rule": (excused(rule="licence.other"), "", "licence.laundering"),
    "a waiver that ended": (excused(expires=NOW - DAY), "", "licence.laundering"),
    "a duty that is refused": (composed(obligations=[OWED]), '[licences]\nrefuse = ["non-commercial"]\n', "licence.refused"),
    "the same duty by the starter's own settings": (composed(obligations=[OWED]), "", "licence.refused"),
    "a duty that is not refused": (composed(obligations=[OWED]), '[licences]\nrefuse = ["hosting"]\n', None),
    "licences that nobody composed": (replace(own(), licence=None), "", "licence.composed"),
    "an evaluation that failed": (evaluation(result="FAILED"), "", "evaluation"),
    "an evaluation that warned": (evaluation(result="WARNED"), "", "evaluation"),
    "no evaluation": (g.without(own(), g.EVALUATE), "", "evaluation"),
    "a minimum reached": (own(), "[own.minimum]\naccuracy = 0.91\n", None),
    "a minimum not reached": (own(), "[own.minimum]\naccuracy = 0.92\n", "evaluation.minimum"),
    "a minimum nobody measured": (own(), "[own.minimum]\nrecall = 0.1\n", "evaluation.minimum"),
    "a metric that is no number": (
        evaluation(metrics={"accuracy": "high"}), "[own.minimum]\naccuracy = 0.1\n", "evaluation.minimum",
    ),
    "another builder": (own(), '[own]\nbuilders = ["https://example.test/packer"]\n', "builder"),
    "our builders": (
        own(), '[own]\nbuilders = ["https://example.test/packer", "https://example.test/trainer"]\n', None,
    ),
    "our publisher": (third_party(), '[third_party]\npublishers = ["Example Lab"]\n', None),
    "another publisher": (third_party(), '[third_party]\npublishers = ["Other"]\n', "origin.publisher"),
    "a commit": (third_party(), "[third_party]\ncommit_required = true\n", None),
    "no commit": (origin(commit=""), "[third_party]\ncommit_required = true\n", "origin.commit"),
    "a branch": (origin(commit="main"), "[third_party]\ncommit_required = true\n", "origin.commit"),
    "an acceptance for ever": (origin(expires="2099-01-01T00:00:00Z"), "", "origin.valid"),
    "a waiver": (waived(), "", None),
    "a waiver for ever": (waived(expires=NOW + 91 * DAY), "", "waiver"),
    "a waiver where none is allowed": (waived(), "[waivers]\nallowed = false\n", "waiver"),
    "a waiver that ends now where none is allowed": (ended(), "[waivers]\nallowed = false\n", None),
    "a weaker log": (third_party(), '[log]\nassurance = "witnessed"\n', "log.assurance"),
    "no log proof": (assured(None), "", "log.assurance"),
    "a stronger log": (assured(Assurance.PUBLIC), "", None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_setting_denies_what_it_says(ask, name):
    evidence, settings, rule = CASES[name]
    decision = ask(evidence, settings)
    if rule is None:
        assert decision.allow, decision.refusals
    else:
        assert denied(decision) == {f"policy.{rule}"}


def test_a_refused_claim_is_no_claim(ask):
    for claim in (g.EVALUATE, g.TRAIN, g.PACKAGE):
        assert not ask(g.swap(own(), claim, g.refused(claim))).allow
    assert denied(ask(g.swap(own(), g.EVALUATE, g.refused(g.EVALUATE)))) == {"policy.evaluation"}


def test_what_ends_soon_warns(ask):
    evidence = origin(expires="2026-12-01T00:00:00Z")
    evidence = replace(evidence, authority=replace(evidence.authority, expires=NOW + 3 * DAY))
    decision = ask(evidence)
    assert decision.allow
    assert decision.warnings == (
        "authority.expires: the authority expires 2026-11-25T12:00:00Z",
        "origin.expires: the acceptance of Example Lab expires 2026-12-01T00:00:00Z",
    )


def test_the_policies_own_tests_hold(engine):
    trials = try_policy(load_bundle(starter()), engine)
    assert len(trials) >= 20
    assert [trial for trial in trials if not trial.passed] == []


def test_a_test_that_does_not_hold_is_told(engine):
    files = {
        "own.rego": b"package weighbridge.own\n\ndefault allow := false\n",
        "own_test.rego": (
            b"package weighbridge.own_test\n\nimport data.weighbridge.own\n\ntest_wrong if own.allow\n\n"
            b"test_right if not own.allow\n\ntest_odd := 3\n"
        ),
    }
    trials = {trial.name: trial for trial in try_policy(load_bundle(files), engine)}
    assert {name: trial.passed for name, trial in trials.items()} == {
        "test_wrong": False, "test_right": True, "test_odd": False
    }  # fmt: skip
    assert trials["test_odd"].problem == "it is 3"
    assert "undefined" in trials["test_wrong"].problem


def test_the_formats_it_names_are_formats_the_scanner_knows():
    named = set(load_bundle(starter()).settings["scan"]["formats"])
    assert named <= set(KINDS)
    assert not named & {"pickle", "torch-zip", "torch-legacy", "torchscript"}


def test_every_setting_and_rule_is_documented():
    text = DOC.read_text()
    settings = load_bundle(starter()).settings
    for section, rows in settings.items():
        for key in rows:
            assert f"`{section}.{key}`" in text, f"{section}.{key}"
    rules = set(re.findall(r'"rule": "([a-z.]+)"', "".join(load_bundle(starter()).modules.values())))
    assert rules == set(re.findall(r"^\| `policy\.([a-z.]+)` \|", text, re.MULTILINE)) - {"engine"} | {
        "authority.expires",
        "origin.expires",
    }


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("other-base", True),
        ("not-from-scratch", True),
        ("undeclared-base", False),
        ("unconfirmed-base", False),
    ],
)
def test_tensors_of_a_base_that_the_claims_do_not_name(ask, kind, blocks):
    row = {"kind": kind, "message": "its tensors are tied to another base"}
    decision = ask(own(contradictions=(row,)))
    if blocks:
        assert denied(decision) == {"policy.contradiction"}
    else:
        assert decision.allow
        assert any("tied to another base" in str(warning) for warning in decision.warnings)
