"""`revoke`: withdraw a model and say what else is hit."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import open_key
from weighbridge.core.canonical import JSON


@click.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why; goes into the log.")
@click.option(
    "--key",
    metavar="KEY",
    help="A key with the role revoke, a path or URI (default: the owner's).",
)
@common
def revoke(shared: Shared, model: str, *, reason: str, key: str | None) -> int:
    """Withdraw a model and its weights; what descends from it is quarantined and no longer admitted."""
    from weighbridge.gate.revoke import revoke as withdraw
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    with opened(shared) as registry:
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, key or str(owner))
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
