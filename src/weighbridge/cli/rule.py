"""`rule`: explain a rule of the scanner, or list them all with their verdicts."""

from __future__ import annotations

import sys

import click

from weighbridge.cli.options import Shared, common_with
from weighbridge.cli.render import emit, table
from weighbridge.core.errors import NotFound


@click.command()
@click.argument("id_", metavar="[ID]", required=False)
@common_with("markdown")
def rule(shared: Shared, *, id_: str | None) -> int:
    """Explain a rule of the scanner; without an id, list them with the verdict each comes to."""
    from weighbridge.scanner.explain import explain, rule_table

    rules = rule_table()
    if id_ is None:
        rows = [(info.id, info.verdict.value, info.title) for info in rules]
        lines = [
            "| rule | verdict | what it sees |",
            "|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
        items = [{"id": info.id, "verdict": info.verdict.value, "summary": info.title} for info in rules]
        text = table(rows, ("rule", "verdict", "what it sees"))
        emit(
            shared, "rule", [dict(item) for item in items], text, more={"markdown": lambda: "\n".join(lines)}
        )
        return 0
    known = {info.id: info for info in rules}
    if id_ not in known:
        raise NotFound(f"there is no rule {id_!r}", remedy="see `weighbridge rule` for all of them")
    page, info = explain(id_), known[id_]
    text = rendered(page) if sys.stdout.isatty() and shared.output is None else page
    emit(
        shared,
        "rule",
        [{"id": id_, "verdict": info.verdict.value, "summary": info.title, "text": page}],
        text,
        more={"markdown": lambda: page},
    )
    return 0


def rendered(page: str) -> str:
    """Return the page as a terminal shows it: headings bold, links as their words, lines as wide as the window."""
    import re
    import shutil
    import textwrap

    width = min(100, shutil.get_terminal_size().columns)
    shown: list[str] = []
    for line in re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page).split("\n"):
        if line.startswith("#"):
            shown.append(click.style(line.lstrip("# "), bold=True))
        else:
            indent = "  " if line.startswith("- ") else ""
            shown.extend(textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) or [""])
    return "\n".join(shown)
