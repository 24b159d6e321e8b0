"""`bom`: print the bill of materials of a kept model, or of a folder."""

from __future__ import annotations

import json

import click

from weighbridge.cli.options import Shared, common, opened
from weighbridge.cli.render import print_json
from weighbridge.core.errors import NotFound


@click.command()
@click.argument("model")
@common
def bom(shared: Shared, model: str) -> int:
    """Print the CycloneDX ML-BOM that intake made of a model and signed."""
    from weighbridge.registry import models

    with opened(shared) as registry:
        kept = models.get(registry, models.resolve(registry, model))
    if kept.bom is None:
        raise NotFound(
            f"{kept.digest.short} has no bill of materials",
            remedy="take it in again: weighbridge intake PATH",
        )
    document = json.loads(kept.bom)
    if shared.output is not None:
        shared.output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        print_json(document)
    return 0
