"""Certificates over HTTP, as Fulcio's clients ask for them (fulcio.proto, version 2, and `rootCert` of version 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from weighbridge.core.canonical import JSON, parse
from weighbridge.core.clock import Clock
from weighbridge.core.errors import UsageError, VerificationFailed
from weighbridge.server.answers import PEM_TYPE, answer, static
from weighbridge.server.desk import Asked
from weighbridge.trust.bundle_form import bounded
from weighbridge.trust.ca import Issued
from weighbridge.trust.certificates import read_certificate
from weighbridge.trust.dsse import decode64, describe, text
from weighbridge.trust.keyless import Services

_BEARER = re.compile(r"[Bb]earer +([A-Za-z0-9._~+/=-]{1,20000})")


class Certificates:
    """Answers for the certificate authority."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._services = services
        self._clock = clock

    def signing_certificate(self, asked: Asked) -> Response:
        """`POST /api/v2/signingCert`: a token and a proven key come in, leaf and chain go out.

        The key comes as a PKCS #10 request (Python), or as a key with a signature over the token's subject
        (JavaScript, Go); the token in `credentials` or in the header.
        """
        value = _object(asked.body)
        jwt = _token(value, asked.authorization)
        now = self._clock.now()
        issued = self._issue(value, jwt, now)
        certificates: list[JSON] = [*issued.pem()]
        return answer({"signedCertificateEmbeddedSct": {"chain": {"certificates": certificates}}})

    def _issue(self, value: dict[str, Any], jwt: str, now: datetime) -> Issued:
        services = self._services
        request, key = value.get("certificateSigningRequest"), value.get("publicKeyRequest")
        if (request is None) == (key is None):
            raise _unfit("exactly one of certificateSigningRequest and publicKeyRequest is expected")
        who = services.verifier.verify(jwt, now)
        try:
            if key is None:
                data = decode64(request)
                return services.ca.issue_for_request(who, data, now)
            public, proof = text(key["publicKey"]["content"]).encode(), decode64(key["proofOfPossession"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _unfit(describe(error)) from error
        return services.ca.issue(who, public, proof, now)

    def trust_bundle(self, _: Asked) -> Response:
        """`GET /api/v2/trustBundle`: the chains that issue now."""
        chain: list[JSON] = [*pem_of(self._services.ca.chain)]
        return answer({"chains": [{"certificates": chain}]})

    def root_certificate(self, _: Asked) -> Response:
        """`GET /api/v1/rootCert`: the same chain as PEM, issuer first."""
        return static("".join(pem_of(self._services.ca.chain)).encode(), PEM_TYPE)


def pem_of(chain: Sequence[bytes]) -> list[str]:
    """Write certificates as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return [read_certificate(row).public_bytes(Encoding.PEM).decode("ascii") for row in chain]


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = bounded(parse(body))
    except ValueError as error:
        raise _unfit(str(error)) from error
    if not isinstance(value, dict):
        raise _unfit("it is not an object")
    return value


def _token(value: dict[str, Any], authorization: str) -> str:
    """Return the one token there is; two that differ would leave open who is certified."""
    credentials = value.get("credentials")
    inside = credentials.get("oidcIdentityToken") if isinstance(credentials, dict) else None
    match = _BEARER.fullmatch(authorization)
    found = [token for token in (inside, match[1] if match else None) if isinstance(token, str) and token]
    if not found or found[0] != found[-1] or (inside and inside not in found):
        raise VerificationFailed(
            "an identity token is needed to get a certificate",
            cause="the request brings none, or two that differ",
            remedy="send it as credentials.oidcIdentityToken, or in the header: Authorization: Bearer",
            check="server.token",
        )
    return found[0]


def _unfit(cause: str) -> UsageError:
    return UsageError(
        "this is not a request for a certificate",
        cause=cause,
        remedy="send what Sigstore's clients send to /api/v2/signingCert",
        check="ca.request",
    )
