"""Handing out as an application (ASGI): the hub's addresses, and those of an OCI registry, over the trusted tier alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from weighbridge.core.errors import WeighbridgeError
from weighbridge.registry.wiring import Registry
from weighbridge.server import mirror, oci
from weighbridge.server.desk import Desk, Edge, on_error
from weighbridge.server.leaves import LEAF, Leaves
from weighbridge.server.limits import Limits
from weighbridge.server.mirror import Handing
from weighbridge.server.shelf import Shelf

DOWNLOADS = 1024
"""Requests under way at one time where files are handed out: most of them wait for their client."""


LEAST = 4
"""Pieces without which nothing goes on while another is read."""


@contextmanager
def handing_out(again: Callable[[], Registry], url: str, *, pieces: int = 0) -> Iterator[Handing]:
    """Open what hands out, for as long as the block lasts; `again` opens the registry, once now and anew for what writes."""
    shelf = Shelf(again)
    try:
        room = pieces or int(shelf.registry.config["mirror_mib"]) * 1024 * 1024 // LEAF
        yield Handing(shelf, Leaves(shelf.registry.blobs, pieces=max(room, LEAST)), url)
    finally:
        shelf.close()


def widened(limits: Limits) -> Limits:
    """Return the limits of a server that hands out files."""
    return replace(limits, at_once=DOWNLOADS, connections=2 * DOWNLOADS)


def routes(desk: Desk, handing: Handing) -> list[Route]:
    """Return all routes; those of the hub come last, because anything may be a repository's name."""
    return [*oci.routes(desk, handing), *mirror.routes(desk, handing)]


def make_handing_app(handing: Handing, *, hosts: frozenset[str], limits: Limits | None = None) -> Starlette:
    """Return an application that hands out and does nothing else."""
    limits = limits or widened(Limits())
    desk = Desk(limits)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        desk.open()
        handing.leaves.open()
        try:
            yield
        finally:
            handing.leaves.close()
            desk.close()

    return Starlette(
        routes=routes(desk, handing),
        lifespan=life,
        middleware=[Middleware(Edge, limits=limits, hosts=hosts)],
        exception_handlers={WeighbridgeError: on_error, HTTPException: on_error},
    )
