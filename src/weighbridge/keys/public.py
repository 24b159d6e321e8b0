"""Public keys without secrets: read one, name it, check a signature.

A key is accepted in one spelling only: PEM with 64-character lines (RFC 7468) around the DER that `spelling` wants.
Each kind of key signs in one way only, so that nobody can choose a weaker one:

| algorithm | hash | signature | name in Sigstore |
|---|---|---|---|
| ecdsa-p256 | SHA-256 | strict DER, RFC 3279 | PKIX_ECDSA_P256_SHA_256 |
| ecdsa-p384 | SHA-384 | strict DER | PKIX_ECDSA_P384_SHA_384 |
| ecdsa-p521 | SHA-512 | strict DER | PKIX_ECDSA_P521_SHA_512 |
| ed25519 | (its own) | 64 bytes, RFC 8032 | PKIX_ED25519 |
| rsa | SHA-256 | PKCS #1 v1.5, RFC 8017 section 8.2 | PKIX_RSA_PKCS1V15_2048_SHA256, …3072…, …4096…; other sizes PKIX_RSA_PKCS1V5 |
| ml-dsa-44 | (its own) | 2420 bytes, FIPS 204 with an empty context | none |

RSA-PSS is not read: a public key does not say which of the two paddings it is for, so taking both would give one key
two kinds of signature, and no signer whose bundles we met writes PSS.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Algorithm
from weighbridge.keys.spelling import Spelled, read_spki, unusable

if TYPE_CHECKING:  # cryptography costs 30 ms, and naming a key needs none of it
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    PublicKey = (
        ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey | rsa.RSAPublicKey
    )

MAX_PEM = 4096
"""Characters; the longest key we read, ML-DSA-44, has 1859."""

HASHES = {"ecdsa-p256": "sha256", "ecdsa-p384": "sha384", "ecdsa-p521": "sha512", "rsa": "sha256"}
"""The hash that a kind of key signs over; kinds that are not here take the data itself."""

_DETAILS = {
    "ecdsa-p256": "PKIX_ECDSA_P256_SHA_256",
    "ecdsa-p384": "PKIX_ECDSA_P384_SHA_384",
    "ecdsa-p521": "PKIX_ECDSA_P521_SHA_512",
    "ed25519": "PKIX_ED25519",
}
_NAMED_RSA = (2048, 3072, 4096)

_BEGIN = "-----BEGIN PUBLIC KEY-----\n"
_END = "-----END PUBLIC KEY-----\n"


@dataclass(frozen=True, slots=True)
class _Read:
    der: bytes
    spelled: Spelled
    key_id: Digest


def pem_of_der(der: bytes) -> str:
    """Write a SubjectPublicKeyInfo as PEM: 64 characters a line, one newline at the end."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return _BEGIN + "\n".join(lines) + "\n" + _END


def der_of_pem(pem: str) -> bytes:
    """Read a public key; raises VerificationFailed(key.form) unless it is one we know, in its one spelling."""
    return _read(pem).der


def algorithm_of_pem(pem: str) -> Algorithm:
    """Return the algorithm of a public key; raises VerificationFailed(key.form)."""
    return _read(pem).spelled.algorithm


def key_id_of_pem(pem: str) -> Digest:
    """Return the key's name: SHA-256 of its DER; raises VerificationFailed(key.form)."""
    return _read(pem).key_id


def details_of_pem(pem: str) -> str:
    """Return the key's name among Sigstore's `PublicKeyDetails` (sigstore_common.proto).

    Raises VerificationFailed(key.form), also for ML-DSA-44, which has no name there.
    """
    spelled = _read(pem).spelled
    if spelled.algorithm == "rsa":
        return (
            f"PKIX_RSA_PKCS1V15_{spelled.bits}_SHA256" if spelled.bits in _NAMED_RSA else "PKIX_RSA_PKCS1V5"
        )
    name = _DETAILS.get(spelled.algorithm)
    if name is None:
        raise unusable(f"Sigstore's documents have no name for {spelled.algorithm} keys")
    return name


def verify_signature(pem: str, data: bytes, signature: bytes) -> bool:
    """Tell whether `signature` over `data` is by this key.

    A malformed signature is simply not one. Raises VerificationFailed(key.form) for a key that cannot be
    used at all, a point off its curve included.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

    key = _key(pem)
    if isinstance(key, ed25519.Ed25519PublicKey | mldsa.MLDSA44PublicKey):
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True
    name = HASHES[_read(pem).spelled.algorithm]
    return _verify_hashed(key, name, hashlib.new(name, data).digest(), signature)


def verify_digest(pem: str, digest: Digest, signature: bytes) -> bool:
    """Tell whether `signature` is by this key (ECDSA or RSA) over data with this digest.

    The digest must be one the caller made of the bytes itself: a digest out of a bundle shows nothing. Sigstore's
    older clients sign with SHA-256 whatever the curve, so each of SHA-256, SHA-384 and SHA-512 is taken, and the caller
    who wants the key's own says so by giving it. Raises VerificationFailed(key.form) as `verify_signature`, and
    VerificationFailed(key.digest) for a key that signs data and not digests, or another kind of digest.
    """
    key = _key(pem)
    algorithm = _read(pem).spelled.algorithm
    if algorithm not in HASHES or digest.algorithm not in HASHES.values():
        raise VerificationFailed(
            f"a signature by {algorithm} over a {digest.algorithm} digest cannot be checked",
            cause="ECDSA and RSA keys sign SHA-256, SHA-384 or SHA-512 digests; other keys need the data itself",
            remedy="give the signed file instead of its digest",
            check="key.digest",
        )
    return _verify_hashed(key, digest.algorithm, bytes.fromhex(digest.hex), signature)


def _verify_hashed(key: PublicKey, name: str, digest: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    kinds: dict[str, hashes.HashAlgorithm] = {
        "sha256": hashes.SHA256(),
        "sha384": hashes.SHA384(),
        "sha512": hashes.SHA512(),
    }
    prehashed = utils.Prehashed(kinds[name])
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            # Written once more: the libraries below differ in which other encodings of (r, s) they let through.
            if utils.encode_dss_signature(*utils.decode_dss_signature(signature)) != signature:
                return False
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            assert isinstance(key, rsa.RSAPublicKey)
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def _read(pem: str) -> _Read:
    body = pem.removeprefix(_BEGIN).removesuffix(_END) if len(pem) <= MAX_PEM else ""
    try:
        der = base64.b64decode(body.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if pem_of_der(der) != pem:
        raise VerificationFailed(
            "this is not a public key in PEM",
            cause="expected '-----BEGIN PUBLIC KEY-----', base64 in lines of 64, and one newline at the end",
            remedy="write it with: openssl pkey -pubin -in KEY -pubout",
            check="key.form",
        )
    return _Read(der, read_spki(der), Digest("sha256", hashlib.sha256(der).hexdigest()))


@lru_cache(maxsize=1024)
def _key(pem: str) -> PublicKey:
    """Load a key into the library that verifies; this takes longer than many a signature, hence the cache."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    read = _read(pem)
    algorithm, raw = read.spelled.algorithm, read.spelled.raw
    curves: dict[str, ec.EllipticCurve] = {
        "ecdsa-p256": ec.SECP256R1(),
        "ecdsa-p384": ec.SECP384R1(),
        "ecdsa-p521": ec.SECP521R1(),
    }
    try:
        if algorithm == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(raw)
        if algorithm == "ml-dsa-44":
            return mldsa.MLDSA44PublicKey.from_public_bytes(raw)
        if algorithm == "rsa":
            key = load_der_public_key(read.der)
            assert isinstance(key, rsa.RSAPublicKey)
            return key
        return ec.EllipticCurvePublicKey.from_encoded_point(curves[algorithm], raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise unusable(
            "the point is not on the curve, or the crypto library here does not know the kind"
        ) from error
