"""`waive`: excuse one finding of one model, signed, with a reason and an end; it overrides policy, never the floor."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, end_of_day, key_password, opened
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339


@click.command()
@click.argument("model")
@click.option(
    "--finding", required=True, metavar="FINGERPRINT", help="The finding's fingerprint (scan --format json)."
)
@click.option("--reason", required=True, help="Why it is safe; goes into the log.")
@click.option("--until", required=True, help="Last day, YYYY-MM-DD.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A key with the role waive (default: the owner's).",
)
@common
def waive(shared: Shared, model: str, *, finding: str, reason: str, until: str, key: Path | None) -> int:
    """Excuse one `unlisted` finding of one model until a day; nothing dangerous or broken can be excused."""
    from weighbridge.gate.waivers import waive as excuse
    from weighbridge.keys.files import load
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    expires = end_of_day(until)
    with opened(shared) as registry:
        digest = resolve(registry, model)
        signer = load(key or root_folder(registry.config.home, registry.id) / "owner.pem", key_password())
        body = excuse(registry, digest, finding, reason=reason, expires=expires, signer=signer)
    item: dict[str, JSON] = {"manifest": str(digest), **body}
    emit(shared, "waiver", [item], f"{finding} of {digest.short} is excused until {rfc3339(expires)}")
    return 0
