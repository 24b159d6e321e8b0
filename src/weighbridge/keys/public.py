"""Public keys without secrets: read one, name it, check a signature.

A key is accepted in one spelling only: PEM with 64-character lines (RFC 7468), DER, the P-256 point
uncompressed (RFC 5480). Were two spellings of one key accepted, one signer would have two names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from weighbridge.core.digest import Digest
from weighbridge.core.errors import VerificationFailed
from weighbridge.keys.ports import Algorithm

_BEGIN = "-----BEGIN PUBLIC KEY-----\n"
_END = "-----END PUBLIC KEY-----\n"

# SubjectPublicKeyInfo up to the key itself: RFC 8410 section 4 and RFC 5480 section 2.
_ED25519 = bytes.fromhex("302a300506032b6570032100")
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200" + "04")
_LENGTHS: tuple[tuple[Algorithm, bytes, int], ...] = (("ed25519", _ED25519, 32), ("ecdsa-p256", _P256, 64))


def pem_of_der(der: bytes) -> str:
    """Write a SubjectPublicKeyInfo as PEM: 64 characters a line, one newline at the end."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return _BEGIN + "\n".join(lines) + "\n" + _END


def der_of_pem(pem: str) -> bytes:
    """Read a public key; raises VerificationFailed(key.form) unless it is one we know, in its one spelling."""
    body = pem.removeprefix(_BEGIN).removesuffix(_END)
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
    _algorithm(der)
    return der


def algorithm_of_pem(pem: str) -> Algorithm:
    """Return the algorithm of a public key; raises VerificationFailed(key.form)."""
    return _algorithm(der_of_pem(pem))


def key_id_of_pem(pem: str) -> Digest:
    """Return the key's name: SHA-256 of its DER; raises VerificationFailed(key.form)."""
    return Digest("sha256", hashlib.sha256(der_of_pem(pem)).hexdigest())


def verify_signature(pem: str, data: bytes, signature: bytes) -> bool:
    """Tell whether `signature` over `data` is by this key.

    A malformed signature is simply not one. Raises VerificationFailed(key.form) for a key that cannot be
    used at all, a P-256 point off the curve included.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    der = der_of_pem(pem)
    try:
        if _algorithm(der) == "ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(der[len(_ED25519) :]).verify(signature, data)
        else:
            point = der[len(_P256) - 1 :]
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    except ValueError as error:
        raise _unknown("the point is not on the curve") from error
    return True


def _algorithm(der: bytes) -> Algorithm:
    for algorithm, prefix, length in _LENGTHS:
        if der.startswith(prefix) and len(der) == len(prefix) + length:
            return algorithm
    raise _unknown("known are Ed25519, and P-256 with an uncompressed point")


def _unknown(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "this public key cannot be used",
        cause=cause,
        remedy="make one with: weighbridge key",
        check="key.form",
    )
