"""Blobs in a folder: named by content, complete or absent, never replaced."""

import errno
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import (
    BadReference,
    NotFound,
    OutOfBudget,
    RegistryUnusable,
    Unreadable,
    VerificationFailed,
)
from weighbridge.store.aside import HELD
from weighbridge.store.files import FileBlobs

DATA = b"the weights of a model"


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "kept" / "blobs")


def everything(blobs: FileBlobs) -> list[str]:
    found = (path for path in blobs.root.rglob("*") if not path.is_dir() and path.parent.name != HELD)
    return sorted(str(path.relative_to(blobs.root)) for path in found)


def test_what_was_put_comes_back_under_its_sha256(blobs):
    digest = blobs.put([DATA[:5], b"", DATA[5:]])
    assert digest == Digest.of(DATA)
    assert blobs.has(digest)
    assert blobs.verify(digest)
    with blobs.open(digest) as stream:
        assert stream.read() == DATA
    assert blobs.local(digest) == blobs.root / "sha256" / digest.hex[:2] / digest.hex


@given(st.lists(st.binary(max_size=100), max_size=6))
def test_how_the_bytes_are_cut_changes_nothing(tmp_path_factory, chunks):
    blobs = FileBlobs(tmp_path_factory.mktemp("cut"))
    digest = blobs.put(chunks)
    assert digest == Digest.of(b"".join(chunks))
    with blobs.open(digest) as stream:
        assert stream.read() == b"".join(chunks)


def test_a_blob_is_a_plain_file_that_nobody_may_write(blobs):
    info = blobs.local(blobs.put([DATA])).lstat()
    assert stat.S_ISREG(info.st_mode)
    assert stat.S_IMODE(info.st_mode) == 0o444
    assert info.st_nlink == 1


def test_putting_twice_keeps_one_and_the_first(blobs):
    first = blobs.local(blobs.put([DATA])).lstat()
    again = blobs.local(blobs.put([DATA])).lstat()
    assert again.st_ino == first.st_ino
    assert len(everything(blobs)) == 1


def test_other_bytes_than_expected_are_refused_and_not_kept(blobs):
    with pytest.raises(VerificationFailed) as caught:
        blobs.put([DATA], expected=Digest.of(b"other"))
    assert caught.value.check == "blob.digest"
    assert everything(blobs) == []
    assert blobs.put([DATA], expected=Digest.of(DATA)) == Digest.of(DATA)


def test_what_the_giver_raises_passes_through_and_nothing_stays(blobs):
    def chunks():
        yield DATA
        raise OSError(errno.EIO, "the source broke")

    with pytest.raises(OSError, match="the source broke"):
        blobs.put(chunks())
    assert everything(blobs) == []


@pytest.mark.parametrize("call", ["open", "local", "verify", "size"])
def test_what_is_not_kept_is_not_found(blobs, call):
    assert not blobs.has(Digest.of(b"absent"))
    with pytest.raises(NotFound) as caught:
        getattr(blobs, call)(Digest.of(b"absent"))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "digest", [Digest("wb1", "0" * 64), Digest("sha1", "0" * 40), Digest("blake3", "0" * 64)]
)
@pytest.mark.parametrize("call", ["open", "has", "local", "verify", "size", "delete", "stamp"])
def test_only_sha256_names_a_blob(blobs, call, digest):
    with pytest.raises(BadReference):
        getattr(blobs, call)(digest)


def damage(blobs: FileBlobs, digest: Digest, data: bytes) -> Path:
    path = blobs.local(digest)
    path.chmod(0o644)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("data", [DATA[:-1] + b"!", DATA[:-1], DATA + b"!", b""])
def test_verify_reads_again_and_tells_a_changed_byte(blobs, data):
    digest = blobs.put([DATA])
    damage(blobs, digest, data)
    assert blobs.has(digest)
    assert not blobs.verify(digest)


def test_a_blob_of_another_size_is_not_taken_for_the_same(blobs):
    digest = blobs.put([DATA])
    path = damage(blobs, digest, b"short")
    with pytest.raises(RegistryUnusable) as caught:
        blobs.put([DATA])
    assert str(path) in caught.value.cause
    assert path.read_bytes() == b"short"
    assert len(everything(blobs)) == 1


def test_a_link_in_place_of_a_blob_is_followed_by_nobody(blobs, tmp_path):
    digest = blobs.put([DATA])
    path = blobs.local(digest)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(DATA)
    path.symlink_to(tmp_path / "elsewhere")
    assert not blobs.has(digest)
    with pytest.raises(Unreadable):
        blobs.open(digest)
    with pytest.raises(RegistryUnusable):
        blobs.put([DATA])


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_something_else_in_place_of_a_blob_is_refused_without_waiting(blobs, make):
    digest = blobs.put([DATA])
    path = blobs.local(digest)
    path.unlink()
    make(path)
    assert not blobs.has(digest)
    with pytest.raises(RegistryUnusable):
        blobs.open(digest)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_full_disk_is_out_of_budget_at_every_step(blobs, monkeypatch, call, number):
    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OutOfBudget) as caught:
            blobs.put([DATA])
    assert caught.value.remedy
    assert everything(blobs) == []
    assert blobs.put([DATA]) == Digest.of(DATA)


def test_a_store_that_refuses_writing_is_unreadable(blobs, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(Unreadable):
        blobs.put([DATA])


def test_a_root_that_is_a_file_is_said(tmp_path):
    (tmp_path / "blobs").write_bytes(b"")
    with pytest.raises(Unreadable) as caught:
        FileBlobs(tmp_path / "blobs")
    assert caught.value.remedy


def test_the_bytes_reach_the_disk_before_the_name_and_the_name_before_the_answer(blobs, monkeypatch):
    steps = []

    def watched(name):
        real = getattr(os, name)

        def call(*arguments, **named):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else ""
            steps.append(f"{name} {kind}".strip())
            return real(*arguments, **named)

        return call

    blobs.put([b"first, so that the folders exist"])
    for name in ("write", "fsync", "link"):
        monkeypatch.setattr(os, name, watched(name))
    blobs.put([b"first, so that the folders exist"])
    assert steps == ["write", "fsync", "link", "fsync folder"]
    steps.clear()
    blobs.put([DATA])
    assert steps == ["write", "fsync", "fsync folder", "link", "fsync folder"]


def test_nobody_sees_a_blob_before_it_is_complete(blobs):
    digest = Digest.of(DATA)

    def chunks():
        yield DATA[:5]
        assert not blobs.has(digest)
        yield DATA[5:]
        assert not blobs.has(digest)

    blobs.put(chunks())
    assert blobs.has(digest)


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path):
    root = tmp_path / "blobs"

    def chunks():
        yield DATA
        (root / "sha256" / ".incoming-1-0").write_bytes(b"left by a crash")
        FileBlobs(root).put([b"another writer"])
        yield DATA

    digest = FileBlobs(root).put(chunks())
    assert digest == Digest.of(DATA + DATA)
    assert everything(FileBlobs(root)) == sorted(
        f"sha256/{name.hex[:2]}/{name.hex}" for name in (digest, Digest.of(b"another writer"))
    )


def test_threads_putting_the_same_and_other_bytes_agree(blobs):
    problems = []

    def work(number):
        try:
            for turn in range(20):
                data = b"%d" % (turn if number % 2 else turn * 100 + number)
                assert blobs.verify(blobs.put([data]))
        except Exception as error:  # noqa: BLE001 (collected and asserted below)
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert not list(blobs.root.rglob(".incoming-*"))


def _die_halfway(root):
    def chunks():
        yield DATA
        os._exit(9)

    FileBlobs(Path(root)).put(chunks())


def test_a_writer_that_dies_leaves_no_blob_and_its_leftover_goes_with_the_next_put(blobs):
    process = multiprocessing.get_context("spawn").Process(target=_die_halfway, args=(str(blobs.root),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert [Path(name).name.startswith(".incoming-") for name in everything(blobs)] == [True]
    digest = FileBlobs(blobs.root).put([DATA])
    assert everything(blobs) == [f"sha256/{digest.hex[:2]}/{digest.hex}"]


def test_free_is_what_the_file_system_says(blobs):
    info = os.statvfs(blobs.root)
    assert 0 <= blobs.free() <= info.f_blocks * info.f_frsize


def test_what_is_kept_is_listed_and_a_deleted_blob_is_gone(blobs):
    kept = {blobs.put([bytes([number])]) for number in range(5)}
    gone = min(kept)
    (blobs.root / "sha256" / gone.hex[:2] / "notes.txt").write_text("no blob")
    assert set(blobs.digests()) == kept
    blobs.delete(gone)
    blobs.delete(gone)
    assert set(blobs.digests()) == kept - {gone}
    assert not blobs.has(gone)
    assert blobs.stamp(gone) is None


def test_a_range_is_read_and_a_stamp_changes_with_the_bytes(blobs):
    digest = blobs.put([DATA])
    assert [blobs.read(digest, 4, 7), blobs.read(digest, 19, 9), blobs.read(digest, 99, 1)] == [
        DATA[4:11],
        DATA[19:],
        b"",
    ]
    assert blobs.size(digest) == len(DATA)
    before = blobs.stamp(digest)
    damage(blobs, digest, DATA)
    assert blobs.stamp(digest) != before


def test_a_store_that_is_not_mounted_cannot_be_listed(blobs):
    (blobs.root / "sha256").rmdir()
    with pytest.raises(Unreadable):
        list(blobs.digests())
