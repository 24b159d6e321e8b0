"""A worker that lives long carries nothing from one question to the next, and no policy gets more of it than its limits."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.decision import Outcome
from weighbridge.core.errors import CannotTell
from weighbridge.policy.engines import process, regorus
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.settings import load_bundle

QUERY = "data.weighbridge.own"
YES = "package weighbridge.own\n\nallow := true\n\ndeny := []\n"
EVEN = "package weighbridge.own\n\ndefault allow := false\n\nallow if input.x == 0\n\ndeny := []\n"
CLOSED = (
    "package weighbridge.own\n\ndefault allow := false\n\nallow if count(deny) == 0\n\n"
    'deny contains {"rule": "r", "msg": "another"} if not input.evidence.manifest == "mine"\n'
)
LOOK = (
    "package weighbridge.own\n\nimport data.settings\n\nseen := {name | some name, _ in input}\n\n"
    "known := {name | some name, _ in settings}\n\nbroken if {\n\tinput.break\n\t"
    'f(1) == 1 with input as {"mocked": true} with data.settings as {"mocked": true}\n}\n\n'
    'f(x) := y if {\n\tprint("said", input)\n\ty := x / (count(input) - 1)\n}\n'
)


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


def look(engine, question, data=None, query="data.weighbridge.own"):
    try:
        return engine.query({"own.rego": LOOK}, {"settings": data or {"a": 1}}, question, query)
    except CannotTell as error:
        return error.problem


def test_rules_are_sent_once(engine):
    look(engine, {})
    sent = []
    exchange = engine._worker.exchange
    engine._worker.exchange = lambda payload, seconds: sent.append(payload) or exchange(payload, seconds)
    look(engine, {"x": 1})
    look(engine, {"x": 2})
    engine._worker.exchange = exchange
    assert len(sent) == 2
    assert all(b"package" not in payload for payload in sent)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcxyz"), st.booleans(), st.sampled_from("pqr")), min_size=2, max_size=6
    )
)
def test_a_question_sees_its_own_input_and_data_and_nothing_of_those_before(engine, questions):
    """In between are questions that fail in the middle of a mocked evaluation."""
    for name, breaks, setting in questions:
        asked = {name: 1, "break": True} if breaks else {name: 1}
        found = look(engine, asked, {setting: 1}, "data.weighbridge.own.broken" if breaks else QUERY)
        if breaks:
            assert "refused" in found
            assert "divide by zero" in found
        else:
            assert found == {"seen": [name], "known": [setting]}


def test_an_input_that_is_not_there_is_not_the_one_before(engine):
    text = "package weighbridge.own\n\nx := input.secret\n"
    assert engine.query({"a.rego": text}, {}, {"secret": 1}, f"{QUERY}.x") == 1
    with pytest.raises(CannotTell, match="undefined"):
        engine.query({"a.rego": text}, {}, {}, f"{QUERY}.x")


def test_more_sets_of_rules_than_are_kept_are_sent_again(engine):
    for _ in range(2):
        for number in range(regorus.KEPT + 3):
            text = f"package weighbridge.own\n\nx := {number}\n"
            assert engine.query({"a.rego": text}, {}, {}, f"{QUERY}.x") == number


def test_rules_are_known_by_their_texts_and_data_by_its_json(engine):
    text = "package weighbridge.own\n\nx := data.settings.a\n"
    for value in (1, True, 1.5, "1", [1], None):
        found = engine.query({"a.rego": text}, {"settings": {"a": value}}, {}, f"{QUERY}.x")
        assert (type(found), found) == (type(value), value)


def test_a_mapping_that_was_changed_is_another(engine):
    modules, data = {"a.rego": "package weighbridge.own\n\nx := data.a.b\n"}, {"a": {"b": 1}}
    assert engine.query(modules, data, {}, f"{QUERY}.x") == 1
    data["a"]["b"] = 2
    assert engine.query(modules, data, {}, f"{QUERY}.x") == 2
    modules["a.rego"] = "package weighbridge.own\n\nx := 3\n"
    assert engine.query(modules, data, {}, f"{QUERY}.x") == 3


def test_coverage_is_of_one_question(engine):
    text = "package weighbridge.own\n\nx := 1 if input.x\n\ny := 2 if input.y\n"
    for member, line in (("x", 3), ("y", 5)):
        value, report = engine.covered({"a.rego": text}, {}, {member: 1}, f"{QUERY}.{member}")
        assert value in (1, 2)
        assert line in report["files"][0]["covered"]
        assert {3, 5} - {line} <= set(report["files"][0]["not_covered"]) | set()
    assert engine.query({"a.rego": text}, {}, {"x": 1}, f"{QUERY}.x") == 1
    with pytest.raises(CannotTell, match="refused"):
        engine.covered({"a.rego": "package"}, {}, {}, QUERY)


ATTACKS = {
    "loops": "allow if {\n\tsome a in numbers.range(1, 4000)\n\tsome b in numbers.range(1, 4000)\n\ta + b == 0\n}\n",
    "allocates": "allow if count(numbers.range(1, 1000000000)) > 0\n",
    "recurses": "allow if f(1)\n\nf(x) if f(x + 1)\n",
    "recurses by rules": "allow if a\n\na if b\n\nb if a\n",
    "nests": "allow if " + "[" * 5000 + "]" * 5000 + "\n",
    "prints without end": 'allow if {\n\tsome a in numbers.range(1, 100000)\n\tprint(sprintf("%d", [a]))\n\ta < 0\n}\n',
    "answers 100 MB": 'allow := concat("", [x | some _ in numbers.range(1, 1000000); x := "'
    + "a" * 100
    + '"])\n',
    "a regex that backtracks": 'allow if regex.match("(a*)*b", concat("", ["a" | some _ in numbers.range(1, 100000)]))\n',
    "doubles": "allow if count(d) > 0\n\nd := x if {\n"
    + "\n".join(f'\tx{n + 1} := concat("", [x{n}, x{n}])' for n in range(40)).replace("x0,", '"ab",').replace(", x0]", ', "ab"]')
    + "\n\tx := x40\n}\n",
    "nothing": "",
    "not text": "\x00\x01\x02",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_gives_no_answer_and_the_next_question_gets_one(attack):
    with RegorusEngine(timeout_s=1.0, memory_bytes=256 * 1024 * 1024) as engine:
        began = time.monotonic()
        text = f"package weighbridge.own\n\n{ATTACKS[attack]}\ndeny := []\n"
        answer = engine.evaluate({"own.rego": text}, {}, {}, QUERY)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert len(answer.problem) < 3000
        assert time.monotonic() - began < 60
        assert engine.evaluate({"own.rego": YES}, {}, {}, QUERY).outcome is Outcome.PASS


def test_the_worker_is_limited():
    with RegorusEngine(memory_bytes=256 * 1024 * 1024) as engine:
        engine.evaluate({"own.rego": YES}, {}, {}, QUERY)
        limits = Path(f"/proc/{engine.worker}/limits").read_text()
        found = {line[:26].strip(): line[26:47].strip() for line in limits.splitlines()[1:]}
        assert found["Max address space"] == str(256 * 1024 * 1024)
        assert {found[name] for name in ("Max processes", "Max file size", "Max core file size")} == {"0"}
        assert found["Max open files"] == "16"
        assert int(found["Max cpu time"]) < 30


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_the_worker_can_start_no_other_process_unless_it_is_root():
    """The limit of processes binds nobody who is root; the worker has nothing that starts one anyway."""
    program = (
        f"import os, runpy; limit = runpy.run_path({str(process.WORKER)!r})['limit']\n"
        "os.setgid(65534); os.setuid(65534); limit(10**9)\n"
        "try:\n os.fork()\nexcept OSError as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "BlockingIOError\n"


PANICS = """
import runpy, sys, types
class Panic(BaseException): pass
class Engine:
    def __getattr__(self, name):
        def act(*arguments):
            if name == {where!r}: raise {what}
            return self if name == "clone" else '{{"result": []}}'
        return act
sys.modules["regorus"] = types.SimpleNamespace(Engine=Engine, __file__={file!r})
sys.argv = ["worker", sys.argv[1]]
runpy.run_path({worker!r}, run_name="__main__")
"""


@pytest.mark.parametrize("where", ["add_policy", "clone", "set_input_json", "eval_query_as_json"])
@pytest.mark.parametrize(
    "what", ["Panic('left == right')", "MemoryError()", "KeyboardInterrupt()", "SystemExit(0)"]
)
def test_a_panic_is_caught_said_and_ends_the_worker(tmp_path, monkeypatch, where, what):
    """PyO3 raises a panic as a BaseException; whatever state it left is not asked again."""
    import regorus as library

    text = PANICS.format(where=where, what=what, worker=str(process.WORKER), file=library.__file__)
    (tmp_path / "worker.py").write_text(text)
    monkeypatch.setattr(process, "WORKER", tmp_path / "worker.py")
    with RegorusEngine() as engine:
        answer = engine.evaluate({"own.rego": YES}, {}, {}, QUERY)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert "the policy engine gave no answer: it came to harm: " in answer.problem
        assert what.partition("(")[0] in answer.problem
        assert engine.worker is None


def test_an_engine_is_not_shared_with_a_forked_process(engine):
    engine.evaluate({"own.rego": YES}, {}, {}, QUERY)
    mine = engine.worker
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        answer = engine.evaluate({"own.rego": YES}, {}, {}, QUERY)
        os.write(writer, json.dumps([answer.outcome.value, engine.worker == mine]).encode())
        os._exit(0)
    os.close(writer)
    said = json.loads(os.read(reader, 1000))
    os.waitpid(child, 0)
    os.close(reader)
    assert said == ["pass", False]
    assert engine.worker == mine
    assert engine._worker.alive, "the child ended a worker that is not its own"
    assert engine.evaluate({"own.rego": YES}, {}, {}, QUERY).outcome is Outcome.PASS


def test_an_outage_is_not_remembered_as_a_closed_policy(monkeypatch):
    """While a policy is asked what it allows without evidence, the worker dies: that is no answer, and not kept as one."""
    bundle = load_bundle({"own.rego": YES.encode()})
    with RegorusEngine() as engine:
        engine.evaluate({"own.rego": YES}, {}, {}, QUERY)

        def dies(self, payload, seconds):
            raise OSError("killed")

        with monkeypatch.context() as patch:
            patch.setattr(process.Worker, "exchange", dies)
            assert "killed" in engine.answer(bundle, "own", {}).problem
        assert "would let anything pass" in engine.answer(bundle, "own", {}).problem


def test_a_policy_that_is_closed_is_asked_that_once():
    closed = load_bundle({"own.rego": CLOSED.encode()})
    mine = {"evidence": {"manifest": "mine"}}
    with RegorusEngine() as engine:
        asked = []
        hear = engine.hear
        engine.hear = lambda *arguments: asked.append(arguments[2]) or hear(*arguments)
        for _ in range(3):
            assert engine.answer(closed, "own", mine).outcome is Outcome.PASS
        first = asked.index(mine)
        assert first >= 1
        assert asked[first:] == [mine] * 3


def test_killed_at_any_moment_it_answers_right_or_not_at_all():
    """Questions, two hundred at least, while the worker is killed at random moments: each gets its own answer, or none.

    They go on until one was lost: on a busy machine the killer may not get its turn while one is on its way.
    """
    chance = random.Random(6)
    outcomes = []
    with RegorusEngine() as engine:
        done = threading.Event()

        def kill():
            while not done.is_set():
                time.sleep(chance.random() * 0.12)
                with contextlib.suppress(
                    ProcessLookupError, TypeError
                ):  # it was just ended, or there is none
                    os.kill(engine.worker, signal.SIGKILL)

        thread = threading.Thread(target=kill)
        thread.start()
        while len(outcomes) < 20_000 and (len(outcomes) < 200 or Outcome.CANNOT_TELL not in outcomes):
            number = len(outcomes)
            asked = {"x": number % 2, "pad": "x" * 200_000}
            outcomes.append(engine.evaluate({"own.rego": EVEN}, {}, asked, QUERY).outcome)
        done.set()
        thread.join()
        time.sleep(0.2)
        assert engine.evaluate({"own.rego": YES}, {}, {}, QUERY).outcome is Outcome.PASS
    for number, outcome in enumerate(outcomes):
        assert outcome in (Outcome.CANNOT_TELL, Outcome.FAIL if number % 2 else Outcome.PASS), number
    assert set(outcomes) == set(Outcome)


def test_no_worker_is_left_behind():
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with RegorusEngine() as engine:
        engine.evaluate({"own.rego": YES}, {}, {}, QUERY)
        pid = engine.worker
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime >= before
