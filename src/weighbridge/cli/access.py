"""`access`: who may come in over HTTP and what for, what a project may take, and who asked for what."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened
from weighbridge.cli.render import emit, safe, say, table
from weighbridge.cli.secrets import open_key
from weighbridge.core.clock import rfc3339
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry

RIGHTS = ("read", "submit", "attest", "approve", "admin")
DAYS = 90
EVERYWHERE = click.option("--everywhere", is_flag=True, help="In every project that has nothing of its own.")
KEY = click.option(
    "--key", metavar="KEY", help="A key with the role policy, a path or URI (default: the owner's)."
)
REASON = click.option("--reason", required=True, help="Why; goes into the log.")


@click.group()
def access() -> None:
    """Say who may come in over HTTP, what a project may take, and see who asked for what.

    On this machine rights follow keys: who holds the registry's folder and keys is its operator.
    """


@access.command("grant")
@click.argument("holder")
@click.option("--right", "rights", multiple=True, required=True, type=click.Choice(RIGHTS), help="What for.")
@click.option("--until", metavar="DAY", help=f"Last day, YYYY-MM-DD (default: {DAYS} days from now).")
@EVERYWHERE
@REASON
@KEY
@common
def grant(
    shared: Shared, holder: str, *, rights: tuple[str, ...], until: str | None, everywhere: bool, reason: str,
    key: str | None,
) -> int:  # fmt: skip
    """Grant HOLDER, a person or a machine, a token; its secret is shown once and kept nowhere."""
    from weighbridge.registry import tokens
    from weighbridge.registry.rights import Right

    with opened(shared) as registry:
        expires = end_of_day(until) if until else registry.clock.now() + timedelta(days=DAYS)
        token, secret = tokens.grant(
            registry,
            holder,
            [Right(right) for right in rights],
            expires=expires,
            reason=reason,
            signer=_signer(shared, registry, key),
            project="*" if everywhere else None,
        )
        now = registry.clock.now()
    say(shared, f"token {token.id} of {safe(holder)}, until {rfc3339(expires)}; this is shown once:")
    emit(shared, "token", [{**token.to_json(now), "secret": secret}], secret)
    return 0


@access.command("list")
@common
def list_(shared: Shared) -> int:
    """List the tokens that open this project, and what has become of them."""
    from weighbridge.registry import tokens

    with opened(shared) as registry:
        found, now = tokens.every(registry), registry.clock.now()
    rows = [
        (row.id, safe(row.holder), row.project, ",".join(row.rights), rfc3339(row.expires), row.state(now))
        for row in found
    ]
    text = table(rows, ("token", "holder", "project", "rights", "until", "state")) if rows else "no tokens"
    emit(shared, "token", [row.to_json(now) for row in found], text)
    return 0


@access.command("end")
@click.argument("token")
@REASON
@KEY
@common
def end(shared: Shared, token: str, *, reason: str, key: str | None) -> int:
    """End a token, now and for good."""
    from weighbridge.registry import tokens

    with opened(shared) as registry:
        ended = tokens.end(registry, token, reason=reason, signer=_signer(shared, registry, key))
        now = registry.clock.now()
    emit(shared, "token", [ended.to_json(now)], f"ended: {ended.id} of {safe(ended.holder)}")
    return 0


@access.command("set")
@click.argument("setting", required=False)
@click.argument("value", required=False)
@click.option("--unset", is_flag=True, help="Take the project's own value away.")
@click.option("--reason", default="", help="Why; goes into the log.")
@EVERYWHERE
@KEY
@common
def set_(
    shared: Shared, setting: str | None, value: str | None, *, unset: bool, reason: str, everywhere: bool,
    key: str | None,
) -> int:  # fmt: skip
    """Show the settings and quotas of a project, or change one: signed and logged."""
    from weighbridge.registry import project_settings, quotas

    if setting is not None and (value is None) != unset:
        raise UsageError(
            "give a value, or --unset", remedy="weighbridge access set quota.models 40 --reason …"
        )
    with opened(shared) as registry:
        if setting is not None:
            signer = _signer(shared, registry, key)
            project = "*" if everywhere else None
            project_settings.change(
                registry, setting, value or "", reason=reason, signer=signer, project=project
            )
        found, used = project_settings.every(registry), quotas.used(registry)
    rows = []
    items = []
    for row in found:
        now = used.get(row.key.removeprefix("quota."))
        number = now["used"] if isinstance(now, dict) and row.key.startswith("quota.") else None
        items.append({**row.to_json(), "used": number})
        shown = "" if number is None else str(number)
        rows.append(
            (row.key, row.value or "-", shown, row.project or "default", project_settings.KNOWN[row.key].help)
        )
    emit(shared, "access-setting", items, table(rows, ("setting", "value", "used", "from", "says")))
    return 0


@access.command("log")
@click.option(
    "--since", "day", metavar="DAY", help="From this day on, YYYY-MM-DD (default: the last 7 days)."
)
@click.option("--prune", is_flag=True, help="Delete what is older than the setting action-days first.")
@click.option("--forget", metavar="NAME", help="Delete what is noted of this person or machine first.")
@common
def log(shared: Shared, *, day: str | None, prune: bool, forget: str | None) -> int:
    """Show who asked for what and what came of it; what was signed stands in `weighbridge log`, for good."""
    from weighbridge.registry import actions

    with opened(shared) as registry:
        if prune:
            say(shared, f"{actions.prune(registry)} deleted")
        if forget:
            say(shared, f"{actions.forget(registry, forget)} deleted of {safe(forget)}")
        moment = end_of_day(day) - timedelta(days=1) if day else registry.clock.now() - timedelta(days=7)
        found = actions.since(registry, moment)
    rows = [
        (row.at, safe(row.actor), row.kind, safe(row.subject), row.outcome, safe(row.detail)) for row in found
    ]
    text = (
        table(rows, ("when", "who", "what", "about", "outcome", "why")) if rows else "nothing was asked for"
    )
    emit(shared, "action", [row.to_json() for row in found], text)
    return 0


@access.command("names")
@click.option(
    "--hours", type=click.IntRange(1, 720), default=24, show_default=True, help="For how long it counts."
)
@common
def names(shared: Shared, *, hours: int) -> int:
    """Print a snapshot of all names of the project and what they point at, signed by the gate, with an end.

    A client resolves names by it where the registry is not at hand: `weighbridge access resolve`.
    """
    from weighbridge.registry import snapshots

    with opened(shared) as registry:
        data = snapshots.issue(registry, life=timedelta(hours=hours))
    emit(shared, "snapshot", [json.loads(data)], data.decode())
    return 0


@access.command("resolve")
@click.argument("name")
@click.option(
    "--snapshot",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="From `access names`.",
)
@common
def resolve(shared: Shared, name: str, *, snapshot: Path) -> int:
    """Say what NAME points at by a snapshot: signed by the gate, not past its end, and no older than one seen before."""
    from weighbridge.registry import snapshots
    from weighbridge.store.plain import read_plain

    with opened(shared) as registry:
        digest = snapshots.resolve(
            read_plain(snapshot),
            name,
            authority=registry.authority,
            project=registry.project,
            now=registry.clock.now(),
            home=registry.config.home,
        )
    emit(shared, "name", [{"name": name, "manifest": str(digest)}], str(digest))
    return 0


def _signer(shared: Shared, registry: Registry, key: str | None) -> Signer:
    from weighbridge.registry.service_keys import root_folder

    return open_key(shared, key or str(root_folder(registry.config.home, registry.id) / "owner.pem"))
