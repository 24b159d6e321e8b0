"""Sending large bodies to a socket as they lie in memory, without the copies that the server's own way makes of them.

It sends what the connection takes at once, waits a moment, and gives the rest to the transport's buffer, where its limits
on slow clients hold. What is sent is the caller's memory: the kernel copies it, so that it may be used for something else afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

DIRECT = "weighbridge.direct"
"""The name of the extension in a request's scope (ASGI): a `Pass`, or nothing where another server runs."""
PATIENCE = 0.5
"""Seconds for which a piece is held for a client that takes nothing; then what is left of it is copied."""

Pass = Callable[[memoryview], Awaitable[None]]


class Direct:
    """A second handle on a connection's socket; the transport keeps the first, and closes the connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket: Any = transport.get_extra_info("socket").dup()
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None
        transport.set_write_buffer_limits(high=0)  # whatever is buffered has to be gone before the next piece

    async def send(self, data: memoryview) -> None:
        """Send `data`, or as much as the client takes, and leave the rest to the transport; quiet when it is gone."""
        while data and self._socket is not None and not self._transport.is_closing():
            if self._transport.get_write_buffer_size():
                break  # what came before must go before
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                if not await self._writable():
                    break
                continue
            except OSError:
                self._transport.abort()
                return
            data = data[sent:]
        if data and not self._transport.is_closing():
            self._transport.write(bytes(data))

    async def _writable(self) -> bool:
        """Wait until the socket takes more; False when that was too long."""
        assert self._socket is not None
        self._waiting = self._loop.create_future()
        self._loop.add_writer(self._socket, self._wake)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._waiting
        except TimeoutError:
            return False
        finally:
            self._waiting = None
            if self._socket is not None:
                self._loop.remove_writer(self._socket)
        return True

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        """Let go of the connection; who waits for it goes on, and finds it closed."""
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        self._wake()
