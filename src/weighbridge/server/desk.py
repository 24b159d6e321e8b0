"""How a request is taken: counted, read within bounds, worked on in a thread, answered, and written down.

Starlette gives the routes; everything that a stranger could make grow is held here. Handlers are plain
functions from `Asked` to a response: they raise errors of `core.errors`, which become answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weighbridge.core.errors import OutOfBudget, Unreachable, UsageError, WeighbridgeError
from weighbridge.server.answers import refusal, refused
from weighbridge.server.limits import Limits

LOG = logging.getLogger("weighbridge.server")
MAX_QUERY = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read: nothing in it is believed."""

    body: bytes
    media_type: str
    """In lower case, without parameters."""
    authorization: str
    query: Mapping[str, str]
    place: Mapping[str, str]
    """What the path holds in the places that the route names."""


Handler = Callable[[Asked], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class Desk:
    """Where requests of one server are held; `open` and `close` frame its life."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._held = 0
        self._executor: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Start the threads."""
        self._executor = ThreadPoolExecutor(self.limits.workers, "server")

    def close(self) -> None:
        """Wait for what is under way and stop the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def endpoint(self, handler: Handler, *, limit: int | None = None) -> Endpoint:
        """Return the endpoint that reads a body of at most `limit` bytes and runs `handler` in a thread."""
        most = self.limits.request if limit is None else limit

        async def taken(request: Request) -> Response:
            reserved = _announced(request, most)
            if self._held + reserved > self.limits.held:
                return busy("too much is being sent at once")
            self._held += reserved
            try:
                return await self._work(handler, await self._read(request, most))
            finally:
                self._held -= reserved

        return taken

    async def _read(self, request: Request, most: int) -> Asked:
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await _body(request, most)
        except TimeoutError:
            raise UsageError(
                "the request came too slowly",
                cause=f"its body was not here after {self.limits.body_seconds:g} seconds",
                remedy="send it again",
                check="server.late",
            ) from None
        except ClientDisconnect:
            raise UsageError("the client went away", check="server.late") from None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        authorization = request.headers.get("authorization", "")
        place = {name: str(value) for name, value in request.path_params.items()}
        return Asked(body, kind, authorization, _query(request), place)

    async def _work(self, handler: Handler, asked: Asked) -> Response:
        """Run a handler; what has not begun in time is dropped, what has ends by itself and holds its thread so long."""
        assert self._executor is not None
        future = asyncio.get_running_loop().run_in_executor(self._executor, handler, asked)
        done, _ = await asyncio.wait({future}, timeout=self.limits.work_seconds)
        if done:
            return future.result()
        future.cancel()
        raise Unreachable("the server did not get it done in time", check="server.late-work")


class Edge:
    """The outermost layer (ASGI): counts requests, checks for whom they are, answers every error, and writes them down."""

    def __init__(self, app: ASGIApp, *, limits: Limits, hosts: frozenset[str]) -> None:
        self._app = app
        self._limits = limits
        self._hosts = hosts
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_dressed(message["headers"])]
            await send(message)

        self._inside += 1
        try:
            response = self._refused(scope)
            if response is not None:
                await response(scope, receive, sent)
            else:
                await self._app(scope, receive, sent)
        except Exception:
            LOG.exception("a request could not be answered")
            if not status:
                await refusal(500, "the server made a mistake; its log says which")(scope, receive, sent)
        finally:
            self._inside -= 1
            _write_down(scope, status, monotonic() - began)

    def _refused(self, scope: Scope) -> Response | None:
        if self._inside > self._limits.at_once:
            return busy("too many requests are under way")
        named = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if self._hosts and (len(named) != 1 or _host(named[0]) not in self._hosts):
            # A page in somebody's browser can be made to reach this address under a name of its own.
            return refusal(421, "this server does not answer under that name", "server.host")
        return None


async def on_error(_: Request, error: Exception) -> Response:
    """Turn what a handler raised into an answer."""
    if isinstance(error, WeighbridgeError):
        response = refused(error)
        if response.status_code >= 500:
            fields = {
                "kind": error.kind,
                "check": error.check,
                "problem": error.problem,
                "cause": error.cause,
            }
            LOG.error("not done", extra={"fields": fields})
        return response
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, error.detail.lower(), headers=error.headers)


def _announced(request: Request, most: int) -> int:
    """Return how many bytes to hold ready; raises OutOfBudget when more are announced than are taken."""
    length = request.headers.get("content-length")
    if length is None:
        return most if "transfer-encoding" in request.headers else 0
    if not length.isascii() or not length.isdigit() or len(length) > 12:
        raise UsageError("the length of the body is not a number", check="server.form")
    if int(length) > most:
        raise _too_large(most)
    return int(length)


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


def _query(request: Request) -> Mapping[str, str]:
    raw = request.url.query
    try:
        pairs = (
            parse_qsl(raw, keep_blank_values=True, strict_parsing=True, max_num_fields=MAX_QUERY)
            if raw
            else []
        )
    except ValueError:
        pairs = [("", ""), ("", "")]
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UsageError("the query cannot be read, or says something twice", check="server.form")
    return found


def _too_large(most: int) -> OutOfBudget:
    return OutOfBudget(f"the request is larger than {most} bytes", remedy="send less", check="server.size")


def busy(why: str) -> Response:
    """Return the answer for one too many."""
    return refusal(503, f"{why}; try again in a moment", "server.busy", {"Retry-After": "1"})


def _host(named: str) -> str:
    """Return the name of a Host header without its port."""
    name, colon, port = named.rpartition(":")
    return name if colon and port.isdigit() else named


def _dressed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what every answer carries: no guessing of types, and no keeping unless it was allowed."""
    kept = any(name.lower() == b"cache-control" for name, _ in headers)
    extra = [(b"x-content-type-options", b"nosniff")]
    return extra if kept else [*extra, (b"cache-control", b"no-store")]


def _write_down(scope: Scope, status: int, seconds: float) -> None:
    """Write who asked for what; never the query, a header or a body, where tokens and proofs stand."""
    client = scope.get("client")
    fields: dict[str, Any] = {
        "client": client[0] if client else "",
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": status,
        "milliseconds": round(seconds * 1000, 1),
    }
    LOG.info("request", extra={"fields": fields})
