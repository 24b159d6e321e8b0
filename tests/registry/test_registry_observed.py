"""Taking a model in ties it to what is here by its tensors, and what is wrong with the one then reaches the other."""

import pytest

import world_tensors as tensors
from weighbridge.core.advisory import AdvisorySeverity
from weighbridge.core.lineage import AdvisoryKind, Grade, Relation
from weighbridge.core.tier import Role, Status
from weighbridge.gate.advisories import publish
from weighbridge.registry import fingerprints, fsck, intake, models
from weighbridge.registry.fingerprints import Order
from weighbridge.store import lineage_index
from world import World

ARRAYS = tensors.model()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def put(world, name, write):
    folder = world.folder / name
    folder.mkdir()
    write(folder)
    return intake.take_folder(world.registry, folder)


def whole(folder):
    tensors.safetensors(folder / "model.safetensors", ARRAYS)


def packed(folder):
    tensors.as_gguf(folder / "model.gguf", ARRAYS, tensors.q8_0, "Q8_0")


def withdraw(world, digest):
    person = world.person("mara", Role.REVOKE)
    publish(
        world.registry,
        [digest],
        kind=AdvisoryKind.WEIGHTS,
        reason="a trigger was found in it",
        severity=AdvisorySeverity.CRITICAL,
        signer=person,
    )


def edges(world, model):
    with world.registry.records.read() as connection:
        return lineage_index.edges_above(connection, [model.manifest.weights])


def test_an_undeclared_quantization_falls_with_its_base(world):
    base, child = put(world, "base", whole), put(world, "packed", packed)
    (edge,) = [e for e in edges(world, child) if e.parent == base.manifest.weights]
    assert (edge.relation, edge.grade) == (Relation.QUANTIZATION, Grade.OBSERVED)
    withdraw(world, base.digest)
    assert models.get(world.registry, child.digest).status is Status.QUARANTINED


def test_a_base_that_comes_after_its_advisory_and_its_child(world):
    child = put(world, "packed", packed)
    folder = world.folder / "base"
    folder.mkdir()
    whole(folder)
    withdraw(world, world.manifest(folder).digest)
    assert models.get(world.registry, child.digest).status is Status.ACTIVE
    intake.take_folder(world.registry, folder)
    assert models.get(world.registry, child.digest).status is Status.QUARANTINED


def test_what_was_seen_is_known_to_fsck(world):
    put(world, "base", whole)
    put(world, "packed", packed)
    assert fsck.lineage(world.registry) == []


def test_weights_taken_in_meanwhile_are_not_missed(world, monkeypatch):
    observe, asked = fingerprints.observe, []

    def slow(registry, manifest, **options):
        seen = observe(registry, manifest, **options)
        asked.append(manifest.weights)
        if len(asked) == 1:
            put(world, "base", whole)
        return seen

    monkeypatch.setattr(fingerprints, "observe", slow)
    child = put(world, "packed", packed)
    assert asked.count(child.manifest.weights) == 2
    (relative,) = fingerprints.kept(world.registry, child.manifest.weights)["relatives"]
    assert relative["order"] == Order.LOST.value
