"""The engine cannot fail open: whatever a policy or the worker does, the answer blocks and nothing is raised."""

import os
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from weighbridge.core.decision import Outcome
from weighbridge.core.errors import BadSetting, CannotTell, OutOfBudget
from weighbridge.policy.engines import process, regorus
from weighbridge.policy.engines.regorus import RegorusEngine
from weighbridge.policy.lint import NOTHING, opened, refuse_open
from weighbridge.policy.settings import load_bundle, starter

QUERY = "data.weighbridge.own"
YES = "package weighbridge.own\n\nallow := true\n\ndeny := []\n"
LOOP = (
    "package weighbridge.own\n\nallow if {\n\tsome a in numbers.range(1, 4000)\n\tsome b in numbers.range(1, 4000)\n"
    "\tsome c in numbers.range(1, 4000)\n\t(a + b) + c == 0\n}\n"
)


@pytest.fixture(scope="module")
def engine():
    with RegorusEngine() as made:
        yield made


def ask(engine, text, question=None, query=QUERY, data=None):
    return engine.evaluate({"own.rego": text}, data or {}, question or {}, query)


def test_a_policy_that_allows_is_heard(engine):
    answer = ask(engine, YES)
    assert (answer.outcome, answer.engine, answer.problem) == (Outcome.PASS, "regorus/0.13.0", "")
    assert engine.digest == "regorus/0.13.0"


def test_the_digest_is_that_of_what_is_installed():
    assert f"regorus/{version('gordon-to-regorus')}" == regorus.DIGEST


def test_question_and_data_reach_the_policy(engine):
    text = (
        "package weighbridge.own\n\ndefault allow := false\n\nallow if input.a == data.settings.a\n\ndeny contains "
        '{"rule": "r", "msg": m} if m := input.message\n'
    )
    assert ask(engine, text, {"a": 1}, data={"settings": {"a": 1}}).outcome is Outcome.PASS
    assert ask(engine, text, {"a": 2}, data={"settings": {"a": 1}}).outcome is Outcome.FAIL
    assert ask(engine, text, {"a": 2, "message": "größer"}).denials == (("r", "größer"),)


def test_nothing_stays_behind_between_questions(engine):
    other = "package weighbridge.own\n\nleft := 1\n"
    ask(engine, other, {"a": 1}, data={"x": 1})
    text = "package weighbridge.own\n\nallow if not input.a\n\nallow if not data.x\n\ndeny := []\n"
    assert ask(engine, text).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("package weighbridge.own\nallow if {", "refused: own.rego:"),
        ("not rego at all", "refused: own.rego:"),
        ("", "refused: "),
        ("package weighbridge.own\n", "wrong shape"),
        ("package weighbridge.third_party\nallow := true\ndeny := []\n", "is undefined in this policy"),
        ("package weighbridge.own\nallow if input.never\ndeny := []\n", "allow is undefined"),
        ("package weighbridge.own\nallow := true\n", "deny is undefined"),
        ("package weighbridge.own\nallow := 1\ndeny := []\n", "allow is undefined or not a boolean"),
        ('package weighbridge.own\nallow := "true"\ndeny := []\n', "not a boolean"),
        ("package weighbridge.own\nallow := true\ndeny := [1]\n", "each deny is"),
        ("package weighbridge.own\nallow := true\ndeny := []\nhelper := 1\n", "unknown member helper"),
        (
            'package weighbridge.own\nallow := true\ndeny contains {"rule": "r", "msg": "m"}\n',
            "allows and denies",
        ),
        ("package weighbridge.own\nallow := true\nallow := false\ndeny := []\n", "refused: "),
        ("package weighbridge.own\nallow := true\ndeny := unknown.f(1)\n", "could not find function"),
        ("package weighbridge.own\nallow := true\ndeny contains 1 if count(5) > 0\n", "refused: "),
        ("package weighbridge.own\nallow := true\ndeny := [y | y := 1 / 0]\n", "refused: "),
    ],
)
def test_a_policy_that_gives_no_answer_blocks(engine, text, words):
    answer = ask(engine, text)
    assert answer.outcome is Outcome.CANNOT_TELL
    assert words in answer.problem
    assert "Stack backtrace" not in answer.problem
    assert ask(engine, YES).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "query",
    ["data.weighbridge.nothing", "data.weighbridge.own.deny[0]", "nonsense(", "", "true; true", "x = 1"],
)
def test_a_query_that_gives_no_answer_blocks(engine, query):
    assert ask(engine, YES, query=query).outcome is Outcome.CANNOT_TELL


def test_an_endless_policy_is_ended():
    with RegorusEngine(timeout_s=0.5) as engine:
        assert ask(engine, YES).outcome is Outcome.PASS
        answer = ask(engine, LOOP)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert answer.problem == "the policy engine gave no answer: no answer within 0.5 seconds"
        assert ask(engine, YES).outcome is Outcome.PASS


def test_the_kernel_ends_an_endless_policy_when_nobody_waits():
    """The worker limits its own processor time, so an abandoned one does not run for ever."""
    head = {
        "rules": "r",
        "modules": {"own.rego": LOOP},
        "data": {},
        "query": QUERY,
        "seconds": 0.1,
        "coverage": False,
    }
    payload = regorus._payload(head, b"{}")
    ended = subprocess.run(
        [sys.executable, "-I", "-B", str(process.WORKER), str(512 * 1024 * 1024)],
        input=process._frame(bytes(8), payload),
        capture_output=True,
        env=process.ENVIRONMENT,
        check=False,
    )
    assert ended.returncode == -signal.SIGXCPU
    assert ended.stdout == hello()


@pytest.mark.parametrize(
    "text",
    [
        "package weighbridge.own\n\nallow if count(numbers.range(1, 1000000000)) > 0\n\ndeny := []\n",
        (
            'package weighbridge.own\n\nallow if count([sprintf("%d-%d-aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", [a, b]) |'
            " some a in numbers.range(1, 3000); some b in numbers.range(1, 30000)]) > 0\n\ndeny := []\n"
        ),
    ],
    ids=["at once", "bit by bit"],
)
def test_a_policy_that_eats_memory_is_ended(text):
    with RegorusEngine(timeout_s=30, memory_bytes=192 * 1024 * 1024) as engine:
        answer = ask(engine, text)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert "no answer within" not in answer.problem
        assert ask(engine, YES).outcome is Outcome.PASS


def test_memory_is_bounded_and_questions_do_not_add_up():
    """The allocator must not reserve a gigabyte out of the bound, which would leave nothing after a few questions."""
    with RegorusEngine(memory_bytes=192 * 1024 * 1024) as engine:
        assert {ask(engine, YES).outcome for _ in range(60)} == {Outcome.PASS}


def test_an_answer_that_is_too_long_is_not_read():
    text = (
        'package weighbridge.own\n\nallow := concat("", [x | some a in numbers.range(1, 400000); x := "aaaaaaaaaaaaaaaa"])\n'
        "\ndeny := []\n"
    )
    with RegorusEngine(timeout_s=30) as engine:
        answer = ask(engine, text)
        assert answer.problem == "the policy engine gave no answer: the answer is longer than 4194304 bytes"
        assert ask(engine, YES).outcome is Outcome.PASS


def test_a_worker_that_was_killed_between_questions_is_replaced():
    with RegorusEngine() as engine:
        ask(engine, YES)
        first = engine._worker._process
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert ask(engine, YES).outcome is Outcome.PASS
        assert engine._worker._process is not first


def test_a_worker_that_was_killed_in_the_middle_gives_no_answer():
    with RegorusEngine(timeout_s=30) as engine:
        ask(engine, YES)
        pid = engine._worker.pid
        threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
        answer = ask(engine, LOOP)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert "killed by signal 9" in answer.problem
        assert ask(engine, YES).outcome is Outcome.PASS


def hello(version=regorus.VERSION):
    return process._frame(bytes(8), b'{"ready": "%s"}' % version.encode())


def fake(tmp_path, monkeypatch, body, *, begin=None):
    """Put another program in the worker's place; it begins as the worker does, unless told otherwise."""
    program = tmp_path / "worker.py"
    greeting = f"out.write({hello() if begin is None else begin!r}); out.flush()"
    program.write_text(
        f"import os, sys, time\nread = sys.stdin.buffer\nout = sys.stdout.buffer\n{greeting}\n{body}\n"
    )
    monkeypatch.setattr(process, "WORKER", program)
    monkeypatch.setattr(process, "START_SECONDS", 5.0)
    return RegorusEngine(timeout_s=0.5)


ANSWER = b'R{"result": [{"expressions": [{"value": {"allow": true, "deny": []}}]}]}'
TAKE = "read.read(int.from_bytes(read.read(4), 'big'));"


def frame(data, number=1):
    """Read the question, then answer it."""
    return (
        f"{TAKE} out.write({process._frame(number.to_bytes(8, 'big'), data)!r}); out.flush(); time.sleep(60)"
    )


def raw(data):
    return f"{TAKE} out.write({data!r}); out.flush(); time.sleep(60)"


ONE = (1).to_bytes(8, "big")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("raise RuntimeError('a panic')", "RuntimeError: a panic"),
        ("sys.stderr.write('x' * 10_000_000); raise SystemExit(4)", "exit status 4"),
        ("read.close(); os.close(0); out.flush(); time.sleep(0.3)", "the worker ended"),
        ("time.sleep(0.2); out.write(b'\\x00\\x00'); out.flush(); raise SystemExit(5)", "exit status 5"),
        (
            "time.sleep(0.2); out.write(b'\\xff' * 8); out.flush(); time.sleep(60)",
            "longer than 4194304 bytes",
        ),
        (raw(b"\x00\x00\x00\x03abc"), "has no number"),
        (raw(b"\x00\x00\x01\x00" + ONE + ANSWER), "no answer within 0.5 seconds"),
        (raw(process._frame(ONE, ANSWER) + b"more"), "longer"),
        (raw(process._frame(ONE, ANSWER) * 2), "longer"),
        (frame(ANSWER, 0), "answered another question"),
        (frame(ANSWER, 2), "answered another question"),
        (frame(ANSWER, 2**64 - 1), "answered another question"),
        (frame(ANSWER[:-1]), "Expecting"),
        (frame(ANSWER.replace(b'"deny"', b'"allow": false, "deny"')), "duplicate key"),
        (frame(b"\xff\xfe"), "no answer"),
        (frame(b"R" + b"[" * 100_000), "no answer"),
        (frame(b""), "another shape"),
        (frame(b"[]"), "another shape"),
        (frame(ANSWER[1:]), "another shape"),
        (frame(b"X" + ANSWER[1:]), "another shape"),
        (frame(b"C" + ANSWER[1:]), "another shape"),
        (frame(b"U"), "no answer within"),
        (frame(b"Pthread 'main' panicked"), "came to harm: thread 'main' panicked"),
        (frame(b"Eunsafe variable"), "refused: unsafe variable"),
        (frame(b"R"), "Expecting value"),
        (frame(b"R[]"), "another shape"),
        (frame(b"R3"), "another shape"),
        (frame(b"R{}"), "undefined"),
        (frame(b'R{"result": null}'), "undefined"),
        (frame(b'R{"result": []}'), "undefined"),
        (frame(b'R{"result": 3}'), "another shape"),
        (frame(b'R{"result": [{}]}'), "another shape"),
        (frame(b'R{"result": [{"expressions": []}]}'), "another shape"),
        (frame(b'R{"result": [{"expressions": [{"value": 1}, {"value": 2}]}]}'), "another shape"),
        (frame(ANSWER.replace(b"[{", b"[{}, {", 1)), "another shape"),
    ],
)
def test_a_worker_that_misbehaves_blocks(tmp_path, monkeypatch, body, words):
    with fake(tmp_path, monkeypatch, body) as engine:
        answer = ask(engine, YES)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert words in answer.problem
        assert len(answer.problem) < 3000


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (hello("0.12.0"), "this is regorus 0.12.0, not 0.13.0"),
        (hello(""), "this is regorus of no version"),
        (process._frame(bytes(8), b"{}"), "something else than its version"),
        (process._frame(bytes(8), b"no json"), "no answer"),
        (process._frame(ONE, ANSWER), "answered another question"),
        (hello() * 2, "longer"),
    ],
)
def test_a_worker_that_does_not_begin_well_is_not_asked(tmp_path, monkeypatch, begin, words):
    with fake(tmp_path, monkeypatch, frame(ANSWER), begin=begin) as engine:
        answer = ask(engine, YES)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert words in answer.problem


def test_an_answer_before_the_question_was_read_blocks(tmp_path, monkeypatch):
    body = f"time.sleep(0.2); out.write({process._frame(ONE, ANSWER)!r}); out.flush(); time.sleep(60)"
    with fake(tmp_path, monkeypatch, body) as engine:
        answer = ask(engine, YES, {"large": "x" * 3_000_000})
        assert "before it had read the question" in answer.problem


def test_the_fake_worker_would_be_believed(tmp_path, monkeypatch):
    """The attacks above fail for what they do, not because no fake could ever answer."""
    with fake(tmp_path, monkeypatch, frame(ANSWER)) as engine:
        assert ask(engine, YES).outcome is Outcome.PASS


def test_a_worker_that_does_not_read_blocks(tmp_path, monkeypatch):
    with fake(tmp_path, monkeypatch, "time.sleep(60)") as engine:
        answer = ask(engine, YES, {"large": "x" * 3_000_000})
        assert "no answer within 0.5 seconds" in answer.problem


def test_a_worker_that_does_not_come_up_blocks(tmp_path, monkeypatch):
    with fake(tmp_path, monkeypatch, "time.sleep(60)", begin=b"") as engine:
        monkeypatch.setattr(process, "START_SECONDS", 0.4)
        assert "no answer within 0.4 seconds" in ask(engine, YES).problem


@pytest.mark.parametrize("program", ["/nowhere/python", "", None])
def test_a_worker_that_cannot_be_started_blocks(monkeypatch, program):
    monkeypatch.setattr(process.sys, "executable", program)
    with RegorusEngine() as engine:
        answer = ask(engine, YES)
        assert answer.outcome is Outcome.CANNOT_TELL
        assert "gave no answer" in answer.problem


def test_an_interrupt_in_the_middle_leaves_no_frame_behind(monkeypatch):
    with RegorusEngine() as engine:
        ask(engine, YES)
        first = engine._worker

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(first, "exchange", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask(engine, YES)
        assert engine._worker is None
        assert first._process.returncode is not None
        assert ask(engine, YES).outcome is Outcome.PASS


def test_the_worker_inherits_nothing(monkeypatch):
    monkeypatch.setenv("WB_SECRET", "hidden")
    with RegorusEngine() as engine:
        ask(engine, YES)
        seen = Path(f"/proc/{engine._worker.pid}")
        assert b"hidden" not in (seen / "environ").read_bytes()
        assert (seen / "cwd").readlink() == Path("/")


def test_what_a_policy_prints_is_no_part_of_the_answer(engine):
    text = YES.replace("allow := true", 'allow if print("\\u0000\\u0000\\u0000\\u0002{}")')
    assert ask(engine, text).outcome is Outcome.PASS


@pytest.mark.parametrize("question", [{"x": float("nan")}, {"x": object()}, {"x": b"bytes"}])
def test_a_question_that_is_no_json_blocks(engine, question):
    assert ask(engine, YES, question).outcome is Outcome.CANNOT_TELL


def test_a_question_that_is_too_large_blocks(engine, monkeypatch):
    monkeypatch.setattr(regorus, "MAX_QUESTION", 1000)
    with pytest.raises(OutOfBudget):
        engine.query({"own.rego": YES}, {}, {"x": "y" * 1000}, QUERY)
    assert ask(engine, YES, {"x": "y" * 1000}).outcome is Outcome.CANNOT_TELL


def test_deeply_nested_questions_block_or_pass_but_do_not_crash(engine):
    nested = {}
    for _ in range(5000):
        nested = {"x": nested}
    assert ask(engine, YES, nested).outcome in (Outcome.CANNOT_TELL, Outcome.PASS)
    assert ask(engine, YES).outcome is Outcome.PASS


def test_threads_share_one_engine(engine):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(ask(engine, YES).outcome)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Outcome.PASS] * 8


def test_a_closed_engine_starts_again():
    engine = RegorusEngine()
    assert ask(engine, YES).outcome is Outcome.PASS
    first = engine._worker._process
    engine.close()
    engine.close()
    assert first.returncode is not None
    assert ask(engine, YES).outcome is Outcome.PASS
    engine.close()


def test_a_raw_query_gives_any_value_or_raises(engine):
    assert engine.query({"a.rego": "package a\n\nx := [1, {2}]\n"}, {}, {}, "data.a.x") == [1, [2]]
    with pytest.raises(CannotTell, match=r"data\.a\.y is undefined"):
        engine.query({"a.rego": "package a\n"}, {}, {}, "data.a.y")


# A policy that lets nothing pass as evidence.


def bundle(text):
    return load_bundle({"own.rego": text.encode()})


OPEN = {
    "always": YES,
    "no denial is enough": (
        "package weighbridge.own\n\ndefault allow := false\n\nallow if count(deny) == 0\n\n"
        'deny contains {"rule": "r", "msg": "m"} if input.evidence.scan.verdict == "dangerous"\n'
    ),
    "every claim is good": (
        "package weighbridge.own\n\ndefault allow := false\n\nallow if {\n\tevery c in input.evidence.claims "
        '{\n\t\tc.outcome == "pass"\n\t}\n}\n\ndeny := []\n'
    ),
}


@pytest.mark.parametrize("text", OPEN.values(), ids=OPEN)
def test_an_open_policy_is_refused(engine, text):
    read = bundle(text)
    with pytest.raises(BadSetting, match="let anything pass"):
        refuse_open(read.modules, read.data, engine)
    answer = engine.answer(read, "own", {"evidence": {"anything": True}})
    assert answer.outcome is Outcome.CANNOT_TELL
    assert "this policy would let anything pass: data.weighbridge.own allows" in answer.problem
    assert answer.policy == str(read.digest)


def test_the_starter_policy_is_closed(engine):
    read = load_bundle(starter())
    refuse_open(read.modules, read.data, engine)
    for package in ("own", "third_party", "legacy"):
        assert opened(read.modules, read.data, engine, packages=(package,)) == ""
        for question in NOTHING.values():
            answer = engine.answer(read, package, question)
            assert answer.outcome is not Outcome.PASS
            assert answer.policy == str(read.digest)
