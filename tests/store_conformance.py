"""What any store of blobs must do. A module of tests brings the fixture `blobs` (an empty store) and takes these in."""

from __future__ import annotations

import contextlib
import hashlib
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadReference, NotFound, VerificationFailed

MIB = 1024 * 1024
SIZES = (0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 20 * MIB + 3)
DATA = b"the weights of a model"


def made(size, seed=b""):
    """Return bytes without a pattern."""
    return hashlib.shake_128(b"%d" % size + seed).digest(size)


def cut(data, length=MIB):
    return [data[start : start + length] for start in range(0, len(data), length)]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_comes_back(blobs, size):
    data = made(size)
    digest = blobs.put(iter(cut(data)), expected=Digest.of(data))
    assert digest == Digest.of(data)
    assert (blobs.has(digest), blobs.size(digest), blobs.verify(digest)) == (True, size, True)
    with blobs.open(digest) as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == digest.hex
    with blobs.open_local(digest) as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == digest.hex
    assert Digest.of(blobs.local(digest).read_bytes()) == digest


def test_a_stream_is_sought_in(blobs):
    data = made(3 * MIB)
    with blobs.open(blobs.put([data])) as stream:
        assert stream.seekable()
        assert stream.seek(-10, 2) == len(data) - 10
        assert (stream.read(), stream.read()) == (data[-10:], b"")
        assert (stream.seek(MIB - 1), stream.read(2), stream.tell()) == (
            MIB - 1,
            data[MIB - 1 : MIB + 1],
            MIB + 1,
        )
        stream.seek(len(data) + 5)
        assert stream.read(1) == b""


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 0), (0, 1), (0, 22), (0, 99), (21, 1), (21, 2), (22, 1), (23, 1), (5, 10), (99, 99)],
)
def test_a_range_ends_where_the_blob_does(blobs, start, length):
    assert blobs.read(blobs.put([DATA]), start, length) == DATA[start : start + length]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=64), max_size=5))
def test_how_the_bytes_are_cut_changes_nothing(blobs, chunks):
    digest = blobs.put(chunks)
    assert digest == Digest.of(b"".join(chunks))
    assert blobs.read(digest, 0, 1000) == b"".join(chunks)
    assert digest in set(blobs.digests())


@pytest.mark.parametrize("size", [22, 9 * MIB])
def test_putting_twice_is_putting_once(blobs, size):
    data = made(size)
    first = blobs.put([data])
    before = blobs.stamp(first)
    assert before is not None
    assert blobs.put([data]) == first
    assert blobs.stamp(first) == before
    assert list(blobs.digests()) == [first]


def test_other_bytes_than_expected_are_refused_and_not_kept(blobs):
    with pytest.raises(VerificationFailed) as caught:
        blobs.put([DATA], expected=Digest.of(b"other"))
    assert caught.value.check == "blob.digest"
    assert caught.value.remedy
    assert not blobs.has(Digest.of(DATA))
    assert not blobs.has(Digest.of(b"other"))
    assert list(blobs.digests()) == []


@pytest.mark.parametrize("after", [0, 1, 9 * MIB])
def test_what_the_giver_raises_passes_through_and_nothing_stays(blobs, after):
    def chunks():
        yield from cut(made(after))
        raise ZeroDivisionError("the source broke")

    with pytest.raises(ZeroDivisionError, match="the source broke"):
        blobs.put(chunks())
    assert list(blobs.digests()) == []


@pytest.mark.parametrize("call", ["open", "local", "open_local", "verify", "size"])
def test_what_is_not_kept_is_not_found(blobs, call):
    absent = Digest.of(b"absent")
    assert (blobs.has(absent), blobs.stamp(absent)) == (False, None)
    with pytest.raises(NotFound) as caught:
        getattr(blobs, call)(absent)
    assert caught.value.remedy
    with pytest.raises(NotFound):
        blobs.read(absent, 0, 1)


@pytest.mark.parametrize(
    "digest", [Digest("wb1", "0" * 64), Digest("sha1", "0" * 40), Digest("blake3", "0" * 64)]
)
@pytest.mark.parametrize("call", ["open", "has", "local", "open_local", "verify", "size", "stamp", "delete"])
def test_only_sha256_names_a_blob(blobs, call, digest):
    with pytest.raises(BadReference):
        getattr(blobs, call)(digest)


def test_a_deleted_blob_is_gone_and_can_be_put_again(blobs):
    kept = blobs.put([DATA])
    other = blobs.put([b"other"])
    blobs.local(kept)
    blobs.delete(kept)
    blobs.delete(kept)
    assert (blobs.has(kept), blobs.stamp(kept), list(blobs.digests())) == (False, None, [other])
    for call in (blobs.open, blobs.local, blobs.verify):
        with pytest.raises(NotFound):
            call(kept)
    assert blobs.put([DATA]) == kept
    assert blobs.verify(kept)


@pytest.mark.parametrize("size", [22, 9 * MIB])
def test_many_put_the_same_and_others_at_once(blobs, size):
    data, failed, together = made(size), [], threading.Barrier(6)

    def writer(number):
        together.wait()
        try:
            assert blobs.put(cut(data)) == Digest.of(data)
            mine = made(size, b"%d" % (number % 3))
            assert blobs.put(cut(mine)) == Digest.of(mine)
        except BaseException as error:  # noqa: BLE001 (told below)
            failed.append(error)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    everything = {Digest.of(data)} | {Digest.of(made(size, b"%d" % number)) for number in range(3)}
    assert set(blobs.digests()) == everything
    assert all(blobs.verify(digest) for digest in everything)


def test_nobody_sees_a_part_of_a_blob(blobs):
    data = made(9 * MIB)
    digest, seen, ended = Digest.of(data), [], threading.Event()

    def reader():
        while not ended.is_set():
            with contextlib.suppress(NotFound):
                seen.append(blobs.size(digest))

    def slowly():
        for part in cut(data):
            yield part
            assert not blobs.has(digest)

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        blobs.put(slowly())
    finally:
        ended.set()
        thread.join()
    assert blobs.size(digest) == len(data)
    assert set(seen) <= {len(data)}
