"""Several replicas of one registry on a real PostgreSQL: one log, one writer, and folders that follow."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Thread

import pytest
import sqlalchemy as sa

from weighbridge.config import read_config
from weighbridge.core.errors import CannotTell, Locked, RegistryUnusable, UsageError, VerificationFailed
from weighbridge.gate.policies import use_policy
from weighbridge.gate.promote import admit, promote
from weighbridge.ledger.journal import Commit
from weighbridge.policy.settings import starter
from weighbridge.registry import deployments, fsck, rotation, services, tally
from weighbridge.registry.joining import join_registry
from weighbridge.registry.outbox import submit
from weighbridge.registry.wiring import open_registry
from weighbridge.store import schema
from world_house import World
from world_postgresql import fresh, server
from world_wire import Wire

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def url():
    with server() as found:
        yield found


@pytest.fixture
def world(url, tmp_path):
    made = World(tmp_path, settings={"records": fresh(url), "blobs": str(tmp_path / "blobs")})
    yield made
    made.registry.close()


def settings_of(world, name, **changes):
    overrides = {"registry": str(world.folder / name), "lock_seconds": 1, **world.settings, **changes}
    return read_config(world.environ, overrides)


@contextmanager
def joined(world, name, **changes):
    registry = join_registry(
        settings_of(world, name, **changes), world.folder / "registry", clock=world.hand, entropy=world.hand
    )
    try:
        yield registry
    finally:
        registry.close()


def is_whole(registry):
    """Whether everything a deep look reads is as it was written."""
    registry.log.refresh()
    assert registry.log.verify_all() == registry.log.size
    tally.check(registry)
    tally.check_subjects(registry)
    assert tally.broken(registry) == []
    assert services.check(registry) == []
    for look in (fsck.log, fsck.blobs, fsck.lineage, fsck.decisions):
        assert look(registry) == []
    return registry.log.checkpoint_text


def backend(registry):
    """Return the process of the server that holds this replica's lease."""
    return registry.records._lease._holder["pid"]


def end(registry, pid):
    with registry.records.read() as connection:
        assert connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid}).scalar()


def test_a_replica_begins_with_an_empty_folder_and_goes_on_with_the_same_log(world):
    first = world.ready()
    with joined(world, "second") as second, joined(world, "third") as third:
        assert is_whole(second) == is_whole(third) == world.registry.log.checkpoint_text
        manifest = world.manifest(first).digest
        assert promote(second, manifest).decision.allow
        assert admit(third, manifest).decision.allow
        assert world.admit(first).decision.allow
        assert is_whole(second) == is_whole(third) == is_whole(world.registry)
        with world.registry.records.read() as connection:
            assert connection.execute(sa.select(schema.decision.c.sequence)).scalars().all() == [1, 2, 3]


def test_a_writer_that_is_cut_off_holds_nobody_up_and_changes_nothing_when_it_is_back(world):
    folder = world.ready()
    manifest = world.manifest(folder).digest
    with (
        Wire(world.settings["records"]) as wire,
        joined(world, "second", records=wire.url, lease_seconds=4) as second,
    ):
        with pytest.raises(CannotTell, match="no decision could be recorded") as caught, second.writing():
            wire.cut()
            while True:
                with suppress(Locked):  # until the server has ended the session that it hears nothing of
                    assert world.promote(folder).decision.allow
                    break
            before = is_whole(world.registry)
            wire.mend()
            admit(second, manifest)
        assert "not the one that writes to the registry any more" in caught.value.cause
        assert is_whole(world.registry) == before
        assert admit(second, manifest).decision.allow, "it goes on with a new session"
        assert is_whole(second) == is_whole(world.registry) != before
        with second.records.read() as connection:
            assert connection.execute(sa.select(schema.decision.c.sequence)).scalars().all() == [1, 2]


def test_a_folder_that_was_taken_away_is_written_again(world):
    world.ready()
    before = is_whole(world.registry)
    world.registry.close()
    shutil.rmtree(world.registry.layout.log)
    world.reopen()
    assert is_whole(world.registry) == before


def test_a_folder_ahead_of_the_journal_is_refused(world):
    world.ready()
    with joined(world, "second") as second:
        with second.records.write() as connection:
            table = schema.log_commit
            newest = sa.select(sa.func.max(table.c.sequence)).scalar_subquery()
            connection.execute(sa.delete(table).where(table.c.sequence == newest))
        with pytest.raises(RegistryUnusable) as caught:
            second.log.refresh()
        assert caught.value.check == "log.journal"
    with pytest.raises(RegistryUnusable) as caught:
        open_registry(settings_of(world, "registry"), clock=world.hand, entropy=world.hand)
    assert caught.value.check == "log.journal"


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("entries", "set_byte(entries, 40, get_byte(entries, 40) # 1)"),
        ("checkpoint", "replace(checkpoint, ' 0', ' 1')"),
    ],
)
def test_a_journal_that_was_changed_is_not_followed(world, column, text):
    world.ready()
    with world.registry.records.write() as connection:
        newest = "(SELECT max(sequence) FROM log_commit)"
        connection.exec_driver_sql(f"UPDATE log_commit SET {column} = {text} WHERE sequence = {newest}")
    with pytest.raises((RegistryUnusable, VerificationFailed)), joined(world, "second"):
        pass
    assert not (world.folder / "second").exists()
    assert not list(world.folder.glob("second*"))


def test_an_append_made_for_an_older_log_is_not_taken_in(world):
    stale = world.registry.log.checkpoint_text
    with joined(world, "second") as second:
        with second.writing():
            second.log.append([b"one more"], signer=second.log_key, now=world.hand.now())
        note = second.log.checkpoint_text
    size = world.registry.log.size
    with pytest.raises(Locked) as caught:
        world.registry.journal.add(Commit(world.registry.log.origin, size, (), note), after=stale)
    assert caught.value.check == "log.journal"


def test_one_writes_at_a_time_over_all_replicas(world):
    with joined(world, "second") as second, world.registry.writing():
        with pytest.raises(Locked) as caught, second.writing():
            pass
        assert "nothing was changed" in caught.value.remedy
    with joined(world, "third") as third, third.writing():
        pass


def test_whoever_lost_the_lease_writes_nothing_any_more(world):
    digest = world.manifest(world.ready()).digest
    with joined(world, "second") as second:
        with pytest.raises(Locked) as caught, world.registry.writing():
            end(second, backend(world.registry))
            with second.writing():
                submit(second, deployments.deploy(second, digest, "prod/chat"))
            size = second.log.size
            world.registry.log.append(
                [b"by the one before"], signer=world.registry.log_key, now=world.hand.now()
            )
        assert caught.value.check == "records.lease"
        second.log.refresh()
        assert second.log.size == size
        assert second.log.find(b"by the one before") is None
        with world.registry.writing():  # the same process goes on, with a session of its own
            submit(world.registry, deployments.deploy(world.registry, digest, "prod/search"))
        assert is_whole(second) == is_whole(world.registry)
        assert sorted(row.target for row in deployments.running(second)) == ["prod/chat", "prod/search"]


def test_a_transaction_under_way_is_waited_for(world):
    """Nobody takes over in the middle of a write, or would read what is about to change."""
    with joined(world, "second", lock_seconds=10) as second:
        seen = []

        def take_over():
            with second.writing(), second.records.read() as connection:
                seen.append(
                    connection.execute(sa.select(sa.func.count()).select_from(schema.outbox)).scalar()
                )

        with world.registry.records.read() as connection:
            before = connection.execute(sa.select(sa.func.count()).select_from(schema.outbox)).scalar()
        with world.registry.writing():
            with world.registry.records.write() as connection:
                other = Thread(target=take_over)
                end(second, backend(world.registry))
                other.start()
                other.join(0.5)
                assert seen == []
                row = {
                    **world.registry.record(),
                    "envelope": "{}",
                    "public_pem": "",
                    "log_size": 0,
                    "done_at": "then",
                }
                connection.execute(sa.insert(schema.outbox).values(row))
            other.join(10)
        assert seen == [before + 1]


def test_a_policy_used_on_one_replica_is_judged_by_on_all(world):
    folder = world.ready()
    with joined(world, "second") as second:
        policy = world.folder / "policy"
        policy.mkdir()
        for name, data in starter().items():
            (policy / name).write_bytes(data)
        mine = policy / "mine.rego"
        mine.write_text(
            'package weighbridge.own\n\nimport rego.v1\n\ndeny contains {"rule": "mine", "msg": "not today"} if input.action == "promote"\n'
        )
        use_policy(world.registry, policy, world.secret("owner"))
        assert not promote(second, world.manifest(folder).digest).decision.allow
        assert (second.layout.policy / "mine.rego").read_bytes() == mine.read_bytes()


def test_the_key_of_the_log_is_exchanged_for_all(world):
    world.ready()
    with joined(world, "second") as second:
        rotation.rotate(world.registry, "log", world.secret("root"))
        for path in world.registry.layout.keys.iterdir():  # a mounted secret is the same for all
            shutil.copy(path, second.layout.keys / path.name)
        with second.writing():
            second.log.append([b"in the next log"], signer=second.log_key, now=world.hand.now())
        world.registry.take_up()
        assert [log.origin for log in second.before] == [log.origin for log in world.registry.before] != []
        assert second.log.checkpoint_text == world.registry.log.checkpoint_text
    with joined(world, "third") as third:
        assert len(third.before) == 1
        assert third.log.verify_all() == third.log.size


def test_what_is_not_shared_is_no_replica(world):
    for key in ("records", "blobs"):
        with pytest.raises(UsageError, match=f"shares its {key}"), joined(world, "second", **{key: ""}):
            pass
    stranger = replace(settings_of(world, "second"), home=world.folder / "elsewhere")
    with pytest.raises(RegistryUnusable) as caught:
        join_registry(stranger, world.folder / "registry", clock=world.hand, entropy=world.hand)
    assert caught.value.check == "registry.pinned"
    assert not (world.folder / "second").exists()


def test_a_database_holds_one_registry(world, tmp_path):
    with pytest.raises(UsageError, match="holds the records of a registry already"):
        World(tmp_path / "other", settings=world.settings)
