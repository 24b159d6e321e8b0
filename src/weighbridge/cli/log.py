"""`log`: show the transparency log, prove an entry, check that the log only grew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry


@click.group()
def log() -> None:
    """Show the transparency log, prove an entry, check its growth."""


@log.command("show")
@click.option("--entries", type=click.IntRange(0, 1000), default=0, help="Show the last N entries.")
@common
def show(shared: Shared, *, entries: int) -> int:
    """Print the newest checkpoint (pin it elsewhere), or the last entries."""
    import json

    with opened(shared) as registry:
        note, size = registry.log.checkpoint_text, registry.log.size
        rows = [registry.log.entry(index) for index in range(max(0, size - entries), size)] if entries else []
        lines = [
            f"{row.index}  {json.loads(row.body).get('kind')}  {row.body[:120].decode(errors='replace')}…"
            for row in rows
        ]
        item: dict[str, JSON] = {
            "origin": registry.log.origin,
            "size": size,
            "checkpoint": note,
            "assurance": "single-operator",
        }
        emit(shared, "checkpoint", [item], "\n".join(lines) if rows else note.rstrip("\n"))
    return 0


@log.command("prove")
@click.option(
    "--since", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A checkpoint kept earlier."
)
@click.option("--entry", type=click.IntRange(0), help="Prove that this entry is in the log.")
@click.option(
    "--all", "everything", is_flag=True, help="Read the whole log again and hold it against its checkpoint."
)
@common
def prove(shared: Shared, *, since: Path | None, entry: int | None, everything: bool) -> int:
    """Prove that the log only grew since a kept checkpoint, or that an entry is in it."""
    if since is None and entry is None and not everything:
        raise UsageError("say what to prove", remedy="--since CHECKPOINT, --entry N or --all")
    with opened(shared) as registry:
        lines: list[str] = []
        item: dict[str, JSON] = {"origin": registry.log.origin, "size": registry.log.size}
        if since is not None:
            lines.append(_growth(registry, since.read_text(encoding="utf-8"), item))
        if entry is not None:
            hashes = [step.hex() for step in registry.log.prove(entry)]
            item["inclusion"] = {"index": entry, "hashes": hashes}
            lines.append(
                f"entry {entry} is in the log of {registry.log.size} entries, proven by {len(hashes)} hashes"
            )
        if everything:
            item["verified"] = registry.log.verify_all()
            lines.append(f"all {item['verified']} entries were read again: they are what the checkpoint says")
        emit(shared, "proof", [item], "\n".join(lines))
    return 0


def _growth(registry: Registry, note: str, item: dict[str, JSON]) -> str:
    from weighbridge.core.errors import VerificationFailed
    from weighbridge.ledger.checkpoint import parse_checkpoint
    from weighbridge.trust.verify import verify_log_extension

    kept = note if note.endswith("\n") else note + "\n"
    old = parse_checkpoint(kept)[0]
    named = next(row for row in registry.authority.logs if row.origin == registry.log.origin)
    if old.size > registry.log.size:
        raise VerificationFailed(
            "the log is shorter than it was",
            cause=f"the kept checkpoint has {old.size} entries, the log {registry.log.size}",
            remedy="the log was rolled back or replaced: ask the registry's owner",
            check="log.consistency",
        )
    proof = registry.log.consistency(old.size)
    verify_log_extension(kept, registry.log.checkpoint_text, proof, named.pem)
    item["consistency"] = {
        "from": old.size,
        "to": registry.log.size,
        "hashes": [step.hex() for step in proof],
    }
    return f"the log grew from {old.size} to {registry.log.size} entries and nothing in it was changed ({len(proof)} hashes)"
