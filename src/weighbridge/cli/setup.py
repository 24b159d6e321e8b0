"""`init`: make a registry."""

from __future__ import annotations

from pathlib import Path
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
@click.option(
    "--join",
    "source",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="A further replica instead: takes card and keys from FOLDER, everything else from the shared records.",
)
@common
def init(shared: Shared, *, demo: bool, form: Form, source: Path | None) -> int:
    """Make a registry in .weighbridge (or --registry): keys, log, starter policy; the root key lies elsewhere."""
    from weighbridge.registry.service_keys import root_folder
    from weighbridge.registry.setup import init_registry
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    if source is not None:
        return _join(shared, source, other=demo or form != "v1")
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


def _join(shared: Shared, source: Path, *, other: bool) -> int:
    from weighbridge.core.errors import UsageError
    from weighbridge.registry.joining import join_registry
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    if other:
        raise UsageError(
            "a replica is as the registry is", remedy="leave out --demo and --signing-log with --join"
        )
    registry = join_registry(shared.config, source, clock=SystemClock(), entropy=SystemEntropy())
    item = {"id": registry.id, "path": str(registry.layout.root), "log": registry.log.origin}
    text = f"replica of {registry.id} made at {item['path']}\nits log has {registry.log.size} entries, held against your pin"
    registry.close()
    emit(shared, "registry", [item], text)
    return 0
