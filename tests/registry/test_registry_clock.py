"""A clock that stands behind, or has run ahead: nothing is decided by it, nothing is dated back, and there is a way on."""

from datetime import timedelta

import pytest

from weighbridge.cli.main import run
from weighbridge.core.errors import CannotTell
from weighbridge.core.tier import Status, Tier
from weighbridge.gate.revoke import revoke
from weighbridge.keys.files import generate
from weighbridge.ledger.checkpoint import origin_of
from weighbridge.ledger.sequencer import Log
from weighbridge.registry import fsck, rotation
from weighbridge.store import schema
from world import World, outcomes

BODY = b'{"apiVersion":"0.0.1","kind":"note"}'


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.team()
    yield made
    made.registry.close()


def dates(log):
    return [entry.integrated_time for entry in log.entries(0)]


def rows(world, table):
    with world.registry.records.read() as connection:
        return len(connection.execute(table.select()).all())


def test_the_dates_of_a_log_never_go_back(tmp_path, world):
    key, now = generate(), world.hand.now()
    log = Log.create(tmp_path / "l", origin_of("here", 7), key, now=now, genesis=[BODY, BODY + b" "])
    for number, minutes in enumerate((3, -60, 2, 4)):
        log.append([b"%d" % number], signer=key, now=now + timedelta(minutes=minutes))
    start = int(now.timestamp())
    assert dates(log) == [start, start, start + 180, start + 180, start + 180, start + 240]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("back", [{"minutes": 6}, {"days": 365}, {"days": 20_000}])
def test_nothing_is_decided_while_the_clock_stands_behind(world, back, dry):
    folder = world.ready()
    size, waiting = world.registry.log.size, rows(world, schema.outbox)
    world.hand.at -= timedelta(**back)
    with pytest.raises(CannotTell) as refused:
        world.promote(folder, dry_run=dry)
    assert refused.value.check == "log.clock"
    assert "trust rotate log" in refused.value.remedy
    assert (world.registry.log.size, rows(world, schema.outbox), rows(world, schema.decision)) == (
        size,
        waiting,
        0,
    )
    world.hand.at += timedelta(**back)
    assert world.promote(folder).decision.allow


def test_clocks_may_differ_by_five_minutes(world):
    folder = world.ready()
    world.hand.pass_(minutes=10)
    world.say_evaluate(folder, world.people["evaluate-team"], recall=0.5)
    world.hand.pass_(minutes=-5)
    assert world.promote(folder).decision.allow
    assert dates(world.registry.log) == sorted(dates(world.registry.log))
    assert fsck.log(world.registry) == []


def test_a_revocation_with_a_wrong_clock_leaves_nothing_behind(world):
    folder = world.ready()
    assert world.promote(folder).decision.allow
    model = world.kept(folder)
    world.hand.at -= timedelta(days=365)
    with pytest.raises(CannotTell) as refused:
        revoke(world.registry, model.digest, reason="poisoned", signer=world.secret("owner"))
    assert refused.value.check == "log.clock"
    assert rows(world, schema.revocation) == 0
    world.hand.at += timedelta(days=365)
    found = revoke(world.registry, model.digest, reason="poisoned", signer=world.secret("owner"))
    assert model.digest in found.revoked
    assert world.kept(folder).status is Status.REVOKED


def test_a_clock_that_ran_ahead_holds_up_until_a_new_log(world):
    folder, other = world.ready(), world.ready("other", seed=2.0)
    world.hand.pass_(days=20)
    assert world.promote(folder).decision.allow
    world.hand.pass_(days=-20)
    with pytest.raises(CannotTell) as refused:
        world.promote(other)
    assert refused.value.check == "log.clock"
    rotation.rotate(world.registry, "log", world.secret("root"))
    assert world.promote(other).decision.allow
    assert world.kept(folder).tier is Tier.TRUSTED
    assert fsck.log(world.registry) == []


def test_nothing_is_logged_after_the_authority_has_ended(world):
    folder, size = world.ready(), world.registry.log.size
    end = world.registry.authority.expires
    world.hand.at, before = end, world.hand.at
    for _ in range(2):
        with pytest.raises(CannotTell) as refused:
            world.promote(folder)
        assert refused.value.check == "authority.expired"
    assert world.registry.log.size == size
    world.hand.at = before
    assert world.promote(folder).decision.allow
    world.hand.at = end + timedelta(days=1)
    world.publish(world.registry.authority.renewed(world.hand.at, world.hand.at + timedelta(days=90)))
    assert not outcomes(world.promote(folder).decision).get("authority.current")


def test_what_is_logged_after_an_end_is_dated_after_it(world):
    before = world.say_data(world.dataset("early", "a\n1\n"), world.people["data-team"])
    at = world.hand.now()
    world.publish(world.registry.authority.revoked("data-team", at))
    for back in (0, 200):
        world.hand.at = at - timedelta(seconds=back)
        after = world.say_data(world.dataset(f"late-{back}", f"a\n{back}\n"), world.people["data-team"])
        assert after.entry.integrated_time > at.timestamp()
    assert before.entry.integrated_time <= at.timestamp()


def test_the_command_says_what_to_do(world, capsys, monkeypatch):
    folder = world.ready()
    digest = str(world.kept(folder).digest)
    world.hand.at += timedelta(days=3000)
    monkeypatch.setattr("weighbridge.registry.wiring.SystemClock.now", lambda _: world.hand.at)
    for name, value in {**world.environ, "WEIGHBRIDGE_HOME": str(world.registry.layout.root)}.items():
        monkeypatch.setenv(name, value)
    assert run(["promote", digest]) == 3
    said = capsys.readouterr()
    assert "authority" in said.err
    assert "weighbridge trust renew" in said.err
