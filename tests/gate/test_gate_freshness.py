"""A log that no witness has seen for too long proves nothing about today: the gate cannot tell, and says so."""

from datetime import timedelta

import pytest

from weighbridge.core.decision import Outcome
from weighbridge.keys.files import generate
from weighbridge.ledger.cosignature import Cosigner
from weighbridge.trust.roots import Window, Witness
from world import World

HOUR = 3600


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture(params=["ed25519", "ml-dsa-44"])
def cosigner(request):
    return Cosigner("witness.example/w1", generate(request.param))


def watched(world, cosigner):
    """Have the authority name the witness and ask for a checkpoint not older than an hour."""
    row = Witness(cosigner.name, cosigner.key, cosigner.algorithm, Window(world.hand.now()))
    authority = world.registry.authority
    world.publish(
        authority.with_trusted(
            type(authority.trusted)(
                authorities=authority.trusted.authorities,
                ctlogs=authority.trusted.ctlogs,
                timestamps=authority.trusted.timestamps,
                witnesses=(row,),
            )
        )
    )
    world.publish(world.registry.authority.with_checkpoint_age(HOUR))


def cosign(world, cosigner):
    log = world.registry.log
    log.cosigned(log.checkpoint_text + cosigner.line(log.head, int(world.hand.now().timestamp())))


def established(world, folder):
    decision = world.promote(folder).decision
    return decision.allow, next(check for check in decision.checks if check.id == "evidence.established")


def test_only_a_log_seen_lately_is_decided_on(world, cosigner):
    folder = world.ready()
    watched(world, cosigner)
    allowed, check = established(world, folder)
    assert (allowed, check.outcome) == (False, Outcome.CANNOT_TELL)
    assert "never" in check.found
    cosign(world, cosigner)
    world.hand.at += timedelta(seconds=HOUR)
    assert established(world, folder)[0]
    world.hand.at += timedelta(seconds=1)
    allowed, check = established(world, folder)
    assert not allowed
    assert "2026-11-22T12:00:00Z" in check.found


def test_a_stranger_who_cosigns_is_not_the_witness(world, cosigner):
    folder = world.ready()
    watched(world, cosigner)
    cosign(world, Cosigner(cosigner.name, generate(cosigner.signer.algorithm)))
    allowed, check = established(world, folder)
    assert (allowed, check.outcome) == (False, Outcome.CANNOT_TELL)
    assert "never" in check.found
