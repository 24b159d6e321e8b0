"""`backup` and `restore`: copy a registry while it is used, and make one again from a copy."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keys", is_flag=True, help="Put the service keys into it as well, under their passphrase as they are."
)
@click.option(
    "--blobs/--no-blobs",
    default=True,
    show_default=True,
    help="Copy the kept bytes, or leave them in their store.",
)
@common
def backup(shared: Shared, folder: Path, *, keys: bool, blobs: bool) -> int:
    """Write a signed backup of the registry into FOLDER, beside earlier ones; others may go on writing.

    Bytes are copied once, however many backups lie there. The root key and your pin are never in it: docs/reference/backup.md.
    """
    from weighbridge.registry.backup import make_backup

    with opened(shared) as registry:
        made = make_backup(registry, folder, keys=keys, blobs=blobs)
    kept = (
        f"{made.blobs} blobs ({made.bytes} bytes)"
        if not made.elsewhere
        else f"bytes stay at {made.elsewhere}"
    )
    text = f"{made.path}: {made.entries} log entries, {made.members} files, {kept}"
    emit(shared, "backup", [made.to_json()], text + ("" if made.keys else "; without keys"))
    return 0


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--blobs-from", default="", metavar="STORE", help="Where the bytes are, when they are not in the backup."
)
@common
def restore(shared: Shared, folder: Path, *, blobs_from: str) -> int:
    """Make the registry of a backup again, where --registry says and nothing is; FOLDER may hold many, the newest is taken.

    Everything is verified against your pin before the registry gets its name; what was cut off goes on where it stopped.
    """
    from weighbridge.registry import restore as restoring
    from weighbridge.registry.wiring import SystemClock, SystemEntropy

    found = restoring.restore(
        shared.config, folder, clock=SystemClock(), entropy=SystemEntropy(), blobs_from=blobs_from
    )
    text = f"registry {found.registry} as of {found.made} is at {found.root}: {found.entries} log entries, {found.blobs} blobs, verified"
    if not found.keys:
        text += "; its keys were not in the backup: restore them, or weighbridge trust rotate"
    emit(shared, "restoration", [found.to_json()], text)
    return 0
