"""`policy`: check policy files, or make them the active ones; a change is signed, logged and pinned."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import open_key


@click.group()
def policy() -> None:
    """Check or change the active policy."""


@policy.command("check")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True))
@common
def check(shared: Shared, *, folder: Path | None) -> int:
    """Read policy files strictly and refuse what would admit empty evidence; without a folder, the active ones."""
    from weighbridge.gate.judging import read_policy, setting
    from weighbridge.gate.policies import check_policy

    if folder is not None:
        bundle = read_policy(folder)
        check_policy(bundle)
        emit(shared, "policy", [{"digest": str(bundle.digest), "active": False}], f"sound: {bundle.digest}")
        return 0
    with opened(shared) as registry:
        bundle = read_policy(registry.layout.policy)
        pinned = setting(registry, "policy")
    check_policy(bundle)
    active = str(bundle.digest) == pinned
    text = (
        f"sound and active: {bundle.digest}"
        if active
        else f"changed since it was pinned: found {bundle.digest}, pinned {pinned}"
    )
    emit(shared, "policy", [{"digest": str(bundle.digest), "active": active}], text)
    return 0 if active else 1


@policy.command("use")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--key",
    metavar="KEY",
    help="A key with the role policy, a path or URI (default: the owner's).",
)
@common
def use(shared: Shared, *, folder: Path, key: str | None) -> int:
    """Make the policy files of a folder the active ones of the current project's registry."""
    from weighbridge.gate.policies import use_policy
    from weighbridge.registry.service_keys import root_folder

    with opened(shared) as registry:
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, key or str(owner))
        digest = use_policy(registry, folder, signer)
    emit(shared, "policy", [{"digest": str(digest), "active": True}], f"active: {digest}")
    return 0
