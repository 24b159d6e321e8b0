"""Whom advisories reach, read again: a row that was taken away, added or weakened shows, and so does a model left active."""

import pytest

from weighbridge.claims import predicates
from weighbridge.claims.predicates import Parent
from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.lineage import AdvisoryKind, Relation
from weighbridge.gate import advisories
from weighbridge.registry import fsck
from world import World
from world_house import BUILDER


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def advise(world, target, kind=AdvisoryKind.WEIGHTS):
    return advisories.publish(
        world.registry, [parse_target(str(target))], kind=kind, reason="poisoned",
        severity=AdvisorySeverity.HIGH, signer=world.secret("owner"),
    ).advisory  # fmt: skip


def sql(world, *statements):
    with world.registry.records.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def line(world):
    """A base under an advisory, a fine-tune of it, and a stranger to both."""
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    return base, tuned, other, advise(world, world.manifest(base).digest)


def test_a_sound_registry_has_no_problems(world, line):
    assert fsck.lineage(world.registry) == []
    advisories.lift(world.registry, line[3].id, reason="no", signer=world.secret("owner"))
    assert fsck.lineage(world.registry) == []


@pytest.mark.parametrize("kind", list(AdvisoryKind))
def test_every_kind_of_advisory_before_and_after_what_it_reaches_came(world, kind):
    base = world.ready("base", seed=1.0)
    later = world.model("later", seed=5.0)
    weights = world.manifest(base).entry("model.safetensors").sha256
    for target in (
        world.manifest(base).digest,
        world.manifest(later).digest,
        f"file-sha256:{weights.hex}",
        "name:org/unseen",
    ):
        advise(world, target, kind)
        assert fsck.lineage(world.registry) == []
    world.ready("later", seed=5.0, base=[base])
    twin = world.model("twin", seed=1.0)
    (twin / "README.md").write_text("---\nlicense: mit\nbase_model: org/unseen\n---\nThe same weights.\n")
    world.take(twin)
    assert fsck.lineage(world.registry) == []


@pytest.mark.parametrize("here", [True, False], ids=["here", "later"])
def test_weights_that_were_only_perhaps_reached_are_surely_reached_by_their_model(world, here):
    """The first way to the weights is somebody's word; that they lie in a model that is named is sure."""
    base, tuned = (
        world.ready("base", seed=1.0),
        world.ready("tuned", seed=5.0) if here else world.model("tuned", seed=5.0),
    )
    key = world.person("stranger")
    parents = [Parent(world.manifest(base).weights, Relation.FINE_TUNE)]
    statement = predicates.train(
        world.manifest(tuned).weights, "fine-tune", parents, builder=BUILDER, invocation="run-2"
    )
    world.say(statement, key)
    said = advisories.publish(
        world.registry, [parse_target(str(world.manifest(folder).digest)) for folder in (base, tuned)],
        kind=AdvisoryKind.WEIGHTS, reason="poisoned", severity=AdvisorySeverity.HIGH, signer=world.secret("owner"),
    ).advisory  # fmt: skip
    if not here:
        world.take(tuned)
    assert fsck.lineage(world.registry) == [], said.id
    assert {world.kept(folder).status.value for folder in (base, tuned)} == {"quarantined"}


def test_a_taint_that_was_taken_away_shows(world, line):
    _, tuned, _, said = line
    sql(world, "DELETE FROM taint WHERE distance > 1")
    problems = fsck.lineage(world.registry)
    assert f"lost: {said.id} reaches {world.manifest(tuned).weights.short}" in problems
    assert all(problem.startswith("lost: ") for problem in problems)


def test_a_taint_that_was_weakened_shows(world, line):
    _, tuned, _, said = line
    sql(world, "UPDATE taint SET grade = 'declared' WHERE distance > 1")
    assert f"lost: {said.id} reaches {world.manifest(tuned).weights.short}" in fsck.lineage(world.registry)


@pytest.mark.parametrize("grade", ["attested", "declared"])
def test_a_taint_that_was_made_up_shows(world, line, grade):
    *_, other, said = line
    sql(
        world,
        "INSERT INTO taint SELECT a.id, t.advisory, t.schema_version, t.project, t.actor, t.created_at, 1, 'fine-tune', "
        f"'{grade}' FROM artifact a, taint t WHERE t.distance = 0 AND a.digest = '{world.manifest(other).weights}'",
    )
    assert fsck.lineage(world.registry) == [
        f"made up: {said.id} reaches {world.manifest(other).weights.short}"
    ]


def test_taints_of_what_was_lifted_or_is_not_kept_show(world, line):
    *_, said = line
    sql(world, "UPDATE advisory SET lifted_at = '2026-11-22T12:00:00Z'")
    assert any(f"made up: {said.id} reaches" in problem for problem in fsck.lineage(world.registry))
    sql(world, "DELETE FROM advisory")
    assert any("an advisory that is not kept" in problem for problem in fsck.lineage(world.registry))


def test_a_model_that_is_active_though_it_is_reached_shows(world, line):
    _, tuned, _, said = line
    sql(world, "UPDATE model SET status = 'active'")
    assert f"{world.manifest(tuned).digest.short} is active, and {said.id} reaches it" in fsck.lineage(
        world.registry
    )
