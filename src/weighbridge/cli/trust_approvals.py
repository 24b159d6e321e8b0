"""`trust approvals`: how many identities a kind of change takes; signed by the root as everything in the authority is."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, table
from weighbridge.cli.root_key import ROOT, publish_next
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError
from weighbridge.trust.authority_approvals import LEAST, MOST


@click.command("approvals")
@click.argument("kind", required=False, type=click.Choice(list(LEAST)))
@click.argument("number", required=False, type=click.IntRange(1, MOST))
@ROOT
@common
def approvals(shared: Shared, kind: str | None, number: int | None, *, root_key: str) -> int:
    """Show, or say, how many identities a change takes: in every project that says nothing itself, or in --project only."""
    from weighbridge.claims.words import RECORD_ROLES

    with opened(shared) as registry:
        if kind is None or number is None:
            if kind is not None:
                raise UsageError("say how many", remedy=f"weighbridge trust approvals {kind} 2")
            rows = {name: registry.authority.needed(name, registry.project) for name in LEAST}
            item: dict[str, JSON] = {"project": registry.project, **rows}
            text = table([(name, str(count)) for name, count in rows.items()], ("change", "identities"))
            emit(shared, "approvals", [item], text)
            return 0
        if number < LEAST[kind]:
            raise UsageError(
                f"{kind} takes at least {LEAST[kind]} identities",
                cause="nobody sets a policy aside alone",
                remedy=f"weighbridge trust approvals {kind} {LEAST[kind]}",
            )
        given = shared.config.values["project"]
        project = "*" if given.origin == "default" else str(given.value)
        with registry.writing():
            authority = registry.authority.with_approvals(kind, number, project=project)
            publish_next(shared, registry, authority, root_key)
        role = RECORD_ROLES[kind]
        where = registry.project if project == "*" else project
        holders = sum(registry.authority.may(one.name, role, where) for one in registry.authority.identities)
        text = f"{kind} takes {number} in {project!r} (authority version {registry.authority.version})"
        if holders < number:
            text += f"\nonly {holders} may sign as {role.value} there: until there are more, no such change takes effect"
            text += f"\n  next: weighbridge trust add NAME --key FILE --role {role.value}"
        emit(shared, "authority", [registry.authority.to_json()], text)
    return 0
