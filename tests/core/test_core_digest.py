"""Digests: parsed once, compared only as digests."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import HEX_LENGTH, Digest
from weighbridge.core.errors import BadReference


@pytest.mark.parametrize(("algorithm", "length"), HEX_LENGTH.items())
def test_text_and_digest_go_both_ways(algorithm, length):
    digest = Digest.parse(f"{algorithm}:{'a' * length}")
    assert digest == Digest(algorithm, "a" * length)
    assert str(digest) == f"{algorithm}:{'a' * length}"
    assert digest.short == f"{algorithm}:{'a' * 12}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "SHA256:" + "a" * 64,
        "md5:" + "a" * 32,
        "wb1:" + "a" * 12,
        " sha256:" + "a" * 64,
        "sha256:" + "a" * 63 + "\n",
        "sha256:" + "\u0661" * 64,
    ],
)
def test_what_is_no_digest(text):
    with pytest.raises(BadReference) as caught:
        Digest.parse(text)
    assert caught.value.remedy


def test_the_algorithm_is_part_of_the_comparison():
    values = {Digest(name, "a" * 64) for name in ("sha256", "blake3", "wb1", "wbw1")}
    assert len(values) == 4
    assert Digest("sha256", "a" * 64) != "sha256:" + "a" * 64


@given(st.binary())
def test_of_is_the_sha256_of_the_bytes(data):
    assert Digest.of(data) == Digest("sha256", hashlib.sha256(data).hexdigest())
