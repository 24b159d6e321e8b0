"""Which address does what: `make_app` puts the services of one instance behind the addresses that clients know.

| address | who asks | answered by |
|---|---|---|
| `/api/v2/signingCert`, `/api/v2/trustBundle`, `/api/v1/rootCert` | Fulcio's clients | `fulcio` |
| `/api/v1/log…`, `/api/v2/log/entries` | Rekor's clients, versions 1 and 2 | `rekor` |
| `/checkpoint`, `/tile/…`, the same below `/api/v2/`; below `/ct/` for certificates | monitors, mirrors | `rekor` |
| `/api/v1/timestamp`, `/api/v1/timestamp/certchain` | RFC 3161 clients | `stamps` |
| `/tuf/…` | TUF clients | `repository` |
| `/witness/add-checkpoint` | other logs, when this is a witness of theirs | here, `ledger.witness` |
| `/.well-known/…`, `/token` | demonstrations | `identities` |
| `/healthz` | whoever restarts servers | here |
| `/api/models/…`, `/{id}/resolve/…`, `/v2/…` | hub and OCI clients, where models are handed out | `handing` |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from weighbridge.core.clock import Clock
from weighbridge.core.errors import WeighbridgeError
from weighbridge.ledger.batch import Committer
from weighbridge.ledger.witness import MAX_REQUEST, Witness, witness_response
from weighbridge.server import handing
from weighbridge.server.answers import answer
from weighbridge.server.desk import LOG, Asked, Desk, Edge, Handler, on_error
from weighbridge.server.fulcio import Certificates
from weighbridge.server.identities import Identities
from weighbridge.server.limits import Limits
from weighbridge.server.mirror import Handing
from weighbridge.server.rekor import TransparencyLog, tiles_of
from weighbridge.server.repository import files_of
from weighbridge.server.stamps import Timestamps
from weighbridge.trust.development import DevelopmentIssuer
from weighbridge.trust.keyless import Services


@dataclass(frozen=True, slots=True)
class Serving:
    """What one server serves beside the services themselves."""

    url: str
    """The address clients use, without a slash at its end."""
    hosts: frozenset[str]
    """Names under which it answers (Host header, without port); empty for any."""
    repository: Path | None = None
    """The folder of the TUF repository."""
    development: DevelopmentIssuer | None = None
    """Given only in demonstrations: it lets anybody be anybody."""
    witness: Witness | None = None
    """Given where other logs' checkpoints are cosigned (C2SP tlog-witness)."""
    renew: Callable[[], object] | None = None
    """Signs again what of the repository has spent half of its time; called now and then, by one thread at a time."""
    handing: Handing | None = None
    """Given where models of the trusted tier are handed out."""
    any_key: bool = False
    """Log also what keys and certificates signed that this instance did not issue."""


def make_app(
    services: Services, serving: Serving, *, clock: Clock, limits: Limits | None = None
) -> Starlette:
    """Return the application (ASGI); its life opens threads and the log's committer, and closes them."""
    limits = limits or Limits()
    desk = Desk(limits)
    seconds = max(1.0, limits.work_seconds - 5)  # the log gives up before the desk does, and says why
    log = TransparencyLog(services, clock, any_key=serving.any_key, seconds=seconds)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        waiting = limits.waiting
        with (
            Committer(services.log, services.log_signer, clock, waiting=waiting) as log.committer,
            services.ct.shared(clock, waiting=waiting),
        ):
            desk.open()
            if serving.handing is not None:
                serving.handing.leaves.open()
            renewing = asyncio.create_task(_renew(serving.renew, limits.renew_seconds))
            try:
                yield
            finally:
                renewing.cancel()
                if serving.handing is not None:
                    serving.handing.leaves.close()
                desk.close()  # whoever waits for a log gets an answer before the logs close

    routes = [
        *_fulcio(desk, Certificates(services, clock)),
        *_rekor(desk, log, limits),
        *_tiles(desk, services),
        *_stamps(desk, Timestamps(services, clock)),
        _get(desk, "/healthz", partial(_health, services)),
    ]
    if serving.repository is not None:
        routes.append(_get(desk, "/tuf/{path:path}", files_of(serving.repository)))
    if serving.witness is not None:
        cosign = partial(_cosign, serving.witness)
        routes.append(_post(desk, "/witness/add-checkpoint", cosign, MAX_REQUEST))
    if serving.development is not None:
        routes += _identities(desk, Identities(serving.development, clock, serving.url))
    if serving.handing is not None:
        routes += handing.routes(desk, serving.handing)
    return Starlette(
        routes=routes,
        lifespan=life,
        middleware=[Middleware(Edge, limits=limits, hosts=serving.hosts)],
        exception_handlers={WeighbridgeError: on_error, HTTPException: on_error},
    )


async def _renew(renew: Callable[[], object] | None, seconds: float) -> None:
    """Call `renew` every so often; what it cannot do now it does next time, and the log says so."""
    while renew is not None:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(renew)
        except Exception:  # noqa: BLE001 (whatever it is, the next look comes)
            LOG.exception("not renewed")


def _fulcio(desk: Desk, certificates: Certificates) -> list[Route]:
    return [
        _post(desk, "/api/v2/signingCert", certificates.signing_certificate),
        _get(desk, "/api/v2/trustBundle", certificates.trust_bundle),
        _get(desk, "/api/v1/rootCert", certificates.root_certificate),
    ]


def _rekor(desk: Desk, log: TransparencyLog, limits: Limits) -> list[Route]:
    return [
        _post(desk, "/api/v1/log/entries", log.add_v1, limits.entry),
        _get(desk, "/api/v1/log/entries", log.by_index),
        _get(desk, "/api/v1/log/entries/{uuid}", log.by_uuid),
        _get(desk, "/api/v1/log", log.about),
        _get(desk, "/api/v1/log/publicKey", log.public_key),
        _get(desk, "/api/v1/log/proof", log.growth),
        _post(desk, "/api/v2/log/entries", log.add_v2, limits.entry),
    ]


def _tiles(desk: Desk, services: Services) -> list[Route]:
    logs = {"": lambda: services.log, "/api/v2": lambda: services.log, "/ct": lambda: services.ct.log}
    return [
        _get(desk, f"{prefix}{path}", tiles_of(log))
        for prefix, log in logs.items()
        for path in ("/checkpoint", "/tile/{path:path}")
    ]


def _stamps(desk: Desk, stamps: Timestamps) -> list[Route]:
    return [
        _post(desk, "/api/v1/timestamp", stamps.stamp),
        _get(desk, "/api/v1/timestamp/certchain", stamps.chain),
    ]


def _identities(desk: Desk, identities: Identities) -> list[Route]:
    return [
        _get(desk, "/.well-known/openid-configuration", identities.configuration),
        _get(desk, "/.well-known/jwks.json", identities.keys),
        _get(desk, "/authorize", identities.authorize),
        _post(desk, "/token", identities.token),
    ]


def _cosign(witness: Witness, asked: Asked) -> Response:
    status, headers, data = witness_response(asked.body, witness)
    return Response(data, status, dict(headers))


def _health(services: Services, _: Asked) -> Response:
    """Tell that the log can be read and grows under its key; raises what reading it raises."""
    services.log.refresh()
    return answer({"status": "ok", "size": services.log.size})


def _get(desk: Desk, path: str, handler: Handler) -> Route:
    return Route(path, desk.endpoint(handler, limit=0), methods=["GET"])


def _post(desk: Desk, path: str, handler: Handler, limit: int | None = None) -> Route:
    return Route(path, desk.endpoint(handler, limit=limit), methods=["POST"])
