"""The suites of any store of blobs and of any bucket on Azurite over HTTP, and what is Azure's own."""

import itertools
import time
import urllib.error
import urllib.request
from datetime import timedelta

import pytest

from bucket_conformance import *  # noqa: F403 (the suites are shared between stores)
from bucket_conformance import Bucket
from store_conformance import *  # noqa: F403 (as above)
from store_conformance import DATA, MIB, cut, made
from weighbridge.core.digest import Digest
from weighbridge.core.errors import Unreachable
from weighbridge.store import objects
from weighbridge.store.blobs import open_blobs
from world_azure import ACCOUNT, PROGRAM, azurite, container, environment, options
from world_s3 import Proxy

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="Azurite is not installed: make setup FULL=1"),
]

SERIAL = itertools.count()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite")) as found:
        yield found


@pytest.fixture
def url(address):
    name = f"blobs-{next(SERIAL)}"
    container(address, name)
    return f"az://{name}/some/prefix"


@pytest.fixture
def place(address, url):
    given = options(address)
    return Bucket(
        lambda cache: objects.open_objects(url, cache=cache, **given),
        objects.open_store(url, **given),
        page=5000,
    )


@pytest.fixture
def blobs(place, tmp_path):
    return place.open(tmp_path / "cache")


def delete(url):
    """Delete by a signed address, as any HTTP client would; returns the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_signed_address_deletes_what_it_names_and_nothing_else(place, blobs):
    import obstore

    kept, other = blobs.put([DATA]), blobs.put([b"other"])
    signed = obstore.sign(place.store, "DELETE", objects.key(kept), timedelta(seconds=60))
    assert delete(signed.replace(kept.hex, other.hex)) == 403
    assert set(blobs.digests()) == {kept, other}
    assert delete(signed) == 202
    assert list(blobs.digests()) == [other]
    assert delete(signed) == 404


def test_a_signed_address_that_has_expired_deletes_nothing(place, blobs):
    import obstore

    kept = blobs.put([DATA])
    signed = obstore.sign(place.store, "DELETE", objects.key(kept), timedelta(seconds=1))
    longer = obstore.sign(place.store, "DELETE", objects.key(kept), timedelta(seconds=60))
    time.sleep(2.1)
    assert delete(signed) == 403
    assert blobs.verify(kept)
    assert delete(longer) == 202


def test_the_environment_names_account_address_and_key(address, url, blobs, tmp_path, monkeypatch):
    for name, value in environment(address).items():
        monkeypatch.setenv(name, value)
    digest = open_blobs(url, cache=tmp_path / "other").put([DATA])
    assert list(blobs.digests()) == [digest]


def test_a_wrong_key_is_said(address, url, tmp_path):
    wrong = options(address) | {"account_key": "AAAA"}
    blobs = objects.open_objects(url, cache=tmp_path / "cache", **wrong)
    for call in (
        lambda: blobs.has(Digest.of(DATA)),
        lambda: blobs.put([DATA]),
        lambda: list(blobs.digests()),
    ):
        with pytest.raises(Unreachable) as caught:
            call()
        assert (caught.value.check, bool(caught.value.remedy)) == ("blob.access", True)


def test_a_container_that_is_not_there_is_said(address, tmp_path):
    blobs = objects.open_objects("az://nowhere/prefix", cache=tmp_path / "cache", **options(address))
    for call in (lambda: blobs.put([DATA]), lambda: list(blobs.digests())):
        with pytest.raises(Unreachable) as caught:
            call()
        assert "bucket exists" in caught.value.remedy


def test_a_server_that_went_is_said(tmp_path):
    with azurite(tmp_path) as address:
        container(address, "blobs")
        quick = {"max_retries": 1, "retry_timeout": timedelta(seconds=2)}
        given = options(address) | {"retry_config": quick}
        blobs = objects.open_objects("az://blobs", cache=tmp_path / "cache", **given)
        digest = blobs.put([DATA])
    for call in (blobs.has, blobs.open, blobs.verify, blobs.delete):
        with pytest.raises(Unreachable) as caught:
            call(digest)
        assert caught.value.remedy
    assert blobs.local(digest).read_bytes() == DATA


@pytest.mark.parametrize("size", [3000, 9 * MIB])
def test_a_byte_that_was_stored_wrong_is_noticed_and_sent_again(address, url, blobs, tmp_path, size):
    """Azure says no digest of what it holds: a put is proven by reading it back."""
    data, flipped = made(size), []

    def flip(handler, method, path, body):
        if method != "PUT" or len(body) < 1000 or flipped:
            return False
        flipped.append(path)
        handler.answer(*handler.ask(bytes([body[0] ^ 1]) + body[1:]))
        return True

    with Proxy(address.rpartition("/")[0]) as proxy:
        given = options(address) | {"endpoint": f"{proxy.address}/{ACCOUNT}"}
        proxy.fault = flip
        assert objects.open_objects(url, cache=tmp_path / "through", **given).put(cut(data)) == Digest.of(
            data
        )
    assert flipped
    assert blobs.verify(Digest.of(data))
