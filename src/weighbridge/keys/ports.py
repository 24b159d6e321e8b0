"""The port through which every other room signs."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from weighbridge.core.digest import Digest

Algorithm: TypeAlias = Literal["ed25519", "ecdsa-p256"]
ALGORITHMS: tuple[Algorithm, ...] = ("ecdsa-p256", "ed25519")


class Signer(Protocol):
    """A private key that can be used and not seen.

    Implementations hold no state that `sign` changes, so one signer may be used from several threads.
    """

    @property
    def algorithm(self) -> Algorithm:
        """What the key is: `ed25519` (RFC 8032) or `ecdsa-p256` (FIPS 186-5, over SHA-256)."""
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
        """Return a signature over `data`: 64 raw bytes for Ed25519, DER (RFC 3279) for ECDSA.

        Raises Unreadable or Unreachable when the key cannot be used; never returns an empty signature.
        """
        ...
