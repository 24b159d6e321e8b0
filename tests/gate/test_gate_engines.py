"""One engine as long as a registry is open; which one, the settings say; two that disagree are no answer, and somebody is told."""

import os

import pytest

from weighbridge.config import read_config
from weighbridge.core.decision import EngineAnswer, Outcome
from weighbridge.core.errors import BadSetting, Unreachable
from weighbridge.gate.engines import BothEngines, engine_of, make_engine
from weighbridge.policy.engines.opa import OpaEngine
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.registry import alerts
from world import World, outcomes
from world_opa import Front


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def config(tmp_path, environ=None, **settings):
    return read_config({"HOME": str(tmp_path), **(environ or {})}, settings)


def test_one_worker_makes_all_decisions_and_ends_with_the_registry(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    engine = engine_of(world.registry)
    worker = engine.worker
    assert worker is not None
    assert world.promote(folder, dry_run=True).decision.allow
    assert engine_of(world.registry) is engine
    assert engine.worker == worker
    world.registry.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_the_settings_name_the_engine(tmp_path):
    assert isinstance(make_engine(config(tmp_path)), RegorusEngine)
    url = "https://opa.example.test:8181"
    assert isinstance(make_engine(config(tmp_path, policy_engine="opa", opa_url=url)), OpaEngine)
    assert isinstance(make_engine(config(tmp_path, policy_engine="both", opa_url=url)), BothEngines)


@pytest.mark.parametrize(
    "settings",
    [
        {"policy_engine": "rego"},
        {"policy_engine": ""},
        {"policy_engine": "opa"},
        {"policy_engine": "both"},
        {"policy_engine": "opa", "opa_url": "http://opa.example.test"},
        {"policy_engine": "opa", "opa_url": "https://localhost", "opa_cert": "a.pem"},
        {"policy_engine": "opa", "opa_url": "https://localhost", "opa_key": "a.pem"},
        {"policy_engine": "opa", "opa_url": "https://localhost", "opa_ca": "nowhere.pem"},
        {"policy_engine": "opa", "opa_url": "https://localhost", "opa_seconds": 0},
        {"policy_engine": "opa", "opa_url": "https://localhost", "opa_seconds": 61},
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, settings):
    with pytest.raises(BadSetting):
        make_engine(config(tmp_path, **settings))


def test_offline_no_opa_is_asked(tmp_path):
    with pytest.raises(Unreachable):
        make_engine(config(tmp_path, policy_engine="opa", opa_url="https://localhost", offline=True))


def test_the_token_comes_from_the_environment_only_and_is_never_shown(tmp_path):
    found = config(tmp_path, {"WEIGHBRIDGE_OPA_TOKEN": "secret-token"})
    assert found.opa_token == "secret-token"
    assert "secret-token" not in repr(found)
    (tmp_path / ".config" / "weighbridge").mkdir(parents=True)
    (tmp_path / ".config" / "weighbridge" / "weighbridge.toml").write_text('opa_token = "secret-token"\n')
    with pytest.raises(BadSetting, match="opa_token"):
        config(tmp_path)


@pytest.mark.parametrize("engine", ["opa", "both"])
def test_a_decision_by_opa(tmp_path, engine):
    with Front() as front:
        world = World(tmp_path, settings={"policy_engine": engine, "opa_url": front.url, "opa_seconds": 60})
        folder = world.ready()
        decision = world.promote(folder).decision
        assert decision.allow, outcomes(decision)
        assert "opa/1.99.0 decision 7f3c1e" in decision.digests["engine"]
        assert decision.digests["engine"].startswith("regorus/0.13.0 and ") == (engine == "both")
        front.lies = lambda handler, method, path: handler.send(503, b"{}") or True
        decision = world.promote(folder, dry_run=True).decision
        assert not decision.allow
        assert decision.exit_code == 3
        assert "status 503" in next(check for check in decision.checks if check.id == "policy.engine").found
        world.registry.close()


def test_an_engine_that_settings_name_wrongly_blocks_and_says_so(tmp_path):
    world = World(tmp_path, settings={"policy_engine": "opa"})
    decision = world.promote(world.ready()).decision
    assert decision.exit_code == 3
    assert "there is no OPA to ask" in next(c for c in decision.checks if c.id == "policy.engine").found
    world.registry.close()


class Says:
    """An engine that says one thing."""

    def __init__(self, answer):
        self.said, self.digest, self.closed = answer, answer.engine, False

    def evaluate(self, *_):
        return self.said

    def answer(self, *_):
        return self.said

    def close(self):
        self.closed = True


def says(outcome=Outcome.PASS, denials=(), warnings=(), problem="", engine="one/1", policy="p"):
    return EngineAnswer(outcome, denials, warnings, problem, policy, engine)


FAIL = {"outcome": Outcome.FAIL, "denials": (("r", "m"),)}


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (FAIL, "one/1 allows; two/2 denies (r: m)"),
        ({"outcome": Outcome.FAIL}, "one/1 allows; two/2 does not allow"),
        ({"warnings": (("r", "m"),)}, "one/1 allows; two/2 allows, 1 warning(s)"),
        ({"policy": "other"}, "the engines disagree"),
        ({"outcome": Outcome.CANNOT_TELL, "problem": "no answer"}, "two/2: no answer"),
    ],
)
def test_what_only_one_says_is_no_answer(second, words):
    told = []
    one, two = Says(says()), Says(says(engine="two/2", **second))
    for pair in ((one, two), (two, one)):
        both = BothEngines(*pair, tell=lambda *answers: told.append(answers))
        for answer in (both.answer(None, "own", {}), both.evaluate({}, {}, {}, "q")):
            assert answer.outcome is Outcome.CANNOT_TELL
            assert not answer.denials
            if pair[0] is one:
                assert words in answer.problem
    assert bool(told) == ("disagree" in words or "one/1" in words)
    both.close()
    assert one.closed
    assert two.closed


def test_what_both_say_is_the_answer_whatever_the_order_and_number_of_rows():
    rows = (("a", "1"), ("b", "2"))
    one = says(Outcome.FAIL, rows)
    two = says(Outcome.FAIL, (*rows[::-1], rows[0]), engine="two/2")
    answer = BothEngines(Says(one), Says(two)).answer(None, "own", {})
    assert (answer.outcome, answer.denials, answer.engine) == (Outcome.FAIL, rows, "one/1 and two/2")


def test_who_cannot_be_told_does_not_change_the_answer():
    def fails(*_):
        raise RuntimeError("the database is gone")

    both = BothEngines(Says(says()), Says(says(engine="two/2", **FAIL)), tell=fails)
    answer = both.answer(None, "own", {})
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "nobody could be told of it: the database is gone" in answer.problem


def test_a_disagreement_is_told(tmp_path, monkeypatch):
    with Front() as front:
        world = World(tmp_path, settings={"policy_engine": "both", "opa_url": front.url, "opa_seconds": 60})
        folder = world.ready()
        hear = OpaEngine.hear

        def denies(self, modules, data, question, query):
            heard = hear(self, modules, data, question, query)
            if heard.answer.outcome is Outcome.PASS:
                return type(heard)(says(Outcome.FAIL, (("mine", "no"),), engine="opa/x"), well=True)
            return heard

        monkeypatch.setattr(OpaEngine, "hear", denies)
        decision = world.promote(folder).decision
        found = next(check for check in decision.checks if check.id == "policy.engine")
        assert (decision.allow, decision.exit_code, found.outcome) == (False, 3, Outcome.CANNOT_TELL)
        assert "the engines disagree: regorus/0.13.0 allows" in found.found
        assert "opa/x denies (mine: no)" in found.found
        [told] = [row for row in alerts.kept(world.registry, kinds=["outage"]) if "disagree" in row.summary]
        assert told.severity == "critical"
        assert told.facts["second"] == "opa/x denies (mine: no)"
        world.registry.close()
