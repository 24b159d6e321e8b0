"""Taking a model in ties it to what is here by its tensors, and what is wrong with the one then reaches the other."""

import pytest

import world_tensors as tensors
from weighbridge.core.advisory import AdvisorySeverity
from weighbridge.core.lineage import AdvisoryKind, Grade, Relation
from weighbridge.core.tier import Role, Status
from weighbridge.core.walks import Answer
from weighbridge.gate.advisories import lift, publish
from weighbridge.gate.lineage import deployed
from weighbridge.registry import deployments, fingerprints, fsck, intake, models
from weighbridge.registry.fingerprints import Order
from weighbridge.registry.outbox import submit
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


def deploy(world, digest):
    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, digest, "prod/chat"))


def withdraw(world, digest, kind=AdvisoryKind.WEIGHTS):
    person = world.person("mara", Role.REVOKE)
    return publish(
        world.registry,
        [digest],
        kind=kind,
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


def tuned(folder):
    tensors.safetensors(folder / "model.safetensors", tensors.noise(ARRAYS))


def test_a_base_taken_in_after_its_fine_tune_makes_it_possible_and_quarantines_nothing(world):
    child, base = put(world, "tuned", tuned), put(world, "base", whole)
    (edge,) = edges(world, base)
    assert (edge.parent, edge.relation) == (child.manifest.weights, Relation.SHARED_TENSORS)
    reached = withdraw(world, base.digest)
    assert (child.digest in reached.affected, child.digest in reached.possibly) == (False, True)
    assert models.get(world.registry, child.digest).status is Status.ACTIVE
    deploy(world, child.digest)
    (answer,) = deployed(world.registry, base.digest)[0].answers
    assert answer.answer is Answer.POSSIBLY
    lift(world.registry, reached.advisory.id, reason="a mistake", signer=world.people["mara"])
    with world.registry.records.read() as connection:
        assert lineage_index.tainted(connection, [child.manifest.weights]) == {}


def test_code_in_a_file_does_not_travel_by_shared_tensors(world):
    child, base = put(world, "tuned", tuned), put(world, "base", whole)
    reached = withdraw(world, base.digest, AdvisoryKind.CODE)
    assert child.digest not in (*reached.affected, *reached.possibly)


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
