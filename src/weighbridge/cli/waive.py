"""`waive`: excuse one finding of one model, signed, with a reason and an end; it overrides policy, never the floor."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import open_key
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
    metavar="KEY",
    help="A key with the role waive, a path or URI (default: the owner's).",
)
@common
def waive(shared: Shared, model: str, *, finding: str, reason: str, until: str, key: str | None) -> int:
    """Excuse one `unlisted` finding of one model until a day; nothing dangerous or broken can be excused."""
    from weighbridge.gate.waivers import waive as excuse
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    expires = end_of_day(until)
    with opened(shared) as registry:
        digest = resolve(registry, model)
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, key or str(owner))
        body = excuse(registry, digest, finding, reason=reason, expires=expires, signer=signer)
    item: dict[str, JSON] = {"manifest": str(digest), **body}
    emit(shared, "waiver", [item], f"{finding} of {digest.short} is excused until {rfc3339(expires)}")
    return 0
