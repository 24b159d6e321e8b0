"""What every change of the authority needs: a root key, and the next version signed with it, logged and taken over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared

if TYPE_CHECKING:
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.authority import Authority

ROOT = click.option(
    "--root-key",
    default="",
    metavar="KEY",
    help="The root key: a file, or a key in a token or service (default: the one init made).",
)


def offline_key(shared: Shared, registry: Registry, name: str, reference: str) -> Signer:
    """Open one of the keys that do not lie in the registry, at `reference` or where `init` left it."""
    from weighbridge.cli.secrets import open_key
    from weighbridge.registry.service_keys import root_folder

    path: Path = root_folder(registry.config.home, registry.id) / f"{name}.pem"
    return open_key(shared, reference or str(path))


def publish_next(shared: Shared, registry: Registry, authority: Authority, reference: str) -> None:
    """Sign the next version of the authority with a root key, log it and take it over."""
    from weighbridge.registry.authorities import publish

    publish(registry, authority, offline_key(shared, registry, "root", reference))
