"""Exceptions: they answer for what a policy says, for nothing of the floor, and for nothing once they have ended."""

from dataclasses import replace
from datetime import timedelta

import good_evidence as g
import pytest
from floor_attacks import ATTACKS
from good_evidence import DAY, NOW, own
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.exceptions import Exception_, ExceptionState, Excuse
from weighbridge.core.finding import Verdict
from weighbridge.core.identity import Identity
from weighbridge.core.tier import Mode
from weighbridge.policy.exceptions import NEVER_WAIVED, exceptions_of
from weighbridge.policy.floor import FLOOR, floor
from weighbridge.policy.judge import judge

SETTINGS = {"waivers": {"allowed": True, "max_valid_days": 90}}
YES = EngineAnswer(Outcome.PASS, policy="sha256:00", engine="double/1")
NO = replace(YES, outcome=Outcome.FAIL)
DENIED = replace(NO, denials=(("licence", "it is under GPL"), ("scan.age", "the scan is old")))
SILENT = replace(YES, outcome=Outcome.CANNOT_TELL, problem="the engine gave no answer in 5 s")
CHECKS = floor(own(), NOW)
USED, STANDING, EXPIRED, REFUSED = ExceptionState


def excused(*waivers, glass=(), answer=DENIED, settings=SETTINGS, now=NOW, evidence=None):
    """Judge an answer with these exceptions in the evidence."""
    evidence = replace(evidence or own(), waivers=waivers, break_glass=tuple(glass))
    return judge(
        floor(evidence, NOW),
        answer,
        now,
        mode=Mode.ENFORCE,
        digests={},
        exceptions=exceptions_of(evidence, settings, now),
    )


def checks(decision):
    return {check.id: check for check in decision.checks}


def states(decision):
    return [row.state for row in decision.exceptions]


LICENCE = g.policy_waiver("policy.licence", own(), reason="bought")
AGE = g.policy_waiver("policy.scan.age", own())
GLASS = g.break_glass(own())


# ------------------------------------------------------------ a waiver for a rule


def test_a_waiver_answers_for_its_rule_and_for_no_other():
    decision = excused(LICENCE)
    assert not decision.allow
    assert [check.id for check in decision.refusals] == ["policy.engine", "policy.scan.age"]
    check = checks(decision)["policy.licence"]
    words = "waived until 2026-12-22T12:00:00Z by security: bought; the policy says: it is under GPL"
    assert (check.outcome, check.found) == (Outcome.PASS, words)
    assert check.proof == str(LICENCE.bundle)
    assert states(decision) == [USED]


def test_waivers_for_every_denial_let_it_pass():
    decision = excused(LICENCE, AGE)
    assert decision.allow
    engine = checks(decision)["policy.engine"]
    assert (engine.found, engine.proof) == ("denied by 2 rule(s), each excused", "sha256:00")
    assert states(decision) == [USED, USED]


def test_a_waiver_answers_for_every_message_of_its_rule():
    answer = replace(NO, denials=(("licence", "a"), ("licence", "b")))
    decision = excused(LICENCE, answer=answer)
    assert decision.allow
    assert [check.id for check in decision.checks].count("policy.licence") == 2


def test_of_two_waivers_the_longer_is_named_and_used():
    longer = replace(LICENCE, expires=NOW + 60 * DAY, bundle=g.sha("longer"))
    for pair in ((LICENCE, longer), (longer, LICENCE)):
        decision = excused(*pair, AGE)
        assert checks(decision)["policy.licence"].proof == str(longer.bundle)
        assert {row.bundle for row in decision.exceptions if row.state is STANDING} == {LICENCE.bundle}


def test_a_problem_of_the_engine_is_told():
    assert checks(excused(answer=SILENT))["policy.engine"].found == "the engine gave no answer in 5 s"
    odd = replace(DENIED, problem="cut off")
    assert checks(excused(answer=odd))["policy.engine"].found == "cut off"


def test_a_waiver_that_nothing_needs_stands_and_changes_nothing():
    decision = excused(LICENCE, answer=YES)
    assert (decision.allow, states(decision)) == (True, [STANDING])
    assert checks(decision).keys() == checks(excused(answer=YES)).keys()


@pytest.mark.parametrize("answer", [SILENT, NO], ids=["no answer", "a no without a rule"])
def test_a_waiver_answers_for_no_answer_that_names_no_rule(answer):
    engine = g.policy_waiver("policy.engine", own())
    assert [check.id for check in excused(LICENCE, AGE, engine, answer=answer).refusals] == ["policy.engine"]


def test_waivers_do_not_make_an_answer_that_could_not_be_told():
    """An answer with denials that yet could not be told: whoever writes an engine may send this."""
    odd = replace(DENIED, outcome=Outcome.CANNOT_TELL, problem="cut off")
    decision = excused(LICENCE, AGE, answer=odd)
    assert [check.id for check in decision.refusals] == ["policy.engine"]
    assert excused(LICENCE, AGE, answer=odd, glass=[GLASS]).allow


@pytest.mark.parametrize("name", sorted(NEVER_WAIVED))
def test_what_no_waiver_answers_for(name):
    answer = replace(NO, denials=((name.removeprefix("policy."), "no"),))
    decision = excused(g.policy_waiver(name, own()), answer=answer)
    assert not decision.allow
    assert [(row.state, row.problem) for row in decision.exceptions] == [
        (REFUSED, "no waiver answers for this")
    ]
    assert excused(answer=answer, glass=[GLASS]).allow


@pytest.mark.parametrize("name", sorted(NEVER_WAIVED))
def test_the_judge_itself_knows_what_no_waiver_answers_for(name):
    """Whatever it is handed as standing."""
    row = Exception_(Excuse.WAIVER, name, "so", ("security",), NOW + DAY, g.sha("w"))
    answer = replace(NO, denials=((name.removeprefix("policy."), "no"),))
    decision = judge(CHECKS, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=[row])
    assert not decision.allow
    assert decision.checks[-1].found == "no"


def test_no_waiver_is_for_everything():
    everything = g.policy_waiver("policy.*", own())
    decision = excused(everything)
    assert (decision.allow, states(decision)) == (False, [REFUSED])
    row = Exception_(Excuse.WAIVER, "policy.*", "so", ("security",), NOW + DAY, g.sha("w"))
    assert not judge(CHECKS, DENIED, NOW, mode=Mode.ENFORCE, digests={}, exceptions=[row]).allow


def test_break_glass_for_one_rule_is_nothing():
    row = Exception_(Excuse.BREAK_GLASS, "policy.licence", "so", ("a", "b"), NOW + DAY, g.sha("w"))
    answer = replace(NO, denials=(("licence", "no"),))
    assert not judge(CHECKS, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=[row]).allow


@pytest.mark.parametrize(
    ("changes", "settings", "problem"),
    [
        ({}, None, "the settings of the policy could not be read"),
        ({}, {}, "the settings of the policy could not be read"),
        ({}, {"waivers": []}, "the settings of the policy could not be read"),
        ({}, {"waivers": {"allowed": False, "max_valid_days": 90}}, "the policy allows no waivers"),
        ({}, {"waivers": {"allowed": 1, "max_valid_days": 90}}, "the policy allows no waivers"),
        ({}, {"waivers": {"allowed": True}}, "it reaches further ahead than None days"),
        (
            {"expires": NOW + 90 * DAY + timedelta(seconds=1)},
            SETTINGS,
            "it reaches further ahead than 90 days",
        ),
    ],
)
def test_a_waiver_that_the_policy_does_not_let_count(changes, settings, problem):
    answer = replace(NO, denials=(("licence", "it is under GPL"),))
    decision = excused(replace(LICENCE, **changes), answer=answer, settings=settings)
    assert not decision.allow
    assert [(row.state, row.problem) for row in decision.exceptions] == [(REFUSED, problem)]
    said = f"it is under GPL; the waiver by security does not count: {problem}"
    assert checks(decision)["policy.licence"].found == said
    # Forbidding waivers forbids no break-glass.
    assert excused(replace(LICENCE, **changes), answer=answer, settings=settings, glass=[GLASS]).allow


def test_a_waiver_may_reach_as_far_as_the_policy_says():
    assert excused(replace(LICENCE, expires=NOW + 90 * DAY), AGE).allow


def test_a_waiver_of_another_model_is_not_even_named():
    decision = excused(replace(LICENCE, manifest=g.BASE), AGE)
    assert not decision.allow
    assert [row.rule for row in decision.exceptions] == ["policy.scan.age"]


def test_an_ended_waiver_blocks_and_is_named():
    decision = excused(replace(LICENCE, expires=NOW), AGE)
    assert not decision.allow
    check = checks(decision)["policy.licence"]
    assert check.found == "it is under GPL; the waiver by security ended 2026-11-22T12:00:00Z"
    assert check.remedy.endswith("weighbridge waive MODEL policy.licence --reason WHY --until DAY")
    assert states(decision) == [EXPIRED, USED]
    assert excused(replace(LICENCE, expires=NOW + timedelta(seconds=1)), AGE).allow


def test_the_judge_looks_at_the_end_itself():
    """Exceptions that were weighed an hour ago are held against the time of the decision."""
    evidence = replace(own(), waivers=(replace(LICENCE, expires=NOW + DAY), replace(AGE, expires=NOW + DAY)))
    earlier = exceptions_of(evidence, SETTINGS, NOW)
    decision = judge(CHECKS, DENIED, NOW + DAY, mode=Mode.ENFORCE, digests={}, exceptions=earlier)
    assert (decision.allow, states(decision)) == (False, [EXPIRED, EXPIRED])


# ------------------------------------------------------------ waivers for findings, named in the decision


def test_a_waiver_for_a_finding_is_named_with_what_came_of_it():
    item = g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), item)
    waiver = g.waiver(item, evidence)
    other = replace(waiver, fingerprint="0" * 32)
    ended = replace(waiver, expires=NOW)
    decision = excused(waiver, other, ended, evidence=evidence, answer=YES)
    assert (decision.allow, states(decision)) == (True, [USED, STANDING, EXPIRED])
    assert [row.rule for row in decision.exceptions] == [item.rule] * 3


def test_a_waiver_for_a_licence_finding_is_named_too():
    block, warn = g.licence_finding(), g.licence_finding("warn", "naming")
    evidence = own(licence=g.licences(block, warn))
    waivers = [
        g.policy_waiver(row["rule"], evidence, fingerprint=row["fingerprint"]) for row in (block, warn)
    ]
    assert states(excused(*waivers, evidence=evidence, answer=YES)) == [USED, STANDING]


def test_a_waiver_for_a_dangerous_finding_is_not_used():
    item = g.finding(Verdict.DANGEROUS)
    evidence = g.scanned(own(), item)
    decision = excused(g.waiver(item, evidence), evidence=evidence, answer=YES)
    assert (decision.allow, states(decision)) == (False, [STANDING])


def test_without_scan_and_licences_nothing_is_excusable():
    evidence = replace(own(), scan=None, licence=None)
    decision = excused(g.waiver(g.finding(Verdict.UNLISTED), evidence), evidence=evidence, answer=YES)
    assert states(decision) == [STANDING]


# ------------------------------------------------------------ break-glass


@pytest.mark.parametrize("answer", [DENIED, NO, SILENT], ids=["denied", "no", "no answer"])
def test_break_glass_answers_for_all_that_a_policy_says(answer):
    decision = excused(glass=[GLASS], answer=answer)
    assert decision.allow
    assert states(decision) == [USED]
    words = "break-glass until 2026-11-22T15:00:00Z by security and operations: the search is down"
    said = [check for check in decision.checks if check.id.startswith("policy.")]
    assert len(said) == 1 + len(answer.denials)
    named = [check for check in said if check.found.startswith(f"{words}; the policy says: ")]
    assert len(named) == (len(answer.denials) or 1)
    assert {check.proof for check in named} == {str(GLASS.bundle)}


def test_break_glass_that_nothing_needs_is_not_used():
    decision = excused(glass=[GLASS], answer=YES)
    assert (decision.allow, states(decision)) == (True, [STANDING])
    assert checks(decision)["policy.engine"].found == "allowed"
    waived = excused(LICENCE, AGE, glass=[GLASS])
    assert (waived.allow, states(waived)) == (True, [USED, USED, STANDING])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"signers": GLASS.signers[:1]}, "it needs 2 identities"),
        ({"signers": (GLASS.signers[0], GLASS.signers[0])}, "it needs 2 identities"),
        (
            {"signers": (GLASS.signers[0], replace(GLASS.signers[1], name="security"))},
            "it needs 2 identities",
        ),
        (
            {"signers": (GLASS.signers[0], replace(GLASS.signers[0], name="operations"))},
            "it needs 2 identities",
        ),
        ({"signers": (GLASS.signers[0], replace(GLASS.signers[1], name=""))}, "it needs 2 identities"),
        ({"signers": ()}, "it needs 2 identities"),
        (
            {"since": NOW, "expires": NOW + timedelta(hours=72, seconds=1)},
            "it reaches further than 72 hours",
        ),
        ({"since": NOW + timedelta(seconds=1)}, "it has not begun"),
    ],
)
def test_break_glass_that_does_not_count(changes, problem):
    for answer in (DENIED, SILENT):
        decision = excused(glass=[replace(GLASS, **changes)], answer=answer)
        assert not decision.allow
        assert [(row.state, row.problem) for row in decision.exceptions] == [(REFUSED, problem)]
        assert f"the break-glass by {decision.exceptions[0].who} does not count: {problem}" in (
            checks(decision)["policy.engine"].found
        )


def test_break_glass_lasts_from_its_beginning_to_its_end():
    longest = replace(GLASS, since=NOW, expires=NOW + timedelta(hours=72))
    assert excused(glass=[longest]).allow


def test_ended_break_glass_blocks_and_is_named():
    for answer in (DENIED, SILENT):
        decision = excused(glass=[replace(GLASS, expires=NOW)], answer=answer)
        assert (decision.allow, states(decision)) == (False, [EXPIRED])
        ended = "; the break-glass by security and operations ended 2026-11-22T12:00:00Z"
        against = [check for check in decision.refusals if check.id.startswith("policy.")]
        assert all(check.found.endswith(ended) for check in against)
        assert len(against) == 1 + len(answer.denials)


def test_an_allowed_model_is_not_told_of_what_has_ended_but_its_decision_names_it():
    decision = excused(glass=[replace(GLASS, expires=NOW)], answer=YES)
    assert (decision.allow, states(decision)) == (True, [EXPIRED])
    assert checks(decision)["policy.engine"].found == "allowed"


@pytest.mark.parametrize("changes", [{"manifest": g.BASE}, {"project": "another"}])
def test_break_glass_is_for_one_model_in_one_project(changes):
    decision = excused(glass=[replace(GLASS, **changes)])
    assert (decision.allow, decision.exceptions) == (False, ())


def test_who_has_no_name_is_named_by_the_key():
    stranger = Identity(g.sha("a key"))
    decision = excused(
        replace(LICENCE, signer=stranger), AGE, glass=[replace(GLASS, signers=(stranger, *GLASS.signers))]
    )
    assert [row.signers[0] for row in decision.exceptions] == [str(stranger), "security", str(stranger)]


def test_a_reason_cannot_move_a_terminals_cursor():
    decision = excused(replace(LICENCE, reason="\x1b[2Jfine"), glass=[replace(GLASS, reason="a\nb")])
    assert [row.reason for row in decision.exceptions] == ["\\x1b[2Jfine", "a\\nb"]
    assert all(check.found.isprintable() for check in decision.checks)


@pytest.mark.parametrize("row", [LICENCE, GLASS], ids=["waiver", "break-glass"])
@pytest.mark.parametrize("state", list(ExceptionState))
def test_an_exception_is_told_in_a_line(row, state):
    kind, name = (
        ("waiver for policy.licence", "security")
        if row is LICENCE
        else ("break-glass", "security and operations")
    )
    decision = excused(*([row] if row is LICENCE else []), glass=[row] if row is GLASS else [])
    [made] = decision.exceptions
    line = str(replace(made, state=state, problem="so"))
    assert line.startswith(f"{kind} by {name}, ")
    assert line.endswith(f": {row.reason}")


def test_no_remedy_is_offered_where_none_helps():
    answer = replace(NO, denials=(("waiver", "none are allowed"),))
    assert checks(excused(answer=answer))["policy.waiver"].remedy == ""
    assert "break-glass" in checks(excused(answer=SILENT))["policy.engine"].remedy
    assert checks(excused(answer=NO))["policy.engine"].remedy == ""
    assert checks(excused(LICENCE, AGE))["policy.licence"].remedy == ""


# ------------------------------------------------------------ never the floor


def everything_for(evidence):
    """Every exception that could be thought of for what the floor refuses: by name, as a rule, as a finding, and break-glass."""
    names = [check.id for check in floor(evidence, NOW)] + ["floor.complete"]
    rules = [*names, *(f"policy.{name}" for name in names), "policy.*", "policy.engine"]
    return {
        "waivers": (*evidence.waivers, *(g.policy_waiver(rule, evidence) for rule in rules)),
        "break_glass": (g.break_glass(evidence),),
    }


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
@pytest.mark.parametrize("answer", [YES, DENIED, SILENT], ids=["yes", "denied", "no answer"])
def test_neither_waiver_nor_break_glass_moves_a_condition_of_the_floor(attack, answer):
    bare = attack.evidence()
    evidence = replace(bare, **everything_for(bare))
    before = floor(bare, NOW)
    decision = excused(*evidence.waivers, glass=evidence.break_glass, evidence=bare, answer=answer)
    assert decision.checks[: len(before)] == before
    assert not decision.allow
    assert {check.id for check in decision.refusals} >= set(attack.stops)


@pytest.mark.parametrize("gone", [check.id for check in CHECKS])
def test_no_exception_answers_for_a_condition_that_was_not_checked(gone):
    evidence = replace(own(), **everything_for(own()))
    left = [check for check in CHECKS if check.id != gone]
    decision = judge(
        left, SILENT, NOW, mode=Mode.ENFORCE, digests={}, exceptions=exceptions_of(evidence, SETTINGS, NOW)
    )
    assert [check.id for check in decision.refusals] == ["floor.complete"]


@pytest.mark.parametrize("row", FLOOR, ids=lambda row: row.id)
def test_a_denial_named_like_a_condition_is_no_condition(row):
    """A policy may name its rule as it likes; excusing that rule leaves the floor's own check where it is."""
    failed = [replace(c, outcome=Outcome.FAIL) if c.id == row.id else c for c in CHECKS]
    answer = replace(NO, denials=((row.id, "so"),))
    waiver = g.policy_waiver(f"policy.{row.id}", own())
    exceptions = exceptions_of(replace(own(), waivers=(waiver,)), SETTINGS, NOW)
    decision = judge(failed, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=exceptions)
    assert [check.id for check in decision.refusals] == [row.id]


# ------------------------------------------------------------ whatever comes: monotone

RULES = ("licence", "scan.age", "waiver", "engine", "evaluation")
ANSWERS = st.builds(
    EngineAnswer,
    outcome=st.sampled_from(list(Outcome)),
    denials=st.lists(st.tuples(st.sampled_from(RULES), st.just("no")), max_size=3).map(tuple),
    problem=st.sampled_from(["", "no answer"]),
)
ENDS = st.integers(-3, 100).map(lambda days: NOW + days * DAY)
WAIVERS = st.builds(
    lambda rule, expires, about: g.policy_waiver(rule, own(), expires=expires, manifest=about),
    st.sampled_from([f"policy.{rule}" for rule in (*RULES, "*")]),
    ENDS,
    st.sampled_from([g.MODEL, g.MODEL, g.BASE]),
)
GLASSES = st.builds(
    lambda hours, signers, project: g.break_glass(
        own(),
        since=NOW - DAY / 24,
        expires=NOW + timedelta(hours=hours),
        signers=GLASS.signers[:signers],
        project=project,
    ),
    st.integers(-2, 80),
    st.integers(0, 2),
    st.sampled_from(["default", "default", "another"]),
)
FLOORS = st.one_of(
    st.just([Outcome.PASS] * len(CHECKS)),
    st.lists(st.sampled_from(list(Outcome)), min_size=len(CHECKS), max_size=len(CHECKS)),
)


def checked(outcomes):
    return [replace(check, outcome=outcome) for check, outcome in zip(CHECKS, outcomes, strict=True)]


def allowed(outcomes, answer, waivers, glasses, *, now=NOW, more=(), settings=SETTINGS):
    evidence = replace(own(), waivers=tuple(waivers), break_glass=tuple(glasses))
    exceptions = exceptions_of(evidence, settings, now)
    asked = (*checked(outcomes), *more)
    return judge(asked, answer, now, mode=Mode.ENFORCE, digests={}, exceptions=exceptions).allow


LISTS = (st.lists(WAIVERS, max_size=4), st.lists(GLASSES, max_size=2))


@given(FLOORS, ANSWERS, *LISTS, st.sampled_from(list(Outcome)))
def test_a_further_check_never_turns_block_into_allow(outcomes, answer, waivers, glasses, outcome):
    more = [Check("tier.trusted", outcome, "trusted", "so")]
    after = allowed(outcomes, answer, waivers, glasses, more=more)
    assert after == (outcome is Outcome.PASS and allowed(outcomes, answer, waivers, glasses))


@given(FLOORS, ANSWERS, *LISTS, st.data())
def test_one_exception_less_never_turns_block_into_allow(outcomes, answer, waivers, glasses, data):
    fewer = (
        [row for row in waivers if data.draw(st.booleans())],
        [row for row in glasses if data.draw(st.booleans())],
    )
    assert allowed(outcomes, answer, waivers, glasses) or not allowed(outcomes, answer, *fewer)


@given(FLOORS, ANSWERS, *LISTS, st.integers(0, 3), st.integers(0, 200))
def test_an_earlier_end_never_turns_block_into_allow(outcomes, answer, waivers, glasses, which, days):
    def shorter(rows):
        return [
            replace(row, expires=min(row.expires, NOW - days * DAY)) if at == which else row
            for at, row in enumerate(rows)
        ]

    ended = allowed(outcomes, answer, shorter(waivers), shorter(glasses))
    assert allowed(outcomes, answer, waivers, glasses) or not ended


@given(FLOORS, ANSWERS, *LISTS)
def test_without_leave_for_waivers_no_more_is_allowed(outcomes, answer, waivers, glasses):
    forbidden = allowed(outcomes, answer, waivers, glasses, settings={"waivers": {"allowed": False}})
    assert forbidden == allowed(outcomes, answer, [], glasses)
    assert allowed(outcomes, answer, waivers, glasses) or not forbidden


@given(FLOORS, ANSWERS, *LISTS)
def test_the_floor_decides_whatever_else_is_said(outcomes, answer, waivers, glasses):
    assert set(outcomes) == {Outcome.PASS} or not allowed(outcomes, answer, waivers, glasses)


@given(st.sets(st.integers(0, len(CHECKS) - 1), min_size=1), ANSWERS, *LISTS)
def test_no_part_of_the_floor_allows_anything(gone, answer, waivers, glasses):
    evidence = replace(own(), waivers=tuple(waivers), break_glass=tuple(glasses))
    exceptions = exceptions_of(evidence, SETTINGS, NOW)
    left = [check for index, check in enumerate(CHECKS) if index not in gone]
    assert not judge(left, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=exceptions).allow


@given(FLOORS, ANSWERS, *LISTS)
def test_a_mode_changes_nothing_but_what_is_done(outcomes, answer, waivers, glasses):
    evidence = replace(own(), waivers=tuple(waivers), break_glass=tuple(glasses))
    exceptions = exceptions_of(evidence, SETTINGS, NOW)
    said = set()
    for mode in Mode:
        made = judge(checked(outcomes), answer, NOW, mode=mode, digests={}, exceptions=exceptions).to_json()
        said.add(canonical({name: value for name, value in made.items() if name not in ("mode", "enforced")}))
    assert len(said) == 1


@given(ANSWERS, *LISTS)
def test_what_was_used_is_what_the_answer_hung_on(answer, waivers, glasses):
    """Nothing is called used where the answer is the same without it, and nothing unused is needed."""
    evidence = replace(own(), waivers=tuple(waivers), break_glass=tuple(glasses))
    exceptions = exceptions_of(evidence, SETTINGS, NOW)
    decision = judge(CHECKS, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=exceptions)
    used = [row for row in decision.exceptions if row.state is USED]
    assert judge(CHECKS, answer, NOW, mode=Mode.ENFORCE, digests={}, exceptions=used).allow is decision.allow
    if answer == YES:
        assert used == []
