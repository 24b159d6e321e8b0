"""The engine that decides is looked at by the doctor and has its say when a policy is accepted: a refusal by OPA counts."""

import json
import os
import re

import pytest

from weighbridge.cli.main import run
from weighbridge.core.decision import Outcome
from weighbridge.core.errors import BadSetting, Unreachable
from weighbridge.gate import engines
from weighbridge.gate.judging import setting
from weighbridge.gate.policies import use_policy
from weighbridge.policy.settings import load_bundle, starter
from world import World
from world_opa import Front, PolicyError, RegorusStandIn


class Picky(RegorusStandIn):
    """Refuses what regorus takes: any module with this word in it."""

    def __init__(self, modules, data):
        if any("unheard_of" in text for text in modules.values()):
            raise PolicyError("rego_type_error: undefined function unheard_of")
        super().__init__(modules, data)


class Lax(RegorusStandIn):
    """Finds no note in any scan, and so allows what regorus denies for its notes."""

    def __init__(self, modules, data):
        changed = {
            name: text.replace('verdict == "notes"', 'verdict == "clean"; false')
            for name, text in modules.items()
        }
        super().__init__(changed, data)


@pytest.fixture
def front():
    with Front(Picky) as made:
        yield made


def world_with(tmp_path, front, engine):
    return World(tmp_path, settings={"policy_engine": engine, "opa_url": front.url})


def folder(world, more=""):
    made = world.folder / "policy"
    made.mkdir()
    for name, data in starter().items():
        (made / name).write_bytes(data + (more.encode() if name == "own.rego" else b""))
    return made


ODD = '\n# unheard_of\nwarn contains {"rule": "more", "msg": "m"} if input.action == "admit"\n'


@pytest.mark.parametrize("engine", ["opa", "both"])
def test_a_policy_that_only_the_deciding_engine_refuses_is_not_accepted(tmp_path, front, engine):
    world = world_with(tmp_path, front, engine)
    before = setting(world.registry, "policy")
    try:
        with pytest.raises(BadSetting) as caught:
            use_policy(world.registry, folder(world, ODD), world.secret("owner"))
        assert "undefined function unheard_of" in caught.value.cause
        assert setting(world.registry, "policy") == before
    finally:
        world.registry.close()


def test_the_same_policy_is_accepted_where_regorus_decides(tmp_path, front):
    world = World(tmp_path)
    try:
        change = use_policy(world.registry, folder(world, ODD), world.secret("owner"))
        assert setting(world.registry, "policy") == str(change.digest)
        assert front.asked == []
    finally:
        world.registry.close()


@pytest.mark.parametrize("engine", ["opa", "both"])
def test_a_sound_policy_is_accepted_by_both_and_decides(tmp_path, front, engine):
    world = world_with(tmp_path, front, engine)
    try:
        more = '\nwarn contains {"rule": "more", "msg": "m"} if input.action == "admit"\n'
        change = use_policy(world.registry, folder(world, more), world.secret("owner"))
        assert setting(world.registry, "policy") == str(change.digest)
        assert world.promote(world.ready()).decision.allow
    finally:
        world.registry.close()


def test_no_policy_is_accepted_while_the_deciding_engine_cannot_be_asked(tmp_path, front):
    world = world_with(tmp_path, front, "opa")
    before, place = setting(world.registry, "policy"), folder(world, "\n# another\n")
    try:
        front.lies = lambda *_: (503, {})
        with pytest.raises(Unreachable) as caught:
            use_policy(world.registry, place, world.secret("owner"))
        assert (caught.value.check, caught.value.exit_code) == ("policy.engine", 3)
        assert "weighbridge doctor" in caught.value.remedy
        assert setting(world.registry, "policy") == before
    finally:
        world.registry.close()


def test_what_the_engines_see_differently_is_warned_of(tmp_path):
    from weighbridge.policy.engines.regorus import RegorusEngine
    from weighbridge.policy.vetting import vet

    text = starter()["own.rego"].decode()
    lax = text + '\ndeny contains {"rule": "r", "msg": "m"} if { input.evidence.scan.verdict == "notes" }\n'
    bundle = load_bundle({**starter(), "own.rego": lax.encode()})
    with Front(Lax) as front, RegorusEngine() as engine:
        world = World(tmp_path, settings={"policy_engine": "opa", "opa_url": front.url})
        try:
            with engines.deciding(world.config) as also:
                vetted = vet(bundle, engine, also)
            assert vet(bundle, engine).remarks != vetted.remarks
        finally:
            world.registry.close()
    told = [str(remark) for remark in vetted.remarks if remark.severity == "warning"]
    assert any(
        re.search(r"opa/1\.99\.0 allows .+, and the engine that reads policies does not", line)
        for line in told
    )


# ---------------------------------------------------------------- the doctor


def row(world):
    return engines.health(world.registry, load_bundle(starter()))


@pytest.mark.parametrize("engine", ["regorus", "opa", "both"])
def test_the_doctor_names_the_engine_and_its_version(tmp_path, front, engine):
    world = world_with(tmp_path, front, engine)
    try:
        found = row(world)
        assert found.outcome is Outcome.PASS
        for name in ("regorus/", "opa/1.99.0"):
            assert (name in found.found) == (engine in ("both", name.partition("/")[0]))
        assert (front.url in found.expected) == (engine != "regorus")
    finally:
        world.registry.close()


def gone(front):
    front.lies = lambda *_: (500, {"code": "internal", "message": "down"})


def others(front):
    front.modules["somebody/else.rego"] = "package other\n"


@pytest.mark.parametrize("harm", [gone, others], ids=["down", "other policies"])
@pytest.mark.parametrize("engine", ["opa", "both"])
def test_the_doctor_fails_when_opa_gives_no_answer(tmp_path, front, engine, harm):
    world = world_with(tmp_path, front, engine)
    try:
        harm(front)
        found = row(world)
        assert found.outcome is Outcome.FAIL
        assert "opa" in found.found
        assert "opa_url" in found.remedy
    finally:
        world.registry.close()


@pytest.mark.parametrize(
    ("settings", "found", "remedy"),
    [
        ({"policy_engine": "opa", "opa_url": "http://127.0.0.1:1"}, "127.0.0.1", "opa_url"),
        ({"policy_engine": "opa"}, "there is no OPA to ask", "set opa_url, or policy_engine to regorus"),
        ({"policy_engine": "rego"}, "there is no policy engine 'rego'", "set policy_engine to one of"),
        ({"policy_engine": "opa", "opa_url": "https://localhost", "offline": True}, "offline", ""),
    ],
)
def test_the_doctor_says_what_to_set(tmp_path, settings, found, remedy):
    world = World(tmp_path, settings=settings)
    try:
        check = row(world)
        assert check.outcome is Outcome.FAIL
        assert found in f"{check.found} {check.expected}"
        assert remedy in check.remedy
    finally:
        world.registry.close()


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a command line for a world, with its settings in the environment."""

    def command(world, *words):
        for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
            monkeypatch.setenv(name, world.environ[name])
        monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.registry.layout.root))
        for name, value in world.settings.items():
            monkeypatch.setenv(f"WEIGHBRIDGE_{name.upper()}", str(value))
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        code = run([str(word) for word in words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


def test_the_commands_say_so_too(tmp_path, front, call):
    world = world_with(tmp_path, front, "opa")
    try:
        place = folder(world, ODD)
        code, output, _ = call(world, "policy", "check", place)
        assert code == 1
        assert (
            "✗ own.rego: opa/1.99.0: OPA refused the policy" in output
            or "undefined function unheard_of" in output
        )
        code, _, error = call(world, "policy", "use", place)
        assert (code, "unheard_of" in error) == (2, True)
        code, output, _ = call(world, "doctor", "--format", "json")
        rows = {item["id"]: item for item in json.loads(output)["checks"]}
        assert (rows["engine.answers"]["outcome"], rows["engine.answers"]["found"]) == ("pass", "opa/1.99.0")
        gone(front)
        code, output, error = call(world, "doctor")
        assert code == 1
        assert "✗ engine.answers" in output
        assert call(world, "policy", "check", place)[0] == 3
        assert os.environ["WEIGHBRIDGE_POLICY_ENGINE"] == "opa"
    finally:
        world.registry.close()
