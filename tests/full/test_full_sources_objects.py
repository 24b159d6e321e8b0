"""Buckets over real S3 on loopback as a source: prefixes, versions, tags, what is overwritten meanwhile."""

import hashlib

import pytest

from weighbridge.core.errors import NotFound, Unreachable, Unreadable, VerificationFailed
from weighbridge.core.reference import parse_reference
from weighbridge.gate.adoption import Standing, adopt, found_in
from weighbridge.registry import sightings
from weighbridge.registry.alerts import kept
from weighbridge.registry.intake import plan, take
from weighbridge.source.opening import Asking, open_source
from weighbridge.source.partial import WORTH
from weighbridge.source.read import read_tree
from weighbridge.store.files import FileBlobs
from world_house import World
from world_s3 import bucket, moto

pytestmark = pytest.mark.full
WEIGHTS = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture(scope="module")
def s3():
    with moto() as address:
        bucket(address, "plain")
        bucket(address, "versioned", versions=True)
        yield address


@pytest.fixture(autouse=True)
def environment(s3, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def put(where, data):
    from obstore import put as send
    from obstore.store import from_url

    name, _, key = where.partition("/")
    send(from_url(f"s3://{name}"), key, data, use_multipart=False)


@pytest.fixture
def opened(tmp_path):
    def open_(text, **settings):
        return open_source(parse_reference(text), Asking(tmp_path / "scratch", **settings))

    return open_


def manifest(tree, blobs=None):
    with tree:
        return {entry.path: entry.size for entry in read_tree(tree, blobs).manifest.files}


def test_a_prefix_is_a_model(opened):
    put("plain/m1/model.safetensors", WEIGHTS)
    put("plain/m1/sub/config.json", b"{}")
    put("plain/m10/other", b"another model")
    tree = opened("s3://plain/m1/")
    assert tree.origin["version"] == ""
    assert '"m1/model.safetensors"' in tree.origin["objects"]
    assert manifest(tree) == {"model.safetensors": len(WEIGHTS), "sub/config.json": 2}


def test_one_object_is_a_model_of_one_file(opened):
    put("plain/m2/model.bin", b"weights")
    assert manifest(opened("s3://plain/m2/model.bin")) == {"model.bin": 7}


def test_nothing_there(opened):
    with pytest.raises(NotFound):
        opened("s3://plain/none")
    with pytest.raises(NotFound):
        opened("s3://plain/m1/model")
    with pytest.raises(Unreachable):
        opened("s3://no-such-bucket/x")
    with pytest.raises(Unreachable) as caught:
        opened("s3://plain/m1", offline=True)
    assert caught.value.check == "net.offline"


def test_an_object_that_is_overwritten_before_it_is_read_is_noticed(opened, tmp_path):
    put("plain/m3/model.bin", b"weights")
    tree = opened("s3://plain/m3")
    put("plain/m3/model.bin", b"w3ights")
    blobs = FileBlobs(tmp_path / "blobs")
    with pytest.raises(Unreadable) as caught:
        manifest(tree, blobs)
    assert caught.value.check == "source.changed"
    assert list(blobs.digests()) == []


def test_an_object_that_comes_while_others_are_read_is_noticed(opened):
    put("plain/m4/model.bin", b"weights")
    tree = opened("s3://plain/m4")
    put("plain/m4/more.bin", b"more")
    with pytest.raises(Unreadable):
        manifest(tree)


def test_with_versions_what_was_listed_is_read_whatever_came_since(opened, tmp_path):
    put("versioned/m/model.bin", b"weights")
    tree = opened("s3://versioned/m")
    version = opened("s3://versioned/m/model.bin").origin["version"]
    put("versioned/m/model.bin", b"w3ights")
    blobs = FileBlobs(tmp_path / "blobs")
    manifest(tree, blobs)
    assert [digest.hex for digest in blobs.digests()] == [hashlib.sha256(b"weights").hexdigest()]
    with opened(f"s3://versioned/m/model.bin?versionId={version}") as old:
        assert read_tree(old).manifest.files[0].sha256.hex == hashlib.sha256(b"weights").hexdigest()
        assert old.origin["version"] == version
    with pytest.raises((NotFound, Unreachable)):
        opened("s3://versioned/m/model.bin?versionId=00000000-0000-0000-0000-000000000000")


def test_digests_are_compared_by_one_file_and_by_a_list(opened):
    files = {"a.bin": b"one", "sub/b.bin": b"two"}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in files.items()).encode()
    for path, data in files.items():
        put(f"plain/m5/{path}", data)
    put("plain/m5/SHA256SUMS", sums)
    put("plain/m5/unlisted", b"x")
    pin = hashlib.sha256(sums).hexdigest()
    assert manifest(opened(f"s3://plain/m5#sha256={pin}")) == {"a.bin": 3, "sub/b.bin": 3}
    one = hashlib.sha256(b"one").hexdigest()
    assert manifest(opened(f"s3://plain/m5/a.bin#sha256={one}")) == {"a.bin": 3}
    put("plain/m5/a.bin", b"0ne")
    for text in (f"s3://plain/m5#sha256={pin}", f"s3://plain/m5/a.bin#sha256={one}"):
        with pytest.raises(VerificationFailed) as caught:
            manifest(opened(text))
        assert caught.value.check == "source.announced"
    put("plain/m5/SHA256SUMS", sums.replace(one.encode(), hashlib.sha256(b"0ne").hexdigest().encode()))
    with pytest.raises(VerificationFailed):
        opened(f"s3://plain/m5#sha256={pin}")


def test_a_large_object_is_read_in_blocks_and_resumed_where_a_digest_pins_it(opened, tmp_path):
    data = WEIGHTS * 10
    assert len(data) > WORTH
    put("plain/m6/large.bin", data)
    text = f"s3://plain/m6/large.bin#sha256={hashlib.sha256(data).hexdigest()}"
    with opened(text) as tree:
        [file] = tree.files()
        stream = file.open()
        came = 0
        while came < 5_000_000:
            came += len(stream.read(1 << 20))
        stream.close()
    [part] = (tmp_path / "scratch" / "partial").iterdir()
    assert part.stat().st_size == came
    assert manifest(opened(text)) == {"large.bin": len(data)}
    assert list((tmp_path / "scratch" / "partial").iterdir()) == []


def test_a_key_that_is_overwritten_later_is_told_as_drift(tmp_path):
    world = World(tmp_path)
    put("plain/m7/model.bin", b"weights")
    first = take(world.registry, "s3://plain/m7")
    assert first.source["matches_announced"] is False
    assert [file.kept for file in plan(world.registry, "s3://plain/m7")] == [False]
    world.hand.pass_(hours=1)
    put("plain/m7/model.bin", b"w3ights")
    told = []
    second = take(world.registry, "s3://plain/m7", on_drift=told.append)
    assert [(drift.before, drift.now, drift.fixed) for drift in told] == [
        (first.digest, second.digest, False)
    ]
    assert [row.severity for row in kept(world.registry, kinds=["drift"])] == ["warning"]
    assert sightings.drifted(world.registry) == told
    world.registry.close()


def test_models_of_a_bucket_are_adopted_where_they_lie(tmp_path):
    world = World(tmp_path)
    folder = world.model()
    for place in ("plain/shop/a", "plain/shop/team/b"):
        for path in folder.iterdir():
            put(f"{place}/{path.name}", path.read_bytes())
    put("plain/shop/team/b/onnx/model.onnx", b"not one")
    put("plain/shop/single.safetensors", (folder / "model.safetensors").read_bytes())
    put("plain/shop/notes/readme.txt", b"nothing")
    found, _ = found_in(world.registry, "s3", "s3://plain/shop", {})
    assert [row.reference for row in found] == [
        "s3://plain/shop/a", "s3://plain/shop/single.safetensors", "s3://plain/shop/team/b",
    ]  # fmt: skip
    rows = adopt(world.registry, found, environ={}, in_place=True)
    assert [row.standing for row in rows[:2]] == [Standing.SIGN, Standing.BLOCKED]
    assert "policy.licence" in rows[1].why  # a file alone says no licence
    blobs = world.registry.layout.blobs / "sha256"
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert not (blobs / weights[:2] / weights).exists()
    world.registry.close()
