"""Backup and restore: whole while others write, believed only through the pin, and never half."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from weighbridge.config import Value
from weighbridge.core.errors import Locked, NotFound, UsageError, VerificationFailed, WeighbridgeError
from weighbridge.registry import backup as backups
from weighbridge.registry import restore as restores
from weighbridge.registry import rotation
from weighbridge.registry.backup import make_backup
from weighbridge.registry.restore import restore
from weighbridge.registry.wiring import open_registry
from world_house import World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    made.folder_of = made.ready("encoder")
    made.promote(made.folder_of)
    yield made
    made.registry.close()


def elsewhere(world, name="again"):
    root = world.folder / name
    return replace(world.config, values={**world.config.values, "registry": Value(str(root), "test")})


def restored(world, source, name="again", **options):
    return restore(elsewhere(world, name), source, clock=world.hand, entropy=world.hand, **options)


def table_rows(registry):
    from weighbridge.store import schema

    with registry.records.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in schema.metadata.sorted_tables
        }


def test_a_restored_registry_is_the_same_and_goes_on(world):
    made = make_backup(world.registry, world.folder / "backups", keys=True)
    assert made.path.name.startswith("20261122T120000Z-")
    found = restored(world, world.folder / "backups")
    assert found.entries == world.registry.log.size
    registry = open_registry(elsewhere(world), clock=world.hand, entropy=world.hand)
    try:
        assert table_rows(registry) == table_rows(world.registry)
        assert set(registry.blobs.digests()) == set(world.registry.blobs.digests())
        assert registry.log.checkpoint_text == world.registry.log.checkpoint_text
        for _, read in restores.READ_AGAIN:
            assert read(registry) == []
    finally:
        registry.close()
    shutil.rmtree(world.registry.layout.root)
    (world.folder / "again").rename(world.registry.layout.root)
    world.reopen()
    assert world.admit(world.folder_of).decision.allow
    world.ready("another", seed=5.0)
    assert world.promote(world.folder / "another").decision.allow


def test_a_registry_whose_log_was_exchanged_is_restored_with_both(world):
    world.hand.pass_(hours=1)
    rotation.rotate(world.registry, "log", world.secret("root"))
    world.hand.pass_(hours=1)
    assert len(world.reopen().before) == 1
    assert world.promote(world.ready("after", seed=3.0)).decision.allow
    make_backup(world.registry, world.folder / "backups", keys=True)
    restored(world, world.folder / "backups")
    registry = open_registry(elsewhere(world), clock=world.hand, entropy=world.hand)
    try:
        assert table_rows(registry) == table_rows(world.registry)
        logs = [*world.registry.before, world.registry.log]
        assert [log.checkpoint_text for log in (*registry.before, registry.log)] == [
            log.checkpoint_text for log in logs
        ]
        for _, read in restores.READ_AGAIN:
            assert read(registry) == []
    finally:
        registry.close()


def test_writers_go_on_and_the_backup_is_of_one_moment(world, monkeypatch):
    noted = backups._Making._records

    def while_others_write(self, connection):
        world.ready("meanwhile", seed=7.0)
        noted(self, connection)

    size = world.registry.log.size
    monkeypatch.setattr(backups._Making, "_records", while_others_write)
    made = make_backup(world.registry, world.folder / "backups")
    assert made.entries == size
    assert world.registry.log.size > size
    home = shutil.copytree(world.home, world.folder / "older-home")
    (pin,) = (home / "pins").glob("*.json")
    document = json.loads(pin.read_text())
    document["checkpoint"] = ""
    pin.write_text(json.dumps(document))
    config = replace(elsewhere(world), home=home)
    found = restore(config, made.path, clock=world.hand, entropy=world.hand)
    assert found.entries == size


def test_an_old_backup_is_noticed_through_the_pin(world):
    make_backup(world.registry, world.folder / "backups")
    world.ready("later", seed=9.0)
    with pytest.raises(VerificationFailed) as caught:
        restored(world, world.folder / "backups")
    assert caught.value.check == "log.consistency"
    assert "what was decided since is not in it" in caught.value.cause
    assert not (world.folder / "again").exists()
    make_backup(world.registry, world.folder / "backups")
    assert restored(world, world.folder / "backups").entries == world.registry.log.size


def test_without_a_pin_nothing_is_believed(world):
    make_backup(world.registry, world.folder / "backups")
    config = replace(elsewhere(world), home=world.folder / "nobody")
    with pytest.raises(WeighbridgeError) as caught:
        restore(config, world.folder / "backups", clock=world.hand, entropy=world.hand)
    assert caught.value.check == "registry.pinned"


def test_nothing_is_restored_over_anything_and_nothing_made_inside(world):
    make_backup(world.registry, world.folder / "backups")
    with pytest.raises(UsageError, match="already something"):
        restored(world, world.folder / "backups", "registry")
    with pytest.raises(UsageError, match="inside"):
        make_backup(world.registry, world.registry.layout.root / "backups")
    with pytest.raises(NotFound, match="no whole backup"):
        restored(world, world.folder / "encoder")


def test_two_at_once_are_one_after_the_other(world):
    target = world.folder / "backups"
    with backups._alone(target), pytest.raises(Locked):
        make_backup(world.registry, target)
    assert make_backup(world.registry, target).path.is_dir()


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))


def test_every_file_of_a_backup_is_verified(world):
    made = make_backup(world.registry, world.folder / "backups", keys=True)
    files = [path for path in made.path.rglob("*") if path.is_file() and path.stat().st_size]
    blobs = list((world.folder / "backups" / "blobs").glob("sha256/??/*"))
    assert len(files) > 40
    assert len(blobs) > 3
    changes = (flipped, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.unlink())
    chosen = [*files[::6], made.path / "backup.json", made.path / "backup.sig.json", *blobs[:2]]
    for number, path in enumerate(chosen):
        kept, mode = path.read_bytes(), path.stat().st_mode
        path.chmod(0o600)
        changes[number % 3](path)
        with pytest.raises(WeighbridgeError):
            restored(world, made.path, f"again-{number}")
        assert not (world.folder / f"again-{number}").exists(), path
        path.unlink(missing_ok=True)
        path.write_bytes(kept)
        path.chmod(mode)
    assert restored(world, made.path).entries == world.registry.log.size


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "folder-link", "device"])
def test_what_is_no_plain_file_is_refused(world, what):
    made = make_backup(world.registry, world.folder / "backups")
    victim = made.path / "policy" / "policy.toml"
    secret = world.folder / "secret"
    secret.write_bytes(victim.read_bytes())
    if what == "folder-link":
        (made.path / "policy").rename(world.folder / "moved")
        (made.path / "policy").symlink_to(world.folder / "moved")
    else:
        victim.unlink()
        if what == "link":
            victim.symlink_to(secret)
        elif what == "pipe":
            os.mkfifo(victim)
        elif what == "folder":
            victim.mkdir()
        else:
            victim.symlink_to("/dev/zero")
    with pytest.raises(VerificationFailed) as caught:
        restored(world, made.path)
    assert caught.value.check == "backup.signed"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "a/../../outside", "a//b", "", "a\x00b", "records/../../x"]
)
def test_names_that_lead_outside_are_refused_even_when_signed(world, name):
    from weighbridge.core.canonical import canonical
    from weighbridge.trust.dsse import sign

    made = make_backup(world.registry, world.folder / "backups")
    body = json.loads((made.path / "backup.json").read_bytes())
    body["members"].append(
        {
            "path": name,
            "size": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }
    )
    (made.path / "backup.json").write_bytes(canonical(body) + b"\n")
    envelope = sign(backups.TYPE, canonical(body), world.registry.log_key)
    (made.path / "backup.sig.json").write_bytes(canonical(envelope.to_json()) + b"\n")
    with pytest.raises(VerificationFailed) as caught:
        restored(world, made.path)
    assert caught.value.check == "backup.signed"
    assert not (world.folder / "outside").exists()


def test_another_registrys_backup_or_members_of_another_backup_do_not_pass(world, tmp_path):
    first = make_backup(world.registry, world.folder / "backups").path
    world.ready("more", seed=3.0)
    second = make_backup(world.registry, world.folder / "backups").path
    for name in ("records/model.jsonl", "records/setting.jsonl", "log/checkpoint", "backup.sig.json"):
        kept = (second / name).read_bytes()
        (second / name).write_bytes((first / name).read_bytes())
        with pytest.raises(WeighbridgeError):
            restored(world, second, name.replace("/", "-"))
        (second / name).write_bytes(kept)
    (tmp_path / "stranger").mkdir()
    stranger = World(tmp_path / "stranger", anew=True)
    theirs = make_backup(stranger.registry, tmp_path / "theirs").path
    stranger.registry.close()
    assert json.loads((theirs / "backup.json").read_bytes())["registry"] == world.registry.id
    with pytest.raises(WeighbridgeError):  # the same id, another root key
        restored(world, theirs)


def test_bytes_that_stay_elsewhere_are_fetched_from_where_one_says(world):
    made = make_backup(world.registry, world.folder / "backups", blobs=False)
    assert made.elsewhere == str(world.registry.layout.blobs)
    with pytest.raises(VerificationFailed) as caught:
        restored(world, made.path)
    assert caught.value.check == "backup.whole"
    with pytest.raises(NotFound):
        restored(world, made.path, blobs_from=str(world.folder / "nowhere"))
    assert restored(world, made.path, blobs_from=str(world.registry.layout.blobs)).blobs > 3


def killed_at(number, work):
    """Run `work` in a process that ends at its `number`th flush to disk, as a killed one does; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        left, flush = [number], os.fsync

        def fsync(descriptor):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            flush(descriptor)

        os.fsync = fsync
        try:
            work()
        except BaseException:  # noqa: BLE001 (told by the code)
            os._exit(2)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def test_a_backup_killed_at_a_step_leaves_none_and_the_next_is_whole(world):
    target = world.folder / "backups"

    def work():
        registry = open_registry(world.config, clock=world.hand, entropy=world.hand)
        make_backup(registry, target)

    at, kills = 0, 0
    while killed_at(at, work):
        kills += 1
        assert not [path for path in target.glob("*Z-*") if not path.name.endswith(backups.MAKING)]
        at += 9
    assert kills > 3
    assert not list(target.glob(f"*{backups.MAKING}"))
    assert restored(world, target).entries == world.registry.log.size


def test_a_restore_killed_at_a_step_goes_on(world):
    make_backup(world.registry, world.folder / "backups", keys=True)
    at, kills = 0, 0
    while killed_at(at, lambda: restored(world, world.folder / "backups")):
        kills += 1
        assert not (world.folder / "again").exists()
        at += 5
    assert kills > 3
    assert not list(world.folder.glob(f"*{restores.SUFFIX}"))
    registry = open_registry(elsewhere(world), clock=world.hand, entropy=world.hand)
    assert table_rows(registry) == table_rows(world.registry)
    registry.close()


def test_a_full_disk_is_told_and_leaves_no_backup(world):
    import resource

    target = world.folder / "backups"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in world.registry.layout.log.rglob("*") if path.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, before[1]))
    try:
        with pytest.raises(WeighbridgeError) as caught:
            make_backup(world.registry, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.exit_code == 3
    assert not list(target.glob("*/backup.json"))
    assert make_backup(world.registry, target).path.is_dir()
