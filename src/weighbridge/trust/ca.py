"""The certificate authority: a verified identity and a proven key come in, a ten-minute certificate goes out.

The root is offline (`minting.make_root`), an intermediate below it is online (`minting.make_intermediate`),
and every leaf stands in the log of certificates before it exists. The format is Fulcio's
("Certificate Specification" of sigstore/fulcio), so that Sigstore clients verify it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from weighbridge.core.clock import Entropy, rfc3339
from weighbridge.core.errors import Refused, VerificationFailed
from weighbridge.keys.ports import Signer
from weighbridge.trust import der, fulcio
from weighbridge.trust.ctlog import CertificateLog, sct_list
from weighbridge.trust.minting import (
    CODE_SIGNING,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_KEY,
    Extension,
    authority_key,
    certificate,
    check_chain,
    key_identifier,
    serial_number,
    signature_algorithm,
    to_be_signed,
)
from weighbridge.trust.tokens import SKEW, Token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

LEAF_LIFE = timedelta(minutes=10)
SCT_EXTENSION = "1.3.6.1.4.1.11129.2.4.2"
MAX_REQUEST = 64 * 1024
"""Bytes of a key or of a signing request."""
RSA_BITS = (2048, 8192)
NO_NAME = der.sequence()


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the chain above it (issuer first, root last), in DER."""

    leaf: bytes
    chain: tuple[bytes, ...]

    def pem(self) -> tuple[str, ...]:
        """Return leaf and chain as PEM, in that order, as Fulcio answers."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        rows = (x509.load_der_x509_certificate(row) for row in (self.leaf, *self.chain))
        return tuple(row.public_bytes(Encoding.PEM).decode("ascii") for row in rows)


class CertificateService:
    """An issuing key with its chain (own certificate first, root last), the log it must use, and entropy.

    Building one holds chain and key together; raises Refused(ca.chain).
    """

    def __init__(
        self, signer: Signer, chain: Sequence[bytes], *, ct: CertificateLog, entropy: Entropy
    ) -> None:
        self.chain = tuple(chain)
        self.ct = ct
        self._signer = signer
        self._entropy = entropy
        self._certificates = check_chain(chain, signer, what="ca")

    def issue(self, token: Token, public_key: bytes, proof: bytes, now: datetime) -> Issued:
        """Certify a public key (PEM or DER) for a verified identity.

        `proof` is a signature by that key over the token's `sub` or `email` (Fulcio: proof of possession).
        Raises VerificationFailed with check ca.key or ca.possession, Refused(ca.expired), and as
        `CertificateLog.add`.
        """
        key = read_key(public_key)
        if not any(_possesses(key, challenge.encode(), proof) for challenge in token.challenges):
            raise _not_proven("the proof is not a signature by this key over the token's sub or email")
        return self._issue(token, key, now)

    def issue_for_request(self, token: Token, request: bytes, now: datetime) -> Issued:
        """Certify the key of a PKCS #10 request (PEM or DER); its own signature is the proof of possession.

        Nothing else of the request is used: names and extensions come from the token. Raises as `issue`,
        and VerificationFailed(ca.request).
        """
        return self._issue(token, read_request(request), now)

    def _issue(self, token: Token, key: CertificatePublicKeyTypes, now: datetime) -> Issued:
        if now >= token.expires + SKEW:
            raise VerificationFailed(
                "the token has ended since it was verified",
                cause=f"it ended {rfc3339(token.expires)}; now is {rfc3339(now)}",
                remedy="get a new token from the issuer",
                check="token.time",
            )
        own = self._certificates[0]
        ends = now + LEAF_LIFE
        if any(
            row.not_valid_after_utc < ends or row.not_valid_before_utc > now for row in self._certificates
        ):
            raise Refused(
                "the certificate authority is not in force for another ten minutes",
                cause=f"its certificate ends {rfc3339(own.not_valid_after_utc)}, its root "
                f"{rfc3339(self._certificates[-1].not_valid_after_utc)}; now is {rfc3339(now)}",
                remedy="renew the intermediate with the offline root: weighbridge key rotate ca",
                check="ca.expired",
            )
        public = _spki(key)
        if any(public == _spki(row.public_key()) for row in self._certificates):
            raise _unfit_key("it is a key of the authority itself")
        extensions = (*_leaf_extensions(public), authority_key(own), *_identity(token))
        write = partial(
            to_be_signed,
            serial=serial_number(self._entropy),
            issuer=own.subject.public_bytes(),
            subject=NO_NAME,
            public_der=public,
            begins=now,
            ends=ends,
            algorithm=signature_algorithm(self._signer),
        )
        # RFC 6962 section 3.2: what is logged is the certificate without the extension that proves it.
        sct = self.ct.add(write(extensions=extensions), self._signer.public_pem, now)
        proven = (*extensions, Extension(SCT_EXTENSION, sct_list(sct)))
        return Issued(certificate(write(extensions=proven), self._signer), self.chain)


def read_key(data: bytes) -> CertificatePublicKeyTypes:
    """Read a public key (PEM or DER) of a kind that is certified; raises VerificationFailed(ca.key)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        if len(data) > MAX_REQUEST:
            raise ValueError("it is too long")
        if data.lstrip().startswith(b"-----"):
            key = serialization.load_pem_public_key(data)
        else:
            key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unfit_key("it cannot be read as PEM or DER of a known kind") from error
    return _certified_kind(key)


def read_request(data: bytes) -> CertificatePublicKeyTypes:
    """Return the key of a PKCS #10 request whose own signature verifies; raises VerificationFailed."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes

    try:
        if len(data) > MAX_REQUEST:
            raise ValueError("it is too long")
        pem = data.lstrip().startswith(b"-----")
        request = x509.load_pem_x509_csr(data) if pem else x509.load_der_x509_csr(data)
        key, digest, valid = (
            request.public_key(),
            request.signature_hash_algorithm,
            request.is_signature_valid,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise VerificationFailed(
            "this is not a certificate signing request",
            cause=str(error),
            remedy="send PKCS #10 in PEM or DER, or a public key with a proof of possession",
            check="ca.request",
        ) from error
    if digest is not None and not isinstance(digest, hashes.SHA256 | hashes.SHA384 | hashes.SHA512):
        raise _not_proven(f"the request is signed over {digest.name}, which proves nothing")
    if not valid:
        raise _not_proven("the request is not signed by the key in it")
    return _certified_kind(key)


def _certified_kind(key: object) -> CertificatePublicKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    ):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1] or key.public_numbers().e < 65537:
            raise _unfit_key("an RSA key has 2048 to 8192 bits and an exponent of 65537 or more")
        return key
    raise _unfit_key("known are ECDSA over P-256, P-384 and P-521, Ed25519, and RSA")


def _possesses(key: CertificatePublicKeyTypes, challenge: bytes, proof: bytes) -> bool:
    """Tell whether `proof` is by the key; ECDSA over SHA-256 (as Fulcio's clients) or its curve's own hash."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(proof, challenge, ec.ECDSA(digest))
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(proof, challenge, padding.PKCS1v15(), digest)
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(proof, challenge)
            else:
                return False
        except InvalidSignature:
            continue
        return True
    return False


def _leaf_extensions(public: bytes) -> tuple[Extension, ...]:
    return (
        Extension(KEY_USAGE, der.bits(b"\x80", 7), critical=True),  # digitalSignature
        Extension(EXTENDED_KEY_USAGE, der.sequence(der.oid(CODE_SIGNING))),
        Extension(SUBJECT_KEY, der.octets(key_identifier(public))),
    )


def _identity(token: Token) -> tuple[Extension, ...]:
    return (fulcio.alternative_name(token), *fulcio.extensions(token))


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _unfit_key(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "this key cannot be certified",
        cause=cause,
        remedy="make a new key for each signature: ECDSA over P-256 is understood by every verifier",
        check="ca.key",
    )


def _not_proven(cause: str) -> VerificationFailed:
    return VerificationFailed(
        "nothing proves that whoever asks holds the key",
        cause=cause,
        remedy="sign the token's subject, or the request, with the key that is to be certified",
        check="ca.possession",
    )
