"""`serve`: the registry's services over HTTP, for Sigstore clients that are not ours."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from weighbridge.cli.beating import beating, reevaluating
from weighbridge.cli.options import Shared, common, key_password, opened
from weighbridge.cli.render import emit, say
from weighbridge.cli.working import working
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry
    from weighbridge.server.app import Serving

PORT = 8091
HOUR = 3600


@dataclass(frozen=True)
class _Wanted:
    """What was typed."""

    host: str
    port: int
    url: str
    trust_config: Path | None
    demo: bool
    any_key: bool
    exposed: bool
    heartbeat: int
    reevaluate: int
    mirror: bool
    workers: int


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The numeric address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one."
)
@click.option("--url", default="", help="The address that clients use, where a proxy stands in front.")
@click.option(
    "--trust-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the one file that clients are given (ClientTrustConfig).",
)
@click.option(
    "--demo", is_flag=True, help="Give tokens to whoever asks; in registries made with --demo only."
)
@click.option(
    "--any-key", is_flag=True, help="Log signatures by any key, not only by certificates made here."
)
@click.option(
    "--plain-http-beyond-this-machine",
    "exposed",
    is_flag=True,
    help="Listen where others can reach it, and read tokens on their way: only behind a proxy that ends TLS.",
)
@click.option(
    "--heartbeat",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="Give a sign of life and send waiting alerts every so many seconds; 0 for never.",
)
@click.option(
    "--reevaluate",
    metavar="[EVERY]",
    is_flag=False,
    flag_value=HOUR,
    default=0,
    type=click.IntRange(0, 30 * 86400),
    help="Judge trusted models of the project again when something changed for them: every so many seconds (3600).",
)
@click.option(
    "--mirror",
    is_flag=True,
    help="Hand out models of the trusted tier: to hub clients (HF_ENDPOINT) and to OCI's.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    default=None,
    help="Do jobs beside this in so many threads (1 with --mirror, else 0); docs/jobs.md.",
)
@common
def serve(
    shared: Shared,
    *,
    host: str,
    port: int,
    url: str,
    trust_config: Path | None,
    demo: bool,
    any_key: bool,
    exposed: bool,
    heartbeat: int,
    reevaluate: int,
    mirror: bool,
    workers: int | None,
) -> int:
    """Let Sigstore clients sign, log, stamp and learn whom to trust here, until this is stopped (Ctrl-C).

    sigstore, npm's sigstore, model_signing and cosign work with it as they are: docs/private-instance.md. It
    speaks plain HTTP on this machine; a proxy that ends TLS brings it to others (--url names that address).
    With --mirror huggingface_hub, transformers and oras take models from here, and none but admitted ones: docs/mirror.md.
    """
    at_work = int(mirror) if workers is None else workers
    wanted = _Wanted(
        host,
        port,
        url.rstrip("/"),
        trust_config,
        demo,
        any_key,
        exposed,
        heartbeat,
        reevaluate,
        mirror,
        at_work,
    )
    with opened(shared) as registry:
        _serve(shared, registry, wanted)
    return 0


def _serve(shared: Shared, registry: Registry, wanted: _Wanted) -> None:
    try:
        from weighbridge.server.app import make_app
        from weighbridge.server.limits import Limits
        from weighbridge.server.serving import host_of, listen, run, url_of
    except ModuleNotFoundError as error:
        raise UsageError(
            "this installation cannot serve",
            cause=f"{error.name} is not installed",
            remedy="pip install 'weighbridge[server]'",
            check="server.missing",
        ) from None
    from weighbridge.registry.services import open_services

    limits = Limits()
    with listen(wanted.host, wanted.port, exposed=wanted.exposed) as listening, ExitStack() as stack:
        url = wanted.url or url_of(listening)
        serving = _serving(registry, wanted, url, host_of(listening))
        if wanted.mirror:
            from weighbridge.server.handing import handing_out, widened

            limits = widened(limits)
            serving = replace(
                serving, handing=stack.enter_context(handing_out(partial(_again, registry), url))
            )
        services = open_services(registry)
        written = _write_trust_config(registry, wanted, url)
        app = make_app(services, serving, clock=registry.clock, limits=limits)
        _log_requests(shared)

        def ready() -> None:
            item: JSON = {
                "url": url,
                "log": services.log.origin,
                "trust_config": written,
                "demo": wanted.demo,
                "mirror": wanted.mirror,
            }
            emit(shared, "server", [item], f"serving {registry.id} at {url}")
            say(shared, f"clients are given: {written}" if written else "stop it with Ctrl-C")

        with (
            beating(shared, wanted.heartbeat),
            reevaluating(shared, wanted.reevaluate),
            working(shared, wanted.workers),
        ):
            run(app, listening, limits, ready=ready)
    say(shared, "stopped; everything that was answered is in the log")


def _again(registry: Registry) -> Registry:
    """Open the registry once more: for a thread of its own, or for what writes."""
    from weighbridge.registry.wiring import open_registry

    return open_registry(registry.config, clock=registry.clock, entropy=registry.entropy)


def _serving(registry: Registry, wanted: _Wanted, url: str, own: str) -> Serving:
    """Return what is served beside the services; raises UsageError for what would let strangers be anybody."""
    from weighbridge.registry.services import DEVELOPMENT_KEY
    from weighbridge.server.app import Serving
    from weighbridge.trust.development import DevelopmentIssuer

    named = urlsplit(url)
    if named.scheme not in ("http", "https") or not named.hostname or named.path or named.query:
        raise UsageError(
            f"{url!r} is not an address of a server",
            cause="clients append to it, so it is http or https, a name and perhaps a port, and nothing else",
            remedy="write it as https://trust.example.org",
            check="server.address",
        )
    issuer = None
    if wanted.demo:
        if not registry.authority.demonstration or wanted.exposed:
            raise UsageError(
                "tokens are given to whoever asks in a demonstration only, and on its own machine",
                cause="whoever reaches this server would be whoever they say they are",
                remedy="make a registry with `weighbridge init --demo`, and leave out --plain-http-beyond-this-machine",
                check="server.demo",
            )
        issuer = DevelopmentIssuer(registry.service_key(DEVELOPMENT_KEY), entropy=registry.entropy)
    hosts = {named.hostname, own} | ({"localhost"} if not wanted.exposed else set())
    repository = _repository(registry, wanted, url)
    return Serving(
        url=url,
        hosts=frozenset(hosts),
        repository=repository,
        renew=None if repository is None else partial(_publish, registry, url),
        development=issuer,
        any_key=wanted.any_key,
    )


def _repository(registry: Registry, wanted: _Wanted, url: str) -> Path | None:
    """Renew what TUF clients fetch, and return where it lies; None where it was never begun.

    It begins with an offline key, which a server has no business with; a demonstration has it at hand.
    """
    from weighbridge.registry import distribution
    from weighbridge.registry.service_keys import root_folder

    root = None
    if not (distribution.folder(registry) / "timestamp.json").exists():
        offline = root_folder(registry.config.home, registry.id) / "tuf-root.pem"
        if not wanted.demo or not offline.exists():
            return None
        from weighbridge.keys.files import load

        root = load(offline, key_password())
    return _publish(registry, url, root)


def _publish(registry: Registry, url: str, root: Signer | None = None) -> Path:
    """Say anew whom to trust and where to sign, as far as that changed or its signatures near their end."""
    from weighbridge.registry import distribution

    with registry.writing():
        return distribution.publish(registry, url, root).directory


def _write_trust_config(registry: Registry, wanted: _Wanted, url: str) -> str:
    """Write the file for clients and return its path; it holds no secret."""
    if wanted.trust_config is None:
        return ""
    from weighbridge.registry.distribution import client_config

    wanted.trust_config.write_bytes(client_config(registry, url))
    return str(wanted.trust_config)


def _log_requests(shared: Shared) -> None:
    """Write each request to standard error as a JSON line, unless --quiet."""
    import logging
    import os

    from weighbridge.cli.logs import start

    if not shared.quiet and not logging.getLogger("weighbridge").isEnabledFor(logging.INFO):
        start(1, os.environ)
