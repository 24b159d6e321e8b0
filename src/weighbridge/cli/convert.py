"""`convert`: rebuild pickled checkpoints as safetensors, without a registry and without running them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit
from weighbridge.core.errors import UsageError

if TYPE_CHECKING:
    from weighbridge.conversion.convert import Conversion


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The safetensors file to write (default: beside it).",
)
@common
def convert(shared: Shared, *, checkpoint: Path, to: Path | None) -> int:
    """Rebuild a pickled checkpoint as safetensors; nothing in it is executed, every tensor is compared."""
    from weighbridge.source.local import open_folder

    target = to or checkpoint.with_suffix(".safetensors")
    if target.exists():
        raise UsageError(f"{target} exists already", remedy="name another file with --to")
    with open_folder(checkpoint) as tree:
        file = tree.files()[0]
        from weighbridge.conversion.convert import convert_checkpoint

        with file.open() as source:
            made = convert_checkpoint(source, file.size, target)
    emit(
        shared,
        "conversion",
        [{"source": str(checkpoint), "output": str(target), **made.to_json()}],
        _text(made, target),
    )
    return 0


def _text(made: Conversion, target: Path) -> str:
    return (
        f"{target}: {made.tensors} tensors, method rebuilt, equivalence proven\n"
        f"{made.output_root} over all tensors, on both sides\n{made.output_sha256}"
    )
