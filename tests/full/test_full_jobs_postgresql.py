"""Jobs on a real PostgreSQL: told of by procrastinate, done once by a fleet, taken over from a worker that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from weighbridge.core.clock import parse_rfc3339
from weighbridge.gate import work
from weighbridge.registry import access, job_queue, jobs, models, project_settings, snapshots, tokens
from weighbridge.registry.access import Right
from world_house import World, safetensors
from world_hub import Hub
from world_postgresql import fresh, server

pytestmark = pytest.mark.full

FILES = {"model.safetensors": safetensors({"weight": [1.0, 2.0]}), "config.json": b'{"model_type": "bert"}'}


@pytest.fixture(scope="module")
def url():
    with server() as found:
        yield found


@pytest.fixture
def hub():
    with Hub() as running:
        yield running


@pytest.fixture
def world(url, hub, tmp_path):
    settings = {"records": fresh(url), "blobs": str(tmp_path / "blobs"), "hub_endpoint": hub.endpoint}
    made = World(tmp_path, settings=settings)
    yield made
    made.registry.close()


def command(world, *words):
    environ = {
        **os.environ, **world.environ, "WEIGHBRIDGE_HOME": str(world.registry.layout.root),
        "WEIGHBRIDGE_RECORDS": world.settings["records"], "WEIGHBRIDGE_BLOBS": world.settings["blobs"],
        "HF_ENDPOINT": world.settings["hub_endpoint"], "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "job", "run", *words],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def messages(world):
    with world.registry.records.read() as connection:
        query = "SELECT task_name, args, status::text FROM procrastinate_jobs ORDER BY id"
        return [tuple(row) for row in connection.execute(sa.text(query))]


def until(met):
    for _ in range(1200):
        if met():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come to that within a minute")


def test_a_message_carries_the_id_of_the_job_and_nothing_else(world):
    job = work.submit(world.registry, "intake", {"reference": "hf://org/name"}, key="one")
    assert work.submit(world.registry, "intake", {"reference": "hf://org/name"}, key="one").id == job.id
    assert messages(world) == [(job_queue.TASK, {"job": job.id}, "todo")]


def test_a_fleet_is_told_and_does_each_job_once(world, hub):
    for number in range(6):
        files = {**FILES, "model.safetensors": safetensors({"weight": [float(number), 2.0]})}
        hub.add_repo(f"org/name-{number}", files)
    workers = [command(world, "--keep-on") for _ in range(3)]
    try:
        for number in range(6):
            work.submit(world.registry, "intake", {"reference": f"hf://org/name-{number}"}, key=str(number))
        until(lambda: all(job.finished for job in jobs.every(world.registry)))
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        said = [worker.communicate(timeout=60)[0] for worker in workers]
    found = jobs.every(world.registry)
    assert [(job.state, job.tries) for job in found] == [("done", 1)] * 6, (found, said)
    assert len(models.every(world.registry)) == 6
    assert [worker.returncode for worker in workers] == [0, 0, 0], said
    until(lambda: messages(world) == [])


def test_an_intake_whose_worker_is_killed_is_finished_by_another_once(world, hub):
    hub.add_repo("org/name", FILES)
    reached, go_on = threading.Event(), threading.Event()

    def hold(method, path):
        if method == "GET" and path.endswith("model.safetensors"):
            reached.set()
            go_on.wait(60)

    hub.before.append(hold)
    job = work.submit(world.registry, "intake", {"reference": "hf://org/name"}, key="one")
    with command(world, "--lease", "2") as worker:
        assert reached.wait(60)
        worker.kill()
        worker.wait()
    go_on.set()
    cut = jobs.find(world.registry, job.id)
    assert (cut.state, cut.tries) == ("running", 1)
    world.hand.at = max(world.hand.at, parse_rfc3339(cut.held_until))
    done = work.run_next(world.registry)
    assert (done.state, done.tries) == ("done", 2), done
    assert len(models.every(world.registry)) == 1
    assert work.run_next(world.registry) is None


def test_workers_that_look_at_once_never_have_the_same_job(world, monkeypatch):
    ran, lock, start = [], threading.Lock(), threading.Barrier(6)

    def counted(_registry, subject, _report):
        with lock:
            ran.append(subject["n"])
        return {}

    monkeypatch.setattr(sys.modules[__name__], "_counted", counted, raising=False)
    monkeypatch.setattr(work, "KINDS", {"counted": f"{__name__}:_counted"})
    for number in range(24):
        work.submit(world.registry, "counted", {"n": number}, key=str(number))

    def worker(number):
        mine = access.acting(world.registry, f"w{number}")
        start.wait()
        while work.run_next(mine, holder=f"w{number}") is not None:
            pass

    threads = [threading.Thread(target=worker, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == list(range(24))


def test_tokens_settings_and_snapshots_are_the_same_there(world):
    owner = world.secret("owner")
    expires = world.hand.now() + timedelta(days=1)
    token, secret = tokens.grant(
        world.registry, "ci", [Right.SUBMIT], expires=expires, reason="the build", signer=owner
    )
    assert access.identify(world.registry, f"Bearer {secret}").may(Right.SUBMIT, "default")
    project_settings.change(world.registry, "anonymous-read", "on", reason="a lab", signer=owner)
    assert access.identify(world.registry, "").may(Right.READ, "default")
    world.hand.pass_(seconds=1)
    assert tokens.end(world.registry, token.id, reason="gone", signer=owner).ended_at
    assert world.promote(world.ready("first"), name="encoder").decision.allow
    data = snapshots.issue(world.registry)
    said = snapshots.verify(data, authority=world.registry.authority, project="default", now=world.hand.now())
    assert list(said.names) == ["encoder"]
