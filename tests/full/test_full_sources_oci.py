"""A real OCI registry as a source: what oras pushed is taken in, pinned, and a byte that changed in it is noticed."""

import json
import urllib.request
from hashlib import sha256
from pathlib import Path

import pytest

from weighbridge.core.errors import NotFound, Refused, VerificationFailed
from weighbridge.registry import models
from weighbridge.registry.alerts import kept
from weighbridge.registry.intake import plan, take
from world_house import World
from world_oci import registry

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server():
    with registry() as started:
        yield started


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.registry.close()


def push(host, target, folder, monkeypatch):
    """Push the files of a folder with oras, as files."""
    import oras.client

    monkeypatch.chdir(folder)
    files = sorted(path.name for path in folder.iterdir())
    client = oras.client.OrasClient(hostname=host, insecure=True)
    answer = client.push(target=f"{host}/{target}", files=files, disable_path_validation=True)
    assert answer.status_code == 201


def put(host, repository, tag, layers):
    """Push a manifest by hand: what other tools write and oras does not."""
    for data in (b"{}", *(data for data, _, _ in layers)):
        digest = f"sha256:{sha256(data).hexdigest()}"
        begun = urllib.request.urlopen(
            urllib.request.Request(f"http://{host}/v2/{repository}/blobs/uploads/", method="POST"), timeout=10
        )
        place = begun.headers["Location"]
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        urllib.request.urlopen(
            urllib.request.Request(place, data=data, method="PUT", headers=headers), timeout=10
        ).close()
    kind = "application/vnd.oci.image.manifest.v1+json"
    rows = [
        {
            "mediaType": media,
            "digest": f"sha256:{sha256(data).hexdigest()}",
            "size": len(data),
            "annotations": notes,
        }
        for data, media, notes in layers
    ]
    empty = {
        "mediaType": "application/vnd.cncf.model.config.v1+json",
        "digest": f"sha256:{sha256(b'{}').hexdigest()}",
        "size": 2,
    }
    body = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": empty, "layers": rows}).encode()
    request = urllib.request.Request(
        f"http://{host}/v2/{repository}/manifests/{tag}",
        data=body,
        method="PUT",
        headers={"Content-Type": kind},
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_what_oras_pushed_is_the_same_model_and_is_pinned(world, server, monkeypatch):
    host, _ = server
    folder = world.model()
    push(host, "org/first:v1", folder, monkeypatch)
    assert {file.path for file in plan(world.registry, f"oci://{host}/org/first:v1")} == {
        path.name for path in folder.iterdir()
    }
    model = take(world.registry, f"oci://{host}/org/first:v1")
    assert model.digest == world.manifest(folder).digest
    assert model.source["matches_announced"] is True
    pinned = f"oci://{host}/org/first@{model.source['version']}"
    assert take(world.registry, pinned).digest == model.digest
    assert models.resolve(world.registry, pinned) == model.digest
    assert all(file.kept for file in plan(world.registry, pinned))


def test_a_tag_that_was_moved_is_drift(world, server, monkeypatch):
    host, _ = server
    push(host, "org/moved:v1", world.model("one"), monkeypatch)
    one = take(world.registry, f"oci://{host}/org/moved:v1")
    world.hand.pass_(hours=1)
    push(host, "org/moved:v1", world.model("two", seed=2.0), monkeypatch)
    told = []
    two = take(world.registry, f"oci://{host}/org/moved:v1", on_drift=told.append)
    assert [(drift.revision, drift.before, drift.now) for drift in told] == [("v1", one.digest, two.digest)]
    assert len(kept(world.registry, kinds=["drift"])) == 1


def test_a_modelpack_of_raw_layers(world, server):
    host, _ = server
    layers = [
        (
            b"weights" * 100,
            "application/vnd.cncf.model.weight.v1.raw",
            {"org.cncf.model.filepath": "sub/model.bin"},
        ),
        (
            b"{}",
            "application/vnd.cncf.model.weight.config.v1.raw",
            {"org.cncf.model.filepath": "config.json"},
        ),
    ]
    put(host, "org/pack", "v1", layers)
    model = take(world.registry, f"oci://{host}/org/pack:v1")
    assert [entry.path for entry in model.manifest.files] == ["config.json", "sub/model.bin"]


def test_a_modelpack_of_archives_is_refused(world, server):
    host, _ = server
    put(
        host,
        "org/tars",
        "v1",
        [(b"x", "application/vnd.cncf.model.weight.v1.tar", {"org.cncf.model.filepath": "m"})],
    )
    with pytest.raises(Refused) as caught:
        take(world.registry, f"oci://{host}/org/tars:v1")
    assert caught.value.check == "source.layer"


def test_a_byte_that_changed_in_the_registry_is_refused(world, server):
    host, data = server
    weights = b"these weights will change" * 10
    put(host, "org/bad", "v1", [(weights, "application/x", {"org.opencontainers.image.title": "model.bin"})])
    digest = sha256(weights).hexdigest()
    [place] = Path(data).glob(f"**/blobs/sha256/{digest[:2]}/{digest}/data")
    place.write_bytes(b"T" + weights[1:])
    with pytest.raises(VerificationFailed) as caught:
        take(world.registry, f"oci://{host}/org/bad:v1")
    assert caught.value.check == "source.announced"
    assert models.every(world.registry) == []


def test_what_is_not_there(world, server):
    host, _ = server
    with pytest.raises(NotFound):
        take(world.registry, f"oci://{host}/org/none:v1")
