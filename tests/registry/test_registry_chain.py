"""The chain of a registry's logs, held against what somebody remembers of it, while others append."""

from __future__ import annotations

import pytest

from weighbridge.core.errors import VerificationFailed
from weighbridge.ledger.sequencer import Log
from weighbridge.registry.chain import check_pinned
from world_house import World


def appended(world, *bodies):
    log = world.registry.log
    log.append(bodies, signer=world.registry.log_key, now=world.hand.now())
    return log.checkpoint_text


def test_a_log_that_grows_while_it_is_held_against_a_pin_is_no_forked_one(tmp_path):
    world = World(tmp_path)
    pinned = world.registry.log.checkpoint_text
    appended(world, b"one")
    opened = Log.open(world.registry.layout.log, world.registry.log.public_pem)
    newest = appended(world, b"two", b"three")  # and the tiles of the log as it was opened are gone
    check_pinned([opened], pinned)
    assert opened.checkpoint_text == newest
    check_pinned([opened], pinned)
    world.registry.close()


def test_a_log_that_is_shorter_than_the_pin_is_refused(tmp_path):
    world = World(tmp_path)
    opened = Log.open(world.registry.layout.log, world.registry.log.public_pem)
    with pytest.raises(VerificationFailed) as caught:
        check_pinned([opened], appended(world, b"one"))
    assert caught.value.check == "log.consistency"
    world.registry.close()
