"""Refusals as unmodified hub clients read them: a status, `X-Error-Code`, and one line that their tracebacks show as it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from starlette.responses import Response

from weighbridge.core.errors import Locked, NotFound, OutOfBudget, Unreachable, WeighbridgeError
from weighbridge.core.redact import Redactor
from weighbridge.server.answers import answer

MAX_LINE = 1200
"""Characters of a reason in a header; a client's own limit on all headers is many times that."""
RETRY_SECONDS = 30

_CODES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "mirror.repository": (404, "RepoNotFound"),
        "mirror.revision": (404, "RevisionNotFound"),
        "mirror.file": (404, "EntryNotFound"),
        "mirror.request": (400, "BadRequest"),
        "access.token": (401, "GatedRepo"),
        "server.form": (400, "BadRequest"),
    }
)
"""Status and `X-Error-Code` by check. `GatedRepo` is the code with which clients stop at once and show the message."""


class Pending(WeighbridgeError):
    """What was asked for is on its way in: `job` says how far it came."""

    exit_code = 3
    kind = "pending"
    job = ""


def line(error: WeighbridgeError) -> str:
    """Return an error as one line: problem, check, cause, remedy and decision, fit for a header."""
    named = not error.check or error.cause.startswith(error.check)
    check = "" if named else f" [{error.check}]"
    decision = getattr(error, "decision", "")
    model = getattr(error, "model", "")
    parts = [
        f"{error.problem}{check}",
        error.cause,
        f"help: {error.remedy}" if error.remedy else "",
        f"decision {decision[:19]}, see: weighbridge decisions {model}" if decision else "",
    ]
    return header(f"Weighbridge: {'; '.join(part for part in parts if part)}")


def header(text: str, most: int = MAX_LINE) -> str:
    """Return text that can stand in a header (RFC 9110 section 5.5): printable ASCII, no line breaks, no secrets, bounded.

    Letters lose their accents, what has no ASCII becomes `?`, every control or separator a space.
    """
    shown = "".join(
        " " if unicodedata.category(char)[0] in "CZ" else char
        for char in unicodedata.normalize("NFKD", Redactor({})(text[: 4 * most]))
        if not unicodedata.combining(char)
    )
    words = " ".join(shown.encode("ascii", "replace").decode().split())
    return words if len(words) <= most else f"{words[: most - 4]} ..."


def status_of(error: WeighbridgeError) -> tuple[int, str]:
    """Return status and code: 404 for what is not here, 503 for what another try may find, else 403, for nothing leaves unproven."""
    if error.check in _CODES:
        return _CODES[error.check]
    if isinstance(error, NotFound):
        return 404, "EntryNotFound"
    if isinstance(error, Locked | Unreachable | OutOfBudget):
        return 503, "Unavailable"
    return 403, "GatedRepo"


def refused(error: WeighbridgeError) -> Response:
    """Return the answer for an error, for a hub client."""
    status, code = status_of(error)
    text = line(error)
    headers = {"X-Error-Code": code, "X-Error-Message": text, **waiting(error, status)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer({"error": text, "check": error.check}, status, headers)


def waiting(error: WeighbridgeError, status: int) -> dict[str, str]:
    """Return the headers of what may be asked for again: when, and where a job is to be seen."""
    headers: dict[str, str] = {}
    if isinstance(error, Pending) or status == 503:
        headers["Retry-After"] = str(RETRY_SECONDS if isinstance(error, Pending) else 1)
    if isinstance(error, Pending):
        headers["Link"] = f'</api/jobs/{error.job}>; rel="status"'
    return headers
