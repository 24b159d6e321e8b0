"""`rule` and `config`: explain a rule of the scanner; show every setting and where it came from."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit, table
from weighbridge.core.errors import NotFound


@click.command()
@click.argument("id_", metavar="[ID]", required=False)
@common
def rule(shared: Shared, *, id_: str | None) -> int:
    """Explain a rule of the scanner; without an id, list them."""
    from weighbridge.scanner.explain import explain, rule_table

    rules = rule_table()
    if id_ is None:
        rows = [(info.id, info.title) for info in rules]
        emit(
            shared,
            "rule",
            [{"id": info.id, "summary": info.title} for info in rules],
            table(rows, ("rule", "what it sees")),
        )
        return 0
    known = {info.id: info for info in rules}
    if id_ not in known:
        raise NotFound(f"there is no rule {id_!r}", remedy="see `weighbridge rule` for all of them")
    text = explain(id_)
    emit(shared, "rule", [{"id": id_, "summary": known[id_].title, "text": text}], text)
    return 0


@click.command()
@common
def config(shared: Shared) -> int:
    """Show every setting, its value and where it came from."""
    values = shared.config.values
    rows = [(key, str(value.value), value.origin) for key, value in values.items()]
    rows.append(("home", str(shared.config.home), "environment or default"))
    items = [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]
    emit(shared, "setting", items, table(rows, ("setting", "value", "from")))
    return 0
