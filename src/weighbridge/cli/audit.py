"""`audit`: the eight risks as this registry shows them, evidence for a framework, and a pack for an auditor."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened
from weighbridge.cli.render import emit, safe, say, table
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import Unreadable, UsageError

if TYPE_CHECKING:
    from weighbridge.gate.audit import Audit, Risk
    from weighbridge.gate.pack import Made
    from weighbridge.registry.wiring import Registry

COLOURS = {"on": "green", "partly": "yellow", "off": "red"}


@click.command()
@click.option("--framework", metavar="NAME", help="Evidence for the tasks of a framework (sp800-218a).")
@click.option(
    "--pack",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what an auditor asks for to a file.",
)
@click.option(
    "--since", metavar="DAY", help="Where the pack begins, YYYY-MM-DD (default: with the registry)."
)
@click.option(
    "--as-of", metavar="DAY", help="The day, YYYY-MM-DD, whose roles the pack lists (default: today)."
)
@click.option("--unsigned", is_flag=True, help="Do not sign the pack's index with the gate's key.")
@click.option(
    "--script",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the script that verifies packs to a file.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["off", "partly"]),
    help="Exit with 1 when a risk is in this state, or worse.",
)
@common
def audit(
    shared: Shared,
    *,
    framework: str | None,
    pack: Path | None,
    since: str | None,
    as_of: str | None,
    unsigned: bool,
    script: Path | None,
    fail_on: str | None,
) -> int:
    """Show which risks are covered, as settings and decisions measure it; with --pack, hand out the evidence."""
    if pack is None and (since is not None or as_of is not None or unsigned):
        raise UsageError(
            "--since, --as-of and --unsigned are about a pack", remedy="name its file with --pack"
        )
    if script is not None:
        return _script(shared, script)
    from weighbridge.gate.audit import audit as measure

    with opened(shared) as registry:
        found = measure(registry)
        if pack is not None:
            return _pack(shared, registry, found, pack, since=since, as_of=as_of, signed=not unsigned)
        if framework is not None:
            _framework(shared, framework, found)
        else:
            emit(shared, "audit", [found.to_json()], audit_text(found))
    states = {risk.state for risk in found.risks}
    return 1 if fail_on and states & ({"off"} if fail_on == "off" else {"off", "partly"}) else 0


def audit_text(found: Audit) -> str:
    """Return the risks, each with its state and what was measured."""
    head = f"{found.running} running in project {safe(found.project)!r}"
    return "\n".join([head, *(_risk_text(risk) for risk in found.risks)])


def _risk_text(risk: Risk) -> str:
    state = click.style(f"{risk.state:6}", fg=COLOURS[risk.state], bold=True)
    lines = [f"{state} {risk.title}"]
    for measure in risk.measures:
        mark = "·" if not measure.total else "✓" if measure.holds else "✗"
        lines.append(f"   {mark} {measure.question}: {measure.have} of {measure.total}")
        lines.append(f"       found: {safe(measure.found)}")
        if measure.total and not measure.holds:
            lines.append(f"       help:  {safe(measure.remedy)}")
    if risk.limits:
        lines.append(f"     {risk.limits}")
    return "\n".join(lines)


def _framework(shared: Shared, name: str, found: Audit) -> None:
    from weighbridge.gate.framework import evidence_for

    item: Any = evidence_for(name, found)
    rows = [
        (task["id"], f"{task['held']} of {task['of']}", task["checked"], task["title"], task["gap"])
        for task in item["tasks"]
    ]
    head = ("task", "evidence for", "id read in", "about", "gap")
    text = f"{item['title']}, {item['edition']}\n{item['wording']}\n\n{table(rows, head)}"
    emit(shared, "framework", [item], text)


def _pack(
    shared: Shared,
    registry: Registry,
    found: Audit,
    target: Path,
    *,
    since: str | None,
    as_of: str | None,
    signed: bool,
) -> int:
    from weighbridge.gate.framework import evidence_for, frameworks
    from weighbridge.gate.pack import EPOCH, Wanted, make_pack

    documents: dict[str, JSON] = {"audit.json": found.to_json()}
    documents |= {f"framework-{name}.json": evidence_for(name, found) for name in frameworks()}
    wanted = Wanted(
        since=_day(since) if since is not None else EPOCH,
        as_of=min(end_of_day(as_of), registry.clock.now()) if as_of is not None else None,
        documents=documents,
        signed=signed,
        secret=_secrets(),
    )
    made = make_pack(registry, target, wanted)
    emit(shared, "pack", [made.to_json()], _pack_text(made))
    if made.wrong:
        say(shared, "the records do not verify: find out who can write to the registry's folder")
    return 1 if made.wrong else 3 if made.missing else 0


def _pack_text(made: Made) -> str:
    lines = [f"{made.path}: {made.records} records, {made.size} bytes, sha256 {made.sha256}"]
    lines += [f"{number:6d}  {name}" for name, number in made.lists.items()]
    lines += [click.style(f"WRONG: {safe(row)}", fg="red") for row in made.wrong[:20]]
    lines += [f"missing: {safe(row)}" for row in made.missing[:20]]
    lines.append(
        "verify it with: python verify_pack.py PACK --root ROOT.pub.pem (weighbridge audit --script FILE)"
    )
    return "\n".join(lines)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise UsageError(f"--since {text!r} is no day", remedy="write it as YYYY-MM-DD") from error


def _secrets() -> Callable[[str], str]:
    """Return what finds secrets in a text: by their shape, and by the values that this process was given."""
    from weighbridge.core.redact import MIN_SECRET, SECRET_NAMES
    from weighbridge.gate.pack_sources import looks_secret

    values = [
        (name, value)
        for name, value in os.environ.items()
        if SECRET_NAMES.search(name) and len(value) >= MIN_SECRET
    ]

    def look(text: str) -> str:
        named = next((f"the value of {name}" for name, value in values if value in text), "")
        return named or looks_secret(text)

    return look


def _script(shared: Shared, target: Path) -> int:
    from weighbridge.gate.pack_script import script

    data = script()
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise UsageError(f"there is already something at {target}", remedy="name another file") from error
    except OSError as error:
        raise Unreadable(f"{target} cannot be written", cause=error.strerror or str(error)) from error
    emit(shared, "script", [{"path": str(target), "bytes": len(data)}], f"written: {target}")
    return 0
