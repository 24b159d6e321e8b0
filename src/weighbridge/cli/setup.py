"""`init`: make a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit

if TYPE_CHECKING:
    from weighbridge.ledger.checkpoint import Form


@click.command()
@click.option(
    "--demo", is_flag=True, help="To try things out: whoever sits here may be anybody, and it says so."
)
@click.option(
    "--signing-log",
    "form",
    type=click.Choice(["v1", "v2"]),
    default="v1",
    show_default=True,
    help="The form of the log that clients sign into: v1 is read by every generation of them.",
)
@common
def init(shared: Shared, *, demo: bool, form: Form) -> int:
    """Make a registry in .weighbridge (or --registry): keys, log, starter policy; the root key lies elsewhere."""
    from weighbridge.registry.service_keys import root_folder
    from weighbridge.registry.setup import init_registry
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    registry = init_registry(
        shared.config, clock=SystemClock(), entropy=SystemEntropy(), demonstration=demo, form=form
    )
    secrets = root_folder(shared.config.home, registry.id)
    item = {
        "id": registry.id,
        "path": str(registry.layout.root),
        "root_keys": str(secrets),
        "log": registry.log.origin,
    }
    registry.close()
    text = (
        f"registry {item['id']} made at {item['path']}\n"
        f"root and owner keys: {secrets}\n"
        "keep a copy of them off this machine; whoever has root.pem decides who may sign\n"
        "log kept by this host alone: pin its checkpoint elsewhere with `weighbridge log show`"
    )
    emit(shared, "registry", [item], text)
    return 0
