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
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.rotation import Rotated
    from weighbridge.registry.wiring import Registry

NAMES = ("ca", "ct", "tsa", "signing-log", "log", "gate", "intake", "tuf")
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
    help="For ca, tsa and tuf: the offline key above it (default: ca-root, tsa-root or tuf-root, as init made it).",
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

    if name == "tuf" and compromised:
        raise UsageError(
            "what was fetched from a TUF repository cannot be taken back",
            cause="clients believe the key until they fetch the next root",
            remedy="leave --compromised out; end the keys that were named wrongly",
        )
    if issuer_key and name not in (*rotation.ABOVE, "tuf"):
        raise UsageError(f"no key stands above {name}", remedy="leave --issuer-key out")
    if new_issuer and (not issuer_key or name == "tuf"):
        raise UsageError("which key is new?", remedy="name it with --issuer-key, for ca or tsa")
    with opened(shared) as registry:
        above = _above(shared, registry, name, issuer_key)
        if name == "tuf" and above is not None:
            done = rotation.rotate_distribution(registry, above)
        else:
            root = offline_key(shared, registry, "root", root_key)
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


def _above(shared: Shared, registry: Registry, name: str, reference: str) -> Signer | None:
    from weighbridge.registry import rotation

    offline = "tuf-root" if name == "tuf" else rotation.ABOVE.get(name)
    return offline_key(shared, registry, offline, reference) if offline else None


def _told(done: Rotated, since: datetime | None) -> str:
    how = "a rotation that was cut off is finished" if done.finished else "done"
    lines = [f"{how}: the {done.name} key is {done.key.short} (authority version {done.version})"]
    if since:
        lines.append(f"what the keys before it did after {rfc3339(since)} no longer counts")
    if done.name == "tuf":
        lines.append("clients follow by themselves; start `weighbridge serve` again where it runs")
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
