"""`log witness` and `log cosign`: be a witness of other logs, and have one's own log witnessed."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.cli.secrets import open_key
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def witness() -> None:
    """Be a witness of other people's logs: cosign what extends all that was cosigned before."""


@witness.command("new")
@click.argument("folder", type=FOLDER)
@click.option("--name", required=True, help="Its name in signature lines: witness.example/w1.")
@click.option(
    "--key", "keys", multiple=True, required=True, help="Its keys: ed25519, ml-dsa-44, or one of each."
)
@common
def new(shared: Shared, folder: Path, *, name: str, keys: tuple[str, ...]) -> int:
    """Make a witness in FOLDER; it knows no log yet. Its verifier keys are what others need.

    Sizes and roots are written once more into the configuration home: keep the two out of one backup.
    """
    from weighbridge.ledger.cosignature import Cosigner
    from weighbridge.ledger.witness import Witness
    from weighbridge.ledger.witness_state import anchor_of
    from weighbridge.registry.wiring import SystemClock

    cosigners = [Cosigner(name, open_key(shared, key)) for key in keys]
    anchor = anchor_of(shared.config.home, cosigners)
    Witness.create(folder, cosigners, clock=SystemClock(), anchor=anchor)
    rows: list[JSON] = [
        {"name": name, "algorithm": row.algorithm, "verifier_key": row.verifier_key} for row in cosigners
    ]
    emit(shared, "witness", rows, "\n".join(row.verifier_key for row in cosigners))
    return 0


@witness.command("trust")
@click.argument("folder", type=FOLDER)
@click.option(
    "--key", "keys", multiple=True, required=True, help="The log's key: a PEM file, or NAME+ID+BASE64."
)
@click.option("--origin", default="", help="The log's origin; a verifier key says it already.")
@common
def trust(shared: Shared, folder: Path, *, keys: tuple[str, ...], origin: str) -> int:
    """Witness one more log from now on."""
    from weighbridge.cli.log_keys import read_log_key
    from weighbridge.ledger.witness_state import WitnessedLog, WitnessState, anchor_of, keys_of

    named = [read_log_key(key) for key in keys]
    names = {row.name for row in named}
    name = next(iter(names)) if len(names) == 1 else ""
    if not (origin or name):
        raise UsageError(
            "which log is it?", remedy="give --origin, the first line of its checkpoints", check="log.origin"
        )
    own = keys_of(folder)
    log = WitnessedLog(
        origin or name, tuple(row.pem for row in named), name if origin and name != origin else ""
    )
    WitnessState(folder, own, anchor_of(shared.config.home, own)).add_log(log)
    emit(shared, "witness", [log.to_json()], f"{log.origin} is witnessed from now on")
    return 0


@witness.command("show")
@click.argument("folder", type=FOLDER)
@common
def show(shared: Shared, folder: Path) -> int:
    """Show the keys of a witness, its logs and what it cosigned last; fails when it cannot tell."""
    from weighbridge.core.clock import rfc3339
    from weighbridge.ledger.witness_state import WitnessState, anchor_of, keys_of

    own = keys_of(folder)
    state = WitnessState(folder, own, anchor_of(shared.config.home, own))
    rows: list[JSON] = []
    lines = [f"{row.name} ({row.algorithm})" for row in own]
    for log in state.logs():
        with state.holding(log.origin) as holding:
            last = holding.last
        when = rfc3339(last.time) if last.time else None
        rows.append(
            {"origin": log.origin, "size": last.head.size, "root": last.head.root.hex(), "cosigned": when}
        )
        lines.append(f"{log.origin}: {last.head.size} entries, cosigned {when or 'never'}")
    emit(shared, "witness", rows, "\n".join(lines))
    return 0


@click.command("cosign")
@click.option(
    "--ask", "asked", multiple=True, metavar="NAME=URL", help="Whom to ask, instead of the setting."
)
@click.option(
    "--quorum", type=click.IntRange(1), help="How many must cosign; by default what the authority demands."
)
@common
def cosign(shared: Shared, *, asked: tuple[str, ...], quorum: int | None) -> int:
    """Have the log's newest checkpoint cosigned by its witnesses, and keep it."""
    from weighbridge.core.clock import rfc3339
    from weighbridge.registry.witnesses import cosign as ask

    with opened(shared) as registry:
        found = ask(registry, quorum=quorum, setting=" ".join(asked) if asked else None)
        if found is None:
            raise UsageError(
                "no witness is known",
                cause="the setting `witnesses` is empty",
                remedy="have the authority name witnesses, then give --ask NAME=URL, or WEIGHBRIDGE_WITNESSES",
                check="log.witness-address",
            )
        rows: list[JSON] = [
            {
                "witness": row.name,
                "cosigned": rfc3339(row.cosigned) if row.cosigned else None,
                "problem": row.problem,
                "alarm": row.alarm,
            }
            for row in found.answers
        ]
        lines = [f"{row.name}: {'cosigned' if row.cosigned else row.problem}" for row in found.answers]
        lines.append(f"{found.cosigned} of {found.quorum} needed, {found.head.size} entries")
        emit(shared, "cosignature", rows, "\n".join(lines))
        found.check()
    return 0
