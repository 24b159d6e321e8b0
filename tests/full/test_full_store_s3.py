"""The suites of any store of blobs and of any bucket on S3 over HTTP."""

import itertools
from datetime import timedelta

import pytest

from bucket_conformance import *  # noqa: F403 (the suites are shared between stores)
from bucket_conformance import Bucket
from store_conformance import *  # noqa: F403 (as above)
from weighbridge.store import objects
from world_s3 import QUICK, bucket, moto

pytestmark = pytest.mark.full

RETRY = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=6),
    "backoff": {
        "init_backoff": timedelta(milliseconds=5),
        "max_backoff": timedelta(milliseconds=20),
        "base": 2,
    },
}
SERIAL = itertools.count()


@pytest.fixture(scope="module")
def address():
    with moto() as found:
        yield found


def fresh(address, cache, *, through=None, **options):
    """Open an empty store in a bucket of its own."""
    name = f"blobs-{next(SERIAL)}"
    bucket(address, name)
    return again(through or address, name, cache, **options), name


def again(address, name, cache, **options):
    given = {**QUICK, "retry_config": RETRY, **options}
    return objects.open_objects(f"s3://{name}/some/prefix", cache=cache, endpoint=address, **given)


@pytest.fixture
def blobs(address, tmp_path):
    return fresh(address, tmp_path / "cache")[0]


@pytest.fixture
def place(address, tmp_path):
    _, name = fresh(address, tmp_path / "first")
    return Bucket(
        lambda cache: again(address, name, cache),
        objects.open_store(f"s3://{name}/some/prefix", endpoint=address, **QUICK),
        in_one_step=False,
    )
