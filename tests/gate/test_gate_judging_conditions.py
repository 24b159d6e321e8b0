"""How a decision is put together, each condition on its own: registry, policy and engine are played, so that it is quick."""

from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from weighbridge.core.decision import Check, EngineAnswer, Outcome
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, VerificationFailed
from weighbridge.core.tier import Mode, Origin
from weighbridge.gate import judging
from weighbridge.gate.judging import Case, judge_model, judge_nothing, setting
from weighbridge.policy.settings import starter
from weighbridge.store import schema

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SHA, PINNED = Digest.of(b"x"), Digest.of(b"the pinned policy")
MODEL = Digest("wb1", "a" * 64)
FLOOR = Check("floor.of-this-test", Outcome.PASS, "held", "held")
ALLOWED = EngineAnswer(Outcome.PASS, policy="own", engine="the engine")


class Records:
    """The one table that is asked, in memory."""

    def __init__(self):
        self.engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
        schema.setting.create(self.engine)

    @contextmanager
    def read(self):
        with self.engine.begin() as connection:
            yield connection

    def put(self, project, key, value):
        row = {"schema_version": 1, "project": project, "actor": "x", "created_at": "2026-11-22T12:00:00Z"}
        with self.engine.begin() as connection:
            connection.execute(sa.insert(schema.setting).values(row | {"key": key, "value": value}))


def evidence(scan=True):
    return SimpleNamespace(
        origin=Origin.OWN,
        project="default",
        manifest=MODEL,
        authority=SimpleNamespace(digest=SHA),
        scan=SimpleNamespace(ruleset=SHA) if scan else None,
        waivers=(),
        break_glass=(),
        to_json=lambda: {"schema": "evidence of this test"},
    )


@pytest.fixture
def house(monkeypatch):
    """What stands for a registry whose pinned policy is in place; `asked` is what its engine was asked."""
    asked = []
    bundle = SimpleNamespace(digest=PINNED, settings={"the": "settings"})

    def answer(policy, package, question):
        asked.append((policy, package, question))
        return ALLOWED

    registry = SimpleNamespace(
        project="default",
        clock=SimpleNamespace(now=lambda: NOW),
        records=Records(),
        authority=SimpleNamespace(digest=SHA),
        asked=asked,
        bundle=bundle,
        engine=SimpleNamespace(answer=answer),
    )
    registry.records.put("*", "policy", str(PINNED))
    monkeypatch.setattr(judging, "floor", lambda evidence, now: (FLOOR,))
    monkeypatch.setattr(judging, "engine_of", lambda registry: registry.engine)
    monkeypatch.setattr(judging, "read_active", lambda registry: registry.bundle)
    monkeypatch.setattr(judging, "mode_of", lambda registry, namespace: Mode.WARN)
    return registry


def raises(error):
    def fail(*_arguments):
        raise error

    return fail


def told(found, name="policy.engine"):
    """Return what a judgement says about the policy, and the circumstances that are kept with it."""
    (check,) = (row for row in found.decision.checks if row.id == name)
    return check.found


# Which policy is asked.


def test_the_pinned_policy_is_asked_in_its_package(house):
    found = judge_model(house, evidence(), action="promote")
    [(bundle, package, question)] = house.asked
    assert (bundle, package, question["action"]) == (house.bundle, "own", "promote")
    assert found.decision.digests == {
        "floor": str(judging.floor_digest()),
        "policy": str(PINNED),
        "engine": "the engine",
        "authority": str(SHA),
        "ruleset": str(SHA),
        "evidence": str(found.basis.digest),
        "manifest": str(MODEL),
    }
    assert found.circumstances == {"checks": [], "problem": "", "asked": ""}


def test_a_policy_that_is_not_the_pinned_one_is_not_asked(house):
    """Somebody who can write into the policy's folder would otherwise decide."""
    house.bundle.digest = Digest.of(b"another")
    found = judge_model(house, evidence(), action="promote")
    assert house.asked == []
    assert not found.decision.allow
    assert found.decision.digests["policy"] == str(PINNED)
    problem = f"the policy files were changed: found {house.bundle.digest}, the registry pins {PINNED}"
    assert problem in told(found)
    assert found.circumstances["problem"] == problem


def test_without_a_pinned_policy_none_is_asked(house):
    """A registry whose setting was lost judges by nothing, not by whatever lies in the folder."""
    house.project = "speech"
    with house.records.engine.begin() as connection:
        connection.execute(sa.delete(schema.setting))
    found = judge_model(house, evidence(), action="promote")
    assert (house.asked, found.decision.allow, found.decision.digests["policy"]) == ([], False, "")


@pytest.mark.parametrize("error", [NotFound("the policy is gone"), PermissionError("the policy is locked")])
def test_a_policy_that_cannot_be_read_is_said_and_blocks(house, monkeypatch, error):
    monkeypatch.setattr(judging, "read_active", raises(error))
    found = judge_model(house, evidence(), action="promote")
    assert (house.asked, found.decision.allow) == ([], False)
    assert f"the policy could not be asked: {error}" in told(found)
    assert found.decision.digests["policy"] == str(PINNED)


@pytest.mark.parametrize("error", [VerificationFailed("the engine is another"), TimeoutError("no answer")])
def test_an_engine_that_fails_is_said_and_blocks(house, error):
    house.engine.answer = raises(error)
    found = judge_model(house, evidence(), action="promote")
    assert not found.decision.allow
    assert f"the policy could not be asked: {error}" in told(found)


def test_a_dry_run_asks_the_policy_it_was_given_whatever_is_pinned(house, tmp_path):
    for name, data in starter().items():
        (tmp_path / name).write_bytes(data)
    found = judge_model(house, evidence(), action="promote", policy=tmp_path)
    [(bundle, _, _)] = house.asked
    assert bundle == judging.read_policy(tmp_path)
    assert bundle.digest != PINNED
    assert found.decision.digests["policy"] == str(bundle.digest)


def test_a_dry_run_with_a_policy_that_cannot_be_read_blocks(house, tmp_path):
    found = judge_model(house, evidence(), action="promote", policy=tmp_path / "nowhere")
    assert (house.asked, found.decision.allow) == ([], False)
    assert "the policy could not be asked" in told(found)


# What goes into a decision.


def test_what_was_never_scanned_has_no_ruleset(house):
    found = judge_model(house, evidence(scan=False), action="promote")
    assert found.decision.digests["ruleset"] == ""


def test_exceptions_are_weighed_by_the_settings_of_the_policy_that_was_read(house, monkeypatch):
    seen = []
    monkeypatch.setattr(judging, "exceptions_of", lambda evidence, settings, now: seen.append(settings) or ())
    judge_model(house, evidence(), action="promote")
    monkeypatch.setattr(judging, "read_active", raises(NotFound("gone")))
    judge_model(house, evidence(), action="promote")
    assert seen == [{"the": "settings"}, None]


def test_what_the_caller_checked_counts_first_and_is_kept(house):
    further = Check("tier.trusted", Outcome.FAIL, "trusted", "intake")
    found = judge_model(house, evidence(), action="admit", further=[further], namespace="search")
    assert found.decision.checks[:2] == (further, FLOOR)
    assert found.circumstances["checks"] == ["tier.trusted"]
    assert (found.decision.action, found.decision.mode) == ("admit", Mode.WARN)
    assert [row["id"] for row in house.asked[0][2]["floor"]] == ["tier.trusted", "floor.of-this-test"]


@pytest.mark.parametrize(("problem", "asked"), [("it took too long", "own"), ("", "")])
def test_which_policy_had_no_answer_is_kept_for_the_day_it_is_computed_again(house, problem, asked):
    house.engine.answer = lambda *_arguments: EngineAnswer(Outcome.PASS, problem=problem, policy="own")
    found = judge_model(house, evidence(), action="promote")
    assert found.circumstances == {"checks": [], "problem": problem, "asked": asked}


# Without evidence.


def nothing(house, error, **options):
    return judge_nothing(house, MODEL, error, action="promote", **options)


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        (NotFound("a file is gone"), "a file is gone", "weighbridge doctor"),
        (NotFound("a file is gone", remedy="fetch it"), "a file is gone", "fetch it"),
        (
            NotFound("a file is gone", cause="a full disk"),
            "a file is gone: a full disk",
            "weighbridge doctor",
        ),
        (
            VerificationFailed("it was exchanged", cause="another digest", check="records.bundle"),
            "it was exchanged [records.bundle]: another digest",
            "weighbridge doctor",
        ),
        (OSError("no space"), "the disk or the operating system: no space", "weighbridge doctor"),
        (ValueError("a number"), "ValueError: a number", "weighbridge doctor"),
    ],
)
def test_what_failed_is_told_in_its_own_words(house, error, said, remedy):
    found = nothing(house, error)
    (check,) = (row for row in found.decision.checks if row.id == judging.GATHERED)
    assert (check.outcome, check.found, check.remedy) == (Outcome.CANNOT_TELL, said, remedy)
    assert not found.decision.allow
    assert judging.NOT_ASKED in told(found)


def test_a_block_without_evidence_names_the_policy_that_was_in_force(house):
    further = Check("tier.trusted", Outcome.PASS, "trusted", "trusted")
    found = nothing(house, OSError("no space"), further=[further])
    assert (found.basis, found.decision.mode) == (None, Mode.WARN)
    assert found.decision.checks[0] == further
    assert found.decision.digests == {
        "floor": str(judging.floor_digest()), "policy": str(PINNED), "engine": "", "authority": str(SHA),
        "ruleset": "", "evidence": "", "manifest": str(MODEL),
    }  # fmt: skip


def test_a_block_without_any_pinned_policy_says_none(house):
    with house.records.engine.begin() as connection:
        connection.execute(sa.delete(schema.setting))
    assert nothing(house, OSError("no space")).decision.digests["policy"] == ""


def test_where_not_even_the_mode_can_be_read_it_enforces(house, monkeypatch):
    monkeypatch.setattr(judging, "mode_of", raises(OSError("the records are gone")))
    found = nothing(house, OSError("no space"))
    assert (found.decision.mode, found.decision.enforced) == (Mode.ENFORCE, True)
    assert "no space" in found.decision.checks[0].found, "what failed first is what is told"


# Settings.


def test_a_project_has_its_own_setting_else_that_of_every_project(house):
    house.records.put("default", "other", "mine")
    house.records.put("*", "other", "ours")
    house.records.put("vision", "policy", "theirs")
    assert (setting(house, "other"), setting(house, "policy")) == ("mine", str(PINNED))
    assert setting(house, "nobody set this") is None
    house.project = "vision"
    assert (setting(house, "other"), setting(house, "policy")) == ("ours", "theirs")


def test_the_same_arguments_give_the_same_decision():
    case = Case("promote", "default", Mode.OBSERVE)
    one, two = (judging.conclude_nothing(case, NOW, {"manifest": str(MODEL)}) for _ in range(2))
    assert one.id == two.id
    assert one.decision.digests["manifest"] == str(MODEL)
