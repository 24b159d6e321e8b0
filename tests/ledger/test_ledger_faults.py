"""A disk that fails, a lock that is taken away, a checkpoint that changes underneath: said, and harmless."""

import errno
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from weighbridge.core.errors import Locked, RegistryUnusable, Unreadable
from weighbridge.keys.files import generate
from weighbridge.ledger import commit, sequencer
from weighbridge.ledger import lock as lock_module
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.sequencer import Log

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = "weighbridge.test - 7"
KEY = generate("ed25519")
GENESIS = [b"genesis one", b"genesis two"]
CALLS = ("open", "write", "fsync", "replace", "mkdir", "unlink", "rmdir")


def create(folder):
    return Log.create(folder, ORIGIN, KEY, now=NOW, genesis=GENESIS)


@pytest.fixture
def log(tmp_path):
    return create(tmp_path / "log")


class Disk:
    """Fails from its n-th changing call on, for as long as it is armed."""

    def __init__(self, monkeypatch):
        self.left, self.code, self.count = -1, errno.ENOSPC, 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrap(getattr(os, name)))

    def wrap(self, call):
        def step(*arguments, **named):
            self.count += 1
            if 0 < self.left <= self.count:
                raise OSError(self.code, os.strerror(self.code))
            return call(*arguments, **named)

        return step

    def arm(self, left, code):
        self.left, self.code, self.count = left, code, 0


def appended(log):
    log.append([b"first", b"second"], signer=KEY, now=NOW)


WORK = {
    "append": appended,
    "freeze": lambda log: log.freeze(signer=KEY, now=NOW),
    "cosigned": lambda log: log.cosigned(log.checkpoint_text + "— witness AAAAAAAA\n"),
    "export": lambda log: log.export(log._directory / "copy"),
}


def failure(work, log):
    """Return check and cause of what the disk's failure was turned into, or None."""
    try:
        work(log)
    except Unreadable as error:
        return error.check, error.cause
    return None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("name", WORK)
def test_a_disk_that_fails_for_good_is_named_and_nothing_is_lost(tmp_path, monkeypatch, name, code):
    create(tmp_path / "template")
    disk, failures = Disk(monkeypatch), 0
    for number in range(1, 200):
        folder = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "template", folder)
        log = Log.open(folder, KEY.public_pem)
        disk.arm(number, code)
        said = failure(WORK[name], log)
        failures += said is not None
        done = said is None and disk.count < number
        disk.arm(-1, 0)
        assert said in (None, ("log.disk", os.strerror(code)))
        for one in (log, Log.open(folder, KEY.public_pem)):
            one.refresh()
            assert one.size in (2, 4)
            assert [one.entry(index).body for index in (0, 1)] == GENESIS
        if name != "append" or log.find(b"second") is None:
            WORK[name](log)  # the disk is well again
        assert log.verify_all() == (4 if name == "append" else 2)
        if done:
            break
    else:
        pytest.fail("it never ran to its end")
    assert failures >= 5


def test_writes_that_the_system_cuts_short_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    log = create(tmp_path / "log")
    log.append([b"entry %d" % number for number in range(300)], signer=KEY, now=NOW)
    assert Log.open(tmp_path / "log", KEY.public_pem).verify_all() == 302


# One appender


def test_a_lock_that_is_removed_is_noticed_before_the_step_that_counts(log, tmp_path, monkeypatch):
    """Otherwise a second appender, holding the new file of that name, would fork the log."""
    write = commit.write_tiles

    def meddled(*arguments, **named):
        written = write(*arguments, **named)
        (tmp_path / "log/lock").unlink()
        return written

    monkeypatch.setattr(sequencer, "write_tiles", meddled)
    with pytest.raises(Locked) as caught:
        log.append([b"a"], signer=KEY, now=NOW)
    assert caught.value.check == "log.locked"
    assert Log.open(tmp_path / "log", KEY.public_pem).size == 2
    monkeypatch.undo()
    assert log.append([b"b"], signer=KEY, now=NOW)[0].index == 2
    assert log.verify_all() == 3


def test_a_checkpoint_that_changes_under_the_lock_is_not_written_over(log, tmp_path, monkeypatch):
    """A program that does not keep to the lock has appended: ours must not put a second tree beside it."""
    shutil.copytree(tmp_path / "log", tmp_path / "other")
    Log.open(tmp_path / "other", KEY.public_pem).append([b"theirs"], signer=KEY, now=NOW)
    theirs = (tmp_path / "other/checkpoint").read_text()
    write = commit.write_tiles

    def meddled(*arguments, **named):
        written = write(*arguments, **named)
        (tmp_path / "log/checkpoint").write_text(theirs)
        return written

    monkeypatch.setattr(sequencer, "write_tiles", meddled)
    with pytest.raises(RegistryUnusable):
        log.append([b"ours"], signer=KEY, now=NOW)
    assert (tmp_path / "log/checkpoint").read_text() == theirs


def test_two_lock_files_of_one_name_are_never_both_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "TRIES", 3)
    monkeypatch.setattr(lock_module, "PAUSE", 0)
    path = tmp_path / "lock"
    with exclusive(path) as held:
        held()
        path.unlink()
        with exclusive(path) as other:
            other()
            with pytest.raises(Locked):
                held()
        path.unlink()
        with pytest.raises(Locked):
            held()


def test_a_lock_exchanged_while_it_was_waited_for_is_taken_anew(tmp_path, monkeypatch):
    path, flock = tmp_path / "lock", lock_module.fcntl.flock
    path.write_text("")
    calls = []

    def exchanged(descriptor, how):
        flock(descriptor, how)
        calls.append(how)
        if len(calls) == 1:
            path.unlink()
            path.write_text("")

    monkeypatch.setattr(lock_module.fcntl, "flock", exchanged)
    with exclusive(path) as held:
        held()
    assert len(calls) == 2


def test_a_link_is_not_taken_for_a_lock(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable), exclusive(tmp_path / "lock"):
        pass


def test_threads_that_append_through_logs_of_their_own_make_one_history(log, tmp_path):
    shared, found, problems = Log.open(tmp_path / "log", KEY.public_pem), {}, []

    def work(name):
        mine = shared if name % 2 else Log.open(tmp_path / "log", KEY.public_pem)
        try:
            for number in range(8):
                body = b"%d of %d" % (number, name)
                found[body] = mine.append([body], signer=KEY, now=NOW)[0].index
        except BaseException as error:  # noqa: BLE001 (told to the test)
            problems.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    log.refresh()
    assert sorted(found.values()) == list(range(2, 34))
    assert all(log.entry(index).body == body for body, index in found.items())
    assert log.verify_all() == 34


def test_a_reader_without_the_right_to_write_reads_everything(log, tmp_path):
    folder = Path(shutil.copytree(tmp_path / "log", tmp_path / "read"))
    names = [folder, *folder.rglob("*")]
    for path in names:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        reader = Log.open(folder, KEY.public_pem)
        assert reader.verify_all() == 2
        assert reader.find(GENESIS[1]) == 1
        assert reader.proof(0).size == 2
        if os.geteuid() != 0:  # root writes where it likes
            with pytest.raises(Unreadable):
                reader.append([b"a"], signer=KEY, now=NOW)
    finally:
        for path in names:
            path.chmod(0o755)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks the kernel what is open")
def test_waiting_in_vain_leaves_nothing_open(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "TRIES", 20)
    monkeypatch.setattr(lock_module, "PAUSE", 0)
    with exclusive(tmp_path / "lock"):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Locked), exclusive(tmp_path / "lock"):
            pass
        assert len(list(Path("/proc/self/fd").iterdir())) == before
