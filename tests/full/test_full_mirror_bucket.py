"""Handing out from a bucket: verified pieces of what lies on another machine, and nothing that changed there."""

import json
import sys
from pathlib import Path

import httpx2
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from handing_house import World, accepted, anybody_may_read, counter

from world_s3 import Proxy, ask, bucket, environment, moto

pytestmark = pytest.mark.full
MIB = 1024 * 1024
FILE = "large.safetensors"


@pytest.fixture
def proxy(monkeypatch):
    with moto() as address, Proxy(address) as made:
        bucket(made.address, "mirror")
        for name, value in environment(made.address).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def world(proxy, tmp_path):
    made = World(tmp_path, settings={"blobs": "s3://mirror/blobs"})
    anybody_may_read(made)
    yield made
    made.registry.close()


def large(world):
    folder = world.model()
    head = {"w": {"dtype": "U8", "shape": [10 * MIB], "data_offsets": [0, 10 * MIB]}}
    text = json.dumps(head).encode().ljust(256)
    data = len(text).to_bytes(8, "little") + text + bytes(range(256)) * (10 * MIB // 256)
    (folder / FILE).write_bytes(data)
    return folder, data


def there(model, proxy, name):
    digest = model.manifest.entry(name).sha256
    return f"{proxy.address}/mirror/blobs/sha256/{digest.hex[:2]}/{digest.hex}"


def test_files_come_from_the_bucket_in_verified_pieces(world, proxy):
    folder, data = large(world)
    model = accepted(world, folder)
    with counter(world) as served:
        path = "/org/model/resolve/main"
        for name in ("config.json", "model.safetensors", "README.md"):
            assert served.get(f"{path}/{name}").content == (folder / name).read_bytes()
        assert served.get(f"{path}/{FILE}").content == data
        part = served.get(f"{path}/{FILE}", Range=f"bytes={5 * MIB - 3}-{9 * MIB}")
        assert (part.status_code, part.content) == (206, data[5 * MIB - 3 : 9 * MIB + 1])
        assert list(world.registry.layout.blobs.rglob("*")) == []
        assert model.manifest.size == sum(path.stat().st_size for path in folder.iterdir())


def test_a_byte_that_changes_there_is_never_served(world, proxy):
    folder, data = large(world)
    model = accepted(world, folder)
    with counter(world, pieces=2) as served:
        url = "/org/model/resolve/main"
        assert served.get(f"{url}/{FILE}", Range="bytes=0-9").content == data[:10]
        changed = bytearray(data)
        changed[9 * MIB] ^= 1
        ask(there(model, proxy, FILE), body=bytes(changed))
        came = b""
        with (
            pytest.raises(httpx2.RemoteProtocolError),  # fewer bytes came than were announced
            served.client.stream("GET", f"{served.url}{url}/{FILE}") as answer,
        ):
            for block in answer.iter_raw():
                came += block
        assert len(came) < len(data)
        assert data.startswith(came)
        assert served.get(f"{url}/{FILE}").status_code == 403
        small = (folder / "config.json").read_bytes()
        ask(there(model, proxy, "config.json"), body=small[:-1] + b" ")
        assert served.get(f"{url}/config.json").status_code == 403


def test_a_bucket_that_does_not_answer_is_said(world, proxy):
    folder, _ = large(world)
    accepted(world, folder)
    with counter(world) as served:

        def silent(handler, _method, _path, _body):
            handler.close_connection = True
            return True

        proxy.fault = silent
        answer = served.get("/org/model/resolve/main/config.json")
        assert answer.status_code >= 400
        assert "x-error-message" in answer.headers
        proxy.fault = None
        assert (
            served.get("/org/model/resolve/main/config.json").content == (folder / "config.json").read_bytes()
        )
