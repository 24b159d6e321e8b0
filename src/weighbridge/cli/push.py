"""`push`: put an admitted model into an OCI registry, with its claims and its bill of materials."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common, opened, progress
from weighbridge.cli.render import emit, size, table

if TYPE_CHECKING:
    from weighbridge.gate.pushing import Pushed


@click.command()
@click.argument("model")
@click.argument("target", metavar="oci://HOST/REPOSITORY[:TAG]")
@click.option("--dry-run", is_flag=True, help="Ask the gate and the registry, and say what would be sent.")
@common
def push(shared: Shared, model: str, target: str, *, dry_run: bool) -> int:
    """Push a model that the gate admits now to an OCI registry; its tag is put last.

    It is the artifact that `serve --mirror` hands out under /v2/. Claims and bill of materials refer to it
    (docs/mirror.md). OCI_USERNAME and OCI_PASSWORD are sent to OCI_HOST only.
    """
    from weighbridge.core.reference import parse_reference
    from weighbridge.gate.pushing import push as send
    from weighbridge.registry import models

    to, asked = parse_reference(target), parse_reference(model)
    name = asked.target if asked.scheme == "name" else ""
    with opened(shared) as registry:
        digest = models.resolve(registry, model)
        total = models.get(registry, digest).manifest.size
        with progress(shared, "pushing", 0 if dry_run else total) as advance:
            result = send(registry, digest, to, environ=os.environ, name=name, dry=dry_run, progress=advance)
    emit(shared, "push", [result.to_json()], _text(result))
    return 0


def _text(result: Pushed) -> str:
    word = "would be sent" if result.dry else "sent"
    rows = [
        (part.kind, part.name, size(part.size), word if part.sent else "there already", part.digest[:19])
        for part in result.parts
    ]
    sent = [part for part in result.parts if part.sent]
    lines = [
        table(rows, ("what", "file", "size", "", "digest")),
        f"{len(sent)} of {len(rows)} {word}, {size(sum(part.size for part in sent))}",
    ]
    if result.before and result.before != result.manifest:
        lines.append(f"{result.reference} {'means' if result.dry else 'meant'} {result.before} before")
    if not result.dry:
        lines.append(f"what refers to it is listed by the registry's {result.listed}")
    lines.append(f"{result.reference}\n{result.pinned}")
    return "\n".join(lines)
