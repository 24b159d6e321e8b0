"""A signer from a reference: paths, URIs, and what is neither."""

import pytest

from weighbridge.core.errors import NotFound, Unreachable, UsageError
from weighbridge.keys.files import generate
from weighbridge.keys.public import verify_signature
from weighbridge.trust.signers import open_signer


def test_a_path_opens_a_file(tmp_path, monkeypatch):
    key = generate()
    key.save(tmp_path / "key.pem", "planted")
    signer = open_signer(str(tmp_path / "key.pem"), password=lambda: "planted")
    assert verify_signature(key.public_pem, b"data", signer.sign(b"data"))
    monkeypatch.chdir(tmp_path)
    assert open_signer("key.pem", password="planted").key_id == key.key_id


def test_a_file_may_have_a_name_that_looks_like_much(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "c:", "release:2026.pem"):
        key = generate("ed25519")
        key.save(tmp_path / name)
        assert open_signer(name).key_id == key.key_id


@pytest.mark.parametrize(
    "reference",
    ["https://keys.example/key", "vault://key", "file:///key", "PKCS11:token=a", "AwsKms:///key", ""],
)
def test_what_is_no_reference_is_a_mistake(reference):
    with pytest.raises(UsageError) as caught:
        open_signer(reference)
    assert caught.value.check == "key.uri"


def test_a_uri_goes_to_its_room():
    with pytest.raises(Unreachable):
        open_signer("hashivault://key", offline=True)
    with pytest.raises(UsageError):
        open_signer("pkcs11:token=a")


def test_a_missing_file_is_said():
    with pytest.raises(NotFound):
        open_signer("no/such/key.pem")
