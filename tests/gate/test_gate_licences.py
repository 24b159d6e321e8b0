"""Licences of kept models: from real bytes, claims, conclusions and the lineage index to the gate's answer."""

from datetime import timedelta

import pytest

from weighbridge.bom.licence_words import Basis
from weighbridge.claims import predicates
from weighbridge.core.alias import Alias, Scheme
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Refused, UsageError
from weighbridge.core.lineage import Grade, Parentage, Relation
from weighbridge.core.tier import Origin
from weighbridge.gate.conclusions import conclude
from weighbridge.gate.licences import licences_of
from weighbridge.gate.waivers import waive
from weighbridge.keys.files import generate
from weighbridge.registry import intake, tally
from weighbridge.store import lineage_index
from world import World, outcomes

LLAMA = Alias(Scheme.NAME, "meta-llama/Llama-3.1-8B")
NOBODYS = Alias(Scheme.NAME, "someone/something")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def asked(world, folder):
    return licences_of(world.registry, world.kept(folder))


def told(found):
    return {row.code: row.effect.value for row in found.composition.findings}


def accepted(world, name, *, seed, licence, readme="---\nlicense: mit\n---\n"):
    folder = world.model(name, seed)
    (folder / "README.md").write_text(readme)
    announced = {entry.path: entry.sha256 for entry in world.manifest(folder).files}
    model = world.take(folder, origin=Origin.THIRD_PARTY, announced=announced)
    intake.accept(world.registry, model, world.acceptance(licence=licence))
    return folder


def named(world, folder, alias, relation=Relation.FINE_TUNE, source=""):
    """Draw what a bill of materials declares: an edge from what stands for a name."""
    edge = Parentage(alias.node, world.manifest(folder).digest, relation, Grade.DECLARED, source)
    with tally.keeping(world.registry) as connection:
        record = world.registry.record()
        lineage_index.stand_for(connection, [alias], record)
        lineage_index.add_edges(connection, [edge], record)


def test_an_own_model_stands_under_what_its_files_say(world):
    found = asked(world, world.ready())
    assert (found.declared.text, found.declared.basis, found.concluded) == (
        "Apache-2.0",
        Basis.DECLARED,
        None,
    )
    assert not found.composition.findings
    assert {duty.term.duty.value for duty in found.composition.obligations} == {"attribution"}


def test_an_accepted_origin_is_a_conclusion(world):
    found = asked(world, accepted(world, "theirs", seed=3.0, licence="apache-2.0"))
    assert found.declared.text == "MIT"
    assert (found.concluded.licence, found.concluded.signer) == ("apache-2.0", "intake")
    assert not found.composition.blocked


def test_a_tune_of_an_accepted_base_owes_what_the_base_asks(world):
    base = accepted(world, "base", seed=3.0, licence="llama3.1")
    tuned = world.ready("tuned", seed=5.0, base=[base])
    found = asked(world, tuned)
    assert told(found) == {"LICENCE_LAUNDERING": "block", "OBLIGATION_NOT_CARRIED": "warn"}
    (finding,) = [row for row in found.composition.findings if row.code == "LICENCE_LAUNDERING"]
    assert [edge.relation.value for edge in finding.path] == ["fine-tune", "packaging"]
    assert finding.sections == ("LicenseRef-scancode-llama-3.1-license-2024 §1.b.iv",)
    decision = world.promote(tuned).decision
    assert outcomes(decision)["policy.licence.licence-laundering"] == "fail"
    assert any(row.startswith("licence.obligation-not-carried") for row in decision.warnings)


def test_a_model_of_ours_that_names_no_licence_inherits_and_passes(world):
    base = accepted(world, "base", seed=3.0, licence="gemma")
    (world.folder / "tuned").mkdir()
    tuned = world.ready("tuned", seed=5.0, base=[base])
    (world.folder / "bare").mkdir()
    assert "block" in told(asked(world, tuned)).values()
    bare = world.files(
        "bare", model__safetensors=(tuned / "model.safetensors").read_bytes(), config__json="{}"
    )
    world.say_package(bare, world.people["package-team"])
    world.take(bare)
    found = asked(world, bare)
    assert found.declared.text == ""
    assert "use-restrictions" in found.fact.duties
    assert not found.composition.blocked
    assert world.promote(bare).decision.allow


def test_non_commercial_anywhere_above_is_refused_by_the_starter_policy(world):
    base = accepted(world, "base", seed=3.0, licence="mrl")
    tuned = world.ready("tuned", seed=5.0, base=[base])
    conclude(world.registry, world.manifest(tuned).digest, "mrl", reason="kept", signer=world.secret("owner"))
    against = outcomes(world.promote(tuned).decision)
    assert against["policy.licence.refused"] == "fail"
    assert "policy.licence.licence-laundering" not in against


def test_a_waiver_answers_for_a_finding_until_its_end(world):
    base = accepted(world, "base", seed=3.0, licence="llama3.1")
    tuned = world.ready("tuned", seed=5.0, base=[base])
    digest = world.manifest(tuned).digest
    finding = next(row for row in asked(world, tuned).composition.findings if row.effect.value == "block")
    until = world.hand.now() + timedelta(days=10)
    body = waive(
        world.registry,
        digest,
        finding.fingerprint,
        reason="agreed",
        expires=until,
        signer=world.secret("owner"),
    )
    assert body["rule"] == "licence.licence-laundering"
    decision = world.promote(tuned).decision
    assert decision.allow, outcomes(decision)
    assert any("(waived: agreed)" in row for row in decision.warnings)
    world.hand.pass_(days=11)
    assert "policy.licence.licence-laundering" in outcomes(world.admit(tuned).decision)


def test_what_does_not_block_needs_no_waiver(world):
    base = accepted(world, "base", seed=3.0, licence="qwen")
    tuned = world.ready("tuned", seed=5.0, base=[base])
    (finding,) = asked(world, tuned).composition.findings
    with pytest.raises(UsageError, match="does not block"):
        waive(
            world.registry, world.manifest(tuned).digest, finding.fingerprint, reason="so",
            expires=world.hand.now() + timedelta(days=1), signer=world.secret("owner"),
        )  # fmt: skip


def test_a_strangers_model_without_a_licence_blocks_until_somebody_concludes(world):
    folder = world.files("bare", model__safetensors=(world.model() / "model.safetensors").read_bytes())
    world.take(folder, origin=Origin.THIRD_PARTY)
    assert told(asked(world, folder)) == {"UNKNOWN_LICENCE": "block"}
    digest = world.manifest(folder).digest
    said = conclude(
        world.registry, digest, "apache-2.0", reason="asked the author", signer=world.secret("owner")
    )
    assert said.about == (digest,)
    found = asked(world, folder)
    assert not found.composition.findings
    assert (found.concluded.reason, found.concluded.signer) == ("asked the author", "owner")


def test_the_last_conclusion_holds(world):
    folder = accepted(world, "theirs", seed=3.0, licence="MIT")
    digest = world.manifest(folder).digest
    conclude(world.registry, digest, "cc-by-nc-4.0", reason="read it again", signer=world.secret("owner"))
    assert "non-commercial" in asked(world, folder).fact.duties
    conclude(world.registry, digest, "agreement", reason="contract 7", signer=world.secret("owner"))
    assert asked(world, folder).fact.duties == ()


def test_only_who_may_waive_concludes(world):
    folder = world.ready()
    with pytest.raises(Refused):
        conclude(world.registry, world.manifest(folder).digest, "mit", reason="so", signer=generate())
    statement_key = world.people["train-team"]
    from weighbridge.claims.records import event

    digest = world.manifest(folder).digest
    facts = world.registry.event_facts()
    world.say(event("licence", (digest,), {"licence": "mit", "reason": "me"}, **facts), statement_key)
    assert asked(world, folder).concluded is None


@pytest.mark.parametrize("licence", ["unknown", "openrail", "whatever we want", ""])
def test_what_nobody_knows_cannot_be_concluded(world, licence):
    with pytest.raises(UsageError, match="no licence that is known"):
        conclude(
            world.registry,
            world.manifest(world.ready()).digest,
            licence,
            reason="so",
            signer=world.secret("owner"),
        )


def test_a_conclusion_needs_a_reason_and_something_to_be_about(world):
    with pytest.raises(UsageError, match="reason"):
        conclude(world.registry, Digest("wb1", "0" * 64), "mit", reason=" ", signer=world.secret("owner"))
    with pytest.raises(NotFound):
        conclude(world.registry, Digest("wb1", "0" * 64), "mit", reason="so", signer=world.secret("owner"))


def test_a_base_known_by_name_only_is_known_by_its_publisher(world):
    folder = accepted(world, "theirs", seed=3.0, licence="Apache-2.0")
    named(world, folder, LLAMA)
    found = asked(world, folder)
    assert told(found) == {"LICENCE_LAUNDERING": "block", "OBLIGATION_NOT_CARRIED": "warn"}
    assert found.composition.inherited == ("LicenseRef-scancode-llama-3.1-license-2024",)
    conclude(world.registry, LLAMA, "agreement", reason="contract 7", signer=world.secret("owner"))
    assert not asked(world, folder).composition.findings


def test_what_a_stranger_says_of_descent_blocks_nothing(world):
    folder = accepted(world, "theirs", seed=3.0, licence="Apache-2.0")
    stranger = world.say(
        predicates.data(world.manifest(folder).digest, source="x", licence="MIT", invocation="1"), generate()
    )
    named(world, folder, LLAMA, source=str(stranger.digest))
    assert told(asked(world, folder)) == {"LICENCE_LAUNDERING": "warn", "OBLIGATION_NOT_CARRIED": "warn"}


def test_a_base_nobody_knows_warns_below_a_conclusion(world):
    folder = accepted(world, "theirs", seed=3.0, licence="Apache-2.0")
    named(world, folder, NOBODYS)
    assert told(asked(world, folder)) == {"UNKNOWN_LICENCE": "warn"}
    conclude(world.registry, NOBODYS, "mit", reason="its page", signer=world.secret("owner"))
    assert not asked(world, folder).composition.findings


def test_a_name_that_was_bound_asks_the_model_itself(world):
    base = accepted(world, "base", seed=3.0, licence="mit")
    tuned = accepted(world, "tuned", seed=4.0, licence="Apache-2.0")
    named(world, tuned, LLAMA)
    assert asked(world, tuned).composition.blocked
    same = Parentage(world.manifest(base).digest, LLAMA.node, Relation.SAME_AS, Grade.OBSERVED)
    with tally.keeping(world.registry) as connection:
        lineage_index.add_edges(connection, [same], world.registry.record())
    assert not asked(world, tuned).composition.blocked


def test_the_terms_of_a_dataset_warn(world):
    folder = world.ready()
    dataset = world.manifest(world.folder / "encoder-data").digest
    statement = predicates.data(dataset, source="here", licence="CC-BY-NC-4.0", invocation="run-2")
    world.say(statement, world.people["data-team"])
    assert told(asked(world, folder)) == {"DATASET_TERMS": "warn"}


def test_the_text_in_a_model_is_said_against_what_was_concluded(world):
    apache = (world.folder.__class__(__file__).parents[2] / "LICENSE").read_text()
    folder = world.files(
        "texted",
        model__safetensors=(world.model() / "model.safetensors").read_bytes(),
        LICENSE=apache,
    )
    model = world.take(folder, origin=Origin.THIRD_PARTY)
    assert asked(world, folder).declared.text == "Apache-2.0"
    intake.accept(world.registry, model, world.acceptance(licence="MIT"))
    found = asked(world, folder)
    assert told(found) == {"TAG_CONTRADICTED": "warn"}


def test_weights_that_somebody_concluded_for_elsewhere_bind_here_too(world):
    theirs = accepted(world, "theirs", seed=3.0, licence="cc-by-nc-4.0")
    mine = world.files(
        "mine",
        model__safetensors=(theirs / "model.safetensors").read_bytes(),
        README__md="---\nlicense: mit\n---\nMine, all mine.\n",
    )
    world.take(mine)
    assert told(asked(world, mine)) == {"LICENCE_LAUNDERING": "block"}


def test_files_that_are_gone_say_nothing(world):
    folder = world.ready()
    entry = world.manifest(folder).entry("README.md")
    world.registry.blobs.local(entry.sha256).unlink()
    assert told(asked(world, folder)) == {"UNKNOWN_LICENCE": "block"}
