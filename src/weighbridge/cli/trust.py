"""`trust`: show or change who may do what; each change is a new version, signed by the root key and logged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, key_password, opened
from weighbridge.cli.render import emit, table
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry
    from weighbridge.trust.authority import Authority

ROOT = click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The root key (default: the one init made).",
)


@click.group()
def trust() -> None:
    """Show or change who may sign, accept, revoke."""


@trust.command("show")
@common
def show(shared: Shared) -> int:
    """Show the authority: version, end, identities and their roles, logs."""
    with opened(shared) as registry:
        authority = registry.authority
        rows = [
            (
                identity.name,
                identity.key.short,
                ",".join(_roles(authority, identity.name, registry.project)),
                rfc3339(identity.valid_until) if identity.valid_until else "",
            )
            for identity in authority.identities
        ]
        head = f"authority version {authority.version} of registry {authority.registry}, until {rfc3339(authority.expires)}\n{authority.digest}\n"
        text = head + table(rows, ("identity", "key", f"may sign in {registry.project!r}", "ends"))
        emit(shared, "authority", [authority.to_json()], text)
    return 0


@trust.command("add")
@click.argument("name")
@click.option(
    "--key",
    "pem",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Public key (PEM).",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="What it may sign.",
)
@ROOT
@common
def add(shared: Shared, name: str, *, pem: Path, roles: tuple[str, ...], root_key: Path | None) -> int:
    """Name a key and say what it may sign: in every project without rules of its own, or in --project only."""
    public = pem.read_text(encoding="ascii", errors="replace")
    if "PRIVATE KEY" in public:
        raise UsageError(
            f"{pem} is a private key",
            cause="naming somebody takes their public key only",
            remedy="give the .pub.pem file",
        )
    with opened(shared) as registry, registry.writing():
        given = shared.config.values["project"]
        project = "*" if given.origin == "default" else str(given.value)
        granted = [Role(role) for role in roles]
        known = any(identity.name == name for identity in registry.authority.identities)
        if known:
            raise UsageError(
                f"the name {name!r} is taken",
                remedy="choose another name, or end it: weighbridge trust end NAME",
            )
        now = registry.clock.now()
        authority = registry.authority.with_identity(name, public, granted, project=project, valid_from=now)
        _publish(registry, authority, root_key)
        emit(
            shared,
            "authority",
            [registry.authority.to_json()],
            f"{name} may sign {', '.join(roles)} in {project!r} (authority version {registry.authority.version})",
        )
    return 0


@trust.command("end")
@click.argument("name")
@ROOT
@common
def end(shared: Shared, name: str, *, root_key: Path | None) -> int:
    """End an identity: nothing it signs from now on counts."""
    with opened(shared) as registry, registry.writing():
        now = registry.clock.now()
        _publish(registry, registry.authority.revoked(name, now), root_key)
        emit(
            shared,
            "authority",
            [registry.authority.to_json()],
            f"what {name} signs after {rfc3339(now)} no longer counts",
        )
    return 0


@trust.command("renew")
@click.option("--days", type=click.IntRange(1, 3650), default=365, help="Until when, from today.")
@ROOT
@common
def renew(shared: Shared, *, days: int, root_key: Path | None) -> int:
    """Sign the authority again with a later end."""
    with opened(shared) as registry, registry.writing():
        now = registry.clock.now()
        _publish(registry, registry.authority.renewed(now, now + timedelta(days=days)), root_key)
        emit(
            shared,
            "authority",
            [registry.authority.to_json()],
            f"authority version {registry.authority.version} holds until {rfc3339(registry.authority.expires)}",
        )
    return 0


@trust.command("pin")
@click.option(
    "--root",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The registry's root public key, from its owner.",
)
@common
def pin(shared: Shared, *, root: Path) -> int:
    """Pin a registry that somebody else made, by the root key you got from them another way."""
    from weighbridge.keys.public import key_id_of_pem
    from weighbridge.registry.layout import Layout
    from weighbridge.registry.pins import Pin, pin_path, write_pin
    from weighbridge.registry.wiring import read_card

    pem = root.read_text(encoding="ascii", errors="replace")
    key = key_id_of_pem(pem)
    registry_id = read_card(Layout(Path(shared.config["registry"]).expanduser().absolute()))
    if pin_path(shared.config.home, registry_id).exists():
        raise UsageError(
            f"registry {registry_id} is pinned already",
            remedy=f"remove {pin_path(shared.config.home, registry_id)} if you mean to start over",
        )
    write_pin(shared.config.home, Pin(registry_id, (pem,)))
    emit(
        shared,
        "pin",
        [{"registry": registry_id, "root": str(key)}],
        f"registry {registry_id} is pinned to root key {key.short}",
    )
    return 0


def _publish(registry: Registry, authority: Authority, root_key: Path | None) -> None:
    from weighbridge.keys.files import load
    from weighbridge.registry.authorities import publish
    from weighbridge.registry.service_keys import root_folder

    root = load(root_key or root_folder(registry.config.home, registry.id) / "root.pem", key_password())
    publish(registry, authority, root)


def _roles(authority: Authority, name: str, project: str) -> list[str]:
    return [role.value for role in Role if authority.may(name, role, project)]
