"""How many identities a change takes before it counts, by project and kind, as a member of the authority.

It stands in the signed document and not in a setting, because whoever could lower the number could decide alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from weighbridge.core.canonical import JSON
from weighbridge.trust.authority_words import is_label, malformed, meant, typed, whole

LEAST: Mapping[str, int] = MappingProxyType(
    {"policy": 1, "mode": 1, "break-glass": 2, "lift": 1, "waiver": 1}
)
"""Kinds of change that can wait for more identities, and the fewest that each takes: nobody breaks glass alone."""
MOST = 32
EVERY = "*"

Approvals = Mapping[str, Mapping[str, int]]
"""Project (or `*`) to kind to number."""


def needed(approvals: Approvals, project: str, kind: str) -> int:
    """Return how many identities this kind of change takes in a project: its own number, else that of `*`, else the fewest."""
    least = LEAST.get(kind, 1)
    for name in (project, EVERY):
        number = approvals.get(name, {}).get(kind)
        if number is not None:
            return max(number, least)
    return least


def check_approvals(approvals: Approvals) -> None:
    """Refuse (authority.form) a kind that is not known, and a number that makes no sense."""
    for project, rows in approvals.items():
        if not is_label(project):
            raise malformed("approvals are asked for in a project that has no name that can be shown")
        if not rows:
            raise malformed(f"approvals of {project!r} ask for nothing")
        for kind, number in rows.items():
            if kind not in LEAST:
                raise malformed(f"no approvals can be asked for {kind!r}{meant(kind, LEAST)}")
            if not LEAST[kind] <= number <= MOST:
                raise malformed(
                    f"{kind} in {project!r} takes {LEAST[kind]} to {MOST} identities, and {number} are asked for"
                )


def approvals_json(approvals: Approvals) -> dict[str, JSON]:
    """Return the member; none where nothing is asked for."""
    return {"approvals": {name: dict(rows) for name, rows in approvals.items()}} if approvals else {}


def read_approvals(value: Any) -> Approvals:
    """Read the member; raises VerificationFailed(authority.form)."""
    rows = typed(value, dict, "approvals")
    if not rows:
        raise malformed("approvals are empty; leave the member out")
    return {
        project: {
            kind: whole(number, f"the number for {kind!r} in {project!r}")
            for kind, number in typed(kinds, dict, f"approvals of {project!r}").items()
        }
        for project, kinds in rows.items()
    }
