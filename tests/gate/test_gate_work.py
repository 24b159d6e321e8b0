"""Jobs: done once, by one worker, gone on with after a kill; what cannot be done says why and holds up nothing."""

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from types import MappingProxyType

import pytest

from weighbridge.core.clock import parse_rfc3339
from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    Locked,
    NotFound,
    OutOfBudget,
    Refused,
    Unreachable,
    UsageError,
    WeighbridgeError,
)
from weighbridge.gate import work
from weighbridge.registry import jobs, models
from world_house import World, safetensors
from world_hub import Hub

FILES = MappingProxyType({
    "model.safetensors": safetensors({"weight": [1.0, 2.0]}),
    "config.json": b'{"model_type": "bert"}',
    "README.md": b"---\nlicense: apache-2.0\n---\nA model.\n",
})  # fmt: skip


@pytest.fixture
def hub():
    with Hub() as running:
        yield running


@pytest.fixture
def world(tmp_path, hub):
    made = World(tmp_path, settings={"hub_endpoint": hub.endpoint})
    yield made
    made.registry.close()


def submit(world, kind="intake", key="one", **subject):
    return work.submit(world.registry, kind, subject, key=key)


def doing(monkeypatch, **kinds):
    """Let jobs of these kinds do what the functions given do."""
    module = sys.modules[__name__]
    for name, function in kinds.items():
        monkeypatch.setattr(module, f"_{name}", function, raising=False)
    table = {name: f"{__name__}:_{name}" for name in kinds}
    monkeypatch.setattr(work, "KINDS", table)
    monkeypatch.setitem(sys.modules, __name__, module)


def test_an_intake_takes_in_asks_the_gate_and_says_what_came_of_it(world, hub):
    commit = hub.add_repo("org/name", FILES, lfs=["model.safetensors"])
    job = submit(world, reference=f"hf://org/name@{commit}")
    assert (job.state, job.tries) == ("queued", 0)
    done = work.run_next(world.registry)
    assert done.state == "done", done.result
    assert done.result["answer"] == "block"  # a stranger's model that nobody accepted
    assert done.result["against"]
    kept = models.every(world.registry)
    assert [str(model.digest) for model in kept] == [done.result["model"]]
    assert work.run_next(world.registry) is None


def test_who_asked_is_who_acts(world, hub):
    hub.add_repo("org/name", FILES)
    asking = work.access.acting(world.registry, "ana@example.org", "lab")
    work.submit(asking, "intake", {"reference": "hf://org/name"}, key="x")
    assert work.run_next(world.registry) is None  # another project's
    done = work.run_next(world.registry, everywhere=True)
    assert (done.state, done.project) == ("done", "lab")
    with world.registry.records.read() as connection:
        kept = connection.exec_driver_sql("SELECT project, actor FROM model").fetchall()
        said = connection.exec_driver_sql("SELECT DISTINCT project, actor FROM decision").fetchall()
    assert [tuple(row) for row in (*kept, *said)] == [("lab", "ana@example.org")] * 2
    assert world.registry.project == "default"


def test_the_same_that_is_asked_for_twice_is_one_job_until_it_is_done(world, hub):
    hub.add_repo("org/name", FILES)
    first = submit(world, reference="hf://org/name")
    assert submit(world, reference="hf://org/name").id == first.id
    assert submit(world, key="two", reference="hf://org/name").id != first.id
    work.run_all(world.registry)
    again = submit(world, reference="hf://org/name")
    assert again.id != first.id
    assert (
        work.run_next(world.registry).result["model"] == jobs.find(world.registry, first.id).result["model"]
    )
    assert len(models.every(world.registry)) == 1


def test_no_more_waits_than_may(world, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_WAITING", 2)
    first = jobs.submit(world.registry, "reevaluate", {}, key="1")
    jobs.submit(world.registry, "reevaluate", {}, key="2")
    with pytest.raises(OutOfBudget) as caught:
        jobs.submit(world.registry, "reevaluate", {}, key="3")
    assert caught.value.check == "job.waiting"
    assert jobs.submit(world.registry, "reevaluate", {}, key="1").id == first.id


def test_what_cannot_be_done_says_why_and_with_what_remedy(world):
    submit(world, reference="/etc")
    done = work.run_next(world.registry)
    assert (done.state, done.result["check"]) == ("failed", "job.reference")
    assert done.result["problem"]
    assert "weighbridge intake" in done.result["remedy"]


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "./x", "~/x", "file:///etc", "some-name", "wb1:" + "0" * 64, "", 7, None]
)
def test_a_job_takes_in_nothing_of_this_machine(world, text):
    submit(world, reference=text)
    done = work.run_next(world.registry)
    assert done.state == "failed", done
    assert models.every(world.registry) == []


def test_a_kind_that_nobody_knows_is_not_taken_on(world):
    with pytest.raises(UsageError):
        submit(world, kind="mining")


def test_a_source_that_does_not_answer_is_tried_again_later_and_not_for_ever(world, monkeypatch):
    def away(*_):
        raise Unreachable("nobody answers", cause="the line is cut", remedy="look at the line")

    doing(monkeypatch, fetch=away)
    submit(world, "fetch")
    waits = []
    for number in range(1, jobs.TRIES):
        job = work.run_next(world.registry)
        assert (job.state, job.tries, job.result["remedy"]) == ("queued", number, "look at the line")
        assert work.run_next(world.registry) is None, "not yet"
        waits.append(job.held_until)
        world.hand.pass_(minutes=10)
    assert len(set(waits)) == len(waits)
    assert work.run_next(world.registry).state == "failed"
    world.hand.pass_(days=1)
    assert work.run_next(world.registry) is None


@pytest.mark.parametrize("poison", [MemoryError("it wants everything"), SystemExit(3), RecursionError()])
def test_a_poisoned_job_holds_up_no_other(world, monkeypatch, poison):
    def poisoned(*_):
        raise poison

    def plain(_registry, subject, _report):
        return {"said": subject["word"]}

    doing(monkeypatch, poisoned=poisoned, plain=plain)
    bad = submit(world, "poisoned")
    good = [submit(world, "plain", key=str(number), word=number) for number in range(3)]
    assert work.run_all(world.registry) == 4
    found = jobs.find(world.registry, bad.id)
    assert (found.state, found.result["check"]) == ("failed", "job.failed")
    assert [jobs.find(world.registry, job.id).result["said"] for job in good] == [0, 1, 2]


def test_what_kills_whoever_works_on_it_is_given_up(world, monkeypatch):
    doing(monkeypatch, plain=lambda *_: {"fine": True})
    killer, good = submit(world, "plain", key="killer"), submit(world, "plain", key="good")
    for _ in range(jobs.TRIES):
        assert (
            jobs.claim(world.registry, holder="w", identity=killer.id) is not None
        )  # and the worker is gone
        world.hand.pass_(minutes=5)
    assert work.run_next(world.registry).id == good.id
    found = jobs.find(world.registry, killer.id)
    assert (found.state, found.result["check"]) == ("failed", "job.tries")
    assert "--again" in found.result["remedy"]
    assert jobs.retry(world.registry, killer.id).state == "queued"
    assert work.run_next(world.registry).state == "done"


def test_that_somebody_else_writes_is_no_try(world, monkeypatch):
    def busy(*_):
        raise Locked("another process is writing", remedy="wait")

    doing(monkeypatch, busy=busy)
    submit(world, "busy")
    for _ in range(2 * jobs.TRIES):
        job = work.run_next(world.registry)
        assert (job.state, job.tries) == ("queued", 0)
        world.hand.pass_(minutes=10)


def test_a_job_that_waits_for_its_next_try_holds_up_none_behind_it(world, monkeypatch):
    def away(*_):
        raise Unreachable("nobody answers")

    doing(monkeypatch, away=away, plain=lambda *_: {})
    for number in range(jobs.MOST_LOOKED + 5):
        submit(world, "away", key=str(number))
    last = submit(world, "plain")
    assert work.run_all(world.registry) == jobs.MOST_LOOKED + 6
    assert jobs.find(world.registry, last.id).state == "done"


def test_a_secret_in_a_failure_is_struck_out(world, monkeypatch):
    def leaks(*_):
        raise Refused("the hub said no to hf_abcdefghijklmnop", cause="https://user:secret@hub/", remedy="x")

    doing(monkeypatch, leaks=leaks)
    submit(world, "leaks")
    text = str(work.run_next(world.registry).result)
    assert "hf_abc" not in text
    assert "secret" not in text


def test_somebody_who_was_held_up_too_long_changes_nothing_any_more(world, monkeypatch):
    doing(monkeypatch, plain=lambda *_: {"by": "second"})
    job = submit(world, "plain")
    late = jobs.claim(world.registry, holder="first")
    world.hand.pass_(minutes=2)
    assert work.run_next(world.registry, holder="second").result == {"by": "second"}
    for act in (
        lambda: jobs.renew(world.registry, late),
        lambda: jobs.progress(world.registry, late, 1, 2, "half"),
        lambda: jobs.finish(world.registry, late, {"by": "first"}),
        lambda: jobs.fail(world.registry, late, {"problem": "no"}),
        lambda: jobs.put_back(world.registry, late, {"problem": "later"}),
        lambda: jobs.release(world.registry, late),
    ):
        assert act() is False
    assert jobs.find(world.registry, job.id).result == {"by": "second"}


def test_the_same_worker_that_took_a_job_twice_ends_it_once(world):
    job = submit(world, reference="hf://a/b")
    first = jobs.claim(world.registry, holder="same")
    world.hand.pass_(minutes=2)
    second = jobs.claim(world.registry, holder="same")
    assert not jobs.finish(world.registry, first, {"n": 1})
    assert jobs.finish(world.registry, second, {"n": 2})
    assert jobs.find(world.registry, job.id).result == {"n": 2}


def test_a_clock_that_was_put_back_holds_no_job_up(world, monkeypatch):
    doing(monkeypatch, plain=lambda *_: {})
    job = submit(world, "plain")
    world.hand.pass_(days=30)
    jobs.claim(world.registry, holder="gone")
    world.hand.pass_(days=-30)
    assert work.run_next(world.registry).id == job.id


def test_a_lease_is_moved_on_beside_work_that_is_slow(world, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        assert go_on.wait(30)
        return {"fine": True}

    doing(monkeypatch, slow=slow)
    job = submit(world, "slow")
    lease = timedelta(seconds=2)
    thread = threading.Thread(target=work.run_next, args=(world.registry,), kwargs={"lease": lease})
    thread.start()
    assert begun.wait(30)
    before = jobs.find(world.registry, job.id).held_until
    world.hand.pass_(seconds=60)  # the lease as it was has ended
    while jobs.find(world.registry, job.id).held_until == before:
        threading.Event().wait(0.05)
    assert jobs.claim(world.registry, holder="other") is None
    go_on.set()
    thread.join()
    assert jobs.find(world.registry, job.id).state == "done"


def test_workers_that_look_at_once_never_have_the_same_job(world, tmp_path, monkeypatch):
    ran, lock = [], threading.Lock()

    def counted(_registry, subject, _report):
        with lock:
            ran.append(subject["n"])
        return {}

    doing(monkeypatch, counted=counted)
    for number in range(24):
        submit(world, "counted", key=str(number), n=number)
    start, fell = threading.Barrier(6), []

    def worker(number):
        mine = work.access.acting(world.registry, f"w{number}")
        start.wait()
        try:
            while work.run_next(mine, holder=f"w{number}") is not None:
                pass
        except WeighbridgeError as error:
            fell.append(error)

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fell == []
    assert sorted(ran) == list(range(24))
    assert {job.state for job in jobs.every(world.registry)} == {"done"}


def test_who_is_told_to_stop_leaves_the_job_to_the_next(world, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    doing(monkeypatch, stopped=stopped)
    job = submit(world, "stopped")
    with pytest.raises(KeyboardInterrupt):
        work.run_next(world.registry)
    found = jobs.find(world.registry, job.id)
    assert (found.state, found.tries, found.held_until) == ("queued", 0, "")


def test_a_job_of_another_project_is_not_shown(world):
    job = submit(world, reference="hf://a/b")
    other = work.access.acting(world.registry, "x", "other")
    with pytest.raises(NotFound):
        jobs.find(other, job.id)
    assert jobs.every(other) == []


def test_a_scan_and_a_round_of_re_evaluation_are_work_as_well(world):
    folder = world.ready("encoder")
    assert world.promote(folder).decision.allow
    submit(world, "scan", model=str(world.manifest(folder).digest))
    submit(world, "reevaluate", every=True)
    first, second = work.run_next(world.registry), work.run_next(world.registry)
    assert (first.state, first.result["verdict"]) == ("done", "clean")
    assert (second.state, second.result["counts"]["passes"]) == ("done", 1)


def test_an_intake_that_is_killed_in_the_middle_is_finished_by_another_once(world, hub):
    data = {f"part-{number}.bin": os.urandom(100_000) for number in range(4)}
    parts = {name: Digest.of(content) for name, content in data.items()}
    commit = hub.add_repo("org/name", {**FILES, **data}, lfs=list(data))
    reached, go_on, served = threading.Event(), threading.Event(), []

    def hold(method, path):
        if method == "GET" and path.endswith(tuple(data)):
            served.append(path.rpartition("/")[2])
            if len(served) > 2:
                reached.set()
                go_on.wait(60)

    hub.before.append(hold)
    job = submit(world, reference=f"hf://org/name@{commit}")
    world.registry.close()
    command = [sys.executable, "-m", "weighbridge", "job", "run", "--lease", "2"]
    environ = {**os.environ, **world.environ, "WEIGHBRIDGE_HOME": str(world.registry.layout.root),
               "HF_ENDPOINT": hub.endpoint, "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as worker:
        assert reached.wait(60), worker.communicate()
        while not any(map(world.registry.blobs.has, parts.values())):
            assert worker.poll() is None, worker.communicate()
            threading.Event().wait(0.05)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    go_on.set()
    world.reopen()
    cut = jobs.find(world.registry, job.id)
    assert (cut.state, cut.tries) == ("running", 1)
    assert models.every(world.registry) == []
    before, kept = len(served), {name for name, digest in parts.items() if world.registry.blobs.has(digest)}
    assert kept
    world.hand.at = max(world.hand.at, parse_rfc3339(cut.held_until))
    done = work.run_next(world.registry)
    assert (done.state, done.tries) == ("done", 2), done
    assert [str(model.digest) for model in models.every(world.registry)] == [done.result["model"]]
    assert kept.isdisjoint(served[before:]), "what had come was not fetched again"
    assert work.run_next(world.registry) is None
