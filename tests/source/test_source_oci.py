"""A model in an OCI registry: what its manifest names, and what a registry may try."""

import hashlib
import json

import pytest

from weighbridge.core.errors import (
    BadManifest,
    BadReference,
    NotFound,
    Refused,
    VerificationFailed,
    WeighbridgeError,
)
from weighbridge.core.reference import parse_reference
from weighbridge.source.opening import Asking, open_source
from weighbridge.source.read import read_tree
from weighbridge.store.files import FileBlobs
from world_web import Web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
RAW = "application/vnd.cncf.model.weight.v1.raw"


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """Answers of a registry for one repository."""

    def __init__(self, web):
        self.web = web

    def blob(self, data):
        self.web.files[f"/v2/org/model/blobs/{digest(data)}"] = data
        return {"digest": digest(data), "size": len(data)}

    def layer(self, data, name, kind=RAW, key=TITLE, **notes):
        return {"mediaType": kind, **self.blob(data), "annotations": {key: name, **notes}}

    def push(self, layers, tag="v1", **changes):
        body = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers} | changes).encode()
        for name in (tag, digest(body)):
            headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(body)}
            self.web.answers[f"/v2/org/model/manifests/{name}"] = (200, headers, body)
        return digest(body)


@pytest.fixture
def web():
    with Web() as server:
        yield server


@pytest.fixture
def registry(web):
    return Registry(web)


@pytest.fixture
def fetch(web, tmp_path):
    def take(revision=":v1", environ=None, blobs=None):
        asking = Asking(tmp_path / "scratch", environ=environ or {})
        with open_source(parse_reference(f"oci://{web.host}/org/model{revision}"), asking) as tree:
            return dict(tree.origin), read_tree(tree, blobs).manifest

    return take


def test_layers_with_names_are_files_and_the_tag_is_pinned(registry, fetch, web):
    pushed = registry.push(
        [
            registry.layer(b"weights", "model.safetensors"),
            registry.layer(b"{}", "conf/config.json", key="org.cncf.model.filepath"),
            registry.layer(b"text", "README.md", "application/vnd.oci.image.layer.v1.tar"),
        ]
    )
    origin, manifest = fetch()
    assert [entry.path for entry in manifest.files] == ["README.md", "conf/config.json", "model.safetensors"]
    assert origin == {
        "scheme": "oci",
        "location": f"oci://{web.host}/org/model",
        "requested": "v1",
        "version": pushed,
    }
    assert fetch(f"@{pushed}")[1].digest == manifest.digest


def test_a_layer_of_the_same_size_with_other_bytes_is_refused_and_not_kept(registry, fetch, web, tmp_path):
    registry.push([registry.layer(b"weights", "model.bin")])
    web.files[f"/v2/org/model/blobs/{digest(b'weights')}"] = b"w3ights"
    blobs = FileBlobs(tmp_path / "blobs")
    with pytest.raises(VerificationFailed) as caught:
        fetch(blobs=blobs)
    assert caught.value.check == "source.announced"
    assert list(blobs.digests()) == []


def test_a_manifest_that_is_not_the_one_asked_for_is_refused(registry, fetch, web):
    pushed = registry.push([registry.layer(b"weights", "model.bin")])
    place = f"/v2/org/model/manifests/{pushed}"
    status, headers, body = web.answers[place]
    web.answers[place] = (status, headers, body + b" ")
    with pytest.raises(VerificationFailed):
        fetch(f"@{pushed}")
    del headers["Docker-Content-Digest"]
    with pytest.raises(VerificationFailed):
        fetch(f"@{pushed}")


@pytest.mark.parametrize("name", ["../model.bin", "/model.bin", "a/../b", "a\\b", ""])
def test_a_name_that_leaves_the_model_is_refused(registry, fetch, name):
    registry.push([registry.layer(b"weights", name)])
    with pytest.raises((BadManifest, Refused)):
        fetch()


def test_two_layers_of_one_name_are_refused(registry, fetch):
    registry.push([registry.layer(b"one", "model.bin"), registry.layer(b"two", "model.bin")])
    with pytest.raises(BadManifest):
        fetch()


@pytest.mark.parametrize(
    ("kind", "notes"),
    [
        ("application/vnd.cncf.model.weight.v1.tar", {}),
        ("application/vnd.kitops.modelkit.model.v1.tar+gzip", {}),
        ("application/vnd.oci.image.layer.v1.tar+gzip", {"io.deis.oras.content.unpack": "true"}),
    ],
)
def test_an_archive_is_not_unpacked(registry, fetch, kind, notes):
    registry.push([registry.layer(b"weights", "model", kind, **notes)])
    with pytest.raises(Refused) as caught:
        fetch()
    assert caught.value.check == "source.layer"


@pytest.mark.parametrize(
    "layer",
    [
        {},
        "text",
        {"mediaType": RAW, "size": -1, "digest": digest(b"x"), "annotations": {TITLE: "a"}},
        {"mediaType": RAW, "size": "1", "digest": digest(b"x"), "annotations": {TITLE: "a"}},
        {"mediaType": RAW, "size": True, "digest": digest(b"x"), "annotations": {TITLE: "a"}},
        {"mediaType": RAW, "size": 1, "digest": "md5:" + "0" * 32, "annotations": {TITLE: "a"}},
        {"mediaType": RAW, "size": 1, "digest": "sha512:" + "0" * 128, "annotations": {TITLE: "a"}},
        {"mediaType": RAW, "size": 1, "digest": digest(b"x"), "annotations": [TITLE]},
        {"mediaType": RAW, "size": 1, "digest": digest(b"x")},
    ],
)
def test_a_layer_that_makes_no_sense_is_refused(registry, fetch, layer):
    registry.push([layer])
    with pytest.raises(Refused):
        fetch()


def test_an_index_asks_for_a_choice(registry, fetch):
    registry.push([], mediaType="application/vnd.oci.image.index.v1+json", manifests=[])
    with pytest.raises(BadReference) as caught:
        fetch()
    assert "@sha256:" in caught.value.remedy


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'{"layers": {}}', b'{"layers": []}'])
def test_a_manifest_that_is_none_is_refused(fetch, web, body):
    web.answers["/v2/org/model/manifests/v1"] = (200, {"Content-Type": MANIFEST}, body)
    with pytest.raises(VerificationFailed):
        fetch()


def test_what_is_not_there(fetch):
    with pytest.raises(NotFound):
        fetch()


class Tokens:
    """A registry that wants a token."""

    def __init__(self, web, realm):
        web.answers["/v2/org/model/manifests/v1"] = (
            401,
            {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'},
            b"",
        )


def test_a_token_is_asked_for_where_the_registry_says(registry, fetch, web):
    Tokens(web, f"{web.url}/token")
    web.answers["/token"] = (200, {}, b'{"token": "abc"}')
    with pytest.raises(WeighbridgeError):  # it goes on saying 401
        fetch(environ={"OCI_HOST": "another", "OCI_USERNAME": "me", "OCI_PASSWORD": "secret"})
    [(_, path, headers)] = [row for row in web.asked if row[1].startswith("/token")]
    assert "scope=repository%3Aorg%2Fmodel%3Apull" in path
    assert "Authorization" not in headers, "a password is sent to the registry it belongs to, and to no other"
    assert web.asked[-1][2]["Authorization"] == "Bearer abc"


def test_a_password_goes_to_its_own_registry(registry, fetch, web):
    Tokens(web, f"{web.url}/token")
    web.answers["/token"] = (200, {}, b'{"token": "abc"}')
    with pytest.raises(WeighbridgeError):
        fetch(environ={"OCI_HOST": web.host, "OCI_USERNAME": "me", "OCI_PASSWORD": "secret"})
    [headers] = [row[2] for row in web.asked if row[1].startswith("/token")]
    assert headers["Authorization"].startswith("Basic ")


def test_a_token_is_not_fetched_in_the_clear(fetch, web):
    Tokens(web, "http://tokens.example/token")
    with pytest.raises(VerificationFailed):
        fetch()
