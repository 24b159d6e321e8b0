"""`key`: make a signing key, or show whose a key is."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, key_password
from weighbridge.cli.render import emit


@click.group()
def key() -> None:
    """Make a signing key, or show its public half."""


@key.command("new")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--algorithm", type=click.Choice(["ecdsa-p256", "ed25519"]), default="ecdsa-p256", help="Kind of key."
)
@common
def new(shared: Shared, path: Path, algorithm: str) -> int:
    """Make a key: PATH is private (readable by you only), PATH.pub.pem may be handed out.

    WEIGHBRIDGE_KEY_PASSWORD in the environment encrypts the private key.
    """
    from weighbridge.keys.files import generate

    made = generate(algorithm)
    made.save(path, key_password())
    public = path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")
    public.write_text(made.public_pem, encoding="ascii")
    emit(
        shared,
        "key",
        [_json(path, public, str(made.key_id))],
        f"{made.key_id}\nprivate: {path}\npublic:  {public}",
    )
    return 0


@key.command("show")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@common
def show(shared: Shared, path: Path) -> int:
    """Show the id and the public half of a key (private or public PEM)."""
    from weighbridge.keys.files import load
    from weighbridge.keys.public import key_id_of_pem

    text = path.read_text(encoding="ascii", errors="replace")
    pem = text if "PUBLIC KEY" in text else load(path, key_password()).public_pem
    digest = key_id_of_pem(pem)
    emit(shared, "key", [{"id": str(digest), "public": pem}], f"{digest}\n{pem.strip()}")
    return 0


def _json(path: Path, public: Path, digest: str) -> dict[str, str]:
    return {"id": digest, "private": str(path), "public_path": str(public)}
