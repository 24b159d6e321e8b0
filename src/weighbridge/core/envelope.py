"""The one shape of all JSON output: `{"schema": "weighbridge.<kind>/1", "tool": {…}, "<kind>s": […]}`."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.canonical import JSON

VERSION = "0.1.0"
PLURALS = {
    "lineage": "lineages",
    "entry": "entries",
    "authority": "authorities",
    "advisory": "advisories",
    "identity": "identities",
    "policy": "policies",
    "delivery": "deliveries",
    "push": "pushes",
}


def envelope(kind: str, items: Sequence[JSON]) -> dict[str, JSON]:
    """Wrap `items` of one kind; the plural is the kind with an s unless the language says otherwise."""
    return {
        "schema": f"weighbridge.{kind}/1",
        "tool": {"name": "weighbridge", "version": VERSION},
        PLURALS.get(kind, f"{kind}s"): list(items),
    }
