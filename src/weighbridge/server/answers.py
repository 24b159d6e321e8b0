"""What goes back: JSON, files, and refusals as a code and a sentence, without anything of how we are built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from starlette.responses import Response

from weighbridge.core.canonical import JSON
from weighbridge.core.errors import (
    CannotTell,
    Locked,
    NotFound,
    OutOfBudget,
    Refused,
    UsageError,
    WeighbridgeError,
)

JSON_TYPE = "application/json"
PEM_TYPE = "application/pem-certificate-chain"
BYTES_TYPE = "application/octet-stream"
FOREVER = "public, max-age=31536000, immutable"
"""For what never changes under its name: full tiles, and the files of a TUF repository named by digest."""

_OURS: Mapping[str, int] = MappingProxyType(
    {
        "ca.expired": 503,
        "tsa.expired": 503,
        "log.closed": 503,
        "log.frozen": 503,
        "log.mirror": 503,
        "log.key": 503,
        "server.token": 401,
        "server.host": 421,
        "server.late": 408,
        "server.type": 415,
    }
)
"""Checks whose status is not that of their error's kind: most are our trouble, not the client's mistake."""


def answer(value: JSON, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON."""
    return Response(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(),
        status,
        dict(headers or {}),
        JSON_TYPE,
    )


def static(data: bytes, media_type: str, *, forever: bool = False) -> Response:
    """Return a file; one that never changes may be kept by whoever sits between."""
    return Response(data, 200, {"Cache-Control": FOREVER} if forever else None, media_type)


def refusal(status: int, message: str, check: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as clients of Fulcio and Rekor read it: `code`, `message`, and here also `check`."""
    return answer({"code": status, "message": message, "check": check}, status, headers)


def refused(error: WeighbridgeError) -> Response:
    """Return the answer for an error: with its cause where the client made it, without where we did."""
    status = status_of(error)
    headers = {"Retry-After": "1"} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status >= 500:
        text = f"{error.problem}; nothing was signed or logged, try again later"
        return refusal(
            status, text if isinstance(error, CannotTell | Refused) else _MISTAKE, error.check, headers
        )
    parts = [error.problem, error.cause, error.remedy]
    return refusal(status, "; ".join(part for part in parts if part), error.check, headers)


def status_of(error: WeighbridgeError) -> int:
    """Return the status for an error: 4xx for what the client can mend, 503 for what it may try again."""
    if error.check in _OURS:
        return _OURS[error.check]
    if isinstance(error, OutOfBudget):
        return 413
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, UsageError | Refused):
        return 400
    return 503 if isinstance(error, Locked | CannotTell) else 500


_MISTAKE = "the server made a mistake; its log says which"
