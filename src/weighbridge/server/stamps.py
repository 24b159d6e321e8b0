"""Timestamps over HTTP (RFC 3161 section 3.4), and the same question in JSON as `sigstore` for JavaScript asks it."""

from __future__ import annotations

from starlette.responses import Response

from weighbridge.core.clock import Clock
from weighbridge.core.errors import UsageError
from weighbridge.server.answers import JSON_TYPE, PEM_TYPE, static
from weighbridge.server.desk import Asked
from weighbridge.server.fulcio import pem_of
from weighbridge.trust.keyless import Services

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


class Timestamps:
    """Answers for the timestamp authority."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._tsa = services.tsa
        self._clock = clock

    def stamp(self, asked: Asked) -> Response:
        """`POST /api/v1/timestamp`: 201 with a response that grants or rejects; RFC 3161 has no other way to say no."""
        now = self._clock.now()
        if asked.media_type == JSON_TYPE:
            reply = self._tsa.respond_json(asked.body, now)
        elif asked.media_type == QUERY:
            reply = self._tsa.respond(asked.body, now)
        else:
            raise UsageError(
                "a timestamp query is sent in DER or JSON",
                remedy=f"name its type: {QUERY} or {JSON_TYPE}",
                check="server.type",
            )
        response = static(reply, REPLY)
        response.status_code = 201
        return response

    def chain(self, _: Asked) -> Response:
        """`GET /api/v1/timestamp/certchain`: the authority's certificates as PEM, its own first, the root last."""
        return static("".join(pem_of(self._tsa.chain)).encode(), PEM_TYPE)
