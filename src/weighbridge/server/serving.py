"""Binding a socket and running the application until somebody says stop; what is under way is finished first.

It speaks plain HTTP. Tokens travel in requests, so anything but this machine's own addresses needs a proxy
that ends TLS in front, and whoever binds another address has to say that they know (`exposed`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from weighbridge.core.errors import Unreachable, Unreadable, UsageError
from weighbridge.server.direct import DIRECT, Direct
from weighbridge.server.limits import Limits

MAX_HEAD = 32 * 1024
"""Bytes of a request's head: a token of 16 KiB fits."""
BACKLOG = 128


def listen(host: str, port: int, *, exposed: bool = False) -> socket.socket:
    """Return a socket that listens at a numeric address; port 0 takes a free one.

    Raises UsageError(server.exposed) for an address that others can reach unless `exposed`, Unreachable when
    the address is taken or not ours.
    """
    address = _address(host)
    if not address.is_loopback and not exposed:
        raise UsageError(
            f"{host} can be reached from other machines, and what is sent there can be read on the way",
            cause="the server speaks plain HTTP; a token that is read gives its reader certificates in another's name",
            remedy="serve 127.0.0.1 behind a proxy that ends TLS, or say --plain-http-beyond-this-machine",
            check="server.exposed",
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    # The protocol is named so that asyncio sends small pieces at once (TCP_NODELAY); else each answer takes 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((str(address), port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise Unreachable(
            f"{host} port {port} cannot be listened at",
            cause=str(error.strerror),
            remedy="choose another port, or stop what uses it",
            check="server.address",
        ) from None
    return made


def host_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as a Host header names it."""
    host = str(listening.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def url_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as clients write it."""
    return f"http://{host_of(listening)}:{listening.getsockname()[1]}"


def run(app: ASGIApp, listening: socket.socket, limits: Limits, *, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called when the first request can come.

    Raises Unreadable(server.start) when that never came.
    """
    server = Server(app, listening, limits, ready=ready)
    server.run(sockets=[listening])
    if not server.started:
        raise Unreadable(
            "the server could not begin",
            cause="its log or one of its threads did not start",
            remedy="run the command again with -v",
            check="server.start",
        )


class Server(uvicorn.Server):
    """The HTTP server of one application; `stop` may be called from any thread."""

    def __init__(
        self, app: ASGIApp, listening: socket.socket, limits: Limits, *, ready: Callable[[], None]
    ) -> None:
        head, write = limits.head_seconds, limits.write_seconds

        class Bounded(_Bounded):
            head_seconds = head
            write_seconds = write

        super().__init__(
            uvicorn.Config(
                app,
                http=Bounded,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level="critical",  # requests are written down by `desk`, with what may be written down
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                limit_concurrency=limits.connections,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=limits.stop_seconds,
                h11_max_incomplete_event_size=MAX_HEAD,
            )
        )
        self.listening = listening
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application and begin to accept."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def stop(self) -> None:
        """Stop accepting, finish what is under way, close."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal and drop what is under way at the second; put the old handlers back afterwards.

        Unlike the library's own this does not raise the signal again: a server that was told to stop has not failed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


class _Bounded(H11Protocol):
    """HTTP/1.1, with an end to how long a request's head may take to come, and an answer to be taken."""

    head_seconds: float
    write_seconds: float
    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _direct: Direct | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.app = partial(self._offering, self.app)
        self._watch()

    async def _offering(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Offer whoever answers with much a way past the copies that are made of a body."""
        await app({**scope, "extensions": {**scope.get("extensions", {}), DIRECT: self._pass}}, receive, send)

    async def _pass(self, data: memoryview) -> None:
        """Send a part of a body; returns when it is sent, or buffered for a client that is slow."""
        self.conn.send_with_data_passthrough(h11.Data(data=data))  # type: ignore[arg-type]
        if self._direct is None:
            self._direct = Direct(self.transport)
        await self._direct.send(data)

    def data_received(self, data: bytes) -> None:
        """Take what came; while a head is incomplete its time runs."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._unwatch()
        self._unstick()
        if self._direct is not None:
            self._direct.close()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that takes nothing, but not for ever: the answer holds a place meanwhile."""
        super().pause_writing()
        self._unstick()
        self._stuck = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._unstick()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Cut an idle connection, together with what its client never took."""
        self.transport.abort()

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.head_seconds, self._late)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise UsageError(
            f"{host!r} is not an address to listen at",
            remedy="give a number such as 127.0.0.1 or ::1",
            check="server.address",
        ) from None
