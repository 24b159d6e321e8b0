"""`waive`: excuse one finding, or one rule of the policy, for one model, signed, with a reason and an end; never the floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened
from weighbridge.cli.render import emit, table
from weighbridge.cli.secrets import open_key
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry


@click.command()
@click.argument("model", required=False)
@click.argument("what", required=False, metavar="[RULE|FINGERPRINT]")
@click.option(
    "--finding", metavar="FINGERPRINT", help="The finding's fingerprint, when it is not named as an argument."
)
@click.option("--reason", help="Why it is safe; goes into the log.")
@click.option("--until", help="Last day, YYYY-MM-DD.")
@click.option(
    "--key",
    metavar="KEY",
    help="A key with the role waive, a path or URI (default: the owner's).",
)
@common
def waive(
    shared: Shared,
    model: str | None,
    *,
    what: str | None,
    finding: str | None,
    reason: str | None,
    until: str | None,
    key: str | None,
) -> int:
    """Excuse a finding (by fingerprint) or a rule of the policy (policy.RULE) for one model until a day; without a model, list.

    A finding must be `unlisted`, or one about licences that blocks: nothing dangerous or broken can be excused.
    """
    named = what or finding
    if model is None:
        with opened(shared) as registry:
            _list(shared, registry)
        return 0
    if named is None or (what and finding):
        raise UsageError(
            "say what is excused, once", remedy="weighbridge waive MODEL policy.RULE or FINGERPRINT …"
        )
    if reason is None or until is None:
        raise UsageError("a waiver has a reason and an end", remedy='add --reason "…" and --until YYYY-MM-DD')
    from weighbridge.gate.waivers import waive as excuse
    from weighbridge.registry.models import resolve
    from weighbridge.registry.service_keys import root_folder

    expires = end_of_day(until)
    with opened(shared) as registry:
        digest = resolve(registry, model)
        owner = root_folder(registry.config.home, registry.id) / "owner.pem"
        signer = open_key(shared, key or str(owner))
        body = excuse(registry, digest, named, reason=reason, expires=expires, signer=signer)
    item: dict[str, JSON] = {"manifest": str(digest), **body}
    emit(shared, "waiver", [item], f"{named} of {digest.short} is excused until {rfc3339(expires)}")
    return 0


def _list(shared: Shared, registry: Registry) -> None:
    """Print every waiver and break-glass of the project, those that have ended included."""
    from weighbridge.gate.waivers import kept

    found = kept(registry)
    rows = [
        (
            row.state,
            row.kind,
            row.rule,
            row.manifest.short,
            rfc3339(row.expires),
            " and ".join(row.signers),
            row.reason,
        )
        for row in found
    ]
    head = ("state", "kind", "for", "model", "until", "by", "reason")
    emit(
        shared,
        "waiver",
        [row.to_json() for row in found],
        table(rows, head) if rows else "nothing is excused in this project",
    )
