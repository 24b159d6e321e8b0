"""`config`: show every setting and where it came from."""

from __future__ import annotations

import click

from weighbridge.cli.options import Shared, common
from weighbridge.cli.render import emit, table
from weighbridge.config import FILE


@click.command()
@common
def config(shared: Shared) -> int:
    """Show every setting, its value and where it came from."""
    values = shared.config.values
    rows = [(key, str(value.value), value.origin) for key, value in values.items()]
    for entry in shared.config.accept:
        value = f"{entry.rule} in {entry.digest} until {entry.until.isoformat()}: {entry.reason}"
        rows.append(("accept", value, f"file {shared.config.home / FILE}"))
    rows.append(("home", str(shared.config.home), "environment or default"))
    items = [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]
    emit(shared, "setting", items, table(rows, ("setting", "value", "from")))
    return 0
