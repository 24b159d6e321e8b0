"""`demo`: the whole line at work on real models; each step is a real command, printed before its output."""

from __future__ import annotations

import os
from pathlib import Path

import click

from weighbridge.cli.options import Shared, common


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    help="Where it works.",
)
@click.option("--made", is_flag=True, help="Use models made on the spot; download nothing.")
@common
def demo(shared: Shared, *, folder: Path, made: bool) -> int:
    """Watch a dangerous model refused, a real one travel to a verified load, and three attacks fail."""
    from weighbridge.cli.demo_models import provide
    from weighbridge.cli.demo_play import Play

    del shared
    folder = folder.absolute()
    stage = Play(folder, os.environ)
    stage.reset()
    return stage.run(provide(folder / "downloads", offline=made, tell=stage.tell))
