"""`revoke`: withdraw a model and say what else is hit."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, key_password, opened
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON


@click.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why; goes into the log.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A key with the role revoke (default: the owner's).",
)
@common
def revoke(shared: Shared, model: str, *, reason: str, key: Path | None) -> int:
    """Withdraw a model and its weights; what descends from it is quarantined and no longer admitted."""
    from weighbridge.gate.revoke import revoke as withdraw
    from weighbridge.keys.files import load
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    with opened(shared) as registry:
        signer = load(key or root_folder(registry.config.home, registry.id) / "owner.pem", key_password())
        hit = withdraw(registry, resolve(registry, model), reason=reason, signer=signer)
    item: dict[str, JSON] = {
        "targets": [str(d) for d in hit.targets],
        "reason": reason,
        "descendants": [str(d) for d in hit.descendants],
        "deployed": [d.to_json() for d in hit.deployed],
    }
    lines = [f"revoked: {', '.join(d.short for d in hit.targets)}"]
    lines += [f"quarantined, descends from it: {d.short}" for d in hit.descendants]
    lines += [f"runs now: {d.target} ({d.manifest.short})" for d in hit.deployed]
    emit(shared, "revocation", [item], "\n".join(lines))
    return 0
