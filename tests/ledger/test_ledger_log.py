"""The log: it only grows, it notices when it was touched, and a crash at any step loses or doubles nothing."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.core.errors import Locked, NotFound, Refused, RegistryUnusable, Unreadable, UsageError
from weighbridge.keys.files import generate
from weighbridge.keys.public import verify_signature
from weighbridge.ledger import lock as lock_module
from weighbridge.ledger import merkle
from weighbridge.ledger.checkpoint import parse_checkpoint, verify_checkpoint
from weighbridge.ledger.entry import promise_message
from weighbridge.ledger.lock import exclusive
from weighbridge.ledger.sequencer import Log
from weighbridge.trust.verify import verify_log_extension

NOW = datetime(2026, 11, 22, 20, 10, tzinfo=UTC)
ORIGIN = "weighbridge.test - 7"
KEY = generate()
GENESIS = [b"genesis one", b"genesis two"]


def create(folder):
    return Log.create(folder, ORIGIN, KEY, now=NOW, genesis=GENESIS)


def reopen(folder):
    return Log.open(folder, KEY.public_pem)


def add(log, *bodies, now=NOW):
    return log.append(bodies, signer=KEY, now=now)


def numbered(start, end):
    return [b"entry %d" % n for n in range(start, end)]


@pytest.fixture
def log(tmp_path):
    return create(tmp_path / "log")


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A log of 700 entries, written in uneven batches; read only."""
    folder = tmp_path_factory.mktemp("long") / "log"
    log = create(folder)
    at = 2
    for step in (1, 3, 250, 1, 255, 100, 88):
        add(log, *numbered(at, at + step))
        at += step
    assert log.size == 700
    return log


def bodies_of(log):
    return [entry.body for entry in log.entries()]


def test_a_new_log_has_its_genesis_and_a_signed_checkpoint(log, tmp_path):
    assert (log.size, log.origin, log.log_id) == (2, ORIGIN, KEY.key_id)
    head = verify_checkpoint(log.checkpoint_text, origin=ORIGIN, public_pem=KEY.public_pem)
    assert (head.size, head.root) == (2, log.root)
    assert (tmp_path / "log/checkpoint").read_text() == log.checkpoint_text
    assert bodies_of(log) == GENESIS


def test_entries_come_back_with_index_time_and_promise(log):
    later = NOW + timedelta(hours=1)
    first, second = add(log, b"a", b"b", now=later)
    assert [(e.index, e.integrated_time, e.body) for e in (first, second)] == [
        (2, int(later.timestamp()), b"a"),
        (3, int(later.timestamp()), b"b"),
    ]
    assert log.entry(3) == second
    message = promise_message(b"b", second.integrated_time, log.log_id, 3)
    assert verify_signature(KEY.public_pem, message, second.promise)


def test_the_root_is_that_of_the_tree_over_all_entries(long):
    leaves = [merkle.leaf_hash(body) for body in bodies_of(long)]
    assert bodies_of(long) == [*GENESIS, *numbered(2, 700)]
    for size in (1, 2, 255, 256, 257, 511, 512, 513, 699, 700):
        assert long.root_at(size) == merkle.root(size, merkle.nodes_of(leaves))


def test_every_proof_verifies_whatever_the_size(long):
    for size in (1, 2, 256, 257, 512, 700):
        for index in {0, 1, 255, 256, 511, size - 1} & set(range(size)):
            proof = long.prove(index, size)
            leaf = merkle.leaf_hash(long.entry(index).body)
            assert merkle.verify_inclusion(leaf, index, size, proof, long.root_at(size))
    for old in (1, 255, 256, 300, 512, 700):
        proof = long.consistency(old)
        roots = {"old_root": long.root_at(old), "new_root": long.root}
        assert merkle.verify_consistency(old, 700, proof, **roots)


def test_a_proof_comes_with_the_checkpoint_it_leads_to(long):
    proof = long.proof(300)
    head = verify_checkpoint(proof.checkpoint, origin=ORIGIN, public_pem=KEY.public_pem)
    assert (head.size, head.root) == (proof.size, proof.root)
    leaf = merkle.leaf_hash(long.entry(300).body)
    assert merkle.verify_inclusion(leaf, 300, proof.size, proof.hashes, proof.root)


def test_positions_that_are_not_there(long):
    for index, size in [(700, None), (-1, None), (5, 5), (5, 701), (0, 0)]:
        with pytest.raises(NotFound):
            long.prove(index, size)
    for old, new in [(0, 5), (6, 5), (5, 701)]:
        with pytest.raises(NotFound):
            long.consistency(old, new)
    for index in (-1, 700):
        with pytest.raises(NotFound):
            long.entry(index)


def test_find_gives_the_first_place_at_or_after(log):
    add(log, b"a", b"b", b"a")
    assert [log.find(b"a"), log.find(b"a", 2), log.find(b"a", 3), log.find(b"a", 5)] == [2, 2, 4, None]
    assert log.find(b"never") is None
    assert log.find(b"b") == 3


def test_find_looks_across_tiles(long):
    assert long.find(b"entry 599") == long.find(b"entry 599", 599) == 599
    assert long.find(b"entry 599", 600) is None


def test_entries_from_a_place_on(long):
    assert [entry.index for entry in long.entries(510)] == list(range(510, 700))


def test_only_the_committed_width_of_a_tile_is_kept(long):
    folder = long._directory
    assert sorted(path.name for path in (folder / "tile/entries").iterdir()) == ["000", "001", "002.p"]
    assert [path.name for path in (folder / "tile/0/002.p").iterdir()] == [str(700 - 512)]
    assert [path.name for path in (folder / "tile/1/000.p").iterdir()] == ["2"]
    assert not list(folder.rglob("*.tmp"))


def test_two_logs_over_one_folder_see_each_other(log, tmp_path):
    other = reopen(tmp_path / "log")
    add(log, b"a")
    assert other.size == 2
    assert add(other, b"b")[0].index == 3
    log.refresh()
    assert bodies_of(log) == [*GENESIS, b"a", b"b"]


def test_a_reader_whose_tiles_were_swept_away_reads_on(log, tmp_path):
    reader = reopen(tmp_path / "log")
    size, root = reader.size, reader.root
    add(log, *numbered(2, 300))
    assert reader.size == size
    proof = reader.prove(1, size)
    assert merkle.verify_inclusion(merkle.leaf_hash(GENESIS[1]), 1, size, proof, root)
    assert reader.size == 300


def test_the_proof_asked_for_before_a_sweep_is_of_that_tree(log, tmp_path):
    reader = reopen(tmp_path / "log")
    add(log, b"a", b"b", b"c")
    proof = reader.proof(0)
    assert proof.size == 2
    assert merkle.verify_inclusion(merkle.leaf_hash(GENESIS[0]), 0, 2, proof.hashes, proof.root)


def test_an_extension_is_proven_for_the_checkpoint_that_comes_with_it(log, tmp_path):
    """Another process appends, and sweeps away the tiles that the proof was about to be made of."""
    add(log, b"a")
    old = log.checkpoint_text
    add(log, b"b", b"c")
    reader = reopen(tmp_path / "log")
    add(log, *numbered(5, 300))
    note, proof = reader.extension(3)
    verify_log_extension(old, note, proof, KEY.public_pem)
    assert reader.size == 300
    assert parse_checkpoint(note)[0].size == 5


def test_nothing_appended_is_nothing_written(log):
    before = log.checkpoint_text
    assert add(log) == []
    assert log.checkpoint_text == before


# Bad input


@pytest.mark.parametrize("body", [b"", bytes(65536)])
def test_bodies_of_impossible_size_are_refused_and_nothing_is_written(log, body):
    before = log.checkpoint_text
    with pytest.raises(UsageError) as caught:
        add(log, b"fine", body)
    assert caught.value.check == "log.entry-size"
    assert (log.size, log.checkpoint_text) == (2, before)


def test_the_largest_body_fits(log):
    add(log, bytes(65535))
    assert log.entry(2).body == bytes(65535)


def test_another_key_cannot_append(log):
    with pytest.raises(Refused) as caught:
        log.append([b"a"], signer=generate(), now=NOW)
    assert caught.value.check == "log.key"
    assert log.size == 2


def test_a_time_without_zone_is_refused(log):
    with pytest.raises(UsageError):
        add(log, b"a", now=datetime(2026, 1, 1))  # noqa: DTZ001 (the mistake under test)


def test_a_log_is_made_once(log, tmp_path):
    with pytest.raises(Refused) as caught:
        create(tmp_path / "log")
    assert caught.value.check == "log.exists"
    assert reopen(tmp_path / "log").size == 2


def test_a_log_needs_an_origin_and_two_genesis_entries(tmp_path):
    with pytest.raises(UsageError):
        Log.create(tmp_path / "log", "no tree id", KEY, now=NOW, genesis=GENESIS)
    with pytest.raises(UsageError):
        Log.create(tmp_path / "log", ORIGIN, KEY, now=NOW, genesis=GENESIS[:1])
    with pytest.raises(NotFound):
        reopen(tmp_path / "log")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreadable):
        create(tmp_path / "file" / "log")


# Touched logs


def damage(path, at=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/002.p/188", "tile/1/000.p/2"])
def test_opening_notices_a_changed_right_edge(long, tmp_path, name):
    folder = shutil.copytree(long._directory, tmp_path / "log")
    damage(folder / name)
    with pytest.raises(RegistryUnusable):
        reopen(folder)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/002.p/188", "tile/1/000.p/2"])
@pytest.mark.parametrize("how", ["missing", "truncated", "empty"])
def test_opening_notices_a_lost_right_edge(long, tmp_path, name, how):
    folder = shutil.copytree(long._directory, tmp_path / "log")
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if how != "missing":
        (folder / name).write_bytes(data[:-1] if how == "truncated" else b"")
    with pytest.raises(RegistryUnusable) as caught:
        reopen(folder)
    assert caught.value.remedy


def every_file(log):
    return sorted(
        str(path.relative_to(log._directory)) for path in log._directory.rglob("*") if path.is_file()
    )


def test_the_full_check_notices_any_changed_file(long, tmp_path):
    assert long.verify_all() == 700
    for name in every_file(long):
        if name == "lock":
            continue
        folder = shutil.copytree(long._directory, tmp_path / name.replace("/", "-"))
        damage(folder / name, -1 if name == "checkpoint" else (folder / name).stat().st_size // 2)
        with pytest.raises(RegistryUnusable):
            reopen(folder).verify_all()


def test_an_entry_that_was_exchanged_is_not_handed_out(long, tmp_path):
    folder = shutil.copytree(long._directory, tmp_path / "log")
    path = folder / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b"entry 100", b"entry 1OO"))
    log = reopen(folder)
    assert log.entry(99)
    with pytest.raises(RegistryUnusable):
        log.entry(100)


def test_a_time_that_was_changed_is_not_handed_out(log, tmp_path):
    damage(tmp_path / "log/promise/000.p/2", 7)
    with pytest.raises(RegistryUnusable):
        reopen(tmp_path / "log").entry(0)


def test_a_proof_that_does_not_verify_is_not_handed_out(long, tmp_path):
    folder = shutil.copytree(long._directory, tmp_path / "log")
    damage(folder / "tile/0/000", 64)
    log = reopen(folder)
    with pytest.raises(RegistryUnusable):
        log.prove(3)


def test_a_log_that_went_backwards_is_refused_by_who_saw_it(log, tmp_path):
    folder = tmp_path / "log"
    shutil.copytree(folder, tmp_path / "old")
    add(log, b"a")
    shutil.rmtree(folder)
    shutil.move(tmp_path / "old", folder)
    with pytest.raises(RegistryUnusable, match="damaged"):
        add(log, b"b")
    assert reopen(folder).size == 2  # who did not see it cannot know: pin a checkpoint


def test_a_log_that_was_rewritten_is_refused_by_who_saw_it(log, tmp_path):
    folder = tmp_path / "log"
    add(log, b"a")
    shutil.rmtree(folder)
    add(create(folder), b"x", b"y")
    with pytest.raises(RegistryUnusable):
        log.refresh()


def test_a_log_under_another_key_is_refused(log, tmp_path):
    with pytest.raises(RegistryUnusable):
        Log.open(tmp_path / "log", generate().public_pem)


# One appender at a time


def test_a_held_lock_is_waited_for_and_then_said(log, tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "TRIES", 2)
    monkeypatch.setattr(lock_module, "PAUSE", 0)
    with exclusive(tmp_path / "log/lock"), pytest.raises(Locked) as caught:
        add(log, b"a")
    assert caught.value.check == "log.locked"
    assert add(log, b"a")[0].index == 2


APPENDER = """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path
    from weighbridge.keys.files import load
    from weighbridge.ledger.sequencer import Log
    folder, key, name = Path(sys.argv[1]), load(Path(sys.argv[2])), sys.argv[3]
    log = Log.open(folder, key.public_pem)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[4])):
        (entry,) = log.append([f"{name} {number}".encode()], signer=key, now=datetime(2026, 1, 1, tzinfo=UTC))
        print(entry.index, flush=True)
"""


def appender(tmp_path, name, count):
    arguments = [
        sys.executable,
        "-c",
        textwrap.dedent(APPENDER),
        tmp_path / "log",
        tmp_path / "key",
        name,
        str(count),
    ]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_append_without_losing_anything(log, tmp_path):
    KEY.save(tmp_path / "key")
    processes = [appender(tmp_path, name, 20) for name in ("a", "b")]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    indices = [[int(line) for line in process.communicate()[0].split()] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(indices[0] + indices[1]) == list(range(2, 42))
    log.refresh()
    assert log.verify_all() == 42
    for name, found in zip("ab", indices, strict=True):
        assert [log.entry(index).body for index in found] == [f"{name} {n}".encode() for n in range(20)]


@pytest.mark.parametrize("lines", [1, 3, 10])
def test_a_killed_appender_leaves_a_log_that_holds_all_it_announced(log, tmp_path, lines):
    KEY.save(tmp_path / "key")
    process = appender(tmp_path, "a", 10_000)
    process.stdin.write("\n")
    process.stdin.flush()
    announced = [int(process.stdout.readline()) for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    after = reopen(tmp_path / "log")
    assert after.size > announced[-1]
    assert after.verify_all() == after.size
    assert add(after, b"next")[0].index == after.size - 1
    assert after.verify_all() == after.size


# What is on disk when the power goes out


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks the kernel which folder a descriptor is")
def test_all_that_a_checkpoint_needs_is_flushed_before_it(tmp_path, monkeypatch):
    """A file survives when it was flushed, and so was each folder on the way to it since the name was made."""
    folder = tmp_path / "log"
    flushed, names = set(), set()
    fsync, replace, unlink = os.fsync, os.replace, Path.unlink
    checked = []

    def flush(descriptor):
        fsync(descriptor)
        status = os.fstat(descriptor)
        flushed.add((status.st_dev, status.st_ino))
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            names.update(path.iterdir())

    def rename(path, target):
        path, target = Path(path), Path(target)
        if target == folder / "checkpoint":
            for file in folder.rglob("*"):
                if file.is_file() and file.name != "lock" and file.suffix != ".tmp":
                    status = file.stat()
                    assert (status.st_dev, status.st_ino) in flushed, file
                    road = [file, *(parent for parent in file.parents if folder in parent.parents)]
                    assert set(road) <= names, set(road) - names
                    checked.append(file)
            assert (path.stat().st_dev, path.stat().st_ino) in flushed
        names.discard(target)
        return replace(path, target)

    def remove(path, **named):
        names.discard(path)
        return unlink(path, **named)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(Path, "unlink", remove)
    log = create(folder)
    assert folder in names
    for step in (1, 1, 250, 1, 1, 1, 300, 1):
        add(log, *numbered(log.size, log.size + step))
    assert folder / "checkpoint" in names
    assert len(checked) > 30


# A crash at every step


class Crash(BaseException):
    """The power goes out: nothing after this call happens, all before it did."""


class Countdown:
    """Fails the n-th system call that changes something, before or after it took effect."""

    def __init__(self, monkeypatch, error):
        self.left = -1
        self.after = False
        self.count = 0
        self.error = error
        for owner, name in [
            (os, "open"),
            (os, "write"),
            (os, "fsync"),
            (os, "replace"),
            (Path, "mkdir"),
            (Path, "unlink"),
        ]:
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, call):
        def step(*arguments, **named):
            self.count += 1
            mine = self.count == self.left
            if mine and not self.after:
                raise self.error()
            result = call(*arguments, **named)
            if mine and self.after:
                raise self.error()
            return result

        return step

    def arm(self, left, *, after):
        self.left, self.after, self.count = left, after, 0


def no_space():
    return OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [Crash, no_space])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("start", [2, 255, 256])
def test_a_crash_at_any_step_loses_and_doubles_nothing(tmp_path, monkeypatch, start, after, error):
    template = create(tmp_path / "template")
    if start > 2:
        add(template, *numbered(2, start))
    bodies = [*GENESIS, *numbered(2, start), b"first", b"second"]
    leaves = merkle.nodes_of([merkle.leaf_hash(body) for body in bodies])
    before, done = merkle.root(start, leaves), merkle.root(start + 2, leaves)
    countdown = Countdown(monkeypatch, error)
    for step in range(1, 200):
        folder = shutil.copytree(tmp_path / "template", tmp_path / f"{step}")
        log = reopen(folder)
        countdown.arm(step, after=after)
        try:
            add(log, b"first", b"second")
        except (Crash, Unreadable):
            failed = True
        else:
            failed = False
        reached = countdown.count >= step
        countdown.arm(-1, after=False)
        for survivor in (reopen(folder), log):  # another process, and the same one carrying on
            survivor.refresh()
            assert (survivor.size, survivor.root) in ((start, before), (start + 2, done))
            if survivor.find(b"second", start) is None:
                add(survivor, b"first", b"second")
            assert (survivor.size, survivor.root) == (start + 2, done)
            assert [entry.body for entry in survivor.entries(start)] == [b"first", b"second"]
        if not reached:
            assert not failed
            assert survivor.verify_all() == start + 2
            break
    else:
        pytest.fail("the append never ran to its end")
    assert step > 15  # it did have many steps to fail at


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_while_a_log_is_made(tmp_path, monkeypatch, after):
    countdown = Countdown(monkeypatch, Crash)
    for step in range(1, 200):
        folder = tmp_path / f"{step}"
        countdown.arm(step, after=after)
        try:
            create(folder)
        except Crash:
            done = False
        else:
            done = countdown.count < step
        countdown.arm(-1, after=False)
        if not (folder / "checkpoint").exists():
            create(folder)
        assert reopen(folder).verify_all() == 2
        if done:
            break
    else:
        pytest.fail("making a log never ran to its end")


@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.integers(1, 130), max_size=6))
def test_however_a_log_was_filled_it_is_the_same_log(tmp_path_factory, batches):
    log = create(tmp_path_factory.mktemp("filled") / "log")
    at = 2
    for step in batches:
        add(log, *numbered(at, at + step))
        at += step
    leaves = [merkle.leaf_hash(body) for body in [*GENESIS, *numbered(2, at)]]
    assert log.root == merkle.root(at, merkle.nodes_of(leaves))
    assert log.verify_all() == at
