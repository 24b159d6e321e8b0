"""A whole registry whose bytes are in a bucket: taken in, judged, promoted, laid out; a byte that changes there blocks it."""

from contextlib import contextmanager

import pytest

import world_azure
import world_s3
from weighbridge.store.objects import key, open_store
from world_house import World

AZURITE = pytest.mark.skipif(
    not world_azure.PROGRAM.is_file(), reason="Azurite is not installed: make setup FULL=1"
)
pytestmark = pytest.mark.full


@contextmanager
def s3(_):
    with world_s3.moto() as address:
        world_s3.bucket(address, "registry")
        yield world_s3.environment(address)


@contextmanager
def azure(folder):
    folder.mkdir()
    with world_azure.azurite(folder) as address:
        world_azure.container(address, "registry")
        yield world_azure.environment(address)


@pytest.mark.parametrize(
    ("server", "url"),
    [(s3, "s3://registry/blobs"), pytest.param(azure, "az://registry/blobs", marks=AZURITE)],
)
def test_a_registry_over_a_bucket_goes_the_whole_way(server, url, tmp_path, monkeypatch):
    with server(tmp_path / "server") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        world = World(tmp_path, settings={"blobs": url})
        try:
            folder = world.ready("far")
            assert list((world.registry.layout.blobs).rglob("*")) == []
            result = world.promote(folder)
            assert result.decision.exit_code == 0, result.decision.refusals
            assert world.admit(folder).decision.exit_code == 0
            digest = world.manifest(folder).entry("model.safetensors").sha256
            data = world.registry.blobs.read(digest, 0, 10**6)
            open_store(url).put(key(digest), data[:-1] + b"\x77")
            assert world.admit(folder).decision.exit_code != 0
        finally:
            world.registry.close()
