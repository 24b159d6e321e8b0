"""Public keys: one spelling, one name; and what a signature is."""

import base64
import hashlib
import shutil
import subprocess
import textwrap

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils, x25519
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.core.digest import HEX_LENGTH, Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.files import generate
from weighbridge.keys.ports import ALGORITHMS
from weighbridge.keys.public import (
    HASHES,
    algorithm_of_pem,
    der_of_pem,
    details_of_pem,
    key_id_of_pem,
    pem_of_der,
    verify_digest,
    verify_signature,
)
from weighbridge.keys.spelling import integer, wrapped

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


# Kinds of key, and the one way each signs


def test_signatures_are_those_of_openssl(tmp_path):
    """A second implementation of every hash and padding: what openssl signs we take, what we sign it takes."""
    (tmp_path / "data").write_bytes(b"data")
    hashed = {"ecdsa-p256": "sha256", "ecdsa-p384": "sha384", "ecdsa-p521": "sha512", "rsa": "sha256"}
    for key in KEYS:
        if key.algorithm not in hashed:
            continue
        key.save(tmp_path / key.algorithm)
        (tmp_path / "pub").write_text(key.public_pem)
        (tmp_path / "sig").write_bytes(key.sign(b"data"))
        digest = f"-{hashed[key.algorithm]}"
        openssl("dgst", digest, "-verify", "pub", "-signature", "sig", "data", folder=tmp_path)
        openssl("dgst", digest, "-sign", key.algorithm, "-out", "theirs", "data", folder=tmp_path)
        assert verify_signature(key.public_pem, b"data", (tmp_path / "theirs").read_bytes())


def openssl(*arguments, folder):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("key", KEYS, ids=ALGORITHMS)
def test_a_key_signs_with_no_other_hash_or_padding(key):
    private = key._private
    if isinstance(private, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        others = [
            private.sign(b"data", pss, hashes.SHA256()),
            private.sign(b"data", padding.PKCS1v15(), hashes.SHA512()),
        ]
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        kinds = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
        others = [
            private.sign(b"data", ec.ECDSA(kind))
            for name, kind in kinds.items()
            if name != HASHES[key.algorithm]
        ]
    elif isinstance(private, mldsa.MLDSA44PrivateKey):
        others = [private.sign(b"data", b"context")]
    else:
        others = [private.sign(hashlib.sha512(b"data").digest())]
    assert others
    for signature in others:
        assert not verify_signature(key.public_pem, b"data", signature)


def test_a_digest_is_checked_as_the_data_would_be():
    for key in KEYS:
        signature = key.sign(b"data")
        if key.algorithm not in HASHES:
            with pytest.raises(VerificationFailed) as caught:
                verify_digest(key.public_pem, Digest.of(b"data"), signature)
            assert caught.value.check == "key.digest"
            continue
        name = HASHES[key.algorithm]
        digest = Digest(name, hashlib.new(name, b"data").hexdigest())
        assert verify_digest(key.public_pem, digest, signature)
        assert not verify_digest(
            key.public_pem, Digest(name, hashlib.new(name, b"other").hexdigest()), signature
        )
        other = "sha384" if name != "sha384" else "sha512"
        assert not verify_digest(
            key.public_pem, Digest(other, hashlib.new(other, b"data").hexdigest()), signature
        )


def test_sigstores_older_clients_sign_sha_256_whatever_the_curve():
    p384 = KEYS[ALGORITHMS.index("ecdsa-p384")]
    signature = p384._private.sign(b"data", ec.ECDSA(hashes.SHA256()))
    assert verify_digest(p384.public_pem, Digest.of(b"data"), signature)


@pytest.mark.parametrize("algorithm", ["blake3", "wb1", "sha1"])
def test_digests_that_nobody_signs_are_refused(algorithm):
    digest = Digest(algorithm, "0" * HEX_LENGTH[algorithm])
    with pytest.raises(VerificationFailed) as caught:
        verify_digest(P256.public_pem, digest, b"")
    assert caught.value.check == "key.digest"


def test_an_ecdsa_signature_has_one_spelling():
    """Each of these says the same r and s in other bytes (X.690: BER, padding, long lengths)."""
    signature = P256.sign(b"data")
    r, s = utils.decode_dss_signature(signature)
    assert verify_signature(P256.public_pem, b"data", utils.encode_dss_signature(r, s))
    body = signature[2:]
    padded = bytes([body[0], body[1] + 1, 0]) + body[2:]
    for other in [
        b"\x30\x81" + bytes([len(body)]) + body,
        b"\x30\x80" + body + b"\0\0",
        b"\x30" + bytes([len(padded)]) + padded,
        b"\x31" + signature[1:],
        r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        signature + b"\0",
        b"",
    ]:
        assert not verify_signature(P256.public_pem, b"data", other)
    for pair in [(0, 0), (0, 1), (1, 0), (r, 0), (2**256, s), (r, 2**300)]:
        assert not verify_signature(P256.public_pem, b"data", utils.encode_dss_signature(*pair))


def test_sigstore_names_of_keys():
    names = {key.algorithm: details_of_pem(key.public_pem) for key in KEYS if key.algorithm != "ml-dsa-44"}
    assert names == {
        "ecdsa-p256": "PKIX_ECDSA_P256_SHA_256",
        "ecdsa-p384": "PKIX_ECDSA_P384_SHA_384",
        "ecdsa-p521": "PKIX_ECDSA_P521_SHA_512",
        "ed25519": "PKIX_ED25519",
        "rsa": "PKIX_RSA_PKCS1V15_3072_SHA256",
    }
    for bits, name in [(2048, "PKIX_RSA_PKCS1V15_2048_SHA256"), (2056, "PKIX_RSA_PKCS1V5")]:
        pem = spki(rsa.generate_private_key(65537, bits).public_key()).decode()
        assert details_of_pem(pem) == name
    with pytest.raises(VerificationFailed):
        details_of_pem(KEYS[ALGORITHMS.index("ml-dsa-44")].public_pem)


def rsa_pem(n, e, *, algorithm="300d06092a864886f70d0101010500", first=b"", unused=b"\0"):
    key = wrapped(0x30, first + integer(n) + integer(e))
    return pem_of_der(wrapped(0x30, bytes.fromhex(algorithm) + wrapped(0x03, unused + key)))


N = (1 << 2047) | 1


def test_an_rsa_key_is_read_whatever_its_size():
    for n in (N, (1 << 3071) | 1, (1 << 8191) | 1, (1 << 2048) - 1):
        assert algorithm_of_pem(rsa_pem(n, 65537)) == "rsa"
        assert serialization.load_pem_public_key(rsa_pem(n, 65537).encode()).public_numbers().n == n
    assert algorithm_of_pem(rsa_pem(N, 2**31 - 1)) == "rsa"


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(rsa_pem(N >> 1 | 1, 65537), id="2047 bits"),
        pytest.param(rsa_pem(1 << 8192 | 1, 65537), id="8193 bits"),
        pytest.param(rsa_pem(1 << 2047, 65537), id="even"),
        pytest.param(rsa_pem(N, 3), id="e is 3"),
        pytest.param(rsa_pem(N, 65535), id="e is small"),
        pytest.param(rsa_pem(N, 65538), id="e is even"),
        pytest.param(rsa_pem(N, 2**31 + 1), id="e is large"),
        pytest.param(rsa_pem(N, 65537, algorithm="300b06092a864886f70d010101"), id="no parameters"),
        pytest.param(rsa_pem(N, 65537, algorithm="300b06092a864886f70d01010a"), id="PSS"),
        pytest.param(rsa_pem(N, 65537, unused=b"\1"), id="unused bits"),
        pytest.param(rsa_pem(N, 65537, unused=b"\0\0"), id="a byte before"),
        pytest.param(rsa_pem(N, 65537, first=integer(0)), id="three integers"),
    ],
)
def test_an_rsa_key_that_is_weak_or_spelled_otherwise_is_refused(pem):
    refused(pem)


def test_every_changed_byte_of_an_rsa_key_is_another_key_or_none():
    pem = rsa_pem(N, 65537)
    der = der_of_pem(pem)
    names = {key_id_of_pem(pem)}
    for at in range(len(der)):
        changed = pem_of_der(der[:at] + bytes([der[at] ^ 0x80]) + der[at + 1 :])
        try:
            names.add(key_id_of_pem(changed))
        except VerificationFailed:
            continue
        numbers = serialization.load_pem_public_key(changed.encode()).public_numbers()
        assert rsa_pem(numbers.n, numbers.e) == changed
    assert len(names) > 100


@given(der=st.binary(max_size=60))
def test_no_bytes_break_the_reader(der):
    for data in (der, bytes.fromhex("30820122300d06092a864886f70d0101010500") + der):
        with pytest.raises(VerificationFailed) as caught:
            der_of_pem(pem_of_der(data))
        assert caught.value.check == "key.form"


def test_a_very_long_text_is_not_a_key():
    refused(pem_of_der(bytes(100_000)))


SIX = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
SEVEN = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
WEAK = ["00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", SIX, SEVEN]


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("point", WEAK)
def test_a_key_for_which_everybody_can_sign_is_refused(point, sign):
    """With R the neutral point and S zero, one message in eight at most has to be tried."""
    raw = bytearray.fromhex(point)
    raw[31] |= sign
    refused(pem_of_der(bytes.fromhex("302a300506032b6570032100") + raw))
    if sign and point in WEAK[1:3]:
        return  # x is zero, and there is no negative zero
    key, forged = ed25519.Ed25519PublicKey.from_public_bytes(bytes(raw)), bytes([1]) + bytes(63)
    assert any(accepts(key, forged, bytes([number])) for number in range(200)), "the library would take it"


def accepts(key, signature, data):
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("more", range(19))
def test_no_second_spelling_of_an_edwards_point(more):
    raw = (2**255 - 19 + more).to_bytes(32, "little")
    refused(pem_of_der(bytes.fromhex("302a300506032b6570032100") + raw))


def test_a_key_of_another_kind_and_the_same_length_is_refused():
    """X25519 is written in as many bytes as Ed25519, brainpoolP256r1 in almost as many as P-256."""
    private = x25519.X25519PrivateKey.from_private_bytes(bytes(range(32)))
    refused(spki(private.public_key()).decode())
    for key in KEYS:
        der = bytearray(der_of_pem(key.public_pem))
        der[9] ^= 1
        refused(pem_of_der(bytes(der)))
