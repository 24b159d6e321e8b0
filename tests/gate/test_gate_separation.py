"""Who handed a model in is not the one who approves it, where the project asks for somebody else."""

from datetime import timedelta

import pytest

from weighbridge.core.errors import NotFound, Refused
from weighbridge.gate.waivers import waive
from weighbridge.registry import access, intake, project_settings
from world_house import World

RULE = "policy.requires-evaluation"


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def ask(world, value="on"):
    world.hand.pass_(seconds=1)
    project_settings.change(
        world.registry, "other-approver", value, reason="four eyes", signer=world.secret("owner")
    )


def refused(act):
    with pytest.raises(Refused) as caught:
        act()
    assert caught.value.remedy
    return caught.value.check


def accepted(world, folder, name):
    acting = access.acting(world.registry, name)
    return intake.accept(acting, world.kept(folder), world.acceptance(reviewer=name))


def test_who_took_a_strangers_model_in_does_not_accept_it(world):
    folder = world.model()
    world.take(folder)
    mine = world.registry.actor
    ask(world)
    assert refused(lambda: accepted(world, folder, mine)) == "access.other"
    assert accepted(world, folder, "ben").origin.value == "third-party"


def test_without_the_setting_one_person_may_do_both(world):
    folder = world.model()
    world.take(folder)
    assert accepted(world, folder, world.registry.actor).origin.value == "third-party"
    ask(world)
    ask(world, "off")
    accepted(world, folder, world.registry.actor)


def waived(world, folder, key, name):
    acting = access.acting(world.registry, name)
    expires = world.hand.now() + timedelta(days=3)
    return waive(acting, world.manifest(folder).digest, RULE, reason="x", expires=expires, signer=key)


def test_who_signed_a_claim_about_a_model_does_not_excuse_it_whatever_they_are_called(world):
    folder = world.ready()
    trainer = world.people["train-team"]
    world.publish(world.registry.authority.with_roles("train-team", ["waive"]))
    ask(world)
    assert refused(lambda: waived(world, folder, trainer, "somebody-else")) == "access.other"


def test_who_handed_claims_in_does_not_excuse_it_whatever_key_they_have(world):
    folder = world.ready()
    ask(world)
    assert (
        refused(lambda: waived(world, folder, world.secret("owner"), world.registry.actor)) == "access.other"
    )


def test_somebody_else_comes_as_far_as_the_rule(world):
    folder = world.ready()
    ask(world)
    with pytest.raises(NotFound) as caught:  # the policy denies nothing by it
        waived(world, folder, world.secret("owner"), "ben")
    assert RULE in str(caught.value)
