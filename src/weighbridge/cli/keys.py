"""`key`: make a signing key, show whose a key is, put it under a password, say how to replace it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, key_password, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import NEW_VARIABLE, VARIABLE, new_password, open_key, password_for
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.tier import Role

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry


@click.group()
def key() -> None:
    """Make a signing key, show its public half, protect it, replace it."""


@key.command("new")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--algorithm",
    type=click.Choice(["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa", "ml-dsa-44"]),
    default="ecdsa-p256",
    help="Kind of key; rsa has 3072 bits, ml-dsa-44 is for witnesses of logs only.",
)
@click.option("--ask-password", is_flag=True, help="Ask for a password on the terminal.")
@common
def new(shared: Shared, path: Path, *, algorithm: str, ask_password: bool) -> int:
    """Make a key: PATH is private (readable by you only), PATH.pub.pem may be handed out.

    WEIGHBRIDGE_KEY_PASSWORD in the environment encrypts the private key.
    """
    from weighbridge.keys.files import generate

    password = new_password(str(path), VARIABLE) if ask_password else key_password()
    made = generate(algorithm)
    made.save(path, password)
    public = path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")
    public.write_text(made.public_pem, encoding="ascii")
    emit(
        shared,
        "key",
        [{"id": str(made.key_id), "private": str(path), "public_path": str(public)}],
        f"{made.key_id}\nprivate: {path}\npublic:  {public}",
    )
    return 0


@key.command("show")
@click.argument("reference", metavar="KEY")
@common
def show(shared: Shared, *, reference: str) -> int:
    """Show the id and the public half of a key: a file (private or public PEM), or a key in a token or service.

    KEY is a path, or pkcs11:token=LABEL;id=%01?module-path=FILE, awskms:///KEY, gcpkms://…, azurekms://VAULT/KEY,
    hashivault://KEY.
    """
    from weighbridge.keys.public import algorithm_of_pem

    pem = _public(shared, reference)
    digest, algorithm = _key_id(pem), algorithm_of_pem(pem)
    item: JSON = {"id": str(digest), "algorithm": algorithm, "public": pem}
    emit(shared, "key", [item], f"{digest}\n{pem.strip()}")
    return 0


@key.command("protect")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--remove", is_flag=True, help="Take the password away.")
@common
def protect(shared: Shared, path: Path, *, remove: bool) -> int:
    """Put a private key under a password, change it, or take it away (--remove).

    Both passwords are asked for, or read from WEIGHBRIDGE_KEY_PASSWORD (the one it has) and
    WEIGHBRIDGE_NEW_KEY_PASSWORD (the one it gets). Backups and disks may keep what the file was before.
    """
    from weighbridge.keys.files import load

    if remove and os.environ.get(NEW_VARIABLE):
        raise UsageError(f"--remove and {NEW_VARIABLE} contradict each other", remedy="leave one of them out")
    found = load(path, password_for(str(path)))
    found.rewrite(path, None if remove else new_password(str(path)))
    state = "has no password now" if remove else "is under its new password"
    emit(
        shared,
        "key",
        [{"id": str(found.key_id), "private": str(path), "protected": not remove}],
        f"{found.key_id}\n{path} {state}",
    )
    return 0


@key.command("rotate")
@click.argument("reference", metavar="KEY")
@common
def rotate(shared: Shared, *, reference: str) -> int:
    """Say how to replace a key that the registry's authority names; nothing is changed.

    Old bundles stay valid: they are judged by what the authority said of their key when they were logged.
    """
    key_id = _key_id(_public(shared, reference))
    with opened(shared) as registry:
        identity = registry.authority.identity_for(key_id)
        if identity is None:
            raise UsageError(
                f"the authority names nobody with the key {key_id.short}",
                cause="only a key that somebody signs with is replaced this way",
                remedy="see who is named: weighbridge trust show",
            )
        granted = _granted(registry, identity.name)
        fresh = _unused(registry, identity.name, max(1, len(granted)))
    commands = [f"weighbridge key new {shlex.quote(f'{name}.pem')} --ask-password" for name in fresh]
    # A key has one name, and a name is given its roles in one place: hence a key for each project with rules of its own.
    for name, (project, roles) in zip(fresh, granted.items(), strict=False):
        words = "".join(f" --role {role.value}" for role in roles)
        where = "" if project == "*" else f" --project {shlex.quote(project)}"
        commands.append(
            f"weighbridge trust add {shlex.quote(name)} --key {shlex.quote(f'{name}.pub.pem')}{words}{where}"
        )
    commands.append(f"weighbridge trust end {shlex.quote(identity.name)}")
    notes = [
        "",
        "Let everything sign with the new key before the last command; what the old key signs after it no longer counts.",
        "If the old key may be in other hands, run the last command first.",
    ]
    item: JSON = {"id": str(key_id), "identity": identity.name, "commands": list(commands)}
    emit(shared, "rotation", [item], "\n".join([*commands, *notes]))
    return 0


def _public(shared: Shared, reference: str) -> str:
    """Return the public half of a key; a file with a public key needs no password."""
    from weighbridge.keys.public import MAX_PEM

    try:
        if Path(reference).is_file():
            with Path(reference).open("rb") as file:
                start = file.read(MAX_PEM)
            if b"PUBLIC KEY" in start:
                return start.decode("ascii", errors="replace")
    except (OSError, ValueError):
        pass  # opening it as a private key says why it cannot be read
    return open_key(shared, reference).public_pem


def _key_id(pem: str) -> Digest:
    from weighbridge.keys.public import key_id_of_pem

    return key_id_of_pem(pem)


def _granted(registry: Registry, name: str) -> dict[str, list[Role]]:
    """Return what an identity may sign, for each project that says so."""
    found: dict[str, list[Role]] = {}
    for project, rules in registry.authority.projects.items():
        roles = [role for role, holders in rules.roles.items() if name in holders]
        if roles:
            found[project] = roles
    return found


def _unused(registry: Registry, name: str, count: int) -> list[str]:
    taken = {identity.name for identity in registry.authority.identities}
    names = (f"{name}-{number}" for number in range(2, len(taken) + count + 2))
    return [fresh for fresh in names if fresh not in taken][:count]
