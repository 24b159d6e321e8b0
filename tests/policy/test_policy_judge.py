"""The judge: allow needs the whole floor and the engine, and worse facts never make it say yes."""

from dataclasses import replace

import good_evidence as g
import pytest
from good_evidence import NOW, own, third_party
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.canonical import canonical
from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.finding import Verdict
from weighbridge.core.tier import Mode, Stage
from weighbridge.policy.floor import floor
from weighbridge.policy.judge import judge, stands

YES = EngineAnswer(Outcome.PASS, policy="sha256:00", engine="double/1")
DIGESTS = {"floor": "sha256:01", "policy": "sha256:00"}
CHECKS = floor(own(), NOW)


def decide(checks=CHECKS, answer=YES, mode=Mode.ENFORCE):
    return judge(checks, answer, NOW, mode=mode, digests=DIGESTS, action="promote", project="default")


def test_floor_and_engine_together_allow():
    decision = decide()
    assert decision.allow
    assert decision.exit_code == 0
    assert decision.checks[: len(CHECKS)] == CHECKS
    assert [check.id for check in decision.checks[len(CHECKS) :]] == ["policy.engine"]
    assert (decision.time, decision.digests) == (NOW, DIGESTS)
    assert (decision.action, decision.project) == ("promote", "default")
    engine = decision.checks[-1]
    assert (engine.outcome, engine.found, engine.proof) == (Outcome.PASS, "allowed", "sha256:00")


def test_nothing_checked_is_blocked():
    decision = decide(())
    assert not decision.allow
    assert not stands(())
    assert {"floor.complete"} == {check.id for check in decision.refusals}


@pytest.mark.parametrize("index", range(len(CHECKS)), ids=[check.id for check in CHECKS])
@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.CANNOT_TELL])
def test_any_check_that_does_not_pass_blocks(index, outcome):
    checks = list(CHECKS)
    checks[index] = replace(checks[index], outcome=outcome)
    decision = decide(checks)
    assert not decision.allow
    assert [check.id for check in decision.refusals] == [CHECKS[index].id]
    assert decision.exit_code == (1 if outcome is Outcome.FAIL else 3)


@pytest.mark.parametrize("gone", [check.id for check in CHECKS if check.id != "stages.needed"])
def test_a_condition_that_was_not_checked_blocks(gone):
    decision = decide([check for check in CHECKS if check.id != gone])
    assert not decision.allow
    [refusal] = decision.refusals
    assert (refusal.id, refusal.outcome) == ("floor.complete", Outcome.CANNOT_TELL)
    assert refusal.found == f"not checked: {gone}"


def test_stages_that_nobody_named_block():
    decision = decide([check for check in CHECKS if check.id != "stages.needed"])
    assert [check.found for check in decision.refusals] == ["not checked: stages.needed"]


def test_stages_are_looked_for_only_where_their_naming_passed():
    """What a failed check found is a sentence; it blocks as it is, and names no further checks."""
    checks = [
        replace(check, outcome=Outcome.FAIL, found="no claim, at all")
        if check.id == "stages.needed"
        else check
        for check in CHECKS
    ]
    assert [check.id for check in decide(checks).refusals] == ["stages.needed"]


def test_further_checks_of_the_caller_count():
    more = Check("tier.trusted", Outcome.FAIL, "it stands in the trusted tier", "it stands in intake")
    decision = decide((more, *CHECKS))
    assert [check.id for check in decision.refusals] == ["tier.trusted"]


@pytest.mark.parametrize(
    ("answer", "names", "found"),
    [
        (EngineAnswer(Outcome.FAIL), ["policy.engine"], "not allowed, and no rule says why"),
        (EngineAnswer(Outcome.CANNOT_TELL, problem="no answer"), ["policy.engine"], "no answer"),
        (EngineAnswer(Outcome.CANNOT_TELL), ["policy.engine"], "not allowed, and no rule says why"),
        (
            EngineAnswer(Outcome.FAIL, denials=(("licence", "GPL"), ("scan.age", "old"))),
            ["policy.engine", "policy.licence", "policy.scan.age"],
            "denied by 2 rule(s)",
        ),
        (EngineAnswer(Outcome.PASS, denials=(("licence", "GPL"),)), ["policy.licence"], "GPL"),
    ],
)
def test_an_engine_that_does_not_allow_blocks(answer, names, found):
    decision = decide(answer=answer)
    assert not decision.allow
    assert [check.id for check in decision.refusals] == names
    assert decision.refusals[0].found == found


def test_a_denial_is_told_with_its_rule_and_the_policy():
    decision = decide(answer=EngineAnswer(Outcome.FAIL, denials=(("licence", "GPL"),), policy="sha256:aa"))
    [check] = [check for check in decision.checks if check.id == "policy.licence"]
    assert (check.outcome, check.found, check.proof) == (Outcome.FAIL, "GPL", "sha256:aa")
    assert check.expected


def test_warnings_warn():
    decision = decide(answer=replace(YES, warnings=(("authority.expires", "soon"),)))
    assert decision.allow
    assert decision.warnings == ("authority.expires: soon",)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("allowed", [True, False])
def test_a_mode_changes_what_is_done_and_never_what_is_true(mode, allowed):
    checks = CHECKS if allowed else (*CHECKS[:-1], replace(CHECKS[-1], outcome=Outcome.FAIL))
    decision = decide(checks, mode=mode)
    assert decision.allow is allowed
    assert decision.mode is mode
    acts = {Mode.ENFORCE: True, Mode.WARN: allowed, Mode.OBSERVE: False, Mode.OFF: False}
    assert decision.enforced is acts[mode]


def test_the_same_question_has_the_same_answer_byte_for_byte():
    assert canonical(decide().to_json()) == canonical(decide().to_json())


# An engine that allows everything admits no stranger, no missing stage, no unsigned BOM.


@pytest.mark.parametrize("claim", g.OWN_CLAIMS, ids=lambda claim: claim.stage.value)
@pytest.mark.parametrize("how", ["missing", "by a stranger", "unsure"])
def test_an_engine_that_allows_everything_admits_nothing_unproven(claim, how):
    evidence = {
        "missing": lambda: g.without(own(), claim),
        "by a stranger": lambda: g.swap(own(), claim, g.refused(claim)),
        "unsure": lambda: g.swap(own(), claim, g.refused(claim, outcome=Outcome.CANNOT_TELL)),
    }[how]()
    assert decide().allow
    assert not decide(floor(evidence, NOW)).allow


# Monotonicity: making any fact worse never turns block into allow.


def waived():
    item = g.finding(Verdict.UNLISTED)
    evidence = g.scanned(own(), item)
    return replace(evidence, waivers=(g.waiver(item, evidence),))


BASES = {"own": own(), "third party": third_party(), "waived": waived()}
OUTCOMES = (Outcome.FAIL, Outcome.CANNOT_TELL)


@st.composite
def worse(draw, evidence):
    """Make one fact of the evidence worse."""
    kind = draw(
        st.sampled_from(
            [
                "claim",
                "gone",
                "bytes",
                "authority",
                "scan",
                "verdict",
                "revoked",
                "problem",
                "found",
                "waiver",
            ]
        )
    )
    outcome = draw(st.sampled_from(OUTCOMES))
    if kind in ("claim", "gone") and evidence.claims:
        claim = draw(st.sampled_from(evidence.claims))
        if kind == "gone":
            return g.without(evidence, claim)
        return g.swap(evidence, claim, g.refused(claim, outcome=outcome))
    if kind == "waiver":
        return replace(evidence, waivers=evidence.waivers[1:])
    if kind == "bytes":
        return replace(evidence, bytes=replace(evidence.bytes, outcome=outcome))
    if kind == "authority":
        return replace(evidence, authority=replace(evidence.authority, outcome=outcome))
    if kind == "revoked":
        target = draw(st.sampled_from(evidence.ancestry.visited))
        return replace(evidence, revocations=(*evidence.revocations, g.revocation(target)))
    if kind == "scan" or evidence.scan is None:
        return replace(evidence, scan=None)
    if kind == "verdict":
        level = draw(st.sampled_from([v for v in Verdict if v.rank >= evidence.scan.verdict.rank]))
        return replace(evidence, scan=replace(evidence.scan, verdict=level))
    if kind == "found":
        item = g.finding(draw(st.sampled_from(list(Verdict))), subject=draw(st.sampled_from(["a", "b"])))
        more = g.scanned(evidence, *evidence.scan.findings, item)
        level = max(evidence.scan.verdict, more.scan.verdict, key=lambda verdict: verdict.rank)
        return replace(more, scan=replace(more.scan, verdict=level))  # no worse verdict is forgotten
    return replace(evidence, problems=("something could not be read",))


@given(st.data(), st.sampled_from(sorted(BASES)), st.integers(1, 5))
def test_worse_facts_never_turn_block_into_allow(data, name, steps):
    evidence, allowed = BASES[name], True
    for _ in range(steps):
        evidence = data.draw(worse(evidence))
        now_allowed = decide(floor(evidence, NOW)).allow
        assert allowed or not now_allowed
        allowed = now_allowed


ANSWERS = st.builds(
    EngineAnswer,
    outcome=st.sampled_from(list(Outcome)),
    denials=st.lists(st.tuples(st.just("rule"), st.text(max_size=5)), max_size=2).map(tuple),
    problem=st.sampled_from(["", "no answer"]),
)
OUTCOME_LISTS = st.lists(st.sampled_from(list(Outcome)), min_size=len(CHECKS), max_size=len(CHECKS))


@given(OUTCOME_LISTS, ANSWERS)
def test_a_policy_narrows_and_never_widens(outcomes, answer):
    checks = [replace(check, outcome=outcome) for check, outcome in zip(CHECKS, outcomes, strict=True)]
    allowed = decide(checks, answer).allow
    assert allowed == (
        set(outcomes) == {Outcome.PASS} and answer.outcome is Outcome.PASS and not answer.denials
    )


@given(st.sets(st.integers(0, len(CHECKS) - 1)))
def test_a_floor_with_holes_never_allows(gone):
    assert decide([check for index, check in enumerate(CHECKS) if index not in gone]).allow is not bool(gone)


def test_the_monotonicity_test_starts_from_allow():
    for evidence in BASES.values():
        assert decide(floor(evidence, NOW)).allow
    assert {fact.stage for fact in own().claims} >= {Stage.BOM, Stage.TRAIN, Stage.ORIGIN}
