"""The development issuer over HTTP, for demonstrations: whoever can reach it is whoever they say they are.

Hence it is served only from this machine, only when asked for, and never to a page in a browser. Discovery
is as OpenID Connect Discovery 1.0 section 3 has it, but that `issuer` is the reserved name and no address.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.responses import Response

from weighbridge.core.canonical import JSON
from weighbridge.core.clock import Clock
from weighbridge.core.errors import UsageError
from weighbridge.server.answers import answer
from weighbridge.server.desk import Asked
from weighbridge.trust.development import LIFE, DevelopmentIssuer

FORM = "application/x-www-form-urlencoded"
MAX_SUBJECT = 512


class Identities:
    """Answers for the development issuer; `url` is the address of this server."""

    def __init__(self, issuer: DevelopmentIssuer, clock: Clock, url: str) -> None:
        self._issuer = issuer
        self._clock = clock
        self._url = url

    def configuration(self, _: Asked) -> Response:
        """`GET /.well-known/openid-configuration`."""
        return answer(
            {
                "issuer": self._issuer.url,
                "authorization_endpoint": f"{self._url}/authorize",
                "token_endpoint": f"{self._url}/token",
                "jwks_uri": f"{self._url}/.well-known/jwks.json",
                "response_types_supported": ["id_token"],
                "grant_types_supported": ["client_credentials"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        )

    def keys(self, _: Asked) -> Response:
        """`GET /.well-known/jwks.json`."""
        return answer(self._issuer.jwks())

    def token(self, asked: Asked) -> Response:
        """`POST /token` with `grant_type=client_credentials&subject=…`: a token for that address or URI."""
        if asked.media_type != FORM:
            raise UsageError("a form is expected", remedy=f"send it as {FORM}", check="server.type")
        try:
            pairs = parse_qsl(asked.body.decode("ascii"), strict_parsing=True, max_num_fields=8)
        except ValueError:
            pairs = []
        said = dict(pairs)
        subject = said.get("subject", "")
        if len(said) != len(pairs) or said.get("grant_type") != "client_credentials":
            raise _unfit("grant_type is client_credentials, and nothing is said twice")
        if not 0 < len(subject) <= MAX_SUBJECT or not subject.isascii() or not subject.isprintable():
            raise _unfit("subject is an address or a URI")
        jwt = self._issuer.token(subject, self._clock.now())
        value: dict[str, JSON] = {
            "access_token": jwt,
            "id_token": jwt,
            "token_type": "Bearer",
            "expires_in": int(LIFE.total_seconds()),
        }
        return answer(value)

    def authorize(self, _: Asked) -> Response:
        """`GET /authorize`: nobody logs in here."""
        raise UsageError(
            "this issuer has no page to log in at",
            cause="it vouches for whoever sits at this machine",
            remedy="ask for a token: curl -d grant_type=client_credentials -d subject=NAME@EXAMPLE.ORG /token",
            check="server.login",
        )


def _unfit(cause: str) -> UsageError:
    return UsageError(
        "this is not a request for a token",
        cause=cause,
        remedy="send grant_type=client_credentials&subject=you@example.org",
        check="server.form",
    )
