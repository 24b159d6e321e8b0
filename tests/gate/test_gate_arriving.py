"""What falls because a link became known later: it is taken back, and whoever runs it is told, as if a record had named it."""

import pytest

from weighbridge.claims import predicates
from weighbridge.claims.predicates import Parent
from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.lineage import AdvisoryKind, Relation
from weighbridge.gate import advisories
from weighbridge.gate.revoke import revoke
from weighbridge.registry import alerts, arriving
from weighbridge.registry.export import place
from world import World
from world_house import BUILDER


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def digest(world, folder):
    return world.manifest(folder).digest


def running(world, *names):
    folders = [world.ready(name, seed=3.0 * number + 1) for number, name in enumerate(names)]
    for name, folder in zip(names, folders, strict=True):
        assert world.promote(folder).decision.allow
        assert world.admit(folder, target=f"prod/{name}").decision.allow
    return folders


def advise(world, target):
    advisories.publish(
        world.registry, [parse_target(str(target))], kind=AdvisoryKind.WEIGHTS, reason="poisoned",
        severity=AdvisorySeverity.HIGH, signer=world.secret("owner"),
    )  # fmt: skip


def withdraw(world, target):
    revoke(world.registry, target, reason="poisoned", signer=world.secret("owner"))


def say_base(world, folder, base):
    """Let the train team say, later, what a model was made from."""
    parents = [Parent(world.manifest(base).weights, Relation.FINE_TUNE)]
    statement = predicates.train(
        world.manifest(folder).weights, "fine-tune", parents, builder=BUILDER, invocation="run-2"
    )
    world.say(statement, world.people["train-team"])


def admitted(world, folder):
    return (place(world.registry, world.kept(folder)).parent / "evidence/admission.sigstore.json").exists()


def told(world):
    return alerts.kept(world.registry, kinds=["quarantine"])


@pytest.mark.parametrize("act", [advise, withdraw], ids=["advisory", "revocation"])
def test_who_runs_what_falls_by_a_claim_that_comes_later_is_told(world, act):
    base, tuned, other = running(world, "base", "tuned", "other")
    act(world, digest(world, base))
    assert world.kept(tuned).status.value == "active"
    assert told(world) == []
    say_base(world, tuned, base)
    assert [world.kept(folder).status.value for folder in (tuned, other)] == ["quarantined", "active"]
    assert [admitted(world, folder) for folder in (tuned, other)] == [False, True]
    [row] = told(world)
    assert (row.severity, row.count) == ("critical", 1)
    assert "a link became known that leads below what is withdrawn; it runs at prod/tuned" in row.summary
    assert [(where["target"], where["model"]) for where in row.facts["deployments"]] == [
        ("prod/tuned", str(digest(world, tuned)))
    ]
    assert str(digest(world, tuned)) in row.about
    say_base(world, other, tuned)  # and what lies below that
    assert [row.facts["deployed"] for row in told(world)] == [1, 1]
    assert not admitted(world, other)


def test_a_trusted_model_that_falls_and_runs_nowhere_is_told_too(world):
    base, tuned = world.ready("base", seed=1.0), world.ready("tuned", seed=4.0)
    assert world.promote(tuned).decision.allow
    advise(world, digest(world, base))
    say_base(world, tuned, base)
    assert world.kept(tuned).status.value == "quarantined"
    [row] = told(world)
    assert (row.severity, row.facts["deployed"]) == ("warning", 0)


def test_what_falls_because_a_model_comes_in_that_shares_its_weights_is_taken_back_and_told(world):
    (folder,) = running(world, "one")
    twin = world.model("twin", seed=1.0)
    (twin / "README.md").write_text("---\nlicense: apache-2.0\n---\nThe same weights in another package.\n")
    assert world.manifest(twin).weights == world.manifest(folder).weights
    advise(world, digest(world, twin))  # nobody here knows yet which weights these are
    assert (world.kept(folder).status.value, told(world)) == ("active", [])
    world.take(twin)
    assert world.kept(folder).status.value == "quarantined"
    assert not admitted(world, folder)
    [row] = told(world)
    assert "prod/one" in row.summary


def test_where_nothing_is_withdrawn_nothing_is_looked_at(world, monkeypatch):
    monkeypatch.setattr(arriving, "_standing", lambda _connection: pytest.fail("it looked"))
    base, tuned = running(world, "base", "tuned")
    say_base(world, tuned, base)
    assert world.kept(tuned).status.value == "active"
