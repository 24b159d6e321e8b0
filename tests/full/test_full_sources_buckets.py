"""Models in Azure's and Google's stores as a source, and taken in where they lie: prefixes, tags, what is overwritten meanwhile."""

import hashlib
import itertools

import pytest

import world_azure
import world_gcs
from weighbridge.core.digest import Digest
from weighbridge.core.errors import NotFound, Unreadable, VerificationFailed, WeighbridgeError
from weighbridge.core.reference import parse_reference
from weighbridge.gate.evidence import weigh
from weighbridge.registry import in_place
from weighbridge.source.opening import Asking, open_source
from weighbridge.source.read import read_tree
from weighbridge.store.objects import open_store
from world_house import World

pytestmark = pytest.mark.full
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB
SERIAL = itertools.count()


class Azure:
    scheme = "az"

    def __init__(self, address):
        self.address, self.environment = address, world_azure.environment(address)

    def bucket(self, name):
        world_azure.container(self.address, name)

    def put(self, name, key, data):
        store = open_store(f"az://{name}", **world_azure.options(self.address))
        store.put(key, data, use_multipart=False)


class Google:
    scheme = "gs"

    def __init__(self, address):
        self.address = address
        self.environment = {
            "GOOGLE_SERVICE_ACCOUNT_KEY": world_gcs.account(address),
            "GOOGLE_ALLOW_HTTP": "true",
        }

    def bucket(self, name):
        world_gcs.bucket(self.address, name)

    def put(self, name, key, data):
        world_gcs.upload(self.address, name, key, data)


@pytest.fixture(scope="module", params=["azure", "google"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "azure":
        if not world_azure.PROGRAM.is_file():
            pytest.skip("Azurite is not installed: make setup FULL=1")
        with world_azure.azurite(folder) as address:
            yield Azure(address)
    else:
        if world_gcs.PROGRAM is None:
            pytest.skip("fake-gcs-server is not installed: make setup FULL=1")
        with world_gcs.fake_gcs(folder) as address:
            yield Google(address)


@pytest.fixture
def far(server, monkeypatch):
    """A fresh bucket without versions: `put(key, data)`, `url`, and whether each object is one generation all the same."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    name = f"models{next(SERIAL)}"
    server.bucket(name)

    class Bucket:
        url = f"{server.scheme}://{name}"
        bound = server.scheme == "gs"

        @staticmethod
        def put(key, data):
            server.put(name, key, data)

    return Bucket


@pytest.fixture
def opened(tmp_path):
    def open_(text, **settings):
        return open_source(parse_reference(text), Asking(tmp_path / "scratch", **settings))

    return open_


def manifest(tree):
    with tree:
        return {entry.path: entry.sha256.hex for entry in read_tree(tree, None).manifest.files}


def test_a_far_prefix_is_a_model(far, opened):
    far.put("m1/model.safetensors", WEIGHTS)
    far.put("m1/sub/a b+c.json", b"{}")
    far.put("m10/other", b"another model")
    assert manifest(opened(f"{far.url}/m1/")) == {
        "model.safetensors": hashlib.sha256(WEIGHTS).hexdigest(),
        "sub/a b+c.json": hashlib.sha256(b"{}").hexdigest(),
    }


def test_one_far_object_is_a_model_of_one_file(far, opened):
    far.put("m/model.bin", b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert manifest(opened(f"{far.url}/m/model.bin#sha256={digest}")) == {"model.bin": digest}
    with pytest.raises(VerificationFailed), opened(f"{far.url}/m/model.bin#sha256={'0' * 64}") as tree:
        read_tree(tree, None)


def test_nothing_far_is_not_found(far, opened):
    with pytest.raises(NotFound) as caught:
        opened(f"{far.url}/none")
    assert caught.value.remedy


def test_what_is_overwritten_between_list_and_read_is_refused(far, opened):
    far.put("m/model.safetensors", WEIGHTS)
    far.put("m/config.json", b"{}")
    tree = opened(f"{far.url}/m")
    far.put("m/model.safetensors", WEIGHTS[::-1])
    with pytest.raises((Unreadable, VerificationFailed)) as caught, tree:
        read_tree(tree, None)
    assert caught.value.remedy


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def test_a_far_model_in_place_is_hashed_at_each_use(far, world):
    folder = world.model("far")
    for path in folder.iterdir():
        far.put(f"m/{path.name}", path.read_bytes())
    before = set(world.registry.blobs.digests())
    model = in_place.take_reference_in_place(world.registry, parse_reference(f"{far.url}/m"), environ={})
    assert set(world.registry.blobs.digests()) == before
    assert model.digest == world.manifest(folder).digest
    data = (folder / "model.safetensors").read_bytes()
    blobs, digest = world.registry.blobs, Digest.of(data)
    assert ("bound to version" if far.bound else "keeps no versions") in blobs.note(digest)
    assert blobs.verify(digest)
    assert blobs.read(digest, 3, 5) == data[3:8]
    assert weigh(world.registry, model.manifest).outcome.value == "pass"
    far.put("m/model.safetensors", data[:-1] + b"\x77")
    if far.bound:
        with pytest.raises(WeighbridgeError) as caught:
            blobs.verify(digest)
        assert caught.value.remedy
    else:
        assert not blobs.verify(digest)
    assert weigh(world.registry, model.manifest).outcome.value == "fail"
