"""`log`: show the transparency log, prove an entry, check that the log only grew, copy it, read other people's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.log_watch import watch
from weighbridge.cli.log_witness import cosign, witness
from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import emit, safe, say
from weighbridge.core.canonical import JSON
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.registry.wiring import Registry


@click.group()
def log() -> None:
    """Show the transparency log, prove an entry, check its growth."""


log.add_command(watch)
log.add_command(witness)
log.add_command(cosign)


@log.command("show")
@click.option("--entries", type=click.IntRange(0, 1000), default=0, help="Show the last N entries.")
@common
def show(shared: Shared, *, entries: int) -> int:
    """Print the newest checkpoint (pin it elsewhere), or the last entries."""
    from weighbridge.core.clock import rfc3339
    from weighbridge.registry.witnesses import demanded, fresh, newest

    with opened(shared) as registry:
        head, note = registry.log.signed_head
        first = max(0, head.size - entries)
        rows = [registry.log.entry(index) for index in range(first, head.size)] if entries else []
        lines = [f"{row.index}  {_kind(row.body)}  {_beginning(row.body)}…" for row in rows]
        seen, quorum = fresh(registry.log, registry.authority), demanded(registry.authority)
        item: dict[str, JSON] = {
            "origin": registry.log.origin,
            "size": head.size,
            "checkpoint": note,
            "assurance": newest(registry.log, registry.authority).value,
            "witnessed": {"size": seen.size, "at": rfc3339(seen.seen), "quorum": quorum} if seen else None,
            "frozen": head.frozen,
        }
        emit(shared, "checkpoint", [item], "\n".join(lines) if rows else note.rstrip("\n"))
        if seen is not None:
            say(shared, f"{quorum} or more witnesses saw {seen.size} entries at {rfc3339(seen.seen)}")
    return 0


def _kind(body: bytes) -> str:
    """Return what an entry says it is; nobody promises that it is JSON."""
    from weighbridge.core.canonical import parse

    try:
        value = parse(body)
    except ValueError:
        return "?"
    return safe(str(value.get("kind"))) if isinstance(value, dict) else "?"


def _beginning(body: bytes) -> str:
    return safe(body[:120].decode(errors="replace"))


@log.command("export")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@common
def export(shared: Shared, folder: Path) -> int:
    """Copy the log as static files (C2SP tlog-tiles), or bring such a copy up to date; every entry is checked."""
    with opened(shared) as registry:
        size = registry.log.export(folder)
        item: dict[str, JSON] = {"origin": registry.log.origin, "size": size, "folder": str(folder)}
        emit(shared, "log", [item], f"{folder}: {size} entries of {registry.log.origin}")
    return 0


@log.command("verify")
@click.argument("place", metavar="FOLDER|URL")
@click.option("--key", required=True, help="The log's public key: a PEM file, or NAME+ID+BASE64.")
@click.option("--origin", default="", help="The log's origin, the first line of its checkpoints.")
@click.option(
    "--since", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A checkpoint kept earlier."
)
@common
def verify(shared: Shared, place: str, *, key: str, origin: str, since: Path | None) -> int:
    """Read somebody's log from its beginning and hold every entry against its signed checkpoint."""
    from weighbridge.cli.log_keys import foreign_log
    from weighbridge.ledger.following import read_all

    reader, _ = foreign_log(place, key, origin, offline=bool(shared.config["offline"]))
    note, head = read_all(reader, lambda _: None)
    lines = [f"{head.origin}: all {head.size} entries are what its checkpoint says"]
    item: dict[str, JSON] = {"origin": head.origin, "size": head.size, "checkpoint": note, "since": None}
    if since is not None:
        kept = since.read_text(encoding="utf-8")
        old = reader.verify(kept if kept.endswith("\n") else kept + "\n")
        reader.check_extends(old, head)
        item["since"] = old.size
        lines.append(f"it grew from {old.size} entries and nothing in it was changed")
    if head.frozen:
        lines.append(f"it is frozen: {head.frozen}")
    emit(shared, "log", [item], "\n".join(safe(line) for line in lines))
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
        size = registry.log.size
        item: dict[str, JSON] = {"origin": registry.log.origin, "size": size}
        if since is not None:
            lines.append(_growth(registry, since.read_text(encoding="utf-8"), item))
        if entry is not None:
            hashes = [step.hex() for step in registry.log.prove(entry, size)]
            item["inclusion"] = {"index": entry, "hashes": hashes}
            lines.append(f"entry {entry} is in the log of {size} entries, proven by {len(hashes)} hashes")
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
    log = next((row for row in registry.before if row.origin == old.origin), registry.log)
    if old.size > log.size:
        raise VerificationFailed(
            "the log is shorter than it was",
            cause=f"the kept checkpoint has {old.size} entries, the log {log.size}",
            remedy="the log was rolled back or replaced: ask the registry's owner",
            check="log.consistency",
        )
    newest, proof = log.extension(old.size)
    verify_log_extension(kept, newest, proof, log.public_pem)
    size = parse_checkpoint(newest)[0].size
    item["consistency"] = {"from": old.size, "to": size, "hashes": [step.hex() for step in proof]}
    grown = (
        f"the log grew from {old.size} to {size} entries and nothing in it was changed ({len(proof)} hashes)"
    )
    if log is registry.log:
        return grown
    return f"{grown}\nit is frozen, and goes on as {registry.log.origin!r}, which begins with its last checkpoint"
