"""`advisory`: say that something is wrong with weights, code, data, a tokenizer or a licence; see whom it reaches; take it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, table

if TYPE_CHECKING:
    from weighbridge.core.advisory import Advisory, Target
    from weighbridge.gate.advisories import Reached
    from weighbridge.keys.ports import Signer
    from weighbridge.registry.wiring import Registry

KINDS = ("weights", "code", "dataset", "tokenizer", "licence")
SEVERITIES = ("low", "medium", "high", "critical")
SHOWN = 20
"""Models of one answer that are listed in text."""

_KEY = click.option(
    "--key", metavar="KEY", help="A key with the role revoke, a path or URI (default: the owner's)."
)


@click.group()
def advisory() -> None:
    """Publish, list, show and lift advisories: what is wrong with something, and whom that reaches."""


@advisory.command("publish")
@click.option(
    "--kind", type=click.Choice(KINDS), required=True, help="What is wrong; says how far it travels."
)
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="WHAT",
    help="wb1:…, wbw1:…, file-sha256:…, name:org/model or a model of this registry; may be given several times.",
)  # fmt: skip
@click.option("--reason", required=True, help="Why; goes into the log.")
@click.option(
    "--severity", type=click.Choice(SEVERITIES), default="high", show_default=True, help="How bad it is."
)
@_KEY
@common
def publish_(
    shared: Shared, *, kind: str, targets: tuple[str, ...], reason: str, severity: str, key: str | None
) -> int:
    """Publish an advisory; what it surely reaches is quarantined at once. Exit code 1 when something deployed is affected."""
    from weighbridge.core.advisory import AdvisorySeverity
    from weighbridge.core.lineage import AdvisoryKind
    from weighbridge.gate.advisories import publish

    with opened(shared) as registry:
        found = publish(
            registry,
            [_target(registry, text) for text in targets],
            kind=AdvisoryKind(kind),
            reason=reason,
            severity=AdvisorySeverity(severity),
            signer=_signer(shared, registry, key),
        )
    return _answer(shared, found)


@advisory.command("show")
@click.argument("identity", metavar="ID")
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw whom it reaches that is deployed (SVG).",
)
@common
def show_(shared: Shared, identity: str, *, picture: Path | None) -> int:
    """Show an advisory and whom it reaches now. Exit code 1 when something deployed is affected, 3 when nobody can tell."""
    from weighbridge.gate.advisories import show

    with opened(shared) as registry:
        found = show(registry, identity)
    if picture is not None:
        from weighbridge.cli.picture import draw

        draw(shared, picture, found.deployed, f"{found.advisory.id}: {found.advisory.reason}")
    return _answer(shared, found)


@advisory.command("list")
@click.option("--standing", is_flag=True, help="Only those that nobody has lifted.")
@common
def list_(shared: Shared, *, standing: bool) -> int:
    """List the advisories of the current project, newest first."""
    from weighbridge.gate.advisories import every

    with opened(shared) as registry:
        found = every(registry, standing=standing)
    rows = [
        (
            said.id,
            said.kind.value,
            said.severity.value,
            _state(said),
            safe(str(said.targets[0])[:40]),
            safe(said.reason[:60]),
        )
        for said in found
    ]
    text = table(rows, ("id", "kind", "severity", "state", "target", "reason")) if rows else "no advisories"
    emit(shared, "advisory", [said.to_json() for said in found], text)
    return 0


@advisory.command("lift")
@click.argument("identity", metavar="ID")
@click.option("--reason", required=True, help="Why; goes into the log.")
@_KEY
@common
def lift_(shared: Shared, identity: str, *, reason: str, key: str | None) -> int:
    """Take an advisory back; what only it has quarantined is active again. Both stay in the log."""
    from weighbridge.cli.policy_change import proposal_json, waits
    from weighbridge.gate.advisories import lift

    with opened(shared) as registry:
        found = lift(registry, identity, reason=reason, signer=_signer(shared, registry, key))
        said, waiting = found.advisory, found.waiting
        text = (
            f"lifted: {said.id}, {said.lifted}: {safe(said.lift_reason)}"
            if waiting is None
            else f"{said.id} still stands: the lift is signed and waits\n{waits(registry, waiting)}"
        )
    item = {**found.to_json(), "proposal": proposal_json(waiting) if waiting else None}
    emit(shared, "advisory", [item], text)
    return 0


def _target(registry: Registry, text: str) -> Target:
    """Read a target: an identity or another name, else a model of this registry."""
    from weighbridge.core.advisory import parse_target
    from weighbridge.core.alias import Scheme
    from weighbridge.registry.models import resolve

    scheme, _, value = text.partition(":")
    whole = scheme != "wb1" or len(value) == 64
    if whole and scheme in ("wb1", "wbw1", "sha256", *(scheme.value for scheme in Scheme)):
        return parse_target(text)
    return resolve(registry, text)


def _signer(shared: Shared, registry: Registry, key: str | None) -> Signer:
    from weighbridge.cli.secrets import open_key
    from weighbridge.registry.service_keys import root_folder

    owner = root_folder(registry.config.home, registry.id) / "owner.pem"
    return open_key(shared, key or str(owner))


def _state(said: Advisory) -> str:
    return "stands" if said.stands else f"lifted {said.lifted}"


def _answer(shared: Shared, found: Reached) -> int:
    from weighbridge.core.walks import Answer

    emit(shared, "advisory", [found.to_json()], _text(found))
    if not found.advisory.stands:
        return 0
    if found.count(Answer.AFFECTED):
        return 1
    return 3 if found.count(Answer.POSSIBLY) or found.count(Answer.CANNOT_TELL) else 0


def _text(found: Reached) -> str:
    from weighbridge.cli.lineage import deployed_text

    said = found.advisory
    lines = [
        f"{click.style(said.id, bold=True)} ({said.severity.value}, {said.kind.value}) since {said.since}: {safe(said.reason)}",
        *(f"  names {safe(str(target))}" for target in said.targets),
        f"  travels along {', '.join(sorted(said.relations))}",
    ]
    if not said.stands:
        return "\n".join([*lines, f"lifted {said.lifted}: {safe(said.lift_reason)}"])
    lines.append(f"quarantined: {len(found.affected):,} of the models kept here")
    lines += [f"  {digest.short}" for digest in found.affected[:SHOWN]]
    if len(found.affected) > SHOWN:
        lines.append(f"  and {len(found.affected) - SHOWN:,} more")
    if found.possibly:
        lines.append(f"possibly, by somebody's word alone, and not quarantined: {len(found.possibly):,}")
        lines += [f"  {digest.short}" for digest in found.possibly[:SHOWN]]
    return "\n".join([*lines, deployed_text(found.deployed)])
