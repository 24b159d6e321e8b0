"""`promote`, `admit`, `deploy`: ask the gate, and record what runs where."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import decision_text, emit, table
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.gate.promote import Result


@click.command()
@click.argument("model")
@click.option("--name", help="Let this registry name point at the model once it is admitted.")
@click.option(
    "--yes-it-differs-from",
    "differs",
    multiple=True,
    metavar="OTHER",
    help="With --name: a name that this one looks like, and is meant to.",
)
@click.option("--because", default="", metavar="REASON", help="Why the name is meant; goes into the log.")
@click.option("--dry-run", is_flag=True, help="Judge, but change and log nothing.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --dry-run: judge by these policy files.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Show every check: floor, policy, exceptions, mode; and what --policy would change.",
)
@common
def promote(
    shared: Shared,
    model: str,
    *,
    name: str | None,
    differs: tuple[str, ...],
    because: str,
    dry_run: bool,
    policy: Path | None,
    explain: bool,
) -> int:
    """Ask the gate to move a model from intake to trusted; the decision is logged either way."""
    from weighbridge.gate.promote import promote as ask
    from weighbridge.registry.models import resolve
    from weighbridge.registry.new_names import Differs

    if policy is not None and not dry_run:
        raise UsageError(
            "--policy is for dry runs only",
            cause="what is enforced is the policy that the registry pins",
            remedy="add --dry-run, or change the active policy with `weighbridge policy use`",
        )
    with opened(shared) as registry:
        meant = Differs(differs, because) if differs else None
        digest = resolve(registry, model)
        result = ask(registry, digest, name=name, differs=meant, dry_run=dry_run, policy=policy)
        show(shared, result, explain=explain)
    if not dry_run:
        _unenforced(result)
    return result.decision.exit_code


@click.command()
@click.argument("model")
@click.option("--target", help="Where it is to run, for example prod/chat; recorded there with `deploy`.")
@click.option(
    "--namespace", metavar="NAME", help="Whose mode holds (default: the target's, before the first /)."
)
@click.option("--explain", is_flag=True, help="Show every check: floor, policy, exceptions and mode.")
@common
def admit(shared: Shared, model: str, *, target: str | None, namespace: str | None, explain: bool) -> int:
    """Ask whether a trusted model may run here, now; everything is verified again.

    Where the mode is not enforce, what is blocked is said, and not enforced: the exit code is then 0.
    """
    from weighbridge.gate.modes import namespace_of
    from weighbridge.gate.promote import admit as ask
    from weighbridge.registry.models import resolve

    where = namespace_of(target, namespace)
    with opened(shared) as registry:
        result = ask(registry, resolve(registry, model), namespace=where)
        show(shared, result, explain=explain)
    return _unenforced(result)


@click.command()
@click.argument("model", required=False)
@click.option("--target", help="Where it runs, for example prod/chat.")
@click.option("--end", is_flag=True, help="Nothing runs at the target any more.")
@click.option(
    "--from",
    "source",
    metavar="k8s|mlflow|s3|FILE",
    help="Register what runs already; MODEL is then where to look (docs/sources.md).",
)
@click.option("--copy", is_flag=True, help="With --from: keep a copy of what could be read where it lies.")
@common
def deploy(
    shared: Shared, model: str | None, *, target: str | None, end: bool, source: str | None, copy: bool
) -> int:
    """Record what runs where, after asking whether it may; without arguments, list what runs."""
    if source is not None:
        from weighbridge.cli.adopting import adopt_running

        if target is not None or end:
            raise UsageError("--from says itself what runs where", remedy="leave out --target and --end")
        return adopt_running(shared, source, model, copy=copy)
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
    return _unenforced(result)


def _unenforced(result: Result) -> int:
    """Say on standard error that an answer was not acted on; returns the exit code for somebody who was about to run a model."""
    decision = result.decision
    if decision.enforced:
        return decision.exit_code
    kept = {"promote": "; nothing was promoted", "admit": "; no admission was signed"}
    click.echo(f"not enforced (mode {decision.mode.value}){kept.get(decision.action, '')}", err=True)
    return 0


def show(shared: Shared, result: Result, *, explain: bool = False) -> None:
    """Print a result of the gate: the decision with its receipt beside it."""
    facts = {"decision": str(result.id), "allow": result.decision.allow, "action": result.decision.action}
    logging.getLogger("weighbridge.cli").info("decided", extra={"fields": facts})
    item: dict[str, JSON] = dict(result.body)
    item["id"] = str(result.id)
    item["receipt"] = result.receipt  # type: ignore[assignment]  # parsed JSON
    item["path"] = str(result.path) if result.path else None
    if result.active is not None:
        item["active"] = result.active.to_json()
    if explain:
        from weighbridge.cli.explaining import explained

        lines = [explained(result)]
    else:
        lines = [decision_text(result.decision)]
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
