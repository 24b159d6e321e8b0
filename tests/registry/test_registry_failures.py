"""Full disks, readers beside writers, two writers at once: what was begun is finished or was never there."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from weighbridge.core.errors import CannotTell, Unreadable
from weighbridge.registry import deployments, models
from weighbridge.registry.pins import advance, move_pin, read_pin, write_pin
from world import World

SCRIPT = """
    import resource, signal, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from world_house import Hand
    from weighbridge.config import read_config
    from weighbridge.core.digest import Digest
    from weighbridge.core.errors import WeighbridgeError
    from weighbridge.gate.promote import admit, promote
    from weighbridge.gate.revoke import revoke
    from weighbridge.keys.files import load
    from weighbridge.registry import bundles, deployments, intake, models
    from weighbridge.registry.wiring import open_registry

    environ = {{"WEIGHBRIDGE_CONFIG_HOME": {home!r}, "HOME": {home!r}, "USER": "tester"}}
    config = read_config(environ, {{"registry": {root!r}, "lock_seconds": 60}})
    hand = Hand(drawn={drawn})
    registry = open_registry(config, clock=hand, entropy=hand)
    digest = Digest.parse({digest!r})
    try:
        {body}
    except WeighbridgeError as error:
        print(f"refused: {{error.problem}}", flush=True)
"""


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def beside(world, folder, body, drawn=5000):
    """Run a few lines in another process, on the same registry."""
    script = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).resolve().parents[1]),
        home=str(world.home),
        root=str(world.registry.layout.root),
        digest=str(world.manifest(folder).digest),
        body=textwrap.indent(textwrap.dedent(body).strip(), " " * 4).strip(),
        drawn=drawn,
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    output, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return output


@pytest.mark.parametrize("limit", [0, 100, 1_000, 8_000, 20_000, 60_000, 150_000, 300_000, 600_000])
def test_a_disk_that_fills_up_leaves_a_registry_that_goes_on(world, limit):
    folder = world.ready()
    world.registry.close()  # so that the write-ahead log is written anew, from its first byte
    world.reopen()
    output = ended(
        beside(
            world,
            folder,
            f"""
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
            print(promote(registry, digest, name="encoder").decision.allow)
            """,
        )
    )
    assert "refused: " in output or "True" in output
    world.reopen()
    with world.registry.writing():
        pass
    world.registry.log.verify_all()
    assert world.promote(folder, name="encoder").decision.allow
    assert world.admit(folder, target="prod/chat").decision.allow
    assert models.resolve(world.registry, "encoder") == world.manifest(folder).digest


def test_a_reader_beside_a_writer_sees_before_or_after_and_never_a_contradiction(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    writer = beside(
        world,
        folder,
        """
        for number in range(12):
            hand.pass_(seconds=1)
            admit(registry, digest, target=f"prod/{number}")
        """,
    )
    seen = [0]
    while writer.poll() is None:
        seen.append(len(deployments.running(world.registry)))
    assert ended(writer) == ""
    assert seen == sorted(seen)
    assert len(deployments.running(world.registry)) == 12


def test_promoting_and_revoking_at_once_end_in_revoked(world):
    folder = world.ready()
    owner = str(world.home / "roots" / world.registry.id / "owner.pem")
    promoting = beside(world, folder, "for _ in range(3): promote(registry, digest)", drawn=6000)
    revoking = beside(
        world,
        folder,
        f"revoke(registry, digest, reason='poisoned', signer=load(Path({owner!r})))",
        drawn=7000,
    )
    ended(promoting), ended(revoking)
    world.reopen()
    assert world.kept(folder).status.value == "revoked"
    assert not world.admit(folder).decision.allow
    world.registry.log.verify_all()


def test_a_model_of_hundreds_of_files_goes_the_whole_way(world):
    world.team()
    folder, dataset = world.model("many"), world.dataset()
    for number in range(500):
        (folder / f"part-{number:05}.json").write_text(f'{{"number": {number}}}')
    people = world.people
    world.say_data(dataset, people["data-team"])
    world.say_train(folder, people["train-team"], data=[dataset])
    world.say_evaluate(folder, people["evaluate-team"])
    world.say_package(folder, people["package-team"])
    world.take(folder)
    result = world.promote(folder)
    assert result.decision.allow
    assert len(list(result.path.iterdir())) == 503


def test_a_folder_that_cannot_be_written_can_be_read(world, monkeypatch):
    folder = world.ready()
    assert world.promote(folder, name="encoder").decision.allow
    assert world.admit(folder, target="prod/chat").decision.allow
    world.registry.close()
    before = sorted(path.name for path in world.registry.layout.root.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        world.reopen()
    assert [d.target for d in deployments.running(world.registry)] == ["prod/chat"]
    assert models.resolve(world.registry, "encoder") == world.manifest(folder).digest
    assert sorted(path.name for path in world.registry.layout.root.iterdir()) == before
    with pytest.raises(CannotTell, match="no decision could be recorded") as caught:
        world.admit(folder)
    assert "cannot be used" in caught.value.cause


def test_a_lock_that_cannot_be_taken_says_so(world):
    folder = world.ready()
    world.registry.layout.lock.unlink()
    world.registry.layout.lock.mkdir()
    with pytest.raises(Unreadable, match="cannot be written"):
        world.promote(folder)


def test_a_pin_never_goes_back_to_a_shorter_log(world):
    older = read_pin(world.home, world.registry.id)
    world.ready()
    newer = read_pin(world.home, world.registry.id)
    assert advance(newer, authority_version=9, checkpoint=older.checkpoint).checkpoint == newer.checkpoint
    assert advance(older, authority_version=9, checkpoint=newer.checkpoint).checkpoint == newer.checkpoint


def test_of_two_who_move_a_pin_at_once_none_moves_it_back(world):
    home, registry = world.home, world.registry.id
    older = read_pin(home, registry)
    world.ready()
    newer = read_pin(home, registry)
    write_pin(home, replace(older, checkpoint=""))
    asked = []

    def move(pin):
        asked.append(pin)
        if len(asked) == 1:  # the other one comes first
            write_pin(home, newer)
        return advance(pin, authority_version=newer.authority_version, checkpoint=older.checkpoint)

    assert move_pin(home, registry, move, seconds=1) == newer == read_pin(home, registry)
