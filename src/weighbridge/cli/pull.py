"""`pull` and `intake`: bring a model in; pull goes on to convert, describe and ask the gate."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened, progress
from weighbridge.cli.promote import show
from weighbridge.cli.render import emit, finding_text, say, size, table
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.reference import Reference, parse_reference

if TYPE_CHECKING:
    from weighbridge.registry.intake import Acceptance
    from weighbridge.registry.models import Model
    from weighbridge.registry.wiring import Registry

ACCEPT_DAYS = 180


@click.command()
@click.argument("model")
@click.option(
    "--expect", multiple=True, metavar="PATH=sha256:HEX", help="A digest the publisher announced for a file."
)
@click.option(
    "--dry-run", is_flag=True, help="Say what would be fetched, and how long it takes; fetch nothing."
)
@click.option(
    "--in-place", is_flag=True, help="Read and hash every byte, but keep no copy: read it where it lies."
)
@common
def intake(shared: Shared, model: str, *, expect: tuple[str, ...], dry_run: bool, in_place: bool) -> int:
    """Take a model in: copy and hash every byte, write its bill of materials. Nothing is admitted by this.

    MODEL is a path or a reference to a hub, an OCI registry, a bucket, an address or MLflow (docs/sources.md).
    """
    with opened(shared) as registry:
        if dry_run:
            return _show_plan(shared, registry, model)
        taken = (take_where_it_lies if in_place else take)(shared, registry, model, expect)
        emit(
            shared,
            "model",
            [model_json(taken)],
            f"{taken.digest}\n{len(taken.manifest.files)} files, {size(taken.manifest.size)}, in intake",
        )
    return 0


@click.command()
@click.argument("model")
@click.option(
    "--expect", multiple=True, metavar="PATH=sha256:HEX", help="A digest the publisher announced for a file."
)
@click.option("--accept", metavar="REASON", help="Accept this origin, and say why.")
@click.option("--publisher", help="Who made the model (a hub reference says so itself).")
@click.option("--licence", help="Its licence, as an SPDX id.")
@click.option("--reviewer", help="Who looked at it (default: the actor).")
@click.option("--until", help="Last day of the acceptance, YYYY-MM-DD (default: 180 days).")
@click.option("--name", help="A registry name for the admitted model.")
@click.option(
    "--dry-run", is_flag=True, help="Say what would be fetched, and how long it takes; fetch nothing."
)
@common
def pull(shared: Shared, model: str, expect: tuple[str, ...], *, dry_run: bool, **answers: str | None) -> int:
    """Fetch a stranger's model, pin, scan, convert if needed, describe, and ask the gate.

    Prints the path of the admitted model, or the one reason why not. MODEL is a path or a reference to a hub,
    an OCI registry, a bucket, an address or MLflow (docs/sources.md).
    """
    from weighbridge.gate.promote import promote
    from weighbridge.registry.intake import accept

    name, day = answers.pop("name"), answers.pop("until")
    until = end_of_day(day) if day else None
    with opened(shared) as registry:
        if dry_run:
            return _show_plan(shared, registry, model)
        received = take(shared, registry, model, expect)
        say(shared, f"received   {received.digest}  {size(received.manifest.size)}")
        if answers["accept"]:
            acceptance = _acceptance(registry, received, answers, until)
            received = accept(registry, received, acceptance)
            say(
                shared,
                f"accepted   origin {acceptance.publisher}, by {acceptance.reviewer}: {acceptance.reason}",
            )
        usable = _usable(shared, registry, received)
        result = promote(registry, usable.digest, name=name)
        show(shared, result)
    return result.decision.exit_code


def take(shared: Shared, registry: Registry, text: str, expect: tuple[str, ...]) -> Model:
    """Take in what a reference names; only what lies on this machine is our own."""
    from weighbridge.registry.intake import plan
    from weighbridge.registry.intake import take as take_in

    reference = _reference(text)
    announced = dict(_expectation(item) for item in expect)
    total = _size_of(Path(reference.target).expanduser())
    if reference.scheme != "path" and sys.stderr.isatty() and not shared.quiet:
        total = sum(file.size for file in plan(registry, reference, environ=os.environ))
    with progress(shared, "taking in", total) as advance:
        return take_in(
            registry,
            reference,
            environ=os.environ,
            announced=announced,
            progress=advance,
            on_drift=lambda drift: say(shared, f"drift      {drift}"),
            on_claims=lambda claims: say(shared, f"claims     {claims}"),
        )


def take_where_it_lies(shared: Shared, registry: Registry, text: str, expect: tuple[str, ...]) -> Model:
    """Take in without a copy what a path or a bucket's address names."""
    from weighbridge.registry.in_place import take_reference_in_place

    reference = _reference(text)
    announced = dict(_expectation(item) for item in expect)
    with progress(shared, "hashing in place", _size_of(Path(reference.target).expanduser())) as advance:
        return take_reference_in_place(
            registry, reference, environ=os.environ, announced=announced, progress=advance
        )


def _reference(text: str) -> Reference:
    """Return what was typed, a path where there is one of that name."""
    if Path(text).expanduser().exists():
        return Reference("path", text)
    reference = parse_reference(text)
    if reference.scheme in ("name", "digest"):
        raise UsageError(
            f"{text!r} is already a registry's word for a model",
            remedy="give a path, hf://org/name or another source (docs/sources.md)",
        )
    return reference


ASSUMED_RATE = 100_000_000
"""Bytes a second that a dry run takes a network to give; nobody is asked for any to find out."""


def _show_plan(shared: Shared, registry: Registry, text: str) -> int:
    """Print what taking a model in would fetch; no byte of a model is fetched for it."""
    from weighbridge.registry.intake import plan

    reference = _reference(text)
    files = plan(registry, reference, environ=os.environ)
    whole = sum(file.size for file in files)
    missing = sum(file.size for file in files if not file.kept)
    hashing = _hashing_rate()
    slower = hashing if reference.scheme == "path" else min(hashing, ASSUMED_RATE)
    seconds = round(missing / slower + (whole - missing) / hashing)
    rows = [(f.path, size(f.size), "yes" if f.kept else "no" if f.announced else "not known") for f in files]
    why = f"{size(int(hashing))}/s of hashing here"
    if reference.scheme != "path":
        why += f", {size(ASSUMED_RATE)}/s of network assumed"
    lines = [
        table(rows, ("file", "size", "kept already")),
        f"{len(files)} files, {size(whole)}; {size(missing)} to {'read' if reference.scheme == 'path' else 'fetch'}",
        f"about {seconds} s ({why}); nothing was fetched",
    ]
    item: dict[str, JSON] = {
        "reference": str(reference),
        "files": [file.to_json() for file in files],
        "bytes": whole,
        "missing": missing,
        "seconds": seconds,
    }
    emit(shared, "plan", [item], "\n".join(lines))
    return 0


def _hashing_rate() -> float:
    """Return how many bytes a second this machine hashes as intake does, by hashing a little."""
    import hashlib
    import time

    from blake3 import blake3

    block = bytes(8 * 1024 * 1024)
    begun = time.perf_counter()
    hashlib.sha256(block)
    blake3(block)
    return len(block) / max(time.perf_counter() - begun, 1e-6)


def model_json(model: Model) -> dict[str, JSON]:
    """Return a kept model as JSON."""
    return {
        "digest": str(model.digest),
        "weights": str(model.manifest.weights) if model.manifest.weights else None,
        "tier": model.tier.value,
        "status": model.status.value,
        "origin": model.origin.value,
        "label": model.label,
        "files": len(model.manifest.files),
        "size": model.manifest.size,
        "source": dict(model.source),
    }


def _usable(shared: Shared, registry: Registry, received: Model) -> Model:
    """Return the model itself, or its conversion when it holds pickled checkpoints that can be rebuilt."""
    from weighbridge.registry.rebuilding import convert_kept, needs_conversion, scan_kept

    report = scan_kept(registry, received)
    say(
        shared,
        f"scanned    {report.verdict.value}, {size(report.coverage.bytes_read)} of {size(report.coverage.bytes_present)} read",
    )
    if not report.verdict.passes:
        for finding in sorted(report.findings, key=lambda f: -f.verdict.rank)[:3]:
            say(shared, finding_text(finding))
        return received
    if not needs_conversion(report, received):
        return received
    converted = convert_kept(registry, received, report)
    say(shared, f"converted  {converted.digest}  every tensor compared, nothing executed")
    return converted


def _acceptance(
    registry: Registry, received: Model, answers: dict[str, str | None], until: datetime | None
) -> Acceptance:
    from weighbridge.registry.intake import Acceptance

    publisher = answers["publisher"] or str(received.source.get("repository", "")).partition("/")[0]
    licence = answers["licence"] or str(received.source.get("licence", "") or "")
    for word, value in (("publisher", publisher), ("licence", licence)):
        if not value:
            raise UsageError(f"an accepted origin needs a {word}", remedy=f"add --{word}")
    expires = until or registry.clock.now() + timedelta(days=ACCEPT_DAYS)
    reviewer = answers["reviewer"] or registry.actor
    return Acceptance(publisher, licence, reviewer, str(answers["accept"]), expires)


def _expectation(text: str) -> tuple[str, Digest]:
    path, equals, digest = text.rpartition("=")
    if not equals or not path:
        raise UsageError(
            f"--expect {text!r} is not PATH=sha256:HEX", remedy="for example --expect full.pth=sha256:…"
        )
    return path, Digest.parse(digest)


def _size_of(path: Path) -> int:
    try:
        files = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        return sum(item.stat().st_size for item in files)
    except OSError:
        return 0
