"""Answers that are files: verified pieces one after the other, as fast as the client takes them, and never a byte that was not verified."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from weighbridge.core.digest import Digest
from weighbridge.core.errors import WeighbridgeError
from weighbridge.server.answers import BYTES_TYPE
from weighbridge.server.direct import DIRECT, Pass
from weighbridge.server.leaves import LEAF, Leaves, Piece
from weighbridge.server.ranges import Wanted, wanted

LOG = logging.getLogger("weighbridge.server")
PART, NOT_MODIFIED, NOT_SATISFIABLE = 206, 304, 416


@dataclass(frozen=True, slots=True)
class File:
    """A file that may be handed out: which bytes, and the headers that go with them."""

    sha256: Digest
    size: int
    headers: Mapping[str, str]
    media_type: str = BYTES_TYPE

    @property
    def etag(self) -> str:
        """The entity tag, in its quotes."""
        return f'"{self.sha256.hex}"'


class FileAnswer(Response):
    """The answer to a GET or HEAD of a file. `refuse` turns an error into an answer, and sees to it that somebody is told."""

    def __init__(
        self, file: File, leaves: Leaves, refuse: Callable[[WeighbridgeError], Awaitable[Response]]
    ) -> None:
        super().__init__()
        self._file = file
        self._leaves = leaves
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Verify the first piece, answer, and send; what fails later cuts the connection."""
        file = self._file
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = wanted(headers, size=file.size, etag=file.etag)
        if scope["method"] == "HEAD" or asked.status in (304, 416):
            await self._start(asked, send)
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            piece = await self._leaves.take(file.sha256, file.size, asked.start // LEAF)
        except WeighbridgeError as error:
            await (await self._refuse(error))(scope, receive, send)
            return
        await self._start(asked, send)
        gone = asyncio.create_task(_gone(receive))
        try:
            await self._send(asked, piece, gone, send, scope.get("extensions", {}).get(DIRECT))
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    async def _send(
        self, asked: Wanted, piece: Piece, gone: asyncio.Task[None], send: Send, direct: Pass | None
    ) -> None:
        """Send pieces. None is held while the client is waited for, so that slow ones cost the others nothing."""
        file, at = self._file, asked.start
        while True:
            base = at - at % LEAF
            end = min(asked.end, base + LEAF)
            more = end < asked.end
            if more:
                self._leaves.read_ahead(file.sha256, file.size, range(end // LEAF, -(-asked.end // LEAF)))
            try:
                assert piece.data is not None
                body = piece.data[at - base : end - base]
                if direct is not None:
                    await direct(body)
                else:
                    await send({"type": "http.response.body", "body": bytes(body), "more_body": True})
            finally:
                self._leaves.give_back(piece)
            if not more:
                await send({"type": "http.response.body", "body": b""})
                return
            await send({"type": "http.response.body", "body": b"", "more_body": True})  # waits for the client
            if gone.done():
                return
            at = end
            try:
                piece = await self._leaves.take(file.sha256, file.size, at // LEAF)
            except WeighbridgeError as error:
                await self._refuse(error)
                fields = {"check": error.check, "problem": error.problem}
                LOG.error("cut off", extra={"fields": fields})  # noqa: TRY400 (no traceback: it is no mistake of ours)
                return  # the connection is closed: fewer bytes came than were announced, and all of them were right

    async def _start(self, asked: Wanted, send: Send) -> None:
        file = self._file
        headers = {**file.headers, "ETag": file.etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
        if asked.status == PART:
            headers["Content-Range"] = f"bytes {asked.start}-{asked.end - 1}/{file.size}"
        if asked.status == NOT_SATISFIABLE:
            headers["Content-Range"] = f"bytes */{file.size}"
        if asked.status != NOT_MODIFIED:
            headers["Content-Length"] = str(asked.end - asked.start)
            headers["Content-Type"] = file.media_type
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": asked.status, "headers": raw})


async def _gone(receive: Receive) -> None:
    """Return when the client went away."""
    while (await receive())["type"] != "http.disconnect":
        pass
