"""Policies that are subtly broken: each gets a useful message, and none lets an unproven model in when the gate asks.

Each stands in a file of `broken/`, as `own.rego` beside the shared files of the starter. Where a message is an error the policy
gets no say at all; where it is a warning the floor still refuses what is not proven.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import good_evidence as g
import pytest
from canned import BAD, GOOD, OWN
from good_evidence import NOW

from weighbridge.core.decision import Outcome
from weighbridge.core.errors import BadSetting
from weighbridge.core.tier import Mode, Origin
from weighbridge.policy.contract import question
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.floor import floor
from weighbridge.policy.form import errors
from weighbridge.policy.judge import judge
from weighbridge.policy.settings import load_bundle, starter
from weighbridge.policy.vetting import refuse, vet

BROKEN = Path(__file__).with_name("broken")
SHARED = {
    name: data for name, data in starter().items() if name in ("lib.rego", "predicates.rego", "require.rego")
}

# How bad it is (load: the files are not even read; error; warning), and words of the message.
EXPECTED = {
    "all_of_data": ("load", "looks at all of data"),
    "allow_is_a_set": ("error", "allow is a set"),
    "allow_is_a_text": ("error", "allow is neither true nor false"),
    "allow_misspelt": ("error", "did you mean allow?"),
    "allow_of_its_own": ("warning", "allow does not look at deny"),
    "allow_twice": ("error", "one name has two values"),
    "allowed_and_overridden": ("error", "allow is true of everything"),
    "always_allowed": ("error", "allow is true of everything"),
    "assigned_not_compared": ("error", "`:=` gives a name a value"),
    "class_misspelt": ("error", "no file is in the package of a class"),
    "class_of_others": ("error", "it allows none of the"),
    "class_with_underscore": ("error", "did you mean third-party?"),
    "clock_asked": ("load", "time.now_ns"),
    "commented_out": ("error", "allows an empty question"),
    "compared_with_itself": ("error", "compared with itself"),
    "count_at_least_zero": ("error", "a count is always so"),
    "count_of_a_missing_thing": ("error", "did you mean findings?"),
    "data_hidden": ("load", "looks at all of data"),
    "default_of_another_package": ("error", "data cannot be shadowed"),
    "default_true": ("error", "write `default allow := false`"),
    "denials_of_nobody": ("error", "did you mean denials?"),
    "deny_by_another_name_inside": ("error", "a row of deny is not {rule, msg}"),
    "deny_is_an_object": ("error", "deny is no set of rows"),
    "deny_is_one_row": ("error", "deny is no set of rows"),
    "deny_is_true": ("error", "deny is no set of rows"),
    "deny_misspelt": ("error", "did you mean deny?"),
    "deny_of_texts": ("error", "a row of deny is not {rule, msg}"),
    "deny_without_a_message": ("error", "a row of deny is not {rule, msg}"),
    "detail_typo": ("warning", "did you mean result?"),
    "digest_against_a_claim": ("error", "looked for among values that are an object"),
    "else_chain": ("warning", "of an else-chain only the first that holds"),
    "every_of_nothing": ("error", "an answer has no member signed"),
    "every_of_nothing_in_allow": ("warning", "`every` is true of nothing at all"),
    "flag_against_text": ("error", "true or false is compared with a text"),
    "glob_without_delimiters": ("warning", "without delimiters"),
    "helper_in_the_class": ("error", "an answer has no member complete"),
    "in_a_text": ("error", "`in` looks through lists"),
    "input_hidden": ("error", "input cannot be shadowed"),
    "input_hidden_by_a_rule": ("error", "input cannot be shadowed"),
    "line_ends_hidden": ("error", "which is not seen"),
    "list_as_a_set": ("error", "an index is a place"),
    "list_as_an_object": ("error", "a list has no member train"),
    "member_by_text_typo": ("error", "did you mean evidence?"),
    "member_in_a_call_typo": ("error", "did you mean problems?"),
    "member_of_a_set_typo": ("error", "did you mean stage?"),
    "member_of_claim_typo": ("error", "did you mean outcome?"),
    "member_of_evidence_typo": ("error", "did you mean claims?"),
    "member_typo": ("error", "did you mean verdict?"),
    "name_looks_alike": ("error", "names are made of ASCII letters"),
    "no_default": ("warning", "allow has no default"),
    "not_count": ("error", "a count is never false"),
    "not_deny": ("error", "write `count(deny) == 0`"),
    "nothing_denied": ("error", "nothing is ever denied"),
    "number_against_text": ("error", "a number is compared with a text"),
    "old_syntax": ("error", "this is Rego of before version 1"),
    "old_syntax_of_allow": ("error", "this is Rego of before version 1"),
    "only_the_class_is_looked_at": ("error", "allows an own model without scan or claims"),
    "other_input": ("error", "`with` puts something else in the place"),
    "other_settings": ("error", "`with` puts something else in the place"),
    "package_of_the_library_typo": ("error", "there is no package weighbridge.libary"),
    "pattern_of_loose_alternatives": ("warning", "write ^(?:…|…)$"),
    "pattern_without_ends": ("warning", "begin it with ^ and end it with $"),
    "predicate_typo": ("error", "did you mean scan_complete?"),
    "predicate_without_not": ("warning", "write `not` in front of it"),
    "rule_asks_for_itself": ("error", "a rule cannot ask for itself"),
    "rule_of_the_library_typo": ("error", "did you mean verified?"),
    "setting_typo": ("error", "did you mean max_age_days?"),
    "some_forgotten": ("error", "has no value here, so this is not asked of each"),
    "text_against_number": ("error", "a text is compared with a number"),
    "times_as_texts": ("warning", "texts are compared letter by letter"),
    "two_defaults": ("error", "allow has 2 defaults"),
    "two_values": ("error", "one name has two values"),
    "undefined_function": ("error", "is_signed"),
    "unequal_to_what_may_be_missing": ("warning", "is missing, this denies nothing"),
    "unified_not_compared": ("warning", "write == to compare"),
    "unsafe_variable": ("error", "use of undefined variable `claim` is unsafe"),
    "word_in_a_set_typo": ("error", "did you mean broken?"),
    "word_in_capitals": ("error", "this is never 'FAIL'"),
    "word_looks_alike": ("error", "this is never"),
    "word_typo": ("error", "did you mean dangerous?"),
    "written_backwards": ("error", "which is not seen"),
    "wrong_type_of_argument": ("error", "ask first whether it is there"),
}

WORKING = {"no_default", "else_chain"}
UNPROVEN = {
    **{name: evidence for name, evidence in BAD.items() if evidence.origin is not Origin.LEGACY},
    "nothing but its name": replace(g.with_claims(OWN), scan=None, bom=None, build=None, licence=None),
    "the claims of a stranger's model": g.with_claims(OWN, g.ORIGIN),
    "an own model called a stranger's": replace(
        g.with_claims(OWN, g.EVALUATE, g.PACKAGE), origin=Origin.THIRD_PARTY
    ),
    "only an evaluation": g.with_claims(OWN, g.EVALUATE, g.BOM),
}


ASKED = {
    words: (checks := floor(evidence, NOW), question(evidence, checks, NOW, "promote"))
    for words, evidence in {**UNPROVEN, **GOOD}.items()
}
CLASS = {words: evidence.origin.value.replace("-", "_") for words, evidence in {**UNPROVEN, **GOOD}.items()}


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


@pytest.fixture(scope="module")
def vetted(engine):
    return cache(lambda name: vet(bundle_of(name), engine))


@cache
def bundle_of(name):
    return load_bundle({**SHARED, "own.rego": (BROKEN / f"{name}.rego").read_bytes()})


def allowed(engine, bundle, words):
    """Ask as the gate does."""
    checks, asked = ASKED[words]
    answer = engine.answer(bundle, CLASS[words], asked)
    return judge(checks, answer, NOW, mode=Mode.ENFORCE, digests={}).allow, answer


def named(*severities):
    return [name for name, (severity, _) in EXPECTED.items() if severity in severities]


def test_every_broken_policy_is_expected_to_be():
    assert {path.stem for path in BROKEN.iterdir()} == EXPECTED.keys()
    assert len(EXPECTED) >= 40
    assert len({path.read_bytes() for path in BROKEN.iterdir()}) == len(EXPECTED)


@pytest.mark.parametrize("name", named("load"))
def test_it_is_not_even_read(name):
    with pytest.raises(BadSetting, match=EXPECTED[name][1]) as caught:
        bundle_of(name)
    assert caught.value.remedy


@pytest.mark.parametrize("name", named("error", "warning"))
def test_it_is_told_what_is_wrong_and_what_to_write(vetted, name):
    severity, words = EXPECTED[name]
    meant = [remark for remark in vetted(name).remarks if words in str(remark)]
    assert [remark for remark in meant if remark.severity == severity and remark.remedy], vetted(name).remarks
    assert {remark.file for remark in meant} <= {"own.rego", ""}


@pytest.mark.parametrize("name", named("error", "warning"))
def test_it_lets_no_unproven_model_in(engine, vetted, name):
    wrong = errors(vetted(name).remarks)
    for words in UNPROVEN:
        if not wrong and all(check.outcome is Outcome.PASS for check in ASKED[words][0]):
            continue  # proven; against it speaks only what this policy never set out to ask
        assert not allowed(engine, bundle_of(name), words)[0], words


@pytest.mark.parametrize("name", named("error")[::8])
def test_one_with_an_error_is_refused(engine, name):
    with pytest.raises(BadSetting, match="cannot be used") as caught:
        refuse(bundle_of(name), engine)
    assert caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize("name", named("error"))
def test_one_with_an_error_allows_nothing_at_all(engine, name):
    for words in list(GOOD)[:2]:
        assert allowed(engine, bundle_of(name), words)[1].outcome is not Outcome.PASS


def test_what_is_only_warned_of_still_works(engine, vetted):
    """The corpus can tell: what is merely weak does allow a good model, so a refusal above says something."""
    weak = [name for name in named("warning") if not errors(vetted(name).remarks)]
    good = next(iter(GOOD))
    assert {name for name in weak if allowed(engine, bundle_of(name), good)[0]} >= WORKING
