"""What any bucket must do, over the suite of any store of blobs: two clients at once, foreign bytes, more than a page.

A module of tests brings the fixture `place`, a fresh and empty `Bucket`, and takes these in.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from store_conformance import DATA, MIB, cut, made
from weighbridge.core.digest import Digest
from weighbridge.core.errors import RegistryUnusable, VerificationFailed
from weighbridge.store.objects import key
from weighbridge.store.remote import RemoteBlobs


@dataclass(frozen=True)
class Bucket:
    """One bucket with a prefix: how clients of their own are opened, and what its server is known to do."""

    open: Callable[[Path], RemoteBlobs]
    """A client with a cache at this folder."""
    store: Any
    """The library's client, with the same prefix: writes what nobody of ours would."""
    keeps_conditions: bool = True
    """Whether the server knows "only if nothing has that name"."""
    in_one_step: bool = True
    """Whether it looks and writes in one step; a server for tests may look first, and then let two of them write."""
    page: int = 1000
    """Objects in one page of its lists."""


def together(*calls):
    """Call all at the same moment; returns what they returned."""
    barrier = threading.Barrier(len(calls))

    def one(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(one, call) for call in calls]]


def test_of_two_that_put_the_same_at_once_one_is_told_that_it_lost(place, tmp_path):
    one, other = place.open(tmp_path / "one").place, place.open(tmp_path / "other").place
    for number in range(20):
        data = made(100 + number)
        digest, path = Digest.of(data), tmp_path / str(number)
        path.write_bytes(data)
        told = together(*(partial(at.send, digest, path, len(data)) for at in (one, other)))
        assert sorted(told) in ([[False, True]] if place.in_one_step else [[False, True], [True, True]])
        assert one.send(digest, path, len(data)) is not place.keeps_conditions
        assert one.fetch(digest, 0, len(data)) == data


@pytest.mark.parametrize("size", [9 * MIB, 17 * MIB])
def test_two_that_put_the_same_large_blob_at_once_both_succeed(place, tmp_path, size):
    data = made(size)
    clients = [place.open(tmp_path / str(number)) for number in range(2)]
    told = together(*(partial(at.put, cut(data)) for at in clients))
    assert told == [Digest.of(data)] * 2
    assert place.open(tmp_path / "reader").verify(told[0])
    assert list(clients[0].digests()) == [told[0]]


@pytest.mark.parametrize(
    ("wrong", "check"), [(DATA[:-1] + b"!", "blob.digest"), (DATA + b"!", "blob.size"), (b"", "blob.size")]
)
def test_other_bytes_under_a_name_are_said_and_never_believed(place, tmp_path, wrong, check):
    digest = Digest.of(DATA)
    place.store.put(key(digest), wrong)
    blobs = place.open(tmp_path / "cache")
    with pytest.raises(RegistryUnusable) as caught:
        blobs.put([DATA])
    assert (caught.value.check, bool(caught.value.remedy)) == (check, True)
    assert not place.open(tmp_path / "reader").verify(digest)
    with pytest.raises(VerificationFailed) as caught:
        place.open(tmp_path / "reader").local(digest)
    assert caught.value.check == "blob.digest"
    assert bytes(place.store.get(key(digest)).bytes()) == wrong, "what others left is not ours to replace"


def test_foreign_names_are_no_blobs(place, tmp_path):
    blobs = place.open(tmp_path / "cache")
    digest = blobs.put([DATA])
    for name in ("sha256/x", f"sha256/00/{digest.hex}", f"{key(digest)}.part", f"other/{key(digest)}"):
        place.store.put(name, b"x")
    assert list(blobs.digests()) == [digest]


def test_more_than_a_page_is_listed(place, tmp_path):
    wanted = {Digest("sha256", f"{number:064x}") for number in range(place.page + 1)}

    async def fill():
        turns = asyncio.Semaphore(8)

        async def one(digest):
            async with turns:
                await place.store.put_async(key(digest), b"", use_multipart=False)

        await asyncio.gather(*map(one, wanted))

    asyncio.run(fill())
    found = list(place.open(tmp_path / "cache").digests())
    assert (len(found), set(found)) == (len(wanted), wanted)
