"""Public keys: one spelling, one name; and what a signature is."""

import base64
import hashlib
import textwrap

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.keys.ports import ALGORITHMS
from weighbridge.keys.public import algorithm_of_pem, der_of_pem, key_id_of_pem, pem_of_der, verify_signature

KEYS = [generate(algorithm) for algorithm in ALGORITHMS]
P256 = KEYS[0]
ED25519 = KEYS[ALGORITHMS.index("ed25519")]


def spki(public, point=None):
    if point is not None:
        return public.public_bytes(serialization.Encoding.X962, point)
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def refused(pem):
    for ask in (der_of_pem, key_id_of_pem, algorithm_of_pem, lambda text: verify_signature(text, b"", b"")):
        with pytest.raises(VerificationFailed) as caught:
            ask(pem)
        assert caught.value.check == "key.form"


@pytest.mark.parametrize(
    "private", [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]
)
def test_the_spelling_is_that_of_the_crypto_library_and_of_openssl(private):
    pem = spki(private.public_key()).decode()
    der = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert der_of_pem(pem) == der
    assert pem_of_der(der) == pem
    assert key_id_of_pem(pem).hex == hashlib.sha256(der).hexdigest()


def test_the_example_of_rfc_8410():
    pem = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n"
    )
    assert algorithm_of_pem(pem) == "ed25519"


@pytest.mark.parametrize("key", KEYS)
def test_every_other_spelling_is_refused(key):
    pem = key.public_pem
    body = base64.b64encode(der_of_pem(pem)).decode()
    for other in [
        pem.rstrip("\n"),
        pem + "\n",
        "\n" + pem,
        pem.replace("\n", "\r\n"),
        pem.replace("PUBLIC KEY", "EC PUBLIC KEY"),
        pem.replace(body[:10], body[:5] + "\n" + body[5:10]),
        pem.replace(body[:10], body[:5] + " " + body[5:10]),
        "-----BEGIN PUBLIC KEY-----\n" + "\n".join(textwrap.wrap(body, 63)) + "\n-----END PUBLIC KEY-----\n",
        pem.replace("=", ""),
        body,
        pem + pem,
        pem_of_der(der_of_pem(pem) + b"\0"),
        pem_of_der(der_of_pem(pem)[:-1]),
        "é" + pem,
    ]:
        if other != pem:
            refused(other)


def test_a_compressed_point_is_another_spelling_and_refused():
    public = P256._private.public_key()
    point = spki(public, serialization.PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    assert serialization.load_der_public_key(der)  # the library would take it
    refused(pem_of_der(der))


def test_keys_of_other_kinds_are_refused():
    for private in (rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256K1())):
        refused(spki(private.public_key()).decode())


def test_a_point_off_the_curve_is_refused_when_it_is_used():
    der = bytearray(der_of_pem(P256.public_pem))
    der[-1] ^= 1
    pem = pem_of_der(bytes(der))
    with pytest.raises(VerificationFailed) as caught:
        verify_signature(pem, b"data", P256.sign(b"data"))
    assert caught.value.check == "key.form"


@pytest.mark.parametrize("key", KEYS)
@given(data=st.binary(max_size=50), garbage=st.binary(max_size=80))
def test_garbage_is_not_a_signature(key, data, garbage):
    assert not verify_signature(key.public_pem, data, garbage)


@pytest.mark.parametrize("key", KEYS)
def test_every_changed_byte_of_a_signature_voids_it(key):
    signature = key.sign(b"data")
    assert verify_signature(key.public_pem, b"data", signature)
    for at in range(len(signature)):
        changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
        assert not verify_signature(key.public_pem, b"data", changed)
    assert not verify_signature(key.public_pem, b"data", signature + b"\0")
    assert not verify_signature(key.public_pem, b"data", signature[:-1])


def test_one_keys_signature_is_not_anothers():
    assert not verify_signature(P256.public_pem, b"data", generate().sign(b"data"))
    assert not verify_signature(ED25519.public_pem, b"data", generate("ed25519").sign(b"data"))
    assert not verify_signature(ED25519.public_pem, b"data", P256.sign(b"data"))
