"""The suite of any store of blobs on Debian's docker-registry, and what is a registry's own."""

import itertools
import subprocess

import pytest

from store_conformance import *  # noqa: F403 (the suite is shared between stores)
from store_conformance import DATA, MIB, cut, made
from weighbridge.core.digest import Digest
from weighbridge.core.errors import BadSetting, Unreachable, VerificationFailed
from weighbridge.store import oci
from weighbridge.store.blobs import open_blobs
from world_oci import PROGRAM, registry

pytestmark = pytest.mark.full
SERIAL = itertools.count()


@pytest.fixture(scope="module")
def server():
    assert PROGRAM, "docker-registry is not installed: .ci/run installs it"
    with registry() as found:
        yield found


@pytest.fixture
def name():
    return f"models/blobs-{next(SERIAL)}"


@pytest.fixture
def blobs(server, name, tmp_path):
    return open_blobs(f"oci+http://{server[0]}/{name}", cache=tmp_path / "cache")


def test_what_is_kept_survives_the_registrys_own_garbage_collection(server, blobs, name, tmp_path):
    digest = blobs.put([DATA])
    settings = server[1].parent / "registry.yml"
    subprocess.run([PROGRAM, "garbage-collect", settings], check=True, capture_output=True)
    fresh = open_blobs(f"oci+http://{server[0]}/{name}", cache=tmp_path / "other")
    assert fresh.verify(digest)


def test_more_blobs_than_a_page_are_listed(blobs, monkeypatch):
    monkeypatch.setattr(oci, "PAGE", 3)
    kept = {blobs.put([bytes([number])]) for number in range(8)}
    assert set(blobs.digests()) == kept


class Cut:
    """Breaks the connection of the n-th PATCH off, as if a cable were pulled."""

    def __init__(self, session, number):
        self.session, self.left, self.sent = session, number, 0
        self.real = session.ask

    def __call__(self, method, path, **more):
        if method == "PATCH":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            self.sent += len(more["body"])
        return self.real(method, path, **more)


def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(server, name, blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(oci, "CHUNK", MIB)
    data = made(8 * MIB)
    session = blobs.place.session
    monkeypatch.setattr(session, "ask", Cut(session, 6))
    with pytest.raises(KeyboardInterrupt):
        blobs.put(cut(data))
    later = open_blobs(f"oci+http://{server[0]}/{name}", cache=tmp_path / "cache")
    counting = Cut(later.place.session, 10**9)
    monkeypatch.setattr(later.place.session, "ask", counting)
    assert later.put(cut(data)) == Digest.of(data)
    assert counting.sent == 3 * MIB
    assert later.verify(Digest.of(data))


def test_a_connection_that_is_lost_in_between_is_made_again(blobs, monkeypatch):
    monkeypatch.setattr(oci, "CHUNK", MIB)
    session, real, calls = blobs.place.session, blobs.place.session._asked, itertools.count()

    def failing(method, url, headers, body):
        if method == "PATCH" and next(calls) % 3 == 1:
            raise Unreachable("a cable was pulled")
        return real(method, url, headers, body)

    monkeypatch.setattr(session, "_asked", failing)
    monkeypatch.setattr(blobs.place, "_wait", lambda _: None)
    data = made(7 * MIB)
    assert blobs.verify(blobs.put(cut(data)))


def test_a_byte_that_changed_in_the_registry_never_leaves_a_verified_path(server, blobs, tmp_path, name):
    digest = blobs.put([DATA])
    path = server[1] / "docker/registry/v2/blobs/sha256" / digest.hex[:2] / digest.hex / "data"
    path.write_bytes(DATA[:-1] + b"!")
    fresh = open_blobs(f"oci+http://{server[0]}/{name}", cache=tmp_path / "other")
    assert not fresh.verify(digest)
    with pytest.raises(VerificationFailed) as caught:
        fresh.local(digest)
    assert caught.value.check == "blob.digest"
    path.write_bytes(DATA)
    assert fresh.local(digest).read_bytes() == DATA


def test_a_registry_that_is_gone_is_said(blobs, monkeypatch):
    session = blobs.place.session
    monkeypatch.setattr(session, "base", "http://127.0.0.1:9/v2/x/")
    monkeypatch.setattr(session, "_wait", lambda _: None)
    with pytest.raises(Unreachable) as caught:
        blobs.has(Digest.of(DATA))
    assert caught.value.remedy


@pytest.mark.parametrize("url", ["oci://", "oci://host", "oci://host/UPPER", "oci+http://example.org/models"])
def test_an_address_that_names_no_repository_is_refused(url, tmp_path):
    with pytest.raises(BadSetting) as caught:
        open_blobs(url, cache=tmp_path)
    assert caught.value.remedy
