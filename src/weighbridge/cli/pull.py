"""`pull` and `intake`: bring a model in; pull goes on to convert, describe and ask the gate."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, end_of_day, opened, progress
from weighbridge.cli.promote import show
from weighbridge.cli.render import emit, finding_text, say, size
from weighbridge.core.canonical import JSON
from weighbridge.core.digest import Digest
from weighbridge.core.errors import UsageError
from weighbridge.core.reference import parse_reference
from weighbridge.core.tier import Origin

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
@common
def intake(shared: Shared, model: str, expect: tuple[str, ...]) -> int:
    """Take a model in: copy and hash every byte, write its bill of materials. Nothing is admitted by this."""
    with opened(shared) as registry:
        taken = take(shared, registry, model, expect)
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
@common
def pull(shared: Shared, model: str, expect: tuple[str, ...], **answers: str | None) -> int:
    """Fetch a stranger's model, pin, scan, convert if needed, describe, and ask the gate.

    Prints the path of the admitted model, or the one reason why not.
    """
    from weighbridge.gate.promote import promote
    from weighbridge.registry.intake import accept

    name, day = answers.pop("name"), answers.pop("until")
    until = end_of_day(day) if day else None
    with opened(shared) as registry:
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
    """Take in what a reference names; a hub reference is always a stranger's."""
    from weighbridge.registry.intake import take_folder, take_hub

    path = Path(text).expanduser()
    reference = None if path.exists() else parse_reference(text)
    with progress(shared, "taking in", _size_of(path)) as advance:
        if reference is not None and reference.scheme == "hf":
            return take_hub(registry, reference, token=os.environ.get("HF_TOKEN"), progress=advance)
        if reference is not None and reference.scheme != "path":
            raise UsageError(
                f"{text!r} is already a registry's word for a model", remedy="give a path or hf://org/name"
            )
        announced = dict(_expectation(item) for item in expect)
        return take_folder(registry, path, announced=announced, origin=Origin.OWN, progress=advance)


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
