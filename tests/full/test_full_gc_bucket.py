"""Garbage collection of a registry whose bytes are in a bucket, against a real server of S3's protocol."""

import json
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from weighbridge.cli.demo_models import write_checkpoint
from weighbridge.cli.main import run
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import Refused, Unreachable
from weighbridge.registry import dropping, fsck, intake
from weighbridge.registry.gc import collect
from weighbridge.registry.rebuilding import convert_kept, scan_kept
from weighbridge.source.local import open_folder
from weighbridge.source.read import read_tree
from weighbridge.store import removal, schema
from world_bucket_gc import late_requests_do_nothing
from world_house import World
from world_s3 import Proxy, bucket, environment, moto

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server():
    with moto() as address:
        bucket(address, "registry")
        yield address


@pytest.fixture
def proxy(server):
    with Proxy(server) as made:
        made.fault = late_requests_do_nothing
        yield made


@pytest.fixture
def world(proxy, tmp_path, monkeypatch, request):
    for name, value in environment(proxy.address).items():
        monkeypatch.setenv(name, value)
    prefix = re.sub(r"\W", "-", request.node.name)
    made = World(tmp_path, settings={"blobs": f"s3://registry/{prefix}"})
    yield made
    made.registry.close()


def pass_time(world):
    """Let what was asked for be over: the same as waiting for some minutes."""
    past = rfc3339(datetime.now(UTC) - timedelta(hours=1))
    with world.registry.records.write() as connection:
        connection.execute(sa.update(schema.removal).values(until=past))


def going(world):
    with world.registry.records.read() as connection:
        return set(connection.execute(sa.select(schema.removal.c.digest)).scalars())


def test_all_that_is_referred_to_stays_and_the_rest_goes(world):
    folder = world.ready("encoder")
    world.promote(folder)
    abandoned = world.registry.blobs.put([b"left by an intake that was killed"])
    large = world.registry.blobs.put([bytes(9 * 1024 * 1024)])
    before = set(world.registry.blobs.digests())
    dry = collect(world.registry, grace_hours=0, dry=True)
    assert set(dry.removed) == {abandoned, large}
    assert collect(world.registry, grace_hours=1).young == 2
    assert set(world.registry.blobs.digests()) == before
    found = collect(world.registry, grace_hours=0)
    assert set(found.removed) == {abandoned, large}
    assert found.freed == 33 + 9 * 1024 * 1024
    assert not found.left
    assert set(world.registry.blobs.digests()) == before - {abandoned, large}
    assert not world.registry.blobs.has(abandoned)
    assert fsck.blobs(world.registry) == []
    assert world.admit(folder).decision.allow
    pass_time(world)
    assert collect(world.registry, grace_hours=0).removed == []
    assert going(world) == set()


def test_what_was_collected_is_taken_in_again_once_no_request_can_arrive(world):
    folder = world.model()
    with open_folder(folder) as tree:
        snapshot = read_tree(tree, world.registry.blobs)
    assert len(collect(world.registry, grace_hours=0).removed) == len(snapshot.manifest.files)
    with pytest.raises(Refused) as caught:
        world.take(folder)
    assert caught.value.check == "blob.going"
    assert "run it again after" in caught.value.remedy
    pass_time(world)
    model = world.take(folder)
    assert fsck.blobs(world.registry) == []
    assert collect(world.registry, grace_hours=0).removed == []
    assert model.manifest == snapshot.manifest


def test_a_request_that_arrives_after_its_time_removes_nothing(world, proxy, monkeypatch):
    monkeypatch.setattr(removal, "SECONDS", 1)
    held = []

    def keep_back(handler, method, path, body):
        if method == "DELETE" and "X-Amz-Expires" in path:
            held.append(path)
            handler.answer(504, [], b"")
            return True
        return late_requests_do_nothing(handler, method, path, body)

    proxy.fault = keep_back
    folder = world.model()
    with open_folder(folder) as tree:
        read_tree(tree, world.registry.blobs)
    found = collect(world.registry, grace_hours=0)
    assert set(found.left.values()) == {"the store answered 504"}
    assert len(held) == len(found.left) == len(going(world))
    assert collect(world.registry, grace_hours=0).going == len(held)
    proxy.fault = late_requests_do_nothing
    now, later = datetime.now(UTC), timedelta(seconds=3)
    while datetime.now(UTC) < now + later:
        world.registry.blobs.has(world.manifest(folder).files[0].sha256)
    pass_time(world)
    world.take(folder)
    for path in held:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(proxy.address + path, method="DELETE"), timeout=10)
    assert fsck.blobs(world.registry) == []


def test_what_an_intake_found_there_is_left_alone_for_the_grace(world):
    folder = world.model()
    with open_folder(folder) as tree:
        snapshot = read_tree(tree, world.registry.blobs)
        read_tree(tree, world.registry.blobs)  # all of it is there: noted
    notes = world.registry.blobs.removal.notes()
    assert set(notes) == {entry.sha256 for entry in snapshot.manifest.files}
    intake.record(world.registry, snapshot, label="second", origin=intake.Origin.OWN, source={})
    assert collect(world.registry, grace_hours=0).removed == []
    assert world.registry.blobs.removal.notes() == {}, "notes of what is referred to are not needed"


def test_where_another_registry_keeps_blobs_nothing_is_collected(world):
    world.take(world.model())
    left = world.registry.blobs.put([b"left"])
    assert world.registry.blobs.users() == {world.registry.id}
    world.registry.blobs.claim("another")
    for dry in (True, False):
        with pytest.raises(Refused, match="cannot be collected") as caught:
            collect(world.registry, grace_hours=0, dry=dry)
        assert caught.value.check == "gc.shared"
        assert "another" in caught.value.remedy
    assert world.registry.blobs.has(left)


def test_raw_checkpoints_go_by_requests_that_end_too(world, proxy):
    folder = world.model("raw")
    (folder / "model.safetensors").unlink()
    write_checkpoint(folder / "pytorch_model.bin")
    model = world.take(folder)
    result = convert_kept(world.registry, model, scan_kept(world.registry, model))

    def refuse(handler, method, path, _body):
        if method != "DELETE":
            return False
        handler.answer(503, [], b"")
        return True

    proxy.fault = refuse
    with pytest.raises(Unreachable, match="1 of 1 files may still be there"):
        dropping.drop(world.registry, model, result, reason="room")
    proxy.fault = late_requests_do_nothing
    with pytest.raises(Refused) as caught:
        dropping.drop(world.registry, model, result, reason="room")
    assert caught.value.check == "blob.going"
    pass_time(world)
    (entry,) = dropping.drop(world.registry, model, result, reason="room")
    assert not world.registry.blobs.has(entry.sha256)
    with pytest.raises(Refused) as caught:
        world.take(folder)
    assert caught.value.check == "blob.going"
    pass_time(world)
    assert world.take(folder).digest == model.digest
    assert world.registry.blobs.has(entry.sha256)


def test_the_command_says_what_it_did(world, capsys, monkeypatch):
    world.registry.blobs.put([b"left"])
    world.registry.close()
    for name in ("HOME", "USER", "WEIGHBRIDGE_CONFIG_HOME"):
        monkeypatch.setenv(name, world.environ.get(name, ""))
    monkeypatch.setenv("WEIGHBRIDGE_HOME", str(world.registry.layout.root))
    monkeypatch.setenv("WEIGHBRIDGE_BLOBS", str(world.config["blobs"]))
    assert run(["gc", "--grace", "0", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["collections"][0]
    assert (len(found["removed"]), found["bytes"], found["left"]) == (1, 4, {})
    world.reopen()
