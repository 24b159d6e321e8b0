"""From an advisory to the affected, through the real registry: taint, quarantine, the gate's refusal, and the way back."""

import pytest

from weighbridge.core.advisory import AdvisorySeverity, parse_target
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, UsageError, WeighbridgeError
from weighbridge.core.lineage import AdvisoryKind
from weighbridge.core.walks import Answer, GapReason
from weighbridge.gate.advisories import every, lift, publish, show
from weighbridge.gate.lineage import deployed, family
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def advise(world, *targets, kind="weights", reason="poisoned", severity="high", signer=None):
    return publish(
        world.registry,
        [parse_target(str(target)) for target in targets],
        kind=AdvisoryKind(kind),
        reason=reason,
        severity=AdvisorySeverity(severity),
        signer=signer or world.secret("owner"),
    )


def take_back(world, found, reason="a mistake"):
    return lift(world.registry, found.advisory.id, reason=reason, signer=world.secret("owner"))


def status(world, folder):
    return world.kept(folder).status.value


def run(world, **folders):
    for target, folder in folders.items():
        assert world.promote(folder).decision.allow, outcomes(world.promote(folder).decision)
        assert world.admit(folder, target=f"prod/{target}").decision.allow


def line(world):
    """A base, a fine-tune of it, and something unrelated; all run."""
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    run(world, base=base, tuned=tuned, other=other)
    return base, tuned, other


def answers(found):
    return {judged.deployment.target: judged.answer for judged in found.deployed.answers}


def test_an_advisory_quarantines_what_descends_and_names_itself_and_the_way_at_the_gate(world):
    base, tuned, other = line(world)
    found = advise(world, world.manifest(base).digest)
    assert answers(found) == {
        "prod/base": Answer.AFFECTED, "prod/tuned": Answer.AFFECTED, "prod/other": Answer.NOT_AFFECTED,
    }  # fmt: skip
    assert set(found.affected) == {world.manifest(base).digest, world.manifest(tuned).digest}
    assert found.possibly == ()
    assert (found.coverage.deployed, found.coverage.complete) == (3, 3)
    assert [status(world, folder) for folder in (base, tuned, other)] == [
        "quarantined",
        "quarantined",
        "active",
    ]
    for result in (world.admit(tuned), world.promote(tuned)):
        refusals = {check.id: check.found for check in result.decision.refusals}
        assert found.advisory.id in refusals["advisory.clear"]
        assert world.manifest(base).weights.short in refusals["advisory.clear"]
        assert "fine-tune" in refusals["advisory.clear"]
    assert world.admit(other).decision.allow


def test_a_lift_brings_back_what_only_it_has_quarantined(world):
    base, tuned, _ = line(world)
    found = advise(world, world.manifest(base).digest)
    after = take_back(world, found)
    assert (after.advisory.stands, after.advisory.lift_reason) == (False, "a mistake")
    assert after.affected == ()
    assert [status(world, folder) for folder in (base, tuned)] == ["active", "active"]
    assert outcomes(world.admit(tuned).decision) == {}
    assert [said.id for said in every(world.registry)] == [found.advisory.id]
    assert every(world.registry, standing=True) == []


def test_a_lift_leaves_another_advisory_and_a_revocation_alone(world):
    base, tuned, other = line(world)
    leaf = world.ready("leaf", seed=7.0, base=[tuned])
    first = advise(world, world.manifest(base).digest)
    second = advise(world, world.manifest(tuned).weights, reason="worse")
    take_back(world, first)
    assert [status(world, folder) for folder in (base, tuned, leaf)] == [
        "active",
        "quarantined",
        "quarantined",
    ]
    revoke(world.registry, world.manifest(tuned).digest, reason="withdrawn", signer=world.secret("owner"))
    take_back(world, second)
    assert [status(world, folder) for folder in (base, tuned, leaf)] == ["active", "revoked", "quarantined"]
    assert "ancestry.unrevoked" in outcomes(world.admit(leaf).decision) | outcomes(
        world.promote(leaf).decision
    )
    assert status(world, other) == "active"


def test_a_model_that_comes_later_below_a_tainted_one_is_tainted_when_it_comes(world):
    base = world.ready("base", seed=1.0)
    found = advise(world, world.manifest(base).digest)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    assert status(world, tuned) == "quarantined"
    assert (
        found.advisory.id
        in {check.id: check.found for check in world.promote(tuned).decision.refusals}["advisory.clear"]
    )
    assert world.manifest(tuned).digest in show(world.registry, found.advisory.id).affected


def test_an_advisory_about_a_model_that_is_not_here_yet_waits_for_it_and_its_children(world):
    base = world.model("base", 1.0)
    advise(world, world.manifest(base).digest)
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    assert [status(world, folder) for folder in (base, tuned)] == ["quarantined", "quarantined"]


def test_a_strangers_declaration_quarantines_nobody_and_is_listed(world):
    base, victim = world.ready("base", seed=1.0), world.ready("victim", seed=2.0)
    world.say_train(victim, generate(), base=[base])
    run(world, victim=victim)
    found = advise(world, world.manifest(base).digest)
    assert status(world, victim) == "active"
    assert found.possibly == (world.manifest(victim).digest,)
    assert answers(found) == {"prod/victim": Answer.POSSIBLY}
    assert world.admit(victim).decision.allow


def test_code_stays_with_whoever_holds_it(world):
    base, tuned, _ = line(world)
    advise(world, world.manifest(base).digest, kind="code")
    assert [status(world, folder) for folder in (base, tuned)] == ["quarantined", "active"]
    assert outcomes(world.admit(tuned).decision) == {}


def test_a_dataset_reaches_whoever_was_trained_on_it_and_its_children(world):
    base, tuned, other = line(world)
    dataset = world.manifest(world.folder / "base-data").digest
    found = advise(world, dataset, kind="weights")
    assert found.affected == ()
    advise(world, dataset, kind="dataset")
    assert [status(world, f) for f in (base, tuned, other)] == ["quarantined", "quarantined", "active"]


def test_the_same_weights_in_another_package_are_reached(world):
    base = world.ready("base")
    copy = world.ready("copy")
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\nRenamed.\n")
    world.take(copy)
    advise(world, world.manifest(base).digest)
    assert status(world, copy) == "quarantined"


def test_where_nothing_is_known_of_an_ancestry_nobody_says_not_affected(world):
    base, *_ = line(world)
    orphan = world.model("orphan", 3.0)
    world.take(orphan)
    digest = world.manifest(orphan).digest
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("SELECT 1")
    from weighbridge.registry import deployments
    from weighbridge.registry.outbox import submit

    with world.registry.writing():
        submit(world.registry, deployments.deploy(world.registry, digest, "prod/orphan"))
    found = deployed(world.registry, world.manifest(base).digest)[0]
    said = {judged.deployment.target: judged for judged in found.answers}
    assert said["prod/orphan"].answer is Answer.CANNOT_TELL
    assert said["prod/orphan"].gap.at == world.manifest(orphan).weights
    assert said["prod/orphan"].gap.reason is GapReason.UNCLAIMED
    assert said["prod/other"].answer is Answer.NOT_AFFECTED
    assert (found.coverage.deployed, found.coverage.complete, found.coverage.share) == (4, 3, 0.75)


def test_only_who_may_revoke_may_advise_and_lift(world):
    base = world.ready("base")
    found = advise(world, world.manifest(base).digest)
    stranger = generate()
    with pytest.raises(WeighbridgeError, match="does not hold the role"):
        advise(world, world.manifest(base).digest, signer=stranger)
    with pytest.raises(WeighbridgeError, match="does not hold the role"):
        lift(world.registry, found.advisory.id, reason="spite", signer=stranger)
    assert status(world, base) == "quarantined"


def test_what_a_stranger_signs_and_hands_in_changes_nothing(world):
    from weighbridge.claims.records import event

    base = world.ready("base")
    found = advise(world, world.manifest(base).digest)
    said = found.advisory
    facts = {"project": "default", "actor": "mallory", "at": world.hand.now()}
    body = {"id": said.id, "reason": "spite", "since": "2026-11-22T12:00:00Z"}
    world.say(event("lift", said.nodes, body, **facts), generate())
    assert show(world.registry, said.id).advisory.stands
    assert status(world, base) == "quarantined"


def test_lifting_twice_or_what_is_not_there_is_a_usage_error(world):
    base = world.ready("base")
    found = advise(world, world.manifest(base).digest)
    take_back(world, found)
    with pytest.raises(UsageError, match="lifted already"):
        take_back(world, found)
    with pytest.raises(NotFound):
        show(world.registry, "adv-0000000000000000")


def test_the_same_said_again_after_a_lift_is_another_advisory(world):
    base = world.ready("base")
    first = advise(world, world.manifest(base).digest)
    take_back(world, first)
    world.hand.pass_(minutes=1)
    second = advise(world, world.manifest(base).digest)
    assert first.advisory.id != second.advisory.id
    assert status(world, base) == "quarantined"


def test_projects_do_not_quarantine_each_others_models(world):
    base = world.ready("base")
    world.reopen(project="other")
    world.take(base)
    advise(world, world.manifest(base).digest)
    assert status(world, base) == "quarantined"
    world.reopen(project="default")
    assert status(world, base) == "active"
    assert every(world.registry) == []


def test_a_family_knows_which_advisory_reaches_whom(world):
    base, tuned, _ = line(world)
    found = advise(world, world.manifest(base).digest)
    nodes = {node.digest: node for node in family(world.registry, world.manifest(tuned).digest).nodes}
    assert nodes[world.manifest(base).weights].advisories == (found.advisory.id,)
    assert nodes[world.manifest(base).weights].kind == "weights"
    assert nodes[world.manifest(world.folder / "base-data").digest].advisories == ()
    assert nodes[world.manifest(world.folder / "base-data").digest].kind == "dataset"


def test_a_file_that_is_not_here_taints_nothing_and_is_kept(world):
    base = world.ready("base")
    found = advise(world, f"sha256:{'ab' * 32}")
    assert found.affected == ()
    assert status(world, base) == "active"
    assert Digest.parse(str(found.advisory.nodes[0])).algorithm == "alias"


@pytest.mark.parametrize("how", ["advisory", "revocation"])
def test_what_fell_can_no_longer_be_loaded_from_where_it_was_laid_out(world, how):
    from weighbridge.core.errors import LoadRefused
    from weighbridge.loader.load import load

    base, tuned, other = line(world)
    paths = {folder: world.admit(folder).path for folder in (tuned, other)}
    for path in paths.values():
        load(path, clock=world.hand, environ=world.environ)
    if how == "advisory":
        found = advise(world, world.manifest(base).digest)
    else:
        revoke(world.registry, world.manifest(base).digest, reason="poisoned", signer=world.secret("owner"))
    with pytest.raises(LoadRefused) as caught:
        load(paths[tuned], clock=world.hand, environ=world.environ)
    assert caught.value.check == "admission.withdrawn"
    assert "poisoned" in caught.value.cause
    load(paths[other], clock=world.hand, environ=world.environ)
    if how == "advisory":
        take_back(world, found)
        assert world.admit(tuned).decision.allow
        load(paths[tuned], clock=world.hand, environ=world.environ)
