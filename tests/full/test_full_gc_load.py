"""Garbage collection under load: real processes take models in, are killed and collect, all at once, on one registry."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from weighbridge.registry import fsck
from weighbridge.registry.gc import References, collect
from world_bucket_gc import ENDED, late_requests_do_nothing, quicken
from world_house import World
from world_s3 import Proxy, bucket, environment, moto

pytestmark = pytest.mark.full

WORKER = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from weighbridge.config import read_config
    from weighbridge.core.errors import WeighbridgeError
    from weighbridge.registry import intake
    from weighbridge.registry.gc import collect
    from weighbridge.registry.wiring import SystemClock, SystemEntropy, open_registry
    from world_bucket_gc import quicken
    from world_house import Hand, safetensors

    what, number, folder, environ = sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]), json.loads(sys.argv[5])
    quicken()
    config = read_config(environ, {"registry": environ["WEIGHBRIDGE_HOME"], "lock_seconds": 60})
    registry = open_registry(config, clock=Hand(), entropy=SystemEntropy())
    for turn in range(1000):
        if what == "gc":
            collect(registry, grace_hours=number)
            print("collected", flush=True)
            time.sleep(1.5)
            continue
        model = folder / f"model-{number}-{turn}"
        model.mkdir(parents=True)
        (model / "shared.json").write_text(json.dumps({"turn": turn % 3}))
        (model / "model.safetensors").write_bytes(safetensors({"w": [float(number), float(turn % 5)]}))
        try:
            digest = intake.take_folder(registry, model).digest
        except WeighbridgeError as error:
            print("refused", error.problem, flush=True)
        else:
            print("kept", digest, flush=True)
    """
)


@pytest.fixture(params=["folder", "bucket"])
def blobs(request, monkeypatch):
    """Where blobs are: in the registry's folder, or in a bucket whose store refuses requests that come after their time."""
    if request.param == "folder":
        yield ""
        return
    with moto() as address, Proxy(address) as proxy:
        bucket(address, "load")
        proxy.fault = late_requests_do_nothing
        for name, value in environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        quicken(monkeypatch)
        yield "s3://load/blobs"


def test_nothing_recorded_is_lost_while_processes_collect_and_die(tmp_path, blobs):
    world = World(tmp_path, settings={"blobs": blobs} if blobs else {})
    world.registry.close()
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environ = {**world.environ, "WEIGHBRIDGE_HOME": str(tmp_path / "registry"), "WEIGHBRIDGE_BLOBS": blobs}
    draw, processes, outputs, kinds = random.Random(7), [], [], []

    def start(what, number):
        output = (tmp_path / f"out-{len(outputs)}").open("w+")
        command = [sys.executable, str(script), str(Path(__file__).parents[1]), what, str(number)]
        command += [str(tmp_path / f"work-{len(outputs)}"), json.dumps(environ)]
        processes.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        outputs.append(output)
        kinds.append((what, number if what == "gc" else len(outputs)))

    def told(output):
        return os.fstat(output.fileno()).st_size > 0

    for number in range(2):
        start("intake", number)
    # In a folder no grace at all: whoever is under way is disturbed, and nothing recorded is lost. In a bucket what was
    # collected cannot be taken in for some seconds, and with none at all nobody would get anywhere.
    start("gc", 2 / 3600 if blobs else 0)
    try:
        for _ in range(8):
            enough = time.monotonic() + 60
            while time.monotonic() < enough and not all(told(output) for output in outputs[-3:]):
                time.sleep(0.2)
            victim = draw.choice(
                [number for number, process in enumerate(processes) if process.poll() is None]
            )
            processes[victim].send_signal(signal.SIGKILL)
            processes[victim].wait()
            start(*kinds[victim])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = []
    for output in outputs:
        output.seek(0)
        said += output.read().splitlines()
        output.close()
    assert len([line for line in said if line.startswith("kept")]) > 3, said[-20:]
    assert len([line for line in said if line.startswith("collected")]) > 3, said[-20:]
    assert not [line for line in said if "Traceback" in line], said
    registry = world.reopen()
    assert fsck.blobs(registry) == []
    assert fsck.log(registry) == []
    for _ in range(2):
        collect(registry, grace_hours=0)
        if blobs:
            time.sleep(ENDED)
    with registry.records.read() as connection:
        referenced = set(References().read(connection))
    assert set(registry.blobs.digests()) == referenced
    assert blobs or not registry.blobs.aside.aside()
    assert fsck.blobs(registry) == []
    registry.close()
