"""The development issuer: this machine vouches for whoever sits at it, which proves nothing to anybody else.

Its URL is reserved, so that no real issuer can have it and nobody takes its word for one; the floor refuses
what it vouched for outside registries that were made as a demonstration.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta

from weighbridge.core.canonical import JSON, canonical
from weighbridge.core.clock import Entropy
from weighbridge.core.errors import UsageError
from weighbridge.core.identity import DEVELOPMENT_ISSUER
from weighbridge.keys.ports import Signer
from weighbridge.keys.public import der_of_pem
from weighbridge.trust.issuers import (
    AUDIENCE,
    EVERYBODY,
    TrustedIssuer,
    pinned_key,
)
from weighbridge.trust.roots import Window

LIFE = timedelta(minutes=5)


class DevelopmentIssuer:
    """Signs tokens with an ECDSA P-256 key of this registry; raises UsageError for other keys."""

    def __init__(self, signer: Signer, *, entropy: Entropy, audience: str = AUDIENCE) -> None:
        if signer.algorithm != "ecdsa-p256":
            raise UsageError(
                "the development issuer signs with ECDSA over P-256 (ES256)",
                remedy="make its key with: weighbridge key",
            )
        self.url = DEVELOPMENT_ISSUER
        self._signer = signer
        self._entropy = entropy
        self._audience = audience

    def token(self, subject: str, now: datetime, *, life: timedelta = LIFE) -> str:
        """Return a signed token for an address (`name@domain`) or a URI."""
        seconds = int(now.timestamp())
        claims: dict[str, JSON] = {
            "iss": self.url,
            "aud": self._audience,
            "sub": subject,
            "iat": seconds,
            "nbf": seconds,
            "exp": seconds + int(life.total_seconds()),
            "jti": self._entropy.token(16).hex(),
        }
        if "@" in subject and ":" not in subject:
            claims |= {"email": subject, "email_verified": True}
        header: dict[str, JSON] = {"alg": "ES256", "kid": self._signer.key_id.hex, "typ": "JWT"}
        signed = f"{_base64url(canonical(header))}.{_base64url(canonical(claims))}"
        return f"{signed}.{_base64url(_raw(self._signer.sign(signed.encode())))}"

    def jwks(self) -> dict[str, JSON]:
        """Return the issuer's public key as a JWKS (RFC 7517), for its discovery document."""
        return {"keys": [self._jwk()]}

    def _jwk(self) -> dict[str, JSON]:
        point = der_of_pem(self._signer.public_pem)[-64:]
        return {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": self._signer.key_id.hex,
            "x": _base64url(point[:32]),
            "y": _base64url(point[32:]),
        }

    def trusted(self, window: Window | None = None) -> TrustedIssuer:
        """Return the entry that makes a `TokenVerifier` take this issuer's word; it may vouch for anybody."""
        key = pinned_key(self._jwk(), window)
        return TrustedIssuer(self.url, "development", (key,), (EVERYBODY,), self._audience)


def _raw(signature: bytes) -> bytes:
    """Turn a DER signature into R and S of 32 bytes each (RFC 7518 section 3.4)."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    return b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
