"""Pictures on the command line: writes the SVG of a lineage to the file that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weighbridge.cli.options import Shared
from weighbridge.cli.render import say
from weighbridge.core.errors import Unreadable, UsageError

if TYPE_CHECKING:
    from weighbridge.gate.lineage import Lineage


def draw(shared: Shared, path: Path, lineage: Lineage, title: str) -> None:
    """Draw a lineage at `path`; raises UsageError for a name that is no SVG file's, Unreadable when it cannot be written."""
    from weighbridge.gate.pictures import picture

    if path.suffix.lower() != ".svg":
        raise UsageError(
            f"a picture is an SVG file, and {path.name!r} is not called one", remedy="name it like family.svg"
        )
    try:
        path.write_text(picture(lineage, title=title), encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"{path} cannot be written", cause=error.strerror or str(error)) from error
    say(shared, f"picture: {path}")
