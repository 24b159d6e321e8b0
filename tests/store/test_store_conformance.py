"""The suite of any store of blobs, on a folder and on a remote store whose place is one that tests can break."""

import pytest

from store_conformance import *  # noqa: F403 (the suite is shared between stores)
from weighbridge.store.files import FileBlobs
from weighbridge.store.remote import RemoteBlobs
from world_place import FolderPlace


@pytest.fixture(params=["files", "remote"])
def blobs(request, tmp_path):
    if request.param == "files":
        yield FileBlobs(tmp_path / "blobs")
    else:
        yield RemoteBlobs(FolderPlace(tmp_path / "place"), tmp_path / "cache")
