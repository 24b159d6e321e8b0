"""`trust rotate`: another key takes the place of one that the registry signs with; docs/rotation.md says when and how."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.root_key import ROOT, offline_key
from weighbridge.core.canonical import JSON
from weighbridge.core.clock import parse_rfc3339, rfc3339
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.registry.rotation import Rotated

NAMES = ("ca", "ct", "tsa", "signing-log", "log", "gate", "intake")
SERVICES = NAMES[:4]


@click.command("rotate")
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--compromised",
    default="",
    metavar="SINCE",
    help="The old key was in other hands: nothing it did after this time counts (2026-11-22T10:00:00Z, or a day).",
)
@click.option(
    "--issuer-key",
    default="",
    metavar="KEY",
    help="For ca and tsa: the offline key above it (default: ca-root or tsa-root, as init made it).",
)
@click.option(
    "--new-issuer", is_flag=True, help="With --issuer-key: it is new, and gets a root certificate of its own."
)
@ROOT
@common
def rotate(
    shared: Shared, name: str, *, compromised: str, issuer_key: str, new_issuer: bool, root_key: str
) -> int:
    """Exchange a key of this registry; what the old one proved keeps counting. Run again to finish one cut off."""
    since = _moment(compromised) if compromised else None
    from weighbridge.registry import rotation

    if issuer_key and name not in rotation.ABOVE:
        raise UsageError(f"no key stands above {name}", remedy="leave --issuer-key out")
    if new_issuer and not issuer_key:
        raise UsageError("which key is new?", remedy="name it with --issuer-key")
    with opened(shared) as registry:
        root = offline_key(shared, registry, "root", root_key)
        above = (
            offline_key(shared, registry, rotation.ABOVE[name], issuer_key)
            if name in rotation.ABOVE
            else None
        )
        done = rotation.rotate(registry, name, root, above=above, since=since, new_above=new_issuer)
        item: dict[str, JSON] = {
            "name": done.name,
            "key": str(done.key),
            "authority_version": done.version,
            "finished": done.finished,
            "compromised_since": rfc3339(since) if since else None,
        }
        emit(shared, "exchange", [item], _told(done, since))
    return 0


def _told(done: Rotated, since: datetime | None) -> str:
    how = "a rotation that was cut off is finished" if done.finished else "done"
    lines = [f"{how}: the {done.name} key is {done.key.short} (authority version {done.version})"]
    if since:
        lines.append(f"what the keys before it did after {rfc3339(since)} no longer counts")
    if done.name in SERVICES:
        lines.append("start `weighbridge serve` again where it runs, and hand out the trusted root again")
    if done.name == "log":
        lines.append("tell witnesses and monitors of the new log: weighbridge log show")
    return "\n".join(lines)


def _moment(text: str) -> datetime:
    try:
        if len(text) == 10:
            return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return parse_rfc3339(text).replace(microsecond=0)
    except ValueError as error:
        raise UsageError(
            f"--compromised {text!r} is no time",
            remedy="write it as 2026-11-22T10:00:00Z, or a day as 2026-11-22",
        ) from error
