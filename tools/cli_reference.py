"""Write docs/reference/cli.md from the commands themselves, so that it says what --help says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from weighbridge.cli.main import COMMANDS, main

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# The command line

Written by `make fmt` from the commands' own help; a test compares. Exit codes are in [exit-codes.md](exit-codes.md),
the JSON that `--format json` prints in [schemas/](schemas/). Wherever a model is asked for, a reference may be a folder or file
(`./dir`), a hub repository (`hf://org/name@rev`), a digest (`wb1:…`) or a name that the registry knows.

Standard output carries data only; everything else goes to standard error. `NO_COLOR` is respected.
"""


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    settings = main.context_settings | {"terminal_width": 100, "max_content_width": 100}
    with click.Context(main, info_name="weighbridge", **settings) as root:
        for verb in sorted({*COMMANDS, "help"}):
            command = main.get_command(root, verb)
            if command is None:
                raise SystemExit(f"the table names {verb!r}, and there is no such command")
            parts += _sections(command, verb, root, depth=2)
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context, *, depth: int) -> Iterator[str]:
    """Yield one section for a command, then one for each command below it."""
    with click.Context(command, info_name=name, parent=parent, terminal_width=100) as context:
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield f"{'#' * depth} `{context.command_path}`\n\n```text\n{text}\n```\n"
        if isinstance(command, click.Group):
            for child in command.list_commands(context):
                below = command.get_command(context, child)
                if below is not None:
                    yield from _sections(below, child, context, depth=depth + 1)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(TARGET.read_text(encoding="utf-8") != render())
    TARGET.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{TARGET.name}\n")
