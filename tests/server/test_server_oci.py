"""Models of the trusted tier as OCI artifacts: manifests, blobs, tags and referrers, under the same rules as the mirror."""

import base64
import hashlib
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from handing_house import COMMIT, World, accepted, anybody_may_read, counter, flip, granted, take_as_hub

from weighbridge.gate.revoke import revoke


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    anybody_may_read(made)
    yield made
    made.registry.close()


def sha(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def error(reply, status, code):
    """Return the message of an error in the form of the specification."""
    [said] = reply.json()["errors"]
    assert (reply.status_code, said["code"]) == (status, code)
    return said["message"]


def test_a_model_is_a_manifest_with_a_layer_for_each_file(world):
    folder = world.model()
    model = accepted(world, folder, "Org/Model")
    with counter(world) as served:
        assert served.get("/v2/").json() == {}
        reply = served.get("/v2/org/model/manifests/latest")
        digest = reply.headers["docker-content-digest"]
        assert digest == sha(reply.content)
        assert reply.headers["content-type"] == "application/vnd.oci.image.manifest.v1+json"
        manifest = reply.json()
        assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
        layers = {
            layer["annotations"]["org.opencontainers.image.title"]: layer for layer in manifest["layers"]
        }
        assert set(layers) == {"README.md", "config.json", "model.safetensors"}
        for path, layer in layers.items():
            data = (folder / path).read_bytes()
            assert (layer["digest"], layer["size"]) == (sha(data), len(data))
            assert served.get(f"/v2/org/model/blobs/{layer['digest']}").content == data
            looked = served.head(f"/v2/org/model/blobs/{layer['digest']}")
            assert (looked.headers["content-length"], looked.content) == (str(len(data)), b"")
            part = served.get(f"/v2/org/model/blobs/{layer['digest']}", Range="bytes=1-3")
            assert (part.status_code, part.content) == (206, data[1:4])
        kinds = {path: layer["mediaType"].split(".model.")[1] for path, layer in layers.items()}
        assert kinds == {
            "README.md": "doc.v1.raw",
            "config.json": "weight.config.v1.raw",
            "model.safetensors": "weight.v1.raw",
        }
        config = served.get(f"/v2/org/model/blobs/{manifest['config']['digest']}")
        assert config.json()["descriptor"]["revision"] == str(model.digest)
        for which in (digest, COMMIT, model.digest.hex):
            assert served.get(f"/v2/org/model/manifests/{which}").content == reply.content
        tags = served.get("/v2/org/model/tags/list").json()
        assert tags == {"name": "org/model", "tags": sorted(["latest", COMMIT, model.digest.hex])}
        page = served.get("/v2/org/model/tags/list?n=1")
        assert page.json()["tags"] == [COMMIT]
        assert page.links["next"]["url"] == f"/v2/org/model/tags/list?n=1&last={COMMIT}"
    with counter(world) as served:
        assert served.get("/v2/org/model/manifests/latest").content == reply.content, (
            "the same on every server"
        )


def test_claims_and_the_bill_of_materials_refer_to_it(world):
    accepted(world, world.model())
    with counter(world) as served:
        digest = served.get("/v2/org/model/manifests/latest").headers["docker-content-digest"]
        index = served.get(f"/v2/org/model/referrers/{digest}")
        assert index.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
        fallback = served.get(f"/v2/org/model/manifests/{digest.replace(':', '-')}")
        assert fallback.content == index.content
        rows = index.json()["manifests"]
        kinds = {row["artifactType"] for row in rows}
        assert kinds == {
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.cyclonedx+json",
        }
        said = {row.get("annotations", {}).get("dev.sigstore.bundle.predicateType", "") for row in rows}
        assert "https://slsa.dev/verification_summary/v1" in said
        for row in rows:
            referrer = served.get(f"/v2/org/model/manifests/{row['digest']}")
            assert sha(referrer.content) == row["digest"]
            assert referrer.json()["subject"]["digest"] == digest
            [layer] = referrer.json()["layers"]
            blob = served.get(f"/v2/org/model/blobs/{layer['digest']}").content
            assert sha(blob) == layer["digest"]
            assert json.loads(blob)
        some = served.get(f"/v2/org/model/referrers/{digest}?artifactType=application/vnd.cyclonedx%2Bjson")
        assert some.headers["oci-filters-applied"] == "artifactType"
        assert len(some.json()["manifests"]) == 1


def test_each_refusal_has_the_form_of_the_specification(world):
    model = accepted(world, world.model())
    bad = world.files("bad", pytorch_model__bin=b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.")
    kept = take_as_hub(world, bad, "org/bad", "f" * 40)
    with counter(world) as served:
        found = served.get("/v2/org/model/manifests/latest")
        digest = found.headers["docker-content-digest"]
        error(served.get("/v2/org/none/manifests/latest"), 404, "NAME_UNKNOWN")
        error(served.get("/v2/org/model/manifests/v9"), 404, "MANIFEST_UNKNOWN")
        error(served.get(f"/v2/org/model/manifests/sha256:{'0' * 64}"), 404, "MANIFEST_UNKNOWN")
        error(served.get(f"/v2/org/model/blobs/sha256:{'0' * 64}"), 404, "BLOB_UNKNOWN")
        error(served.get("/v2/org/model/blobs/..%2f..%2fetc"), 404, "NAME_UNKNOWN")
        error(served.get("/v2/Org/Model/manifests/latest"), 404, "NAME_UNKNOWN")
        error(served.get("/v2/org/../org/model/manifests/latest/x/y"), 404, "NAME_UNKNOWN")
        said = error(served.get("/v2/org/bad/manifests/latest"), 403, "DENIED")
        assert "not promoted yet" in said
        error(served.get("/v2/org/bad/tags/list"), 404, "NAME_UNKNOWN")
        blob = kept.manifest.files[0].sha256
        error(served.get(f"/v2/org/bad/blobs/{blob}"), 403, "DENIED")
        error(served.get(f"/v2/org/model/blobs/{blob}"), 404, "BLOB_UNKNOWN")
        key = world.person("security", "revoke")
        revoke(world.registry, model.digest, reason="it phones home", signer=key)
        for path in ("manifests/latest", f"manifests/{digest}", f"referrers/{digest}"):
            assert "it phones home" in error(served.get(f"/v2/org/model/{path}"), 403, "DENIED")
        for layer in found.json()["layers"]:
            error(served.get(f"/v2/org/model/blobs/{layer['digest']}"), 403, "DENIED")


def test_a_flipped_byte_is_never_handed_out(world):
    model = accepted(world, world.model())
    blob = model.manifest.entry("model.safetensors").sha256
    with counter(world) as served:
        flip(world, blob, 9)
        assert "[blob.digest]" in error(served.get(f"/v2/org/model/blobs/{blob}"), 403, "DENIED")


def test_a_token_comes_as_a_password(tmp_path):
    world = World(tmp_path)
    accepted(world, world.model())
    secret = granted(world, "cluster")
    with counter(world) as served:
        reply = served.get("/v2/")
        error(reply, 401, "UNAUTHORIZED")
        assert reply.headers["www-authenticate"].startswith("Basic ")
        coded = base64.b64encode(f"cluster:{secret}".encode()).decode()
        assert served.get("/v2/", Authorization=f"Basic {coded}").status_code == 200
        path = "/v2/org/model/manifests/latest"
        assert served.get(path, Authorization=f"Basic {coded}").status_code == 200
        assert served.get(path, Authorization=f"Bearer {secret}").status_code == 200
        error(served.get(path, Authorization="Basic !!"), 401, "UNAUTHORIZED")
        wrong = base64.b64encode(b"cluster:wb_0000_AAAA").decode()
        error(served.get(path, Authorization=f"Basic {wrong}"), 401, "UNAUTHORIZED")
    world.registry.close()
