"""Google's client: the suites over an S3 server, and what can be read, listed and removed on fake-gcs-server.

The library speaks to Google in its XML interface, which is S3's but for the condition of an upload. No server that can
be installed here speaks all of it. So two servers take a part each, and neither is Google's:

- moto answers as S3 does: uploads, also in parts, heads, ranges, lists and removals. It does not know
  `x-goog-if-generation-match` and replaces; nothing may be lost or changed by that either.
- fake-gcs-server answers as Google does: heads, ranges, lists, removals and signed addresses; it refuses uploads of the XML
  interface. It checks neither signatures nor their expiry, so these are checked against the account's public key here.
"""

import hashlib
import itertools
from datetime import timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

import world_s3
from bucket_conformance import *  # noqa: F403 (the suites are shared between stores)
from bucket_conformance import Bucket, test_more_than_a_page_is_listed
from store_conformance import *  # noqa: F403 (as above)
from store_conformance import DATA, MIB, made
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreachable, VerificationFailed
from weighbridge.store import objects
from weighbridge.store.blobs import open_blobs
from world_gcs import EMAIL, PROGRAM, account, account_key, ask, bucket, fake_gcs, options, upload

# The lists of moto are seen in S3's tests; those of a server that answers as Google does, below.
del test_more_than_a_page_is_listed
pytestmark = pytest.mark.full
SERIAL = itertools.count()
QUICK = {"max_retries": 1, "retry_timeout": timedelta(seconds=2)}
installed = pytest.mark.skipif(PROGRAM is None, reason="fake-gcs-server is not installed: make setup FULL=1")


@pytest.fixture(scope="module")
def moto():
    with world_s3.moto() as address:
        yield address


@pytest.fixture(scope="module")
def google(tmp_path_factory):
    with fake_gcs(tmp_path_factory.mktemp("google")) as address:
        yield address


@pytest.fixture
def place(moto):
    name = f"blobs{next(SERIAL)}"
    world_s3.bucket(moto, name)
    url, given = f"gs://{name}/some/prefix", options(moto)
    return Bucket(
        lambda cache: objects.open_objects(url, cache=cache, **given),
        objects.open_store(url, **given),
        keeps_conditions=False,
        in_one_step=False,
    )


@pytest.fixture
def blobs(place, tmp_path):
    return place.open(tmp_path / "cache")


@pytest.fixture
def name(google):
    name = f"blobs{next(SERIAL)}"
    bucket(google, name)
    return name


@pytest.fixture
def far(google, name, tmp_path):
    return objects.open_objects(f"gs://{name}/some/prefix", cache=tmp_path / "far", **options(google))


@pytest.fixture
def there(google, name):
    """Put bytes under a blob's name, as if they had been there."""

    def put(data, digest=None):
        digest = digest or Digest.of(data)
        upload(google, name, f"some/prefix/{objects.key(digest)}", data)
        return digest

    return put


def test_a_put_asks_for_a_name_that_is_free_and_believes_that_it_is_not(moto, place, tmp_path):
    """Google's answer to a second writer is 412 (PreconditionFailed), as its documentation says; a proxy gives it here."""
    asked = []

    def taken(handler, method, path, _body):
        condition = handler.headers.get("x-goog-if-generation-match")
        if method == "PUT" and "/sha256" in unquote(path):
            asked.append(condition)
        if condition is None:
            return False
        handler.answer(412, [], b"<?xml version='1.0'?><Error><Code>PreconditionFailed</Code></Error>")
        return True

    sent = {}
    for size in (22, 9 * MIB):
        sent[size] = tmp_path / str(size)
        sent[size].write_bytes(made(size))
    with world_s3.Proxy(moto) as proxy:
        proxy.fault = taken
        where = place.open(tmp_path / "cache").place.where
        far = objects.ObjectPlace(objects.open_store(where, **options(proxy.address)), where)
        assert far.send(Digest.of(made(22)), sent[22], 22) is False
        assert asked == ["0"]
        assert far.send(Digest.of(made(9 * MIB)), sent[9 * MIB], 9 * MIB), "parts come without a condition"
        assert asked == ["0", None]


@installed
@pytest.mark.parametrize("size", [0, 1, 9 * MIB, 20 * MIB + 3])
def test_what_is_there_is_read(far, there, size):
    data = made(size)
    digest = there(data)
    assert (far.has(digest), far.size(digest), far.verify(digest)) == (True, size, True)
    assert far.read(digest, 3, 5) == data[3:8]
    with far.open(digest) as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == digest.hex
    assert far.local(digest).read_bytes() == data
    assert list(far.digests()) == [digest]


@installed
def test_what_is_not_there_is_not_found(far):
    absent = Digest.of(b"absent")
    assert (far.has(absent), far.stamp(absent), list(far.digests())) == (False, None, [])
    for call in (far.open, far.local, far.verify, far.size):
        with pytest.raises(NotFound) as caught:
            call(absent)
        assert caught.value.remedy
    far.delete(absent)


@installed
@pytest.mark.parametrize("wrong", [DATA[:-1] + b"!", DATA + b"!", b""])
def test_other_bytes_there_are_said_and_never_believed(far, there, wrong):
    digest = there(wrong, Digest.of(DATA))
    assert not far.verify(digest)
    with pytest.raises(VerificationFailed) as caught:
        far.local(digest)
    assert caught.value.check == "blob.digest"


@installed
def test_a_stamp_changes_with_the_object(far, there):
    digest = there(DATA)
    before = far.stamp(digest)
    assert far.stamp(digest) == before
    there(DATA[:-1] + b"!", digest)
    assert far.stamp(digest) != before


@installed
def test_what_is_deleted_is_gone(far, there):
    kept, other = there(DATA), there(b"other")
    far.delete(kept)
    far.delete(kept)
    assert (far.has(kept), list(far.digests())) == (False, [other])


@installed
def test_more_than_a_thousand_are_listed(google, name, far, there):
    wanted = {there(b"", Digest("sha256", f"{number:064x}")) for number in range(1001)}
    upload(google, name, "some/prefix/sha256/no-blob", b"")
    found = list(far.digests())
    assert (len(found), set(found)) == (1001, wanted)


@installed
def test_an_upload_that_is_refused_is_said_and_nothing_is_kept(far):
    """The server's limit, not Google's; but this is how a refusal of theirs comes."""
    for size in (22, 9 * MIB):
        with pytest.raises(Unreachable) as caught:
            far.put([made(size)])
        assert (caught.value.check, "400 Bad Request" in caught.value.cause) == ("blob.unreachable", True)
        assert caught.value.remedy
    assert list(far.digests()) == []


@installed
def test_a_signed_address_deletes_what_it_names(google, name, far, there):
    """By plain HTTP. That it is refused later, or for another name, is not shown: this server checks no signature."""
    import obstore

    kept, other = there(DATA), there(b"other")
    store = objects.open_store(f"gs://{name}/some/prefix", **options(google))
    signed = obstore.sign(store, "DELETE", objects.key(kept), timedelta(seconds=60))
    assert signed.startswith(f"{google}/{name}/some/prefix/{objects.key(kept)}?")
    assert ask(signed, "DELETE") == 200
    assert list(far.digests()) == [other]
    assert ask(signed, "DELETE") == 404
    assert far.removal.send(far.removal.prepare(other)) == "", "garbage goes the same way"
    assert list(far.digests()) == []


def test_a_signed_address_is_bound_to_verb_name_and_expiry():
    """By Google's rules for GOOG4-RSA-SHA256, recomputed here: so Google will refuse it after 60 seconds."""
    import obstore

    given = {"service_account_key": account()}
    store = objects.open_store("gs://bucket/some/prefix", **given)
    parts = urlsplit(obstore.sign(store, "DELETE", objects.key(Digest.of(DATA)), timedelta(seconds=60)))
    told = dict(parse_qsl(parts.query, strict_parsing=True))
    assert (told["X-Goog-Expires"], told["X-Goog-SignedHeaders"]) == ("60", "host")
    stamp, scope = told["X-Goog-Date"], f"{told['X-Goog-Date'][:8]}/auto/storage/goog4_request"
    assert told["X-Goog-Credential"] == f"{EMAIL}/{scope}"
    query = parts.query.partition("&X-Goog-Signature=")[0]

    def verify(verb, path, query):
        asked = f"{verb}\n{path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        text = f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = bytes.fromhex(told["X-Goog-Signature"])
        account_key().public_key().verify(signature, text.encode(), padding.PKCS1v15(), SHA256())

    verify("DELETE", parts.path, query)
    for other in (
        ("GET", parts.path, query),
        ("DELETE", parts.path + "0", query),
        ("DELETE", parts.path, query.replace("Expires=60", "Expires=61")),
    ):
        with pytest.raises(InvalidSignature):
            verify(*other)


def test_the_environment_names_the_account(moto, place, blobs, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", account(moto))
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    kept = blobs.put([DATA])
    url = blobs.place.where
    assert url.startswith("gs://blobs")
    assert list(open_blobs(url, cache=tmp_path / "other").digests()) == [kept]


@installed
def test_a_server_that_went_is_said(tmp_path):
    with fake_gcs(tmp_path) as address:
        bucket(address, "blobs")
        digest = Digest.of(DATA)
        upload(address, "blobs", objects.key(digest), DATA)
        blobs = objects.open_objects(
            "gs://blobs", cache=tmp_path / "cache", **options(address), retry_config=QUICK
        )
        assert blobs.local(digest).read_bytes() == DATA
    for call in (blobs.has, blobs.open, blobs.verify, blobs.delete):
        with pytest.raises(Unreachable) as caught:
            call(digest)
        assert caught.value.remedy
    assert blobs.local(digest).read_bytes() == DATA
