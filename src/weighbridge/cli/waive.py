"""`waive`: excuse one finding of one model, signed, with a reason and an end; it overrides policy, never the floor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, key_password, opened
from weighbridge.cli.render import emit
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import NotFound, UsageError


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
    from weighbridge.claims.records import event
    from weighbridge.gate.evidence import scan
    from weighbridge.keys.files import load
    from weighbridge.registry import models
    from weighbridge.registry.outbox import sign, submit
    from weighbridge.registry.setup import root_folder

    try:
        expires = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except ValueError as error:
        raise UsageError(f"--until {until!r} is no day", remedy="write it as YYYY-MM-DD") from error
    with opened(shared) as registry:
        kept = models.get(registry, models.resolve(registry, model))
        found = {row.fingerprint: row for row in scan(registry, kept).findings}
        if finding not in found:
            raise NotFound(
                f"{kept.digest.short} has no finding {finding!r}",
                remedy="see its findings: weighbridge scan MODEL --format json",
            )
        if found[finding].verdict.value != "unlisted":
            raise UsageError(
                f"a finding that is {found[finding].verdict.value} cannot be excused",
                cause="only names that nobody has vouched for can be",
                remedy="do without this model, or convert it: weighbridge convert",
            )
        signer = load(key or root_folder(registry.config.home, registry.id) / "owner.pem", key_password())
        body = {
            "rule": found[finding].rule,
            "fingerprint": finding,
            "reason": reason,
            "expires": rfc3339(expires),
        }
        statement = event("waiver", (kept.digest,), body, **registry.event_facts())
        with registry.writing():
            submit(registry, sign(statement, signer))
    emit(
        shared,
        "waiver",
        [{"manifest": str(kept.digest), **body}],
        f"{finding} of {kept.digest.short} is excused until {rfc3339(expires)}",
    )
    return 0
