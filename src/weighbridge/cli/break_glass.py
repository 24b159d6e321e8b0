"""`break-glass`: have the policy passed over for one model for some hours, once a second person agrees; never the floor."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import open_key
from weighbridge.core.clock import rfc3339


@click.command("break-glass")
@click.argument("model")
@click.option(
    "--reason", required=True, help="Which emergency; goes into the log and to whoever gets alerts."
)
@click.option("--hours", required=True, type=int, help="How long from now, at most 72.")
@click.option(
    "--key",
    metavar="KEY",
    help="A key with the role waive, a path or URI (default: the owner's).",
)
@common
def break_glass(shared: Shared, model: str, *, reason: str, hours: int, key: str | None) -> int:
    """Ask that the policy be passed over for one model for some hours; it counts once somebody else approves.

    It answers for all that the policy says, and for an engine that says nothing; for nothing of the floor.
    """
    from weighbridge.gate.break_glass import break_glass as ask
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    with opened(shared) as registry:
        digest = resolve(registry, model)
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        asked = ask(registry, digest, reason=reason, hours=hours, signer=open_key(shared, key or str(owner)))
    people = "person" if asked.missing == 1 else "people"
    text = (
        f"break-glass for {digest.short} until {rfc3339(asked.expires)} waits for {asked.missing} more {people}\n"
        f"somebody else with the role waive: weighbridge policy approve {asked.proposal.bundle.hex[:12]}"
    )
    emit(shared, "break-glass", [asked.to_json()], text)
    return 0
