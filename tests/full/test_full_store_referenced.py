"""Models taken in where they lie in a bucket: bound to versions where it keeps them, hashed at each use where not."""

import shutil

import pytest

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed, WeighbridgeError
from weighbridge.core.reference import parse_reference
from weighbridge.gate.evidence import weigh
from weighbridge.registry import in_place, models
from world_house import World
from world_s3 import Proxy, ask, bucket, environment, moto

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def address():
    with moto() as found:
        yield found


@pytest.fixture(autouse=True)
def settings(address, monkeypatch):
    for name, value in environment(address).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def put(address, name, key, data):
    ask(f"{address}/{name}/{key}", body=data)


def placed(world, address, name, *, versions):
    """Put a model into a bucket and take it in there; returns the model and the bytes of its weights."""
    bucket(address, name, versions=versions)
    folder = world.model("far")
    for path in folder.iterdir():
        put(address, name, f"models/far+away/{path.name}".replace("+", "%2B"), path.read_bytes())
    before = set(world.registry.blobs.digests())
    reference = parse_reference(f"s3://{name}/models/far+away")
    model = in_place.take_reference_in_place(world.registry, reference, environ={})
    assert set(world.registry.blobs.digests()) == before
    assert model.digest == world.manifest(folder).digest
    return model, (folder / "model.safetensors").read_bytes()


KEY = "models/far%2Baway/model.safetensors"


def test_an_object_is_read_in_the_version_that_was_hashed(world, address):
    model, data = placed(world, address, "versions", versions=True)
    digest = Digest.of(data)
    assert "bound to version" in world.registry.blobs.note(digest)
    put(address, "versions", KEY, data[:-1] + b"\x77")
    blobs = world.registry.blobs
    assert blobs.verify(digest)
    assert blobs.local(digest).read_bytes() == data
    assert blobs.read(digest, 3, 5) == data[3:8]
    with blobs.open(digest) as stream:
        assert stream.read() == data
    fact = weigh(world.registry, model.manifest)
    assert fact.outcome.value == "pass"
    assert "lie in place" in fact.found
    assert "without versions" not in fact.found


@pytest.mark.parametrize("cached", [True, False])
def test_an_object_without_versions_is_hashed_at_each_use(world, address, cached):
    name = f"plain-{cached}".lower()
    model, data = placed(world, address, name, versions=False)
    digest, blobs = Digest.of(data), world.registry.blobs
    assert "keeps no versions" in blobs.note(digest)
    assert "without versions" in weigh(world.registry, model.manifest).found
    assert blobs.local(digest).read_bytes() == data
    if not cached:
        shutil.rmtree(world.registry.layout.copies)
        world.reopen()
        blobs = world.registry.blobs
    before = blobs.stamp(digest)
    put(address, name, KEY, data[:-1] + b"\x77")
    assert blobs.stamp(digest) != before
    assert not blobs.verify(digest)
    assert weigh(world.registry, model.manifest).outcome.value == "fail"
    if cached:  # a true copy stays one
        assert blobs.local(digest).read_bytes() == data
    else:
        with pytest.raises(VerificationFailed) as caught:
            blobs.local(digest)
        assert caught.value.check == "blob.digest"


def test_every_object_is_fetched_once_although_its_header_is_looked_into(world, address, monkeypatch):
    with Proxy(address) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        model, _ = placed(world, address, "once", versions=True)
    assert proxy.got == model.manifest.size


def test_a_bucket_that_is_gone_is_said(world, address, monkeypatch):
    model, data = placed(world, address, "gone", versions=False)
    for path in ("model.safetensors", "config.json"):
        ask(f"{address}/gone/models/far%2Baway/{path}", "DELETE")
    blobs, digest = world.registry.blobs, Digest.of(data)
    assert not blobs.has(digest)
    with pytest.raises(WeighbridgeError) as caught:
        blobs.open(digest)
    assert caught.value.remedy
    assert weigh(world.registry, model.manifest).outcome.value == "fail"
    assert models.find(world.registry, model.digest) is not None
