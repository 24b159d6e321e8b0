import pytest

from weighbridge.core.errors import CannotTell, NotFound, VerificationFailed
from weighbridge.core.tier import Tier
from weighbridge.gate.lineage import deployed, family
from weighbridge.gate.promote import admit
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from weighbridge.registry import deployments, models, names
from world import World, outcomes


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def test_a_model_with_every_claim_is_promoted_named_and_laid_out(world):
    folder = world.ready()
    result = world.promote(folder, name="encoder")
    assert result.decision.allow, outcomes(result.decision)
    assert result.receipt["log_index"] > 0
    assert result.receipt["assurance"] == "single-operator"
    assert (result.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert world.kept(folder).tier.value == "trusted"
    assert names.current(world.registry, "encoder") == (1, world.manifest(folder).digest)


@pytest.mark.parametrize("stage", ["data", "train", "evaluate", "package"])
def test_a_stage_signed_by_a_stranger_blocks_and_is_named(world, stage):
    world.team()
    stranger = generate()
    folder, dataset = world.model(), world.dataset()
    keys = {name.removesuffix("-team"): key for name, key in world.people.items()}
    keys[stage] = stranger
    world.say_data(dataset, keys["data"])
    world.say_train(folder, keys["train"], data=[dataset])
    world.say_evaluate(folder, keys["evaluate"])
    world.say_package(folder, keys["package"])
    world.take(folder)
    result = world.promote(folder)
    assert not result.decision.allow
    assert world.kept(folder).tier.value == "intake"
    assert result.path is None
    against = "\n".join(check.found for check in result.decision.refusals)
    assert stranger.key_id.hex[:12] in against


def test_one_person_may_not_sign_for_another_stage(world):
    world.team()
    folder, dataset = world.model(), world.dataset()
    world.say_data(dataset, world.people["data-team"])
    world.say_train(folder, world.people["data-team"], data=[dataset])
    world.say_evaluate(folder, world.people["evaluate-team"])
    world.say_package(folder, world.people["package-team"])
    world.take(folder)
    assert "claims.train" in outcomes(world.promote(folder).decision)


def test_a_flipped_byte_in_the_store_blocks_promotion_and_admission(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    entry = world.manifest(folder).entry("model.safetensors")
    blob = world.registry.blobs.local(entry.sha256)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    for result in (world.promote(folder), world.admit(folder)):
        assert outcomes(result.decision)["bytes.match"] == "fail"


def test_admit_needs_the_trusted_tier(world):
    folder = world.ready()
    assert outcomes(world.admit(folder).decision) == {"tier.trusted": "fail"}


def test_a_descendant_of_a_revoked_base_is_found_and_refused(world):
    base = world.ready("base", seed=1.0)
    tuned = world.ready("tuned", seed=5.0, base=[base])
    other = world.ready("other", seed=9.0)
    for folder, name in ((base, "base"), (tuned, "tuned"), (other, "other")):
        result = world.promote(folder, name=name)
        assert result.decision.allow, outcomes(result.decision)
        assert world.admit(folder, target=f"prod/{name}").decision.allow
    digest = world.manifest(base).digest
    hit = revoke(world.registry, digest, reason="poisoned", signer=world.secret("owner"))
    assert {d.target for d in hit.deployed} == {"prod/base", "prod/tuned"}
    assert world.manifest(tuned).digest in hit.descendants
    found = deployed(world.registry, digest)[0]
    assert {path.deployment.target: path.grade.value for path in found.paths} == {
        "prod/base": "attested",
        "prod/tuned": "attested",
    }
    assert world.kept(tuned).status.value == "quarantined"
    assert world.kept(base).status.value == "revoked"
    assert "ancestry.unrevoked" in outcomes(world.admit(tuned).decision)
    assert "model.unrevoked" in outcomes(world.admit(base).decision)
    assert world.admit(other).decision.allow


def test_the_same_weights_under_another_readme_are_hit_too(world):
    base = world.ready("base")
    copy = world.ready("copy")
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\nRenamed.\n")
    world.take(copy)
    world.say_package(copy, world.people["package-team"])
    assert world.promote(copy).decision.allow
    revoke(world.registry, world.manifest(base).digest, reason="poisoned", signer=world.secret("owner"))
    assert not world.admit(copy).decision.allow


def test_a_strangers_declaration_quarantines_nobody(world):
    base, victim = world.ready("base", seed=1.0), world.ready("victim", seed=2.0)
    world.say_train(victim, generate(), base=[base])
    assert world.promote(victim).decision.allow
    revoke(world.registry, world.manifest(base).digest, reason="poisoned", signer=world.secret("owner"))
    assert world.kept(victim).status.value == "active"
    assert world.admit(victim).decision.allow
    grades = {e.grade.value for e in family(world.registry, world.manifest(victim).digest).edges}
    assert "declared" in grades


def test_a_stranger_may_not_revoke(world):
    folder = world.ready()
    with pytest.raises(Exception, match="does not hold the role"):
        revoke(world.registry, world.manifest(folder).digest, reason="spite", signer=generate())


def test_a_deleted_revocation_row_does_not_bring_a_model_back(world):
    base = world.ready("base")
    world.promote(base)
    revoke(world.registry, world.manifest(base).digest, reason="poisoned", signer=world.secret("owner"))
    with world.registry.records.write() as connection:
        connection.exec_driver_sql("DELETE FROM revocation")
        connection.exec_driver_sql("UPDATE model SET status = 'active', tier = 'trusted'")
    with pytest.raises(VerificationFailed) as caught:
        world.admit(base)
    assert caught.value.check == "records.tally"


def test_an_expired_authority_blocks(world):
    folder = world.ready()
    world.hand.pass_(days=366)
    with pytest.raises(CannotTell) as refused:
        world.promote(folder)
    assert refused.value.check == "authority.expired"
    assert world.kept(folder).tier is Tier.INTAKE


def test_what_somebody_signs_after_their_end_does_not_count(world):
    world.team()
    folder, dataset = world.model(), world.dataset()
    world.hand.pass_(hours=1)
    world.publish(world.registry.authority.revoked("train-team", world.hand.now()))
    world.hand.pass_(hours=1)
    world.say_data(dataset, world.people["data-team"])
    world.say_train(folder, world.people["train-team"], data=[dataset])
    world.say_evaluate(folder, world.people["evaluate-team"])
    world.say_package(folder, world.people["package-team"])
    world.take(folder)
    assert "claims.train" in outcomes(world.promote(folder).decision)


def test_changed_policy_files_block_until_they_are_pinned(world):
    folder = world.ready()
    path = world.registry.layout.policy / "policy.toml"
    path.write_text(path.read_text() + "\n# harmless\n")
    refused = world.promote(folder).decision
    assert outcomes(refused) == {"policy.engine": "cannot-tell"}
    assert refused.exit_code == 3


def test_a_dry_run_judges_the_same_and_changes_nothing(world):
    folder = world.ready()
    size = world.registry.log.size
    result = world.promote(folder, dry_run=True, name="encoder")
    assert result.decision.allow
    assert result.receipt is None
    assert world.registry.log.size == size
    assert names.current(world.registry, "encoder") is None
    assert world.kept(folder).tier.value == "intake"


def test_refusals_are_logged_too(world):
    folder = world.model()
    world.take(folder)
    result = world.promote(folder)
    assert not result.decision.allow
    assert result.receipt["log_index"] == world.registry.log.size - 1


def test_names_move_forward_and_keep_their_history(world):
    first, second = world.ready("first", seed=1.0), world.ready("second", seed=2.0)
    world.promote(first, name="encoder")
    world.promote(second, name="encoder")
    assert names.current(world.registry, "encoder") == (2, world.manifest(second).digest)
    assert models.resolve(world.registry, "encoder") == world.manifest(second).digest
    with world.registry.records.read() as connection:
        rows = connection.exec_driver_sql("SELECT sequence, manifest FROM name ORDER BY sequence").all()
    assert [row[0] for row in rows] == [1, 2]


def test_a_deployment_ends_when_another_model_takes_its_place(world):
    first, second = world.ready("first", seed=1.0), world.ready("second", seed=2.0)
    for folder in (first, second):
        world.promote(folder)
        assert world.admit(folder, target="prod/chat").decision.allow
    running = deployments.running(world.registry)
    assert [(d.target, d.manifest) for d in running] == [("prod/chat", world.manifest(second).digest)]


def test_an_unknown_model_is_not_found(world):
    with pytest.raises(NotFound):
        admit(world.registry, world.manifest(world.model()).digest)


def test_projects_do_not_see_each_others_models(world):
    folder = world.ready()
    world.promote(folder)
    world.reopen(project="other")
    with pytest.raises(NotFound):
        world.admit(folder)


def test_a_summary_by_a_stranger_is_never_laid_out(world):
    from weighbridge.core.statement import Statement
    from weighbridge.loader.load import load
    from weighbridge.trust.bundle import Bundle

    folder = world.ready()
    path = world.promote(folder).path
    kept = Bundle.from_json((path.parent / "evidence" / "admission.sigstore.json").read_bytes())
    statement = Statement.decode(kept.envelope.payload)
    world.hand.pass_(hours=1)
    world.say(statement, generate())
    again = world.admit(folder)
    assert again.decision.allow
    assert load(again.path, clock=world.hand, environ=world.environ).proven.signer.name == "gate"


@pytest.mark.parametrize("damage", ["changed", "more", "linked", "less"])
def test_admit_lays_a_damaged_copy_out_again(world, damage):
    from weighbridge.loader.load import load

    folder = world.ready()
    path = world.promote(folder).path
    weights = path / "model.safetensors"
    data = weights.read_bytes()
    if damage == "more":
        (path / "extra.py").write_text("x = 1\n")
    else:
        weights.unlink()
    if damage == "changed":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    if damage == "linked":
        (world.folder / "elsewhere").write_bytes(data)
        weights.symlink_to(world.folder / "elsewhere")
    again = world.admit(folder)
    assert again.decision.allow
    loaded = load(again.path, clock=world.hand, environ=world.environ)
    assert [loaded.read(entry.path) for entry in loaded.manifest.files]
