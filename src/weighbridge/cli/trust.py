"""`trust`: show or change who may do what; each change is a new version, signed by the root key and logged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, table
from weighbridge.cli.root_key import ROOT, publish_next
from weighbridge.cli.trust_approvals import approvals
from weighbridge.cli.trust_rotate import rotate
from weighbridge.cli.trust_services import fresh, issuer, roots, witness
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role

if TYPE_CHECKING:
    from weighbridge.trust.authority import Authority, AuthorityIdentity
    from weighbridge.trust.demand import Demand
    from weighbridge.trust.expect import ExpectedIdentity


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
                _who(identity),
                ",".join(_roles(authority, identity.name, registry.project)),
                rfc3339(identity.valid_until) if identity.valid_until else "",
            )
            for identity in authority.identities
        ]
        head = f"authority version {authority.version} of registry {authority.registry}, until {rfc3339(authority.expires)}\n{authority.digest}\n"
        text = head + table(rows, ("identity", "who", f"may sign in {registry.project!r}", "ends"))
        emit(shared, "authority", [authority.to_json()], text)
    return 0


@trust.command("add")
@click.argument("name")
@click.option(
    "--key",
    "pem",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Public key (PEM).",
)
@click.option("--issuer", default="", metavar="URL", help="Instead of --key: who vouches for this signer.")
@click.option("--subject", default="", metavar="TEXT", help="With --issuer: the address or URI vouched for.")
@click.option("--subject-pattern", default="", metavar="PATTERN", help="A pattern that all of it must match.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="NAME=VALUE",
    help="What its certificates must also say, for example source-repository-uri=https://….",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="What it may sign.",
)
@click.option("--logs", type=click.IntRange(0, 32), default=1, help="How many logs must prove what it signs.")
@click.option("--timestamps", type=click.IntRange(0, 32), default=0, help="How many timestamp authorities.")
@click.option("--witnesses", type=click.IntRange(0, 32), default=0, help="How many witnesses of each log.")
@ROOT
@common
def add(shared: Shared, name: str, *, roles: tuple[str, ...], root_key: str, **who: Any) -> int:
    """Name a signer and say what it may sign: in every project without rules of its own, or in --project only.

    A signer is a key, or somebody whom an issuer vouches for in certificates.
    """
    with opened(shared) as registry, registry.writing():
        given = shared.config.values["project"]
        project = "*" if given.origin == "default" else str(given.value)
        if any(identity.name == name for identity in registry.authority.identities):
            raise UsageError(
                f"the name {name!r} is taken",
                remedy="choose another name, or end it: weighbridge trust end NAME",
            )
        authority = registry.authority.with_identity(
            name,
            _public(who["pem"]) if who["pem"] else "",
            [Role(role) for role in roles],
            project=project,
            valid_from=registry.clock.now(),
            evidence=_demand(who),
            keyless=_keyless(who),
        )
        publish_next(shared, registry, authority, root_key)
        emit(
            shared,
            "authority",
            [registry.authority.to_json()],
            f"{name} may sign {', '.join(roles)} in {project!r} (authority version {registry.authority.version})",
        )
    return 0


def _public(path: Path) -> str:
    public = path.read_text(encoding="ascii", errors="replace")
    if "PRIVATE KEY" in public:
        raise UsageError(
            f"{path} is a private key",
            cause="naming somebody takes their public key only",
            remedy="give the .pub.pem file",
        )
    return public


def _keyless(who: dict[str, Any]) -> ExpectedIdentity | None:
    """Return whom certificates must name; raises UsageError unless a key or an issuer was given."""
    from weighbridge.trust.expect import ExpectedIdentity
    from weighbridge.trust.pattern import Pattern

    named = bool(who["subject"]) + bool(who["subject_pattern"])
    if who["pem"]:
        if who["issuer"] or named or who["claims"]:
            raise UsageError("a signer is a key or somebody vouched for", remedy="give --key, or --issuer")
        return None
    if not who["issuer"] or named != 1:
        raise UsageError(
            "say who the signer is",
            cause="a certificate is expected by its issuer and one subject",
            remedy="give --key FILE, or --issuer URL with --subject or --subject-pattern",
        )
    claims = dict(part.split("=", 1) if "=" in part else (part, "") for part in who["claims"])
    subject = who["subject"] or Pattern(who["subject_pattern"])
    return ExpectedIdentity(subject=subject, issuer=who["issuer"], claims=claims)


def _demand(who: dict[str, Any]) -> Demand:
    from weighbridge.trust.demand import Demand

    if not who["logs"] and who["witnesses"]:
        raise UsageError("witnesses watch a log, and no log is asked for", remedy="leave --logs at 1 or more")
    return Demand(
        logs=who["logs"],
        timestamps=who["timestamps"],
        times=1 if who["issuer"] else 0,
        witnesses=who["witnesses"],
    )


@trust.command("end")
@click.argument("name")
@ROOT
@common
def end(shared: Shared, name: str, *, root_key: str) -> int:
    """End an identity: nothing it signs from now on counts."""
    with opened(shared) as registry, registry.writing():
        now = registry.clock.now()
        publish_next(shared, registry, registry.authority.revoked(name, now), root_key)
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
def renew(shared: Shared, *, days: int, root_key: str) -> int:
    """Sign the authority again with a later end."""
    with opened(shared) as registry, registry.writing():
        now = registry.clock.now()
        publish_next(shared, registry, registry.authority.renewed(now, now + timedelta(days=days)), root_key)
        emit(
            shared,
            "authority",
            [registry.authority.to_json()],
            f"authority version {registry.authority.version} holds until {rfc3339(registry.authority.expires)}",
        )
    return 0


trust.add_command(issuer)
trust.add_command(witness)
trust.add_command(roots)
trust.add_command(fresh)
trust.add_command(approvals)
trust.add_command(rotate)


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


def _who(identity: AuthorityIdentity) -> str:
    expected = identity.keyless
    if expected is None:
        return identity.key.short
    words = expected.subject
    return f"{words if isinstance(words, str) or words is None else words.source} by {expected.issuer}"


def _roles(authority: Authority, name: str, project: str) -> list[str]:
    return [role.value for role in Role if authority.may(name, role, project)]
