"""`promote`, `admit`, `deploy`: ask the gate, and record what runs where."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import decision_text, emit, table
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.gate.promote import Result


@click.command()
@click.argument("model")
@click.option("--name", help="Let this registry name point at the model once it is admitted.")
@click.option("--dry-run", is_flag=True, help="Judge, but change and log nothing.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --dry-run: judge by these policy files.",
)
@click.option("--explain", is_flag=True, help="Show every check, not only those against.")
@common
def promote(
    shared: Shared, model: str, *, name: str | None, dry_run: bool, policy: Path | None, explain: bool
) -> int:
    """Ask the gate to move a model from intake to trusted; the decision is logged either way."""
    from weighbridge.gate.promote import promote as ask
    from weighbridge.registry.models import resolve

    if policy is not None and not dry_run:
        raise UsageError(
            "--policy is for dry runs only",
            cause="what is enforced is the policy that the registry pins",
            remedy="add --dry-run, or change the active policy with `weighbridge policy use`",
        )
    with opened(shared) as registry:
        result = ask(registry, resolve(registry, model), name=name, dry_run=dry_run, policy=policy)
        show(shared, result, explain=explain)
    return result.decision.exit_code


@click.command()
@click.argument("model")
@click.option("--explain", is_flag=True, help="Show every check, not only those against.")
@common
def admit(shared: Shared, model: str, *, explain: bool) -> int:
    """Ask whether a trusted model may run here, now; everything is verified again."""
    from weighbridge.gate.promote import admit as ask
    from weighbridge.registry.models import resolve

    with opened(shared) as registry:
        result = ask(registry, resolve(registry, model))
        show(shared, result, explain=explain)
    return result.decision.exit_code


@click.command()
@click.argument("model", required=False)
@click.option("--target", help="Where it runs, for example prod/chat.")
@click.option("--end", is_flag=True, help="Nothing runs at the target any more.")
@common
def deploy(shared: Shared, model: str | None, *, target: str | None, end: bool) -> int:
    """Record what runs where, after asking whether it may; without arguments, list what runs."""
    from weighbridge.gate.promote import admit as ask
    from weighbridge.registry import deployments, names
    from weighbridge.registry.models import resolve
    from weighbridge.registry.outbox import submit

    with opened(shared) as registry:
        if target is None:
            if model is not None or end:
                raise UsageError("say where with --target", remedy="for example --target prod/chat")
            running = deployments.running(registry)
            rows = [
                (d.target, d.manifest.short, ",".join(names.names_of(registry, d.manifest)), d.since)
                for d in running
            ]
            text = (
                table(rows, ("target", "model", "names", "since"))
                if rows
                else "nothing is recorded as running"
            )
            emit(shared, "deployment", [d.to_json() for d in running], text)
            return 0
        if end:
            with registry.writing():
                submit(registry, deployments.deploy(registry, None, target))
            emit(shared, "deployment", [], f"nothing runs at {target} any more")
            return 0
        if model is None:
            raise UsageError("say which model", remedy="weighbridge deploy MODEL --target TARGET")
        result = ask(registry, resolve(registry, model), target=target)
        show(shared, result)
    return result.decision.exit_code


def show(shared: Shared, result: Result, *, explain: bool = False) -> None:
    """Print a result of the gate: the decision with its receipt beside it."""
    facts = {"decision": str(result.id), "allow": result.decision.allow, "action": result.decision.action}
    logging.getLogger("weighbridge.cli").info("decided", extra={"fields": facts})
    item = result.decision.to_json()
    item["id"] = str(result.id)
    item["receipt"] = result.receipt  # type: ignore[assignment]  # parsed JSON
    item["path"] = str(result.path) if result.path else None
    lines = [decision_text(result.decision, explain=explain)]
    if result.receipt is None:
        lines.append("dry run: nothing was changed or logged")
    else:
        lines.append(f"decision {result.id.short}, {_logged(result.receipt)}")
    if result.path is not None:
        lines.append(f"load it from: {result.path}")
    emit(shared, "decision", [item], "\n".join(lines))


def _logged(receipt: object) -> str:
    if isinstance(receipt, dict):
        return f"log entry {receipt['log_index']} ({receipt['assurance']})"
    return "not logged yet"
