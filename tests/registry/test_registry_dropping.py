"""Raw checkpoints go after a proven conversion only; digests and evidence stay, and everybody is told."""

import pytest

from weighbridge.cli.demo_models import write_checkpoint
from weighbridge.core.errors import Refused
from weighbridge.gate.evidence import weigh
from weighbridge.registry import dropping, fsck, models
from weighbridge.registry.rebuilding import convert_kept, scan_kept
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def raw(world, name="raw"):
    folder = world.model(name)
    (folder / "model.safetensors").unlink()
    write_checkpoint(folder / "pytorch_model.bin")
    return world.take(folder)


def converted(world, model):
    return convert_kept(world.registry, model, scan_kept(world.registry, model))


def test_the_bytes_go_and_what_is_known_stays(world):
    model = raw(world)
    result = converted(world, model)
    (entry,) = dropping.drop(world.registry, model, result, reason="room")
    assert entry.path == "pytorch_model.bin"
    assert not world.registry.blobs.has(entry.sha256)
    assert models.get(world.registry, model.digest).manifest == model.manifest
    fact = weigh(world.registry, model.manifest)
    assert fact.outcome.value == "fail"
    assert "dropped on purpose on 2026-11-22" in fact.found
    assert result.digest.short in fact.found
    assert weigh(world.registry, result.manifest).outcome.value == "pass"
    assert fsck.blobs(world.registry) == []
    assert dropping.drop(world.registry, model, result, reason="room") == []


def test_what_was_dropped_and_came_again_is_read_again(world):
    model = raw(world)
    (entry,) = dropping.drop(world.registry, model, converted(world, model), reason="room")
    world.take(world.folder / "raw")
    fact = weigh(world.registry, model.manifest)
    assert fact.outcome.value == "pass", fact.found
    path = world.registry.blobs.local(entry.sha256)
    path.chmod(0o644)
    path.write_bytes(b"x")
    assert len(fsck.blobs(world.registry)) == 1


def test_without_a_proven_conversion_nothing_goes(world):
    model, other = raw(world), world.take(world.model("other"))
    for result in (other, model):
        with pytest.raises(Refused) as caught:
            dropping.drop(world.registry, model, result, reason="room")
        assert caught.value.check == "dropping.proof"
    assert fsck.blobs(world.registry) == []


def test_when_the_result_is_not_whole_nothing_goes(world):
    model = raw(world)
    result = converted(world, model)
    entry = result.manifest.entry("model.safetensors") or result.manifest.files[-1]
    path = world.registry.blobs.local(entry.sha256)
    path.chmod(0o644)
    path.write_bytes(b"x" * entry.size)
    with pytest.raises(Refused) as caught:
        dropping.drop(world.registry, model, result, reason="room")
    assert caught.value.check == "dropping.proof"
    assert world.registry.blobs.has(model.manifest.entry("pytorch_model.bin").sha256)


def test_what_another_model_holds_stays(world):
    model = raw(world)
    result = converted(world, model)
    folder = world.files("another", config__json='{"other": 1}')
    write_checkpoint(folder / "pytorch_model.bin")
    world.take(folder)
    with pytest.raises(Refused) as caught:
        dropping.drop(world.registry, model, result, reason="room")
    assert caught.value.check == "dropping.shared"
    assert fsck.blobs(world.registry) == []
