"""Keys elsewhere: how they are named, that nothing secret is in a name, and what failures say. No service is needed."""

import copy
import sys

import pytest

from weighbridge.core.errors import Refused, Unreachable, Unreadable, UsageError
from weighbridge.keys.files import generate
from weighbridge.keys.public import verify_signature
from weighbridge.keys.uri import EXTRAS, UriKey, _Ask, open_uri

PIN = "planted-4321-Zq7"
MODULE = "/no/such/module.so"


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("PYKCS11LIB", "VAULT_ADDR", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "reference",
    [
        "pkcs11:",
        "pkcs11:token=a",
        f"pkcs11:token=a;id=?module-path={MODULE}",
        f"pkcs11:token=a;id=%00%01?module-path={MODULE}",
        f"pkcs11:token=a;id={'%01' * 33}?module-path={MODULE}",
        f"pkcs11:token=a;id=%01;id=%02?module-path={MODULE}",
        f"pkcs11:token=a;object=name;id=%01?module-path={MODULE}",
        f"pkcs11:token=a;id=%01;type=cert?module-path={MODULE}",
        f"pkcs11:token=a;id=%01?module-path={MODULE}&odd=1",
        "pkcs11:token=a;id=%01?module-path=module.so",
        "pkcs11:token=a;id=%01",
        "awskms:",
        "awskms://host:4566/alias/key",
        "gcpkms://projects/p",
        "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/latest",
        "azurekms://vault",
        "azurekms://evil.example/key",
        "azurekms://vault/key/version",
        "hashivault://",
        "hashivault://../sys/seal",
        "hashivault://key/1",
        "hsm:1",
        "file2:/etc/ssh/ssh_host_rsa_key",
        "",
    ],
)
def test_what_names_no_key_is_a_mistake(reference, monkeypatch):
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example")
    with pytest.raises(UsageError) as caught:
        open_uri(reference, password=PIN)
    assert caught.value.check == "key.uri"
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["pin-value", "pin-source"])
def test_a_pin_in_a_uri_is_refused_and_not_repeated(name):
    with pytest.raises(UsageError) as caught:
        open_uri(f"pkcs11:token=a;id=%01?module-path={MODULE}&{name}={PIN}")
    assert PIN not in str(caught.value)
    assert "WEIGHBRIDGE_KEY_PASSWORD" in caught.value.remedy


@pytest.mark.parametrize("address", ["", "http://vault.example", "ftp://vault.example", "vault.example:8200"])
def test_a_token_never_goes_out_in_the_clear(address, monkeypatch):
    monkeypatch.setenv("VAULT_ADDR", address)
    with pytest.raises(UsageError) as caught:
        open_uri("hashivault://key")
    assert "VAULT_ADDR" in caught.value.cause


@pytest.mark.parametrize("scheme", sorted(set(EXTRAS) - {"pkcs11"}))
def test_a_service_is_not_asked_when_working_offline(scheme):
    with pytest.raises(Unreachable) as caught:
        open_uri(f"{scheme}://anything/at/all", offline=True)
    assert caught.value.check == "net.offline"


@pytest.mark.parametrize("scheme", ["pkcs11", "awskms"])
def test_a_missing_library_names_its_extra(scheme, monkeypatch):
    monkeypatch.setitem(sys.modules, "securesystemslib", None)
    for name in [name for name in sys.modules if name.startswith("securesystemslib.")]:
        monkeypatch.delitem(sys.modules, name)
    reference = f"pkcs11:id=%01?module-path={MODULE}" if scheme == "pkcs11" else "awskms:///alias/key"
    with pytest.raises(UsageError) as caught:
        open_uri(reference, password=PIN)
    assert caught.value.check == "key.extra"
    assert f"weighbridge[{EXTRAS[scheme]}]" in caught.value.remedy


class Library:
    """What securesystemslib hands out: something with `sign` that returns hexadecimal text, or raises anything."""

    def __init__(self, answer):
        self.answer = answer

    def sign(self, data):
        if isinstance(self.answer, Exception):
            raise self.answer
        return type("Signature", (), {"signature": self.answer(data).hex()})()


def key_with(answer, password=PIN):
    reference = "hashivault://key"
    return UriKey(reference, Library(answer), KEY.public_pem, "", _Ask(reference, password))


KEY = generate()


def test_a_key_elsewhere_signs_through_the_port():
    key = key_with(KEY.sign)
    assert (key.algorithm, key.public_pem, key.key_id) == (KEY.algorithm, KEY.public_pem, KEY.key_id)
    assert verify_signature(key.public_pem, b"data", key.sign(b"data"))


@pytest.mark.parametrize("answer", [generate().sign, lambda _: b"", lambda data: KEY.sign(data + b"x")])
def test_no_signature_leaves_that_is_not_by_the_key(answer):
    with pytest.raises(Refused) as caught:
        key_with(answer).sign(b"data")
    assert caught.value.check == "key.signature"


def test_what_a_library_raises_becomes_one_error_without_secrets(monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", "hvs.planted-token")
    error = RuntimeError(f"403 for hvs.planted-token and {PIN}\nat https://vault.example" + "x" * 1000)
    with pytest.raises(Unreachable) as caught:
        key_with(error).sign(b"data")
    assert caught.value.check == "key.service"
    assert "RuntimeError: 403 for … and …" in caught.value.cause
    assert len(caught.value.cause) <= 300
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_wrong_pin_is_not_tried_again():
    """Some tokens lock themselves after three."""
    wrong = type("PinIncorrect", (Exception,), {})()
    key = key_with(wrong)
    for _ in range(2):
        with pytest.raises(Unreadable) as caught:
            key.sign(b"data")
        assert caught.value.check == "key.password"
    with pytest.raises(Unreadable):
        key._ask("pin")


def test_a_pin_is_asked_for_once():
    asked = []
    ask = _Ask("pkcs11:", lambda: asked.append(1) or PIN)
    assert [ask("pin"), ask("pin")] == [PIN, PIN]
    assert asked == [1]
    with pytest.raises(UsageError):
        _Ask("pkcs11:", None)("pin")


def test_no_repr_shows_a_pin_and_no_copy_is_made():
    key = key_with(KEY.sign)
    assert PIN not in repr(key) + repr(key._ask)
    with pytest.raises(TypeError):
        copy.copy(key)
