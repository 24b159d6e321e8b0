"""The port through which every other room signs, and the kinds of key there are."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from weighbridge.core.digest import Digest

Algorithm: TypeAlias = Literal["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa", "ml-dsa-44"]

ALGORITHMS: tuple[Algorithm, ...] = ("ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa", "ml-dsa-44")
"""Every kind of key that can be read and used."""

CLAIM_ALGORITHMS: tuple[Algorithm, ...] = tuple(name for name in ALGORITHMS if name != "ml-dsa-44")
"""What may sign envelopes, files and documents. ML-DSA-44 is for cosignatures of witnesses alone: no verifier
of bundles outside this house knows it."""


class Signer(Protocol):
    """A private key that can be used and not seen.

    Implementations hold no state that `sign` changes, so one signer may be used from several threads.
    """

    @property
    def algorithm(self) -> Algorithm:
        """What the key is and how it signs (`keys.public` says which hash and which encoding)."""
        ...

    @property
    def public_pem(self) -> str:
        """The public half as PEM SubjectPublicKeyInfo, in the one spelling `keys.public` accepts."""
        ...

    @property
    def key_id(self) -> Digest:
        """SHA-256 of the SubjectPublicKeyInfo in DER."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return a signature over `data`, as `keys.public.verify_signature` takes it.

        ECDSA in DER (RFC 3279), RSA as PKCS #1 v1.5 of the key's length, Ed25519 64 and ML-DSA-44 2420 raw bytes.
        Raises Unreadable or Unreachable when the key cannot be used; never returns an empty signature.
        """
        ...
