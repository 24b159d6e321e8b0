"""One reading into private memory: what was hashed is what is handed out, and nobody can change it."""

import errno
import mmap
import os
from pathlib import Path

import pytest
from blake3 import blake3

from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, OutOfBudget, Unreadable
from weighbridge.store import sealed as module
from weighbridge.store.sealed import sealed

HAS_MEMFD = hasattr(os, "memfd_create")


@pytest.fixture(params=["sealed", "anonymous"])
def memory(request, monkeypatch):
    """Run with sealed memory and with the mapping that stands in for it elsewhere."""
    if request.param == "anonymous":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not HAS_MEMFD:
        pytest.skip("this system has no sealed memory")
    return request.param


def put(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, module.READ_SIZE, 3 * module.READ_SIZE + 17])
def test_bytes_and_digests_belong_together(tmp_path, memory, size):
    data = os.urandom(size)
    with sealed(put(tmp_path, data), size, blake3=True) as kept:
        assert kept.buffer == data
        assert len(kept.buffer) == size
        assert kept.buffer.readonly
        assert kept.sha256 == Digest.of(data)
        assert kept.blake3 == blake3(data).hexdigest()


def test_blake3_is_computed_only_when_asked_for(tmp_path, memory):
    with sealed(put(tmp_path, b"data"), 4) as kept:
        assert kept.blake3 == ""


def test_an_open_file_is_read_from_its_start_and_left_open(tmp_path, memory):
    with put(tmp_path, b"0123456789").open("rb") as stream:
        stream.seek(5)
        with sealed(stream.fileno(), 10) as kept:
            assert kept.buffer == b"0123456789"
        assert stream.read() == b"56789"


@pytest.mark.parametrize("change", [b"CHANGED!", b"", b"longer than before"])
def test_what_happens_to_the_file_afterwards_changes_nothing(tmp_path, memory, change):
    path = put(tmp_path, b"original")
    with sealed(path, 8) as kept:
        path.write_bytes(change)
        assert kept.buffer == b"original"
        assert kept.sha256 == Digest.of(kept.buffer)


@pytest.mark.parametrize("said", [0, 9, 11, 10**6])
def test_a_file_of_another_size_is_unreadable(tmp_path, memory, said):
    with pytest.raises(Unreadable) as caught:
        sealed(put(tmp_path, b"0123456789"), said)
    assert caught.value.check == "bytes.size"
    assert caught.value.remedy


@pytest.mark.parametrize("change", ["grow", "cut"])
def test_a_file_that_changes_its_size_while_it_is_read_is_unreadable(tmp_path, memory, monkeypatch, change):
    size = 3 * module.READ_SIZE
    path = put(tmp_path, b"x" * size)
    real = os.preadv

    def preadv(fd, buffers, offset):
        if offset >= module.READ_SIZE:
            os.truncate(path, size + 1 if change == "grow" else module.READ_SIZE)
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(Unreadable):
        sealed(path, size)


def test_bytes_that_change_while_they_are_read_are_hashed_as_they_were_taken(tmp_path, memory, monkeypatch):
    size = 2 * module.READ_SIZE
    path = put(tmp_path, b"x" * size)
    real = os.preadv

    def preadv(fd, buffers, offset):
        got = real(fd, buffers, offset)
        with path.open("r+b") as stream:
            stream.write(b"y" * size)
        return got

    monkeypatch.setattr(os, "preadv", preadv)
    with sealed(path, size) as kept:
        assert kept.sha256 == Digest.of(bytes(kept.buffer))
        assert bytes(kept.buffer) == b"x" * module.READ_SIZE + b"y" * module.READ_SIZE


def test_short_reads_are_continued(tmp_path, memory, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: real(fd, [buffers[0][:7]], offset))
    with sealed(put(tmp_path, bytes(range(100))), 100) as kept:
        assert kept.buffer == bytes(range(100))


@pytest.mark.skipif(not HAS_MEMFD, reason="this system has no sealed memory")
def test_sealed_memory_can_be_opened_by_path_but_not_written(tmp_path):
    with sealed(put(tmp_path, b"original"), 8) as kept:
        assert kept.path is not None
        assert Path(kept.path).read_bytes() == b"original"
        fd = os.open(kept.path, os.O_RDWR)
        try:
            for attempt in (
                lambda: os.pwrite(fd, b"x", 0),
                lambda: os.ftruncate(fd, 4),
                lambda: os.ftruncate(fd, 16),
                lambda: mmap.mmap(fd, 8, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
            ):
                with pytest.raises(PermissionError):
                    attempt()
        finally:
            os.close(fd)
        assert kept.buffer == b"original"


def test_the_stand_in_has_no_path(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with sealed(put(tmp_path, b"data"), 4) as kept:
        assert kept.path is None


@pytest.mark.skipif(not HAS_MEMFD, reason="this system has no sealed memory")
def test_a_sandbox_that_forbids_sealed_memory_gets_the_stand_in(tmp_path, monkeypatch):
    def forbidden(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", forbidden)
    with sealed(put(tmp_path, b"data"), 4) as kept:
        assert kept.path is None
        assert kept.buffer == b"data"


@pytest.mark.skipif(not HAS_MEMFD, reason="this system has no sealed memory")
def test_a_stranger_cannot_write_between_hashing_and_sealing(tmp_path, monkeypatch):
    """Somebody who opens this process's memory while it fills is kept out, or noticed."""
    real, seen = os.preadv, []

    def preadv(fd, buffers, offset):
        got = real(fd, buffers, offset)
        for name in Path("/proc/self/fd").iterdir():
            try:
                is_ours = "memfd:weighbridge" in str(name.readlink())
            except OSError:
                continue
            if is_ours:
                other = os.open(name, os.O_RDWR)
                try:
                    os.pwrite(other, b"evil", 0)
                    seen.append("written")
                except PermissionError:
                    seen.append("kept out")
                finally:
                    os.close(other)
        return got

    monkeypatch.setattr(os, "preadv", preadv)
    with sealed(put(tmp_path, b"original"), 8) as kept:
        assert set(seen) == {"kept out"}
        assert kept.sha256 == Digest.of(bytes(kept.buffer))


@pytest.mark.skipif(not HAS_MEMFD, reason="this system has no sealed memory")
def test_a_writable_mapping_made_before_the_seals_is_noticed(tmp_path, monkeypatch):
    real, held = os.ftruncate, []

    def ftruncate(fd, size):
        real(fd, size)
        held.append(mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    with pytest.raises(Unreadable) as caught:
        sealed(put(tmp_path, b"original"), 8)
    assert caught.value.check == "bytes.sealed"
    held[0].close()


def test_a_link_is_not_followed_and_a_missing_file_not_found(tmp_path, memory):
    (tmp_path / "link").symlink_to(put(tmp_path, b"data"))
    with pytest.raises(Unreadable):
        sealed(tmp_path / "link", 4)
    with pytest.raises(NotFound):
        sealed(tmp_path / "absent", 4)


def test_what_is_no_file_is_refused_without_waiting(tmp_path, memory):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(Unreadable):
            sealed(path, 4)


def test_a_sparse_file_larger_than_memory_is_out_of_budget_before_it_is_read(tmp_path, memory):
    path = put(tmp_path, b"")
    try:
        os.truncate(path, 1 << 43)
    except OSError:
        pytest.skip("this file system holds no such file")
    with pytest.raises(OutOfBudget) as caught:
        sealed(path, 1 << 43)
    assert caught.value.remedy


def test_a_budget_bounds_one_file(tmp_path, memory):
    path = put(tmp_path, b"0123456789")
    with pytest.raises(OutOfBudget):
        sealed(path, 10, budget=9)
    with sealed(path, 10, budget=10) as kept:
        assert len(kept.buffer) == 10


def handles() -> int:
    return len(list(Path("/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd").iterdir()))


def test_handles_and_memory_go_back_also_after_refusals(tmp_path, memory):
    path = put(tmp_path, b"0123456789")
    before = handles()
    for said in (9, 10, 11):
        for _ in range(10):
            try:
                kept = sealed(path, said)
            except Unreadable:
                continue
            kept.close()
            kept.close()
    assert handles() == before


def test_views_outlive_the_closing(tmp_path, memory):
    kept = sealed(put(tmp_path, b"0123456789"), 10)
    view = memoryview(kept.buffer)[2:5]
    kept.close()
    assert kept.path is None
    assert view == b"234"
